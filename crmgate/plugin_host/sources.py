"""Asks the plugins what a request of a form tool contains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pluggy

from crmgate.errors import PluginError
from crmgate.plugin_host.caller import ends_process, where
from crmgate.plugin_host.output import caught
from crmgate.sources.model import Handshake, Parsed, Received, SourceRequest

HOOK = "parse_source"


class SourcePlugins:
    """The plugins of a manager that implement `parse_source`."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager

    def __call__(self, source: str, request: SourceRequest) -> Parsed | None:
        """The result of the first plugin that reads this source; None if none does. Raises `PluginError`."""
        for plugin in reversed(getattr(self._manager.hook, HOOK).get_hookimpls()):  # the order of pluggy
            found = _called(plugin, {"source": source, "request": request})
            if found is not None:
                return found
        return None


def _called(plugin: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Parsed | None:
    found: Any = None
    reason = "parse_source returned another type than it should."
    try:
        with caught(plugin.plugin_name, HOOK):
            found = plugin.function(*(arguments[name] for name in plugin.argnames))
    except BaseException as error:
        if ends_process(error):
            raise
        reason = f"parse_source failed: {where(error, plugin.function.__module__)}."
    else:
        if found is None or isinstance(found, Handshake) or _are_received(found):
            return found  # type: ignore[no-any-return]
    raise PluginError(plugin.plugin_name, reason, "The body is kept as text.")


def _are_received(found: Any) -> bool:
    return isinstance(found, list | tuple) and all(isinstance(each, Received) for each in found)
