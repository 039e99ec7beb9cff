"""gunicorn reads this file in its working directory, at its start and at each reload (SIGHUP)."""

from crmgate.gunicorn import *  # noqa: F403
