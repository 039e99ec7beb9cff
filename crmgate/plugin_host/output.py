"""Catches what a plugin prints: its text can hold personal data, and the output of a process is its log.

`sys.stdout` and `sys.stderr` are replaced by streams that pass all text on, except what is printed during a hook. That
text is dropped, and a warning names the plugin and the line. Text of the module `logging` passes. Threads that a plugin
starts, and what it writes to file descriptors, are not covered.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

log = logging.getLogger(__name__)

_speaker: ContextVar[tuple[str, str] | None] = ContextVar("speaker", default=None)
"""The plugin and the hook whose code runs now."""
_named = set[tuple[str, str, str]]()
"""Plugin, hook and place of the prints that were logged: each is logged once in a process."""


@contextmanager
def caught(plugin: str, hook: str) -> Iterator[None]:
    """Drop what is printed inside, and log a warning that names `plugin` and `hook`, once for each place."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Stream):
            setattr(sys, name, _Stream(stream))
    token = _speaker.set((plugin, hook))
    try:
        yield
    finally:
        _speaker.reset(token)


class _Stream:
    """A stream that drops what a plugin writes. In everything else it is the stream below."""

    def __init__(self, below: TextIO) -> None:
        self._below = below

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    def write(self, text: str) -> int:
        """Write `text`, unless a hook of a plugin runs."""
        speaker = _speaker.get()
        if speaker is None or sys._getframe(1).f_globals.get("__name__") == "logging":
            return self._below.write(text)
        if text.strip():
            _warn(*speaker, _place())
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each of `lines`."""
        self.write("".join(lines))


def _place() -> str:
    """File and line that called `print`: the first one outside this module and the module `traceback`."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, "traceback"):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _warn(plugin: str, hook: str, place: str) -> None:
    if (plugin, hook, place) in _named:
        return
    _named.add((plugin, hook, place))
    token = _speaker.set(None)  # a handler of the log may write to one of the streams
    try:
        log.warning(
            "plugin %s prints in %s (%s): the text is dropped, because it may hold personal data. Log what you need"
            " with the module logging, without values of a visitor or of a setting.",
            plugin, hook, place,
        )  # fmt: skip
    finally:
        _speaker.reset(token)
