"""Calls listener hooks, outside the visitor's request and outside the lease.

Each listener has its own background worker in each process. Its hooks are called in the order of the events in that
process, and a listener that is slow, hangs or exits does not affect the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import pluggy

from crmgate import logs
from crmgate.background import Background
from crmgate.model import Operation
from crmgate.plugin_host.caller import where
from crmgate.plugin_host.output import caught

log = logging.getLogger(__name__)

SLOW = 1.0
"""Duration in seconds above which a call of a listener is logged."""


class Listeners:
    """Hands events to the listeners of a plugin manager."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager
        self._backgrounds: dict[str, Background] = {}

    def notify(self, hook: str, **arguments: Any) -> None:
        """Queue a call of `hook` for each listener that implements it. Returns at once, never raises."""
        for listener in reversed(getattr(self._manager.hook, hook).get_hookimpls()):  # the order of pluggy
            self._background(listener).offer(partial(_call, listener, hook, arguments))

    def _background(self, listener: pluggy.HookImpl) -> Background:
        own = getattr(listener.plugin, "background", None)  # a `Listener` has one, if it called `super().__init__`
        if isinstance(own, Background):
            return own
        name = listener.plugin_name
        return self._backgrounds.setdefault(name, Background(f"listener {name}"))


def _call(listener: pluggy.HookImpl, hook: str, arguments: Mapping[str, Any]) -> None:
    """Call one hook. An exception, `sys.exit()` too, and a long duration are logged with the plugin and the hook."""
    begun = time.monotonic()
    operation = arguments.get("operation")
    with logs.bound(**({"operation": operation.id} if isinstance(operation, Operation) else {})):
        try:
            with caught(listener.plugin_name, hook):
                listener.function(*(arguments[name] for name in listener.argnames))
        except BaseException as error:
            place = where(error, listener.function.__module__)
            log.error("listener %s of %s failed: %s", hook, listener.plugin_name, place)
        duration = time.monotonic() - begun
        if duration > SLOW:
            log.warning("listener %s of %s is slow: it took %.1f s", hook, listener.plugin_name, duration)
