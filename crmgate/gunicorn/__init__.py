"""gunicorn's settings for crmgate, for `gunicorn.conf.py` and for `--config python:crmgate.gunicorn`.

The first process of gunicorn reads this module, starts the worker processes and lives until gunicorn is restarted. A
reload (SIGHUP) reads this module again and replaces the worker processes. The first process removes every module that a
worker process could inherit from it (`pre_fork`), so after a reload everything but gunicorn itself is the new code.

The processes of one gunicorn share a folder with their request counts (`crmgate.web.metrics`):
PROMETHEUS_MULTIPROC_DIR, else a temporary folder that is removed when gunicorn ends.
"""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from gunicorn import glogging  # type: ignore[import-untyped]

__all__ = [
    "forwarded_allow_ips", "forwarder_headers", "graceful_timeout", "keepalive", "logger_class", "on_exit",
    "on_starting", "post_fork", "post_worker_init", "pre_fork", "threads", "worker_class", "workers",
]  # fmt: skip

workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = 64
"""Threads of each process: the number of slow senders that do not block it (`crmgate.gunicorn.worker`)."""
worker_class = "crmgate.gunicorn.worker.Worker"
graceful_timeout = 30
# gunicorn itself trusts no header of a proxy, such as SCRIPT_NAME; `crmgate.web.proxies` reads the trusted ones.
forwarder_headers = ""
forwarded_allow_ips = ""
keepalive = 2
"""Seconds after which an idle connection is closed. Caddy closes it earlier: no request meets a closing connection."""

GC_THRESHOLDS = (20_000, 20, 100)
"""Thresholds of Python's garbage collector in a web process; Python's own are 700, 10 and 10."""
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
KEPT = sys.stdlib_module_names | {"__config__", "__main__", "gunicorn"}
"""Packages whose modules a worker process inherits from the first process."""


class Logger(glogging.Logger):  # type: ignore[misc]
    """Formats gunicorn's own log lines like crmgate's. `crmgate.web` writes the line for each request."""

    def setup(self, cfg: Any) -> None:
        """Called at the start and when gunicorn reads its configuration again."""
        super().setup(cfg)
        self.format_lines()

    def format_lines(self) -> None:
        """Use the formatter of the `crmgate.logs` that this process has."""
        from crmgate import logs

        for handler in self.error_log.handlers:
            handler.setFormatter(logs.formatter(_format()))


logger_class = Logger


def on_starting(server: Any) -> None:
    """Prepare the shared folder. Called once, before the first worker process starts."""
    if given := os.environ.get(FOLDER):
        Path(given).mkdir(parents=True, exist_ok=True)
        for left_over in Path(given).glob("*.db"):  # files of ended processes: their ids can be reused
            left_over.unlink(missing_ok=True)
    else:
        os.environ[FOLDER] = server.temporary_folder = tempfile.mkdtemp(prefix="crmgate-metrics-")


def pre_fork(_server: Any, _worker: Any) -> None:
    """Remove the modules of crmgate and of its libraries, so that a worker process inherits none of them.

    Called in the first process before each worker process starts. Objects of such a module stay usable.
    """
    for name in list(sys.modules):
        if name.partition(".")[0] not in KEPT:
            del sys.modules[name]


def post_fork(_server: Any, worker: Any) -> None:
    """Change the class of `worker` to the one that its own process imports. Called in that process."""
    old = type(worker)
    worker.__class__ = getattr(importlib.import_module(old.__module__), old.__name__)


def post_worker_init(worker: Any) -> None:
    """Start the watch of a web process, and the thread that drains the spool.

    Called in the process itself, so that no fork loses its threads.
    """
    worker.log.format_lines()
    worker.app.wsgi().extensions["crmgate"].start_threads()
    _collect_less()


def _collect_less() -> None:
    """Keep the garbage collector from walking through the modules, and let it look for cycles less often.

    A request makes few cycles, but enough objects to exceed the default thresholds again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def on_exit(server: Any) -> None:
    """Remove the folder if it is a temporary one, unless another gunicorn took over (SIGUSR2)."""
    folder = getattr(server, "temporary_folder", None)
    if folder and not server.reexec_pid:
        shutil.rmtree(folder, ignore_errors=True)


def _format() -> str:
    """`LOG_FORMAT`, even if the configuration is wrong: the application reports that."""
    from crmgate.config import environment
    from crmgate.errors import ConfigError

    try:
        return environment().get("LOG_FORMAT", "").strip().lower()
    except ConfigError:
        return ""
