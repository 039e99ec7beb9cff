"""Base class of listener plugins that have settings. crmgate calls them after events; they change nothing.

A listener without settings is a function of the module, marked `@hookimpl`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from crmgate.background import Background
from crmgate.errors import ConfigError
from crmgate.plugin_kit.settings import LOCAL_HOSTS, ProviderSettings, load_settings
from crmgate.plugin_kit.transport import Answer, Transport

__all__ = ["Listener"]


class Listener:
    """A plugin that crmgate calls after events. Subclass it, declare the settings and implement listener hooks.

    Each process makes one instance at its start, whatever the settings hold. crmgate calls the hooks, `later` and
    `finish` on one background thread of the listener, one call after the other, so that a listener needs no locks and
    a slow one delays no other plugin. Raises `ConfigError` with every problem of the settings.
    """

    label: ClassVar[str] = ""
    Settings: ClassVar[type[ProviderSettings]] = ProviderSettings
    timeout: ClassVar[float] = 5.0
    """Seconds for one request."""

    def __init__(self, environ: Mapping[str, str], *, http_hosts: tuple[str, ...] = LOCAL_HOSTS) -> None:
        problems: list[str] = []
        trimmed = {name: value.strip() for name, value in environ.items()}
        self.settings = load_settings(self.Settings(), trimmed, http_hosts, problems)
        if problems:
            raise ConfigError(problems)
        self._transport = Transport(self.timeout)
        self.background = Background(f"listener {type(self).__name__}", last=self.finish)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def later(self, work: Callable[..., None], *arguments: Any) -> None:
        """Call `work` on the listener's thread, after all calls that wait there, and return at once.

        For code on another thread (a timer). At most `crmgate.background.CAPACITY` calls wait; further ones are dropped
        and logged.
        """
        self.background.offer(partial(work, *arguments))

    def finish(self) -> None:
        """Called on the listener's thread when the process ends, if the thread was in use."""

    def request(
        self, method: str, url: str, *, json: Any = None, params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Send one request and return the whole answer, whatever its status.

        Raises `ProviderError`, in words that hold no address.
        """
        read = method.upper() in ("GET", "HEAD")
        return self._transport.send(method, url, read=read, json=json, params=params, headers=headers)
