"""Modules that the processes of `tests.forked` find imported. Imported by the fork server, once."""

from __future__ import annotations

import gc
import os

# prometheus_client chooses at its import whether counters are in files; each forked process names its own folder.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.devnull

import gunicorn.app.wsgiapp
import gunicorn.workers.gthread  # noqa: F401
import huey.consumer
import huey.consumer_options  # noqa: F401
from marshmallow import fields

import crmgate.cli
import crmgate.gunicorn.worker
import crmgate.services
import crmgate.web
from crmgate.plugin_host.loader import discover, shipped_folder


def keep_modules(_server: object, _worker: object) -> None:
    """gunicorn's hook `pre_fork`. The gateway's own one makes each web process import all modules again."""


crmgate.gunicorn.pre_fork = keep_modules

# The plugins that come with crmgate are loaded once in a process, and so once for all forks.
discover(shipped_folder(), shipped=shipped_folder())

# marshmallow compiles its regular expression of an address at the first use, which takes 30 ms.
fields.Url(schemes={"http", "https"}, require_tld=False).deserialize("http://127.0.0.1")

# A garbage collection in a fork passes over these objects: it would copy the memory of all of them.
gc.collect()
gc.freeze()
