"""`exchange`: requests of a transport of the plugin's own, their time, and what their exceptions mean."""

from __future__ import annotations

import smtplib
import socket
import ssl

import pytest

from crmgate.errors import Code, OutcomeUnknown, OutOfTime, ProviderError, Rejected, Unavailable
from crmgate.provider import time_budget
from tests.provider.rig import TOKEN, failure, probe, verdict


def test_it_returns_the_result_and_is_counted() -> None:
    provider = probe(timeout=7.0)
    assert 6.0 < provider.exchange(lambda seconds: seconds) <= 7.0
    assert (provider.used(), provider.used()) == (1, 0)


def test_the_time_of_the_hook_limits_it() -> None:
    calls = list[float]()
    with time_budget(3.0):
        probe(timeout=7.0).exchange(calls.append)
    assert 2.0 < calls.pop() <= 3.0
    with time_budget(0.0):
        error = failure(lambda: probe().exchange(calls.append))
    assert (verdict(error), calls) == ((OutOfTime, Code.OUT_OF_TIME), [])


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConnectionRefusedError(TOKEN), Unavailable, Code.CONNECTION_FAILED),
        (socket.gaierror(TOKEN), Unavailable, Code.CONNECTION_FAILED),
        (ssl.SSLCertVerificationError(TOKEN), Unavailable, Code.CONNECTION_FAILED),
        (TimeoutError(TOKEN), OutcomeUnknown, Code.TIMEOUT),
        (ConnectionResetError(TOKEN), OutcomeUnknown, Code.CONNECTION_DROPPED),
        (BrokenPipeError(TOKEN), OutcomeUnknown, Code.CONNECTION_DROPPED),
        (EOFError(TOKEN), OutcomeUnknown, Code.CONNECTION_DROPPED),
        (smtplib.SMTPServerDisconnected(TOKEN), OutcomeUnknown, Code.CONNECTION_DROPPED),
    ],
)
def test_exceptions_of_sockets(error: Exception, kind: type[ProviderError], code: Code, safe: bool) -> None:
    def send(_seconds: float) -> None:
        raise error

    expected = Unavailable if safe else kind
    assert verdict(failure(lambda: probe().exchange(send, safe=safe))) == (expected, code)


def test_the_plugin_translates_first() -> None:
    def send(_seconds: float) -> None:
        raise smtplib.SMTPRecipientsRefused({TOKEN: (550, TOKEN.encode())})

    def translate(error: Exception) -> ProviderError | None:
        return Rejected("no such mailbox") if isinstance(error, smtplib.SMTPRecipientsRefused) else None

    assert isinstance(failure(lambda: probe().exchange(send, errors=translate)), Rejected)


def test_an_error_of_crmgate_passes_as_it_is() -> None:
    raised = Rejected("known")

    def send(_seconds: float) -> None:
        raise raised

    assert failure(lambda: probe().exchange(send, errors=lambda _error: Unavailable())) is raised


def test_a_bug_passes() -> None:
    def send(_seconds: float) -> None:
        raise KeyError("row")

    with pytest.raises(KeyError):
        probe().exchange(send)
