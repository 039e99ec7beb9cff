"""Alerts and the listeners' settings: one message for an outage, nothing personal in it, no delivery that waits."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crmgate.config import Settings
from crmgate.errors import AuthFailed, Code, ConfigError, NotFound, ProviderError, Rejected, Unavailable
from crmgate.listener import Listener
from crmgate.model import Event, Kind, Lead, Operation, State, new_id
from crmgate.plugin_host.listeners import Listeners
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.services import build, start
from crmgate.store import keys
from crmgate.store.gate import Cause, Gate, explain
from crmgate.testing.server import FakeCRM, Request, Response
from tests.integration.stack import Stack, person
from tests.listeners import notify
from tests.processes import DEADLINE, wait_until
from tests.world import World, away, refused, well

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


def bury(plugins: Plugins, *operations: Operation) -> None:
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


# -- messages ----------------------------------------------------------------------------------------------------------


def test_the_first_dead_letter_is_reported_at_once(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    operation = dead()
    bury(listening(**webhook(inbox)), operation)
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
    bury(listening(**webhook(inbox, window=1.0)), *letters)
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
    wait_until("four messages", lambda: bury(plugins, next(letters)) or len(inbox.sent()) >= 4)
    messages, ids = inbox.sent(), [name for body in inbox.sent() for name in body["operations"]]
    assert [body["event"] for body in messages] == ["dead_letter", *["dead_letters"] * 3]
    assert len(set(ids)) == len(ids)
    assert all(body["count"] > 1 for body in messages[1:])


def test_after_a_quiet_window_the_next_is_reported_at_once(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox, window=0.1))
    [alerts] = plugins.manager.get_plugins()
    bury(plugins, dead())
    wait_until("the window has ended", lambda: inbox.sent() and not alerts._window_is_open)
    bury(plugins, dead())
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
def alarmed(inbox: Inbox, listening: Callable[..., Plugins], world: World) -> World:
    """A gateway whose alerts arrive in `inbox`."""
    world.listen = Listeners(listening(**webhook(inbox)).manager).notify
    return world


def _errors_on_delivery(operation: Operation | None) -> ProviderError | None:
    """Each delivery is answered with a 500, and the connection test passes."""
    return Unavailable(CANARY, code=Code.SERVER_ERROR, status=500) if operation else None


def test_an_outage_that_flaps_is_one_incident(alarmed: World, inbox: Inbox) -> None:
    alarmed.crm.trouble = _errors_on_delivery
    operations = [alarmed.apply(number) for number in range(8)]
    alarmed.pass_time(60)
    assert len(alarmed.crm.probes) > 3
    [paused] = wait_until("the message", inbox.sent)
    assert (paused["event"], paused["cause"], paused["waiting"]) == ("provider_paused", "outage", 8)
    assert "because the CRM answers with errors (server_error)." in paused["text"]
    alarmed.crm.trouble = well
    alarmed.pass_time(60)
    assert alarmed.states(operations) == {"delivered"}
    wait_until("its end", lambda: len(inbox.sent()) > 1)
    assert alarmed.hooks_called.count("provider_paused") == alarmed.hooks_called.count("provider_recovered") == 1
    assert inbox.events() == ["provider_paused", "provider_recovered"]


def test_credentials_that_a_connection_test_finds_refused_are_reported(alarmed: World, inbox: Inbox) -> None:
    alarmed.crm.trouble = away
    for number in range(6):
        alarmed.apply(number)
    alarmed.pass_time(10)
    alarmed.crm.trouble = refused
    alarmed.pass_time(60)
    alarmed.crm.trouble = well
    alarmed.pass_time(60)
    wait_until("three messages", lambda: len(inbox.sent()) > 2)
    events = [(body["event"], body["cause"]) for body in inbox.sent()]
    assert events == [("provider_paused", "outage"), ("provider_paused", "refused"), ("provider_recovered", "")]


def test_without_a_delivery_an_incident_ends_after_two_quiet_minutes(alarmed: World, inbox: Inbox) -> None:
    alarmed.crm.trouble = away
    for number in range(6):
        alarmed.apply(number)
    alarmed.pass_time(10)
    alarmed.crm.trouble = lambda operation: NotFound("no such lead") if operation else None
    alarmed.pass_time(110)
    assert "provider_recovered" not in alarmed.hooks_called
    alarmed.pass_time(30)
    assert alarmed.hooks_called.count("provider_recovered") == 1
    wait_until("the message", lambda: "provider_recovered" in inbox.events())


def test_an_epidemic_is_reported_without_the_words_of_the_crm(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    error = Rejected(f"{CANARY} is required", provider="acme", fields={CANARY: "required"})
    pause(listening(**webhook(inbox)), error, Cause.EPIDEMIC)
    [body] = wait_until("the message", inbox.sent)
    assert (body["event"], body["cause"], body["codes"]) == ("provider_paused", "epidemic", {"invalid_value": 1})
    assert CANARY not in json.dumps(body)


def test_telegram_gets_the_same_words(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox), **telegram(inbox))
    pause(plugins)
    [body] = wait_until("the message", lambda: inbox.sent(f"/bot{TOKEN}/sendMessage"))
    assert body == {"chat_id": "-100123", "text": inbox.sent()[0]["text"]}


def test_an_operation_without_an_attempt_can_be_reported(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    bury(listening(**webhook(inbox)), Operation(new_id(), Kind.CREATE_LEAD, {}, 0.0, provider="acme"))
    [body] = wait_until("an alert", inbox.sent)
    assert body["codes"] == {"unknown": 1}


def test_what_was_gathered_is_sent_when_the_process_ends(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox))
    bury(plugins, dead(), dead(), dead())
    close(plugins)
    assert [body["count"] for body in inbox.sent()] == [1, 2]
    close(plugins)
    assert len(inbox.sent()) == 2


# -- never in the way --------------------------------------------------------------------------------------------------


def test_without_settings_nothing_is_sent(listening: Callable[..., Plugins]) -> None:
    plugins = listening(ALERT_WEBHOOK_URL=" ")
    [alerts] = plugins.manager.get_plugins()
    bury(plugins, dead(), dead())
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


def test_a_webhook_that_hangs_keeps_nobody_waiting(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    inbox.fail("hang")
    plugins = listening(**webhook(inbox))
    begun = time.monotonic()
    bury(plugins, *(dead() for _ in range(1000)))
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
    bury(plugins, dead())

    def refused() -> list[str]:
        """Without what the thread of an earlier test has yet to say about its own inbox."""
        return [message for message in caplog.messages if "HTTP" in message]

    wait_until("both are logged", lambda: len(refused()) == 2)
    assert refused() == [
        f"an alert did not reach the webhook: HTTP {status}",
        f"an alert did not reach Telegram: HTTP {status}",
    ]


def test_an_alert_that_reaches_nobody_is_logged_and_the_next_is_sent(
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
    bury(plugins, dead(), dead(), dead())
    recover(plugins)
    close(plugins)
    assert inbox.events() == ["provider_paused"] * 2 + ["dead_letter", "provider_recovered", "dead_letters"]
    for request in inbox.requests:
        assert CANARY.encode() not in request.body
        assert b"+90" not in request.body
    assert len(caplog.records) == 4
    assert CANARY not in caplog.text


# -- settings ----------------------------------------------------------------------------------------------------------

WRONG = {
    "no address": ({"ALERT_WEBHOOK_URL": CANARY}, "ALERT_WEBHOOK_URL, got a value that is not shown: Not a valid URL."),
    "in the clear": ({"ALERT_WEBHOOK_URL": f"http://chat.example/{CANARY}"}, "ALERT_WEBHOOK_URL: http would send"),
    "no token": (
        {"ALERT_TELEGRAM_TOKEN": CANARY, "ALERT_TELEGRAM_CHAT": "1"},
        "ALERT_TELEGRAM_TOKEN, got a value that is not shown: Not the token of a bot. It takes the token from",
    ),
    "no bot": ({"ALERT_TELEGRAM_CHAT": "1"}, "ALERT_TELEGRAM_TOKEN: Set both the bot and the chat."),
    "nowhere": ({"ALERT_TELEGRAM_TOKEN": TOKEN}, "ALERT_TELEGRAM_CHAT: Set both the bot and the chat."),
    "no chat": (
        {"ALERT_TELEGRAM_TOKEN": TOKEN, "ALERT_TELEGRAM_CHAT": "my chat"},
        "ALERT_TELEGRAM_CHAT, got 'my chat': Not a chat. It takes the chat's id or @name.",
    ),
    "no time": ({"ALERT_WINDOW": "0"}, "ALERT_WINDOW, got '0': "),
}


@pytest.mark.parametrize(("settings", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_stops_the_start(settings: dict[str, str], problem: str) -> None:
    plugins = discover(PLUGINS, ("alerts",))
    with pytest.raises(ConfigError) as caught:
        plugins.listen(settings, ("localhost",))
    [reported] = caught.value.problems
    assert reported.startswith(problem)
    assert CANARY not in reported
    assert caught.value.__context__ is None
    assert not plugins.manager.get_plugins()


SANDBOX = {"CRM_PROVIDER": "sandbox", "SANDBOX_URL": "http://127.0.0.1:1", "PLUGINS_DIR": str(PLUGINS)}


def problems(**changes: str) -> list[str]:
    """The settings at fault, when the gateway starts with some of them changed."""
    with pytest.raises(ConfigError) as caught:
        start(SANDBOX | changes)
    return [problem.partition(":")[0].partition(",")[0] for problem in caught.value.problems]


def test_the_problems_of_listeners_are_reported_with_all_others() -> None:
    wrong = {"SANDBOX_URL": "nowhere", "ALERT_WINDOW": "0"}
    assert problems(**wrong) == ["SANDBOX_URL", "ALERT_WINDOW"]
    assert problems(**wrong, CRM_TIMEOUT="x") == ["CRM_TIMEOUT", "SANDBOX_URL", "ALERT_WINDOW"]
    assert problems(**wrong, CRM_PROVIDER=" ") == ["CRM_PROVIDER", "ALERT_WINDOW"]
    assert problems(**wrong, PLUGINS_ALLOWED="sandbox", CRM_TIMEOUT="x") == ["CRM_TIMEOUT", "SANDBOX_URL"]


def test_the_gateway_starts_with_its_listeners() -> None:
    services = build(Settings.load(SANDBOX))
    names = [name for name, _ in services.plugins.manager.list_name_plugin()]
    assert names == ["provider:sandbox", f"{PLUGINS / 'alerts.py'}:Alerts"]


# -- listeners in general ----------------------------------------------------------------------------------------------

LISTENER = """
    from crmgate import hookimpl
    from crmgate.listener import Listener
    from crmgate.provider import ProviderSettings, fields


    class Tally(Listener):
        class Settings(ProviderSettings):
            TALLY_FROM = fields.Integer(load_default=0)

        def __init__(self, environ, **options):
            super().__init__(environ, **options)
            self.seen = self.settings["TALLY_FROM"]

        @hookimpl
        def operation_dead(self, operation):
            self.seen += 1
"""


def found(folder: Path, text: str = LISTENER, **others: str) -> Plugins:
    for name, source in {"tally": text, **others}.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return discover(folder)


def test_a_listener_gets_its_settings(tmp_path: Path) -> None:
    plugins = found(tmp_path)
    plugins.listen({"TALLY_FROM": " 7 "}, ())
    bury(plugins, dead())
    close(plugins)
    [tally] = plugins.manager.get_plugins()
    assert tally.seen == 8
    assert repr(tally) == "<Tally>"


def test_a_listener_that_does_not_call_the_base_class_still_hears(tmp_path: Path) -> None:
    text = LISTENER.replace("super().__init__(environ, **options)", "pass").replace('self.settings["TALLY_FROM"]', "0")
    plugins = found(tmp_path, text)
    plugins.listen({}, ())
    [tally] = plugins.manager.get_plugins()
    bury(plugins, dead())
    wait_until("it heard", lambda: tally.seen == 1)


def test_a_listener_may_stand_beside_functions_and_base_classes(tmp_path: Path) -> None:
    more = """
    class _Base(Listener):
        pass

    heard = []

    @hookimpl
    def operation_dead(operation):
        heard.append(operation.id)
"""
    plugins = found(tmp_path, LISTENER + more)
    assert not plugins.quarantined
    plugins.listen({}, ())
    assert len(plugins.manager.get_plugins()) == 2


@pytest.mark.parametrize(
    ("change", "reason", "remedy"),
    [
        (("operation_dead", "operation_daed"), "there is no hook 'operation_daed'.", "Did you mean operation_dead?"),
        (("(self, operation)", "(self, op)"), "Argument(s) {'op'}", "Name the arguments"),
        (
            ("operation_dead(self, operation)", "create_lead(self, lead)"),
            "create_lead of Tally is never called: Tally is a listener.", "a subclass of CRMProvider",
        ),
        (("@hookimpl\n", "\n"), "Tally implements no hook.", "Mark its hooks @hookimpl."),
    ],
)  # fmt: skip
def test_a_broken_listener_is_set_aside(tmp_path: Path, change: tuple[str, str], reason: str, remedy: str) -> None:
    plugins = found(tmp_path, LISTENER.replace(*change))
    [error] = plugins.quarantined
    assert reason in error.reason
    assert remedy in error.remedy
    assert plugins.listeners == {}


def test_a_listener_that_fails_to_start_says_where_but_not_what(tmp_path: Path) -> None:
    plugins = found(tmp_path, LISTENER.replace("self.seen =", f"raise KeyError('{CANARY}') #"), other=LISTENER)
    with pytest.raises(ConfigError) as caught:
        plugins.listen({}, ())
    [problem] = caught.value.problems
    assert problem == f"{tmp_path / 'tally.py'}:Tally: the listener failed to start: KeyError in tally.py:13."
    assert not plugins.manager.get_plugins()


def test_a_call_that_fails_does_not_end_the_thread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls = "self.later(int, operation.lead.first_name); self.later(self.add)"
    more = "\n        def add(self):\n            self.seen += 1\n"
    plugins = found(tmp_path, LISTENER.replace("self.seen += 1", calls) + more)
    plugins.listen({}, ())
    bury(plugins, dead())
    close(plugins)
    [tally] = plugins.manager.get_plugins()
    assert tally.seen == 1
    [message] = caplog.messages
    assert message.startswith("listener Tally: 1 dropped (an unexpected ValueError in ")
    assert CANARY not in caplog.text


# -- the whole gateway -------------------------------------------------------------------------------------------------


def output(stack: Stack) -> str:
    return stack.web.output() + stack.worker.output()


def test_refused_credentials_are_one_alert_and_one_when_they_are_mended(inbox: Inbox, tmp_path: Path) -> None:
    wrong = {"ESPOCRM_API_KEY": "outdated"}
    with Stack(tmp_path, **wrong, **webhook(inbox), **telegram(inbox)) as stack:
        stack.start()
        ids = [stack.submit(person(number), 202) for number in range(20)]
        wait_until("the alert", inbox.sent)
        stack.web.stop()
        stack.worker.stop()
        assert inbox.events() == ["provider_paused"]
        right = {"ESPOCRM_API_KEY": "KEY-GATEWAY"}
        stack.start_worker(**right)
        for operation_id in ids:
            stack.wait_for(operation_id, "delivered", 60)
        stack.worker.stop()
        assert inbox.events() == ["provider_paused", "provider_recovered"]
        assert len(inbox.records()["telegram"]) == 2
        assert CANARY not in output(stack)


def test_dead_letters_are_one_message_and_a_summary(inbox: Inbox, tmp_path: Path) -> None:
    with Stack(tmp_path, CRM_EPIDEMIC_AFTER="100", **webhook(inbox)) as stack:
        stack.espocrm.fail("answer", status=400, method="POST", path="/Lead")
        stack.start()
        ids = [stack.submit_queued(person(number, additional_info=CANARY)) for number in range(20)]
        for operation_id in ids:
            stack.wait_for(operation_id, "dead")
        wait_until("the first alert", inbox.sent)
        stack.worker.stop()
        first, summary = inbox.sent()
        assert (first["event"], first["count"]) == ("dead_letter", 1)
        assert (summary["event"], summary["count"]) == ("dead_letters", 19)
        assert {*first["operations"], *summary["operations"]} <= set(ids)
        for request in inbox.requests:
            assert CANARY.encode() not in request.body
            assert b"example.com" not in request.body
        assert CANARY not in output(stack)


def test_what_refuses_every_lead_is_one_alert_and_costs_no_lead(inbox: Inbox, tmp_path: Path) -> None:
    with Stack(tmp_path, **webhook(inbox)) as stack:
        stack.espocrm.fail("answer", status=400, method="POST", path="/Lead")
        stack.start()
        ids = [stack.submit_queued(person(number, additional_info=CANARY)) for number in range(10)]
        wait_until("the alert", lambda: "provider_paused" in inbox.events())
        stack.espocrm.heal()
        wait_until("all are delivered", lambda: all(stack.operation(i).state == "delivered" for i in ids))
        stack.worker.stop()
        events = inbox.events()
        assert (events.count("provider_paused"), events.count("provider_recovered")) == (1, 1)
        assert sum(body["count"] for body in inbox.sent()) == 4, "those before the fifth; they returned by themselves"
        assert CANARY not in output(stack)


HASTY = {"GUNICORN_CMD_ARGS": "--worker-class tests.integration.watchful.Worker"}


def test_a_dead_worker_is_one_alert_and_one_when_it_is_back(inbox: Inbox, tmp_path: Path) -> None:
    with Stack(tmp_path, web_workers=2, **HASTY, **webhook(inbox)) as stack:
        stack.redis.start()
        stack.start_worker()
        stack.start_web()
        waiting = stack.submit_queued(person())
        stack.wait_for(waiting, "delivered")
        stack.worker.kill()
        stack.submit_queued(person(1))
        [missing] = wait_until("the alert", inbox.sent)
        assert (missing["event"], missing["waiting"]) == ("worker_missing", 1)
        assert missing["text"].startswith("crmgate on site: no worker was seen for ")
        stack.start_worker()
        wait_until("the end", lambda: len(inbox.sent()) > 1)
        stack.web.stop(signal.SIGTERM)
        assert inbox.events() == ["worker_missing", "worker_back"]
        assert b"example.com" not in b"".join(request.body for request in inbox.requests)


def test_a_redis_that_stops_is_one_alert_and_one_when_it_is_back(inbox: Inbox, tmp_path: Path) -> None:
    with Stack(tmp_path, web_workers=2, **HASTY, **webhook(inbox)) as stack:
        stack.start()
        wait_until("somebody has the watch", lambda: stack.client.exists(keys.WATCH))
        stack.redis.kill()
        [unavailable] = wait_until("the alert", inbox.sent)
        assert unavailable["event"] == "ledger_unavailable"
        stack.redis.start()
        wait_until("the end", lambda: len(inbox.sent()) > 1)
        stack.submit(person())
        stack.web.stop(signal.SIGTERM)
        assert inbox.events() == ["ledger_unavailable", "ledger_available"]
