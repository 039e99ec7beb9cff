"""Logging to standard error, one line an event: JSON, or text for people. Payloads and CRM answers are never logged.

crmgate and the libraries log with the standard library; structlog gives all of their lines one form and adds the id of
the request or of the operation in hand. Of an exception the stack and the type are told: its message may hold what a
visitor typed, or an address with a secret.
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
"""What a line may hold besides its text; what libraries add is left out."""


def configure(level: str, form: str) -> None:
    """Send the log of this process to standard error; times are UTC. Calling it again changes level and format.

    Of other libraries warnings and errors are told.
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
    """Have the logger `name` of a library, which set up a handler of its own, log like everything else."""
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.propagate = True


def formatter(form: str) -> logging.Formatter:
    """The form of every line, `json` or `console`."""
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
    """From here on every line of this thread carries these ids, and no earlier ones."""
    clear_contextvars()
    bind_contextvars(**ids)


def bind(**ids: str) -> None:
    """From here on every line of this thread carries these ids, too."""
    bind_contextvars(**ids)


def bound(**ids: str) -> AbstractContextManager[None]:
    """Inside the block every line of this thread carries these ids."""
    return bound_contextvars(**ids)


def stack(error: BaseException) -> str:
    """The stacks of `error` and of what caused it, without their messages."""
    return "".join(_stacks(error))


class StandardError(logging.StreamHandler[TextIO]):
    """Writes to the standard error of the moment."""

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
    told = line.pop("exc_info", None)
    error = told[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        line["exception"] = stack(error)
    return line


def _in_order(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    head = {name: line[name] for name in ("timestamp", "level", "logger", "event") if name in line}
    return head | dict(line)


def _silence_urllib3() -> None:
    """Its messages hold addresses, and the address of a Bitrix24 webhook is a credential."""
    urllib3 = logging.getLogger("urllib3")
    urllib3.addHandler(logging.NullHandler())
    urllib3.propagate = False
