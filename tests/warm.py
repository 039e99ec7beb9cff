"""Modules that the processes of `tests.forked` find imported. Imported by the fork server, once."""

from __future__ import annotations

import os

# prometheus_client chooses at its import whether counters are in files; each forked process names its own folder.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.devnull

import gunicorn.app.wsgiapp
import gunicorn.workers.gthread  # noqa: F401
import huey.consumer
import huey.consumer_options  # noqa: F401

import crmgate.cli
import crmgate.gunicorn.worker
import crmgate.services
import crmgate.web


def keep_modules(_server: object, _worker: object) -> None:
    """gunicorn's hook `pre_fork`. The gateway's own one makes each web process import all modules again."""


crmgate.gunicorn.pre_fork = keep_modules
