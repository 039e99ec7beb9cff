"""gunicorn's worker without time limits for slow senders: what they occupy stays occupied."""

from __future__ import annotations

from crmgate.gunicorn import worker as gunicorn_worker

gunicorn_worker.READ_SECONDS = gunicorn_worker.LINGER_SECONDS = 1000.0
Worker = gunicorn_worker.Worker
