"""gunicorn's settings for crmgate, for `gunicorn.conf.py` and for `--config python:crmgate.gunicorn`.

The processes of one gunicorn share a folder with their request counts (`crmgate.web.metrics`):
PROMETHEUS_MULTIPROC_DIR, else a temporary folder that is removed when gunicorn ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from gunicorn import glogging  # type: ignore[import-untyped]

from crmgate import logs
from crmgate.config import environment
from crmgate.errors import ConfigError

__all__ = [
    "forwarded_allow_ips", "forwarder_headers", "graceful_timeout", "logger_class", "on_exit", "post_worker_init",
    "threads", "worker_class", "workers",
]  # fmt: skip

workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = 64
"""Threads of each process: the number of slow senders that do not block it (`crmgate.gunicorn.worker`)."""
worker_class = "crmgate.gunicorn.worker.Worker"
graceful_timeout = 30
# gunicorn itself believes no header of a proxy, such as SCRIPT_NAME; `crmgate.web.proxies` reads those that count.
forwarder_headers = ""
forwarded_allow_ips = ""

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Logger(glogging.Logger):  # type: ignore[misc]
    """Formats gunicorn's own log lines like crmgate's. `crmgate.web` writes the line for each request."""

    def setup(self, cfg: Any) -> None:
        """Called at the start and when gunicorn reads its configuration again."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.formatter(_format()))


def post_worker_init(worker: Any) -> None:
    """Start the watch of a web process. Called in the process itself, so that no fork loses its thread."""
    worker.app.wsgi().extensions["crmgate"].watch.start()


def on_exit(server: Any) -> None:
    """Remove the folder, unless another gunicorn took over (SIGUSR2)."""
    if _own and not server.reexec_pid:
        shutil.rmtree(_own, ignore_errors=True)


def _format() -> str:
    """`LOG_FORMAT`, even if the configuration is wrong: the application reports that."""
    try:
        return environment().get("LOG_FORMAT", "").strip().lower()
    except ConfigError:
        return ""


def _share_counters() -> str:
    """Prepare the shared folder and return it if it is a temporary one, else an empty text.

    Runs before a process imports prometheus-client, which reads the variable at import.
    """
    if given := os.environ.get(FOLDER):
        Path(given).mkdir(parents=True, exist_ok=True)
        for left_over in Path(given).glob("*.db"):  # files of ended processes: their ids can be reused
            left_over.unlink(missing_ok=True)
        return ""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="crmgate-metrics-")
    return os.environ[FOLDER]


logger_class = Logger
_own = _share_counters()
