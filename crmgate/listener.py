"""Base class of listener plugins that have settings, or that take their time: they are told and change nothing.

A listener that needs neither is a function of the module marked `@hookimpl`.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from crmgate.errors import ConfigError
from crmgate.plugin_kit.settings import LOCAL_HOSTS, ProviderSettings, load_settings
from crmgate.plugin_kit.transport import Answer, Transport

__all__ = ["Listener"]

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
"""Calls that may wait for a listener's thread; what comes on top is dropped, and the log says so."""


class Listener:
    """Somebody who is told. Subclass it, declare the settings and implement listener hooks.

    Each process makes one instance at its start, whatever the settings hold. The hooks are called in the middle of a
    delivery, on any thread: what takes time belongs on the listener's own one (`later`). Raises `ConfigError` with
    every problem of the settings.
    """

    label: ClassVar[str] = ""
    Settings: ClassVar[type[ProviderSettings]] = ProviderSettings
    timeout: ClassVar[float] = 5.0
    """Seconds for one request, and for what is left to do when the process ends."""

    def __init__(self, environ: Mapping[str, str], *, http_hosts: tuple[str, ...] = LOCAL_HOSTS) -> None:
        problems: list[str] = []
        trimmed = {name: value.strip() for name, value in environ.items()}
        self.settings = load_settings(self.Settings(), trimmed, http_hosts, problems)
        if problems:
            raise ConfigError(problems)
        self._transport = Transport(self.timeout)
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._starting = threading.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def later(self, work: Callable[..., None], *arguments: Any) -> None:
        """Call `work` on the listener's own thread, one call after the other, and return at once."""
        with self._starting:  # not before it is needed: a process that forks would leave the thread behind
            if not self._thread.ident:
                self._thread.start()
                atexit.register(self.close)
        try:
            self._calls.put_nowait(partial(work, *arguments))
        except queue.Full:
            log.warning("%s is too slow: a call was dropped", type(self).__name__)

    def finish(self) -> None:
        """What is left to do when the process ends; called on the listener's own thread."""

    def close(self) -> None:
        """Do what waits, and `finish`, within `timeout`. Called when the process ends; not if it is killed."""
        if self._thread.is_alive():
            with suppress(queue.Full):
                self._calls.put_nowait(self.finish)
                self._calls.put_nowait(None)
                self._thread.join(self.timeout)

    def request(
        self, method: str, url: str, *, json: Any = None, params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Send one request and return the whole answer, whatever its status.

        Raises `ProviderError`, in words that hold no address.
        """
        read = method.upper() in ("GET", "HEAD")
        return self._transport.send(method, url, read=read, json=json, params=params, headers=headers)

    def _run(self) -> None:
        while call := self._calls.get():
            try:
                call()
            except Exception as error:  # its text may hold anything
                log.error("%s failed: %s", type(self).__name__, type(error).__name__)
