"""A provider with one setting of each kind, servers that misbehave, and a look at the errors."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import marshmallow
import pytest

from crmgate.errors import Code, ConfigError, ProviderError
from crmgate.model import Kind, Operation
from crmgate.provider import (
    Answer,
    CRMProvider,
    ProviderSettings,
    fields,
    secret,
    validate,
    web_address,
)
from crmgate.testing.server import FakeCRM, Request, Response
from tests.processes import DEADLINE

KEY = "k3y-c4n4ry/+ü"
TOKEN = "t0k3n-c4n4ry"
OPERATION = Operation("8b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4", Kind.CREATE_LEAD, {}, 0.0)


def _even(value: str) -> None:
    if len(value) % 2:
        raise marshmallow.ValidationError(f"{value!r} is odd.")


class Probe(CRMProvider):
    """A provider with one setting of each kind."""

    name = "probe"
    label = "Probe CRM"
    lead_fields: ClassVar[Mapping[str, str]] = {"first_name": "firstName", "source": "source", "city": "town"}
    lead_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"source": {"website": "Web"}}

    class Settings(ProviderSettings):
        """One setting of each kind."""

        PROBE_URL = web_address(required=True)
        PROBE_HOOK = web_address(secret=True)
        PROBE_KEY = secret(required=True)
        PROBE_PIN = secret(validate=_even)
        PROBE_USER = fields.String(validate=validate.Length(max=5), metadata={"takes": "a short name"})
        PROBE_OPTIONAL = secret(load_default="")
        PROBE_NONE = secret(load_default=None)


def settings(**changes: str) -> dict[str, str]:
    return {"PROBE_URL": "https://crm.example.com", "PROBE_KEY": "key", "PATH": "/bin"} | changes


def probe(timeout: float = DEADLINE, **changes: str) -> Probe:
    return Probe(settings(**changes), timeout=timeout)


def problems(**changes: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Probe(settings(**changes))
    return caught.value.problems


class Script(FakeCRM):
    """Answers with `response`."""

    def __init__(self) -> None:
        super().__init__()
        self.response = Response(200, '{"ok": true}')

    def answer(self, request: Request) -> Response:
        return self.response

    def records(self) -> dict[str, list[dict[str, Any]]]:
        return {}


@contextmanager
def raw_server(speak: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that calls `speak` for each connection, until the test ends."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def converse(connection: socket.socket) -> None:
            with connection:
                try:
                    speak(connection, over)
                except OSError:
                    return  # the client has hung up

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=converse, args=(connection,), daemon=True))
                threads[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in [acceptor, *threads]:
                thread.join(2)


def failure(call: Callable[[], object]) -> ProviderError:
    """The error that `call` raises. Checks that neither its text nor its traceback shows a secret."""
    with pytest.raises(ProviderError) as caught:
        call()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = f"{error}{error!r}{error.args}{vars(error)}"
    assert "127.0.0.1" not in shown
    for canary in (KEY, TOKEN, "c4n4ry"):
        assert canary not in shown + "".join(traceback.format_exception(error))
    return error


def verdict(error: ProviderError) -> tuple[type[ProviderError], Code]:
    return type(error), error.code


def send(provider: CRMProvider, url: str, method: str = "POST", **options: Any) -> Answer:
    """A request with a secret in the address, in a header and in the parameters."""
    headers = {"X-Api-Key": TOKEN}
    return provider.request(method, f"{url}/rest/1/{TOKEN}/lead", headers=headers, params={"auth": TOKEN}, **options)


LIMIT = DEADLINE / 90
"""Time limit in seconds of a request that ends by it: long enough to connect and to send on a busy machine."""
DROPPED, TIMEOUT = Code.CONNECTION_DROPPED, Code.TIMEOUT
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
