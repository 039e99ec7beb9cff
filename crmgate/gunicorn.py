"""gunicorn's settings for crmgate: `gunicorn.conf.py` takes them from here, as does `-c python:crmgate.gunicorn`."""

from __future__ import annotations

from typing import Any

from gunicorn import glogging  # type: ignore[import-untyped]

from crmgate import logs
from crmgate.config import environment
from crmgate.errors import ConfigError

__all__ = ["logger_class"]


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's own lines in the form of all others. One line a request is crmgate's to write."""

    def setup(self, cfg: Any) -> None:
        """Called at the start and when gunicorn reads its configuration again."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.formatter(_format()))


def _format() -> str:
    """`LOG_FORMAT`, whatever else is wrong with the configuration: the application tells that."""
    try:
        return environment().get("LOG_FORMAT", "").strip()
    except ConfigError:
        return ""


logger_class = Logger
