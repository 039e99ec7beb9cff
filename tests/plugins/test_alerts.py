"""Alerts and the listeners' settings: one message for an outage, nothing personal in it, no delivery that waits."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crmgate.errors import Code, NotFound, ProviderError, Rejected, Unavailable
from crmgate.model import Kind, Operation, new_id
from crmgate.plugin_host.listeners import Listeners
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.store.gate import Cause
from tests.listeners import notify
from tests.plugins.alerting import (
    CANARY,
    HOOK,
    KEYS,
    PLUGINS,
    TOKEN,
    Inbox,
    add_dead_letters,
    close,
    dead,
    inbox,
    listening,
    pause,
    recover,
    telegram,
    webhook,
)
from tests.processes import DEADLINE, wait_until
from tests.world import World, away, refused, well

__all__ = ["inbox", "listening"]  # fixtures


# -- messages ----------------------------------------------------------------------------------------------------------


def test_the_first_dead_letter_is_reported_at_once(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    operation = dead()
    add_dead_letters(listening(**webhook(inbox)), operation)
    [body] = wait_until("an alert", inbox.sent)
    assert body.keys() == KEYS
    assert body["text"] == (
        f"crmgate on site: dead letter for acme: invalid_value, operation {operation.id}."
        " What to do: see `crmgate dlq list`."
    )
    assert (body["event"], body["provider"], body["count"]) == ("dead_letter", "acme", 1)
    assert (body["codes"], body["operations"]) == ({"invalid_value": 1}, [operation.id])


def test_those_that_follow_come_as_one_message(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    letters = [dead() for _ in range(40)] + [dead("timeout")]
    add_dead_letters(listening(**webhook(inbox, window=1.0)), *letters)
    _, body = wait_until("the summary", lambda: len(inbox.sent()) == 2 and inbox.sent())
    named = [letter.id for letter in letters[1:6]]
    assert body.keys() == KEYS
    assert (body["event"], body["count"]) == ("dead_letters", 40)
    assert (body["codes"], body["operations"]) == ({"invalid_value": 39, "timeout": 1}, named)
    assert body["text"] == (
        f"crmgate on site: more dead letters for acme: 40 since {body['since']} (invalid_value 39, timeout),"
        f" operations {', '.join(named)}, .... What to do: see `crmgate dlq list`."
    )


def test_the_message_of_the_documentation_is_one() -> None:
    page = (PLUGINS.parent / "docs" / "plugins" / "alerts.md").read_text()
    [block] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    body = json.loads(block)
    [listener] = discover(PLUGINS, ("alerts",)).listeners.values()
    alert = vars(sys.modules[listener.__module__])["Alert"]
    facts = {name: value for name, value in body.items() if name != "text"}
    assert alert(**facts).to_dict() == body


def test_a_long_outage_is_one_message_a_window(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox, window=0.3))
    letters = (dead() for _ in iter(int, 1))
    wait_until("four messages", lambda: add_dead_letters(plugins, next(letters)) or len(inbox.sent()) >= 4)
    messages, ids = inbox.sent(), [name for body in inbox.sent() for name in body["operations"]]
    assert [body["event"] for body in messages] == ["dead_letter", *["dead_letters"] * 3]
    assert len(set(ids)) == len(ids)
    assert all(body["count"] > 1 for body in messages[1:])


def test_after_a_quiet_window_the_next_is_reported_at_once(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox, window=0.1))
    [alerts] = plugins.manager.get_plugins()
    add_dead_letters(plugins, dead())
    wait_until("the window has ended", lambda: inbox.sent() and not alerts._window_is_open)
    add_dead_letters(plugins, dead())
    wait_until("the second", lambda: inbox.events() == ["dead_letter", "dead_letter"])


def test_a_pause_and_its_end_are_reported(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox))
    pause(plugins)
    recover(plugins)
    first, second = wait_until("both", lambda: len(inbox.sent()) == 2 and inbox.sent())
    assert first.keys() == second.keys() == KEYS
    assert (first["event"], first["cause"], first["codes"]) == ("provider_paused", "refused", {"locked_out": 1})
    assert first["text"].startswith(
        "crmgate on site: nothing is sent to acme, because the CRM refuses the credentials, or a right is missing"
        " (locked_out). Operations that wait: 7. What to do: correct them (`crmgate crm test`"
    )
    assert (second["event"], second["codes"]) == ("provider_recovered", {})
    assert second["text"] == (
        "crmgate on site: acme works again. Operations that wait: 7. What to do: nothing; `crmgate ops tail` shows the"
        " deliveries."
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (Code.TIMEOUT, "the CRM does not answer (timeout)"),
        (Code.CONNECTION_FAILED, "the CRM does not answer (connection_failed)"),
        (Code.SERVER_ERROR, "the CRM answers with errors (server_error)"),
        (Code.MAINTENANCE, "the CRM answers with errors (maintenance)"),
    ],
)
def test_silence_and_errors_of_the_crm_are_distinguished(
    inbox: Inbox, listening: Callable[..., Plugins], code: Code, words: str
) -> None:
    pause(listening(**webhook(inbox)), Unavailable(CANARY, code=code, provider="acme"), Cause.OUTAGE)
    [body] = wait_until("the message", inbox.sent)
    assert (body["event"], body["cause"], body["codes"]) == ("provider_paused", "outage", {str(code): 1})
    assert body["text"].startswith(f"crmgate on site: nothing is sent to acme, because {words}. Operations that wait")


REPORTS = {
    "worker_missing": (
        {"seconds": 61.4, "waiting": 3},
        "no worker was seen for 61 s, and nothing that waits is delivered. Operations that wait: 3."
        " What to do: start one with `huey_consumer crmgate.worker.huey`, and look at its log.",
    ),
    "worker_back": ({}, "a worker runs again. What to do: nothing; `crmgate ops tail` shows the deliveries."),
    "ledger_unavailable": (
        {"reason": "ConnectionError", "spooled": None},
        "Redis accepts nothing (ConnectionError), and submissions cannot be recorded. What to do: start Redis, or"
        " correct REDIS_URL; `crmgate check` shows whether it works.",
    ),
    "ledger_available": (
        {"seconds": 90.0},
        "Redis works again, after 90 s. What to do: nothing; `crmgate check` shows whether everything works.",
    ),
    "ledger_nearly_full": (
        {"share": 0.834, "waiting": 3},
        "Redis is nearly full (83 % of its maxmemory); a full one accepts no submissions. Operations that wait: 3."
        " What to do: raise maxmemory, or deliver what waits; `crmgate check` shows why it waits.",
    ),
    "spool_waiting": (
        {"operations": 3, "size": 4096, "seconds": 61.2, "share": 0.834},
        "the spool has 3 submissions, the oldest for 61 s; it is 83 % full. What to do: start Redis, or correct"
        " REDIS_URL; from 100 % on, submissions are refused.",
    ),
    "waiting_too_long": (
        {"seconds": 1200.0, "waiting": 3},
        "the oldest operation has waited for 20 min. Operations that wait: 3. What to do: `crmgate check` shows why.",
    ),
    "records_missing": (
        {"missing": 7, "checked": 900, "operations": ["a", "b", "c", "d", "e"]},
        "the CRM lacks 7 of the delivered operations of the last 7 days: a, b, c, d, e, .... What to do: see"
        " `crmgate reconcile`: staff may have deleted the records, else repair them.",
    ),
}


@pytest.mark.parametrize(("hook", "arguments", "words"), [(hook, *report) for hook, report in REPORTS.items()])
def test_incidents_of_the_gateway_itself_are_reported(
    inbox: Inbox, listening: Callable[..., Plugins], hook: str, arguments: dict[str, Any], words: str
) -> None:
    notify(listening(**webhook(inbox)), hook, **arguments)
    [body] = wait_until("the message", inbox.sent)
    assert body.keys() == KEYS
    assert (body["event"], body["text"]) == (hook, f"crmgate on site: {words}")


def test_a_message_names_the_gateway(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    given = webhook(inbox) | {"INSTANCE_NAME": " "}
    for names in ({"INSTANCE_NAME": "site", "APP_DOMAIN": "app.example.com"}, {"APP_DOMAIN": "app.example.com"}, {}):
        plugins = listening(**given | names)
        recover(plugins)
        close(plugins)
    assert [body["instance"] for body in inbox.sent()] == ["site", "app.example.com", socket.gethostname()]


def test_the_listener_of_the_documentation_handles_every_incident(inbox: Inbox, tmp_path: Path) -> None:
    page = (PLUGINS.parent / "docs" / "plugins" / "alerts.md").read_text()
    [block] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "pager.py").write_text(block)
    plugins = discover(tmp_path)
    assert not plugins.quarantined
    plugins.listen({"PAGER_URL": inbox.url + HOOK}, ("127.0.0.1",))
    pause(plugins)
    recover(plugins)
    for hook, (arguments, _) in REPORTS.items():
        notify(plugins, hook, **arguments)
    close(plugins)
    texts = [body["text"] for body in inbox.sent()]
    assert texts[0].startswith("acme: the CRM refuses the credentials, or a right is missing. Do: correct them")
    assert texts[1:] == [
        "acme works again, 7 wait", "no worker for 61 s, 3 wait", "a worker runs again", "Redis: ConnectionError",
        "Redis works again after 90 s", "the oldest of 3 has waited for 1200 s",
    ]  # fmt: skip


# -- incidents, with a clock that the test moves -----------------------------------------------------------------------


@pytest.fixture
def alert_world(inbox: Inbox, listening: Callable[..., Plugins], world: World) -> World:
    """A gateway whose alerts arrive in `inbox`."""
    world.listen = Listeners(listening(**webhook(inbox)).manager).notify
    return world


def _errors_on_delivery(operation: Operation | None) -> ProviderError | None:
    """Each delivery is answered with a 500, and the connection test passes."""
    return Unavailable(CANARY, code=Code.SERVER_ERROR, status=500) if operation else None


def test_an_outage_that_flaps_is_one_incident(alert_world: World, inbox: Inbox) -> None:
    alert_world.crm.trouble = _errors_on_delivery
    operations = [alert_world.apply(number) for number in range(8)]
    alert_world.pass_time(60)
    assert len(alert_world.crm.probes) > 3
    [paused] = wait_until("the message", inbox.sent)
    assert (paused["event"], paused["cause"], paused["waiting"]) == ("provider_paused", "outage", 8)
    assert "because the CRM answers with errors (server_error)." in paused["text"]
    alert_world.crm.trouble = well
    alert_world.pass_time(60)
    assert alert_world.states(operations) == {"delivered"}
    wait_until("its end", lambda: len(inbox.sent()) > 1)
    assert (
        alert_world.hooks_called.count("provider_paused") == alert_world.hooks_called.count("provider_recovered") == 1
    )
    assert inbox.events() == ["provider_paused", "provider_recovered"]


def test_credentials_that_a_connection_test_finds_refused_are_reported(alert_world: World, inbox: Inbox) -> None:
    alert_world.crm.trouble = away
    for number in range(6):
        alert_world.apply(number)
    alert_world.pass_time(10)
    alert_world.crm.trouble = refused
    alert_world.pass_time(60)
    alert_world.crm.trouble = well
    alert_world.pass_time(60)
    wait_until("three messages", lambda: len(inbox.sent()) > 2)
    events = [(body["event"], body["cause"]) for body in inbox.sent()]
    assert events == [("provider_paused", "outage"), ("provider_paused", "refused"), ("provider_recovered", "")]


def test_without_a_delivery_an_incident_ends_after_two_quiet_minutes(alert_world: World, inbox: Inbox) -> None:
    alert_world.crm.trouble = away
    for number in range(6):
        alert_world.apply(number)
    alert_world.pass_time(10)
    alert_world.crm.trouble = lambda operation: NotFound("no such lead") if operation else None
    alert_world.pass_time(110)
    assert "provider_recovered" not in alert_world.hooks_called
    alert_world.pass_time(30)
    assert alert_world.hooks_called.count("provider_recovered") == 1
    wait_until("the message", lambda: "provider_recovered" in inbox.events())


def test_an_epidemic_is_reported_without_the_words_of_the_crm(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    error = Rejected(f"{CANARY} is required", provider="acme", fields={CANARY: "required"})
    pause(listening(**webhook(inbox)), error, Cause.EPIDEMIC)
    [body] = wait_until("the message", inbox.sent)
    assert (body["event"], body["cause"], body["codes"]) == ("provider_paused", "epidemic", {"invalid_value": 1})
    assert CANARY not in json.dumps(body)


def test_telegram_gets_the_same_text(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox), **telegram(inbox))
    pause(plugins)
    [body] = wait_until("the message", lambda: inbox.sent(f"/bot{TOKEN}/sendMessage"))
    assert body == {"chat_id": "-100123", "text": inbox.sent()[0]["text"]}


def test_an_operation_without_an_attempt_can_be_reported(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    add_dead_letters(listening(**webhook(inbox)), Operation(new_id(), Kind.CREATE_LEAD, {}, 0.0, provider="acme"))
    [body] = wait_until("an alert", inbox.sent)
    assert body["codes"] == {"unknown": 1}


def test_what_was_gathered_is_sent_when_the_process_ends(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox))
    add_dead_letters(plugins, dead(), dead(), dead())
    close(plugins)
    assert [body["count"] for body in inbox.sent()] == [1, 2]
    close(plugins)
    assert len(inbox.sent()) == 2


# -- never in the way --------------------------------------------------------------------------------------------------


def test_without_settings_nothing_is_sent(listening: Callable[..., Plugins]) -> None:
    plugins = listening(ALERT_WEBHOOK_URL=" ")
    [alerts] = plugins.manager.get_plugins()
    add_dead_letters(plugins, dead(), dead())
    pause(plugins)
    recover(plugins)
    close(plugins)
    assert (alerts._window_is_open, alerts.background.dropped()) == (False, {})


def test_no_thread_runs_before_there_is_something_to_send(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    before = set(threading.enumerate())

    def begun() -> list[str]:
        return [thread.name for thread in set(threading.enumerate()) - before if "Alerts" in thread.name]

    plugins = listening(**webhook(inbox))
    assert begun() == []
    pause(plugins)
    assert begun() == ["listener Alerts"]


def test_a_webhook_that_hangs_delays_no_operation(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    inbox.fail("hang")
    plugins = listening(**webhook(inbox))
    begun = time.monotonic()
    add_dead_letters(plugins, *(dead() for _ in range(1000)))
    pause(plugins)
    assert time.monotonic() - begun < DEADLINE / 2
    inbox.heal()
    inbox.stop()


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500])
def test_a_refused_alert_is_logged_without_the_address(
    inbox: Inbox, listening: Callable[..., Plugins], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    inbox.status = status
    plugins = listening(**webhook(inbox), **telegram(inbox))
    add_dead_letters(plugins, dead())

    def refused() -> list[str]:
        """Without what the thread of an earlier test has yet to say about its own inbox."""
        return [message for message in caplog.messages if "HTTP" in message]

    wait_until("both are logged", lambda: len(refused()) == 2)
    assert refused() == [
        f"an alert did not reach the webhook: HTTP {status}",
        f"an alert did not reach Telegram: HTTP {status}",
    ]


def test_an_alert_that_cannot_be_sent_is_logged_and_the_next_is_sent(
    inbox: Inbox, listening: Callable[..., Plugins], caplog: pytest.LogCaptureFixture
) -> None:
    plugins = listening(**webhook(inbox))
    inbox.stop()
    pause(plugins)
    wait_until("it is logged", lambda: caplog.records)
    assert caplog.messages[0].startswith("an alert did not reach the webhook: connection_failed")
    inbox.start()
    recover(plugins)
    wait_until("the next", lambda: inbox.events() == ["provider_recovered"])


def test_nothing_personal_and_no_secret_leaves(
    inbox: Inbox, listening: Callable[..., Plugins], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "crmgate")
    plugins = listening(**webhook(inbox), **telegram(inbox))
    for kind in ("answer", "drop"):
        inbox.fail(kind, times=2)
        pause(plugins)
        wait_until("two failures", lambda: len(caplog.records) % 2 == 0 and inbox.faults[-1].times == 0)
    add_dead_letters(plugins, dead(), dead(), dead())
    recover(plugins)
    close(plugins)
    assert inbox.events() == ["provider_paused"] * 2 + ["dead_letter", "provider_recovered", "dead_letters"]
    for request in inbox.requests:
        assert CANARY.encode() not in request.body
        assert b"+90" not in request.body
    assert len(caplog.records) == 4
    assert CANARY not in caplog.text
