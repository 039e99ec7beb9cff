"""gunicorn's worker with a faster watch, so that a test need not wait."""

from __future__ import annotations

from crmgate.gunicorn.worker import Worker
from crmgate.operators import watch

__all__ = ["Worker"]

watch.BEAT = 0.3
watch.WORKER_MISSING = 15.0
watch.LEDGER_AWAY = 1.0
