"""Turns the exceptions of a transport that is not HTTP into errors of crmgate."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from crmgate.errors import Code, ProviderError, Unavailable
from crmgate.plugin_kit.transport import lost

T = TypeVar("T")
Translate = Callable[[Exception], ProviderError | None]
"""The error of crmgate that an exception of a vendor's client means; None: it says nothing about this exception."""

_NOT_SENT = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)


def exchanged(send: Callable[[float], T], seconds: float, *, read: bool, errors: Translate) -> T:
    """The result of `send`; see `CRMProvider.exchange`."""
    try:
        return send(seconds)
    except ProviderError:
        raise
    except Exception as error:
        failure = errors(error) or _failure(error, read)
        if failure is None:
            raise
    raise failure  # not inside `except`: its context would be `error`, whose text can contain secrets


def no_translation(_error: Exception) -> None:
    """No error: the exception is not one of the vendor's client."""


def _failure(error: Exception, read: bool) -> ProviderError | None:
    """The error that an exception of Python's sockets means; None for another exception, which is a bug."""
    match error:
        case _ if isinstance(error, _NOT_SENT):
            return Unavailable("no connection", code=Code.CONNECTION_FAILED)
        case TimeoutError():
            return lost(read, Code.TIMEOUT, "no answer within the time limit")
        case OSError() | EOFError():
            return lost(read, Code.CONNECTION_DROPPED, "the connection was cut before the answer was complete")
    return None
