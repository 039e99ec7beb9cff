"""gunicorn's worker with less patience, so that a test need not wait. Each worker process imports this module."""

from __future__ import annotations

from crmgate.gunicorn import worker

worker.READ_SECONDS = 4.0


class Worker(worker.Worker):
    """A class of this module, so that a process imports it."""
