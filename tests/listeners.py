"""Events for listeners, as a process of the gateway hands them over."""

from __future__ import annotations

from typing import Any

from crmgate.background import stop_all
from crmgate.plugin_host.listeners import Listeners
from crmgate.plugin_host.loader import Plugins


def notify(plugins: Plugins, hook: str, **arguments: Any) -> None:
    """Hand one event to the listeners, as the gateway does."""
    Listeners(plugins.manager).notify(hook, **arguments)


def notify_at_the_end(plugins: Plugins, hook: str, **arguments: Any) -> None:
    """Hand over the last event of the process; at the return the listeners are done."""
    notify(plugins, hook, **arguments)
    stop_all()
