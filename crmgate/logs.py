"""Logging to standard error: one line for each event, as JSON or as text. Payloads and CRM answers are never logged.

crmgate and its libraries log with the standard library. structlog formats all lines and adds the id of the current
request or operation. A logged exception has its stack and type but not its message, which may contain personal data or
an address with a secret.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars

FORMATS = ("json", "console")
MORE = ("who", "what", "on", "method", "route", "status", "duration_ms")
"""Extra fields of a log line; fields that libraries add are dropped."""


def configure(level: str, form: str) -> None:
    """Send the log of this process to standard error, with times in UTC. Another call changes level and format.

    `level` applies to crmgate; libraries log warnings and errors only. `form` is `json` or `console`.
    """
    _silence_urllib3()
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
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, pad_level=False)
    before: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(MORE),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _bare_exception,
    ]
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _in_order, renderer]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=processors)


def begin(**ids: str) -> None:
    """Replace the ids in the following log lines of this thread."""
    clear_contextvars()
    bind_contextvars(**ids)


def bind(**ids: str) -> None:
    """Add ids to the following log lines of this thread."""
    bind_contextvars(**ids)


def bound(**ids: str) -> AbstractContextManager[None]:
    """Add ids to the log lines of this thread inside a `with` block."""
    return bound_contextvars(**ids)


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


def _bare_exception(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    info = line.pop("exc_info", None)
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        line["exception"] = stack(error)
    return line


def _in_order(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    head = {name: line[name] for name in ("timestamp", "level", "logger", "event") if name in line}
    return head | dict(line)


def _silence_urllib3() -> None:
    """Drop urllib3's messages: they contain addresses, and the address of a Bitrix24 webhook is a credential."""
    urllib3 = logging.getLogger("urllib3")
    urllib3.addHandler(logging.NullHandler())
    urllib3.propagate = False
