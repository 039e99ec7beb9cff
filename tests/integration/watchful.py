"""gunicorn's worker with a faster watch, so that a test need not wait. Each worker process imports this module."""

from __future__ import annotations

from crmgate.gunicorn import worker
from crmgate.operators import watch

watch.BEAT = 0.3
watch.WORKER_MISSING = 15.0
watch.LEDGER_AWAY = 1.0


class Worker(worker.Worker):
    """A class of this module, so that a process imports it."""
