"""A webhook and a Telegram that receive alerts, and what the plugin for alerts is called with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crmgate.errors import AuthFailed, Code, ProviderError
from crmgate.listener import Listener
from crmgate.model import Event, Kind, Lead, Operation, State, new_id
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.store.gate import Cause, Gate, explain
from crmgate.testing.server import FakeCRM, Request, Response
from tests.listeners import notify

PLUGINS = Path(__file__).parents[2] / "plugins"
CANARY = "c4n4ry"
HOOK = f"/hooks/{CANARY}-webhook"
TOKEN = f"123456:{CANARY}-token"
PERSON = Lead(first_name=CANARY, email=f"{CANARY}@example.com", phone="+905321234567")
KEYS = {
    "text", "event", "instance", "provider", "cause", "explanation", "remedy", "seconds", "waiting", "count", "codes",
    "operations", "since", "share", "spooled",
}  # fmt: skip


class Inbox(FakeCRM):
    """A webhook and a Telegram."""

    status = 200

    def answer(self, request: Request) -> Response:
        return Response(self.status, '{"ok": true}')

    def records(self) -> dict[str, list[dict[str, Any]]]:
        return {"webhook": self.sent(HOOK), "telegram": self.sent(f"/bot{TOKEN}/sendMessage")}

    def sent(self, path: str = HOOK) -> list[dict[str, Any]]:
        """The bodies that arrived at an address, in order."""
        with self.lock:
            return [json.loads(request.body) for request in self.requests if request.path == path]

    def events(self) -> list[str]:
        return [body["event"] for body in self.sent()]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as inbox:
        yield inbox


@pytest.fixture
def listening() -> Iterator[Callable[..., Plugins]]:
    """Start the plugin with the given settings, as the gateway does."""
    started: list[Plugins] = []

    def listen(**settings: str) -> Plugins:
        plugins = discover(PLUGINS, ("alerts",))
        assert not plugins.quarantined
        plugins.listen(settings, ("127.0.0.1",))
        started.append(plugins)
        return plugins

    yield listen
    for plugins in started:
        close(plugins)


def close(plugins: Plugins) -> None:
    """Do what happens when the process ends."""
    for listener in plugins.manager.get_plugins():
        if isinstance(listener, Listener):
            listener.background.stop()


def webhook(inbox: Inbox, window: float = 60.0) -> dict[str, str]:
    return {"ALERT_WEBHOOK_URL": inbox.url + HOOK, "ALERT_WINDOW": str(window), "INSTANCE_NAME": "site"}


def telegram(inbox: Inbox) -> dict[str, str]:
    return {"ALERT_TELEGRAM_TOKEN": TOKEN, "ALERT_TELEGRAM_CHAT": "-100123", "ALERT_TELEGRAM_URL": inbox.url + "/"}


def dead(code: str = "invalid_value") -> Operation:
    attempt = Event(0.0, 0.1, "acme", "failed", code, 400, CANARY, f"{CANARY}: refused")
    return Operation(new_id(), Kind.CREATE_LEAD, PERSON.to_dict(), 0.0, State.DEAD, events=(attempt,))


def add_dead_letters(plugins: Plugins, *operations: Operation) -> None:
    for operation in operations:
        notify(plugins, "operation_dead", operation=operation)


def pause(plugins: Plugins, error: ProviderError | None = None, cause: Cause = Cause.REFUSED) -> None:
    error = error or AuthFailed(f"the key {CANARY} is wrong", code=Code.LOCKED_OUT, vendor_code=CANARY, provider="acme")
    words = explain(Gate(cause, confirmed=True), error.code)
    assert words is not None
    notify(
        plugins, "provider_paused", provider="acme", error=error, cause=str(cause),
        explanation=words.what, remedy=words.remedy, waiting=7,
    )  # fmt: skip


def recover(plugins: Plugins) -> None:
    notify(plugins, "provider_recovered", provider="acme", waiting=7)
