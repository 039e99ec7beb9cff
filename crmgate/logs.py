"""Logging to standard error: one line for each event, as JSON or as text. Payloads and CRM answers are never logged.

crmgate and its libraries log with the standard library. All lines have one form and the ids of the current request or
operation. A logged exception has its stack and type but not its message, which may contain personal data or an address
with a secret.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

FORMATS = ("json", "console")
MORE = ("who", "what", "on", "method", "route", "status", "duration_ms")
"""Extra fields of a log line; fields that libraries add are dropped."""

_ids: ContextVar[dict[str, str]] = ContextVar("crmgate.ids", default={})  # noqa: B039 - never changed in place
_encoded = json.JSONEncoder(ensure_ascii=False, default=repr).encode


def configure(level: str, form: str) -> None:
    """Send the log of this process to standard error, with times in UTC. Another call changes level and format.

    `level` applies to crmgate; libraries log warnings and errors only. `form` is `json` or `console`.
    """
    _silence_urllib3()
    # What no line shows: https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    handler = next((handler for handler in root.handlers if isinstance(handler, StandardError)), None)
    if handler is None:
        handler = StandardError()
        root.addHandler(handler)
    handler.setFormatter(formatter(form))
    logging.getLogger("crmgate").setLevel(level)
    root.setLevel(max(logging.getLevelNamesMapping()[level], logging.WARNING))


def adopt(name: str) -> None:
    """Remove the handlers that a library gave its logger `name`, so that its lines have the common format."""
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.propagate = True


def formatter(form: str) -> logging.Formatter:
    """Formatter for all log lines. `form` is `json` or `console`."""
    return _ForPeople() if form == "console" else _Json()


def emit(logger: logging.Logger, level: int, event: str, facts: Mapping[str, Any]) -> None:
    """Log a line that is written often: the standard library would also look up the place in the code."""
    record = logging.LogRecord(logger.name, level, "", 0, event, None, None)
    record.__dict__.update(facts)
    logger.handle(record)


def begin(**ids: str) -> None:
    """Replace the ids in the following log lines of this thread."""
    _ids.set(ids)


def bind(**ids: str) -> None:
    """Add ids to the following log lines of this thread."""
    _ids.set(_ids.get() | ids)


@contextmanager
def bound(**ids: str) -> Iterator[None]:
    """Add ids to the log lines of this thread inside a `with` block."""
    token = _ids.set(_ids.get() | ids)
    try:
        yield
    finally:
        _ids.reset(token)


def stack(error: BaseException) -> str:
    """Stacks of `error` and of its causes, without their messages."""
    return "".join(_stacks(error))


class StandardError(logging.StreamHandler[TextIO]):
    """Handler that writes to the current `sys.stderr`, also after a test has replaced it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _stacks(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _stacks(cause)
        yield "which led to:\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"


class _Json(logging.Formatter):
    """Writes a line as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        return _encoded(_line(record))


class _ForPeople(logging.Formatter):
    """Writes a line as text."""

    def __init__(self) -> None:
        super().__init__()
        self._render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, pad_level=False)

    def format(self, record: logging.LogRecord) -> str:
        return self._render(None, "", _line(record))


def _line(record: logging.LogRecord) -> dict[str, Any]:
    line = {
        "timestamp": f"{datetime.now(UTC).isoformat(timespec='microseconds')[:-6]}Z",
        "level": record.levelname.lower(), "logger": record.name, "event": record.getMessage(), **_ids.get(),
    }  # fmt: skip
    known = record.__dict__
    line |= {name: known[name] for name in MORE if name in known}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        line["exception"] = stack(error)
    return line


def _silence_urllib3() -> None:
    """Drop urllib3's messages: they contain addresses, and the address of a Bitrix24 webhook is a credential."""
    urllib3 = logging.getLogger("urllib3")
    urllib3.addHandler(logging.NullHandler())
    urllib3.propagate = False
