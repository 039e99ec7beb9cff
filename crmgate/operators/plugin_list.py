"""Lists loaded plugins with their capabilities, and plugins that were set aside with the reason and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crmgate.plugin_host.caller import HOOKS
from crmgate.plugin_host.loader import Plugins


def listed(found: Plugins, chosen: str) -> dict[str, Any]:
    """The plugins for JSON; `chosen` is the name in CRM_PROVIDER, empty if it is not set."""
    providers = [
        {"name": name, "label": kind.label, "file": found.files[name], "active": name == chosen,
         "delivery": str(kind.delivery), "capabilities": sorted({*kind.capabilities, *_hooks(kind)})}
        for name, kind in sorted(found.providers.items())
    ]  # fmt: skip
    quarantined = [{"file": error.file, "reason": error.reason, "remedy": error.remedy} for error in found.quarantined]
    missing = (
        [f"CRM_PROVIDER, got {chosen!r}: there is no such plugin."] if chosen not in ("", *found.providers) else []
    )
    notes = missing + found.notes
    return {"providers": providers, "listeners": [*_listeners(found)], "quarantined": quarantined, "notes": notes}


def _listeners(found: Plugins) -> Iterator[dict[str, Any]]:
    for where, kind in found.listeners.items():
        file, _, name = where.rpartition(":")
        yield {"name": name, "label": kind.label, "file": file, "hooks": _hooks(kind)}
    started = {*found.listeners, *(f"provider:{name}" for name in found.providers)}
    for file, module in found.manager.list_name_plugin():
        if module is not None and file not in started:
            yield {"name": Path(file).stem, "label": "", "file": file, "hooks": _hooks(module)}


def _hooks(plugin: object) -> list[str]:
    return [hook for hook in HOOKS if callable(getattr(plugin, hook, None))]
