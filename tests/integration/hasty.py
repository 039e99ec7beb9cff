"""gunicorn's worker with less patience, so that a test need not wait."""

from __future__ import annotations

from crmgate.gunicorn import worker as gunicorn_worker

gunicorn_worker.READ_SECONDS = 4.0
Worker = gunicorn_worker.Worker
