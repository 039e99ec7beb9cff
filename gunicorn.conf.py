"""gunicorn reads this file in its working directory."""

from crmgate.gunicorn import *  # noqa: F403
