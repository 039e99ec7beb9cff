"""Alerts and the listeners' settings: one message for an outage, nothing personal in it, no delivery that waits."""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crmgate.config import Settings
from crmgate.errors import AuthFailed, Code, ConfigError, Rejected, Unavailable
from crmgate.listener import Listener
from crmgate.model import Event, Kind, Lead, Operation, State, new_id
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.services import build, start
from crmgate.testing.server import FakeCRM, Request, Response
from tests.integration.stack import Stack, person
from tests.listeners import notify
from tests.processes import DEADLINE, wait_until

PLUGINS = Path(__file__).parents[2] / "plugins"
CANARY = "c4n4ry"
HOOK = f"/hooks/{CANARY}-webhook"
TOKEN = f"123456:{CANARY}-token"
PERSON = Lead(first_name=CANARY, email=f"{CANARY}@example.com", phone="+905321234567")
KEYS = {"text", "event", "provider", "count", "codes", "operations", "since"}


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
    """What happens when the process ends."""
    for listener in plugins.manager.get_plugins():
        if isinstance(listener, Listener):
            listener.background.stop()


def webhook(inbox: Inbox, window: float = 60.0) -> dict[str, str]:
    return {"ALERT_WEBHOOK_URL": inbox.url + HOOK, "ALERT_WINDOW": str(window)}


def telegram(inbox: Inbox) -> dict[str, str]:
    return {"ALERT_TELEGRAM_TOKEN": TOKEN, "ALERT_TELEGRAM_CHAT": "-100123", "ALERT_TELEGRAM_URL": inbox.url + "/"}


def dead(code: str = "invalid_value") -> Operation:
    attempt = Event(0.0, 0.1, "acme", "failed", code, 400, CANARY, f"{CANARY}: refused")
    return Operation(new_id(), Kind.CREATE_LEAD, PERSON.to_dict(), 0.0, State.DEAD, events=(attempt,))


def bury(plugins: Plugins, *operations: Operation) -> None:
    for operation in operations:
        notify(plugins, "operation_dead", operation=operation)


def pause(plugins: Plugins) -> None:
    error = AuthFailed(f"the key {CANARY} is wrong", code=Code.LOCKED_OUT, vendor_code=CANARY, provider="acme")
    notify(plugins, "provider_paused", provider="acme", error=error, cause="refused")


def recover(plugins: Plugins) -> None:
    notify(plugins, "provider_recovered", provider="acme")


# -- messages ----------------------------------------------------------------------------------------------------------


def test_the_first_dead_letter_is_told_at_once(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    operation = dead()
    bury(listening(**webhook(inbox)), operation)
    [body] = wait_until("an alert", inbox.sent)
    assert body.keys() == KEYS
    assert body["text"] == f"crmgate: dead letter for acme: invalid_value, operation {operation.id}"
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
        f"crmgate: more dead letters for acme: 40 since {body['since']} (invalid_value 39, timeout),"
        f" operations {', '.join(named)}, ..."
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
    told, ids = inbox.sent(), [name for body in inbox.sent() for name in body["operations"]]
    assert [body["event"] for body in told] == ["dead_letter", *["dead_letters"] * 3]
    assert len(set(ids)) == len(ids)
    assert all(body["count"] > 1 for body in told[1:])


def test_after_a_quiet_window_the_next_is_told_at_once(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox, window=0.1))
    [alerts] = plugins.manager.get_plugins()
    bury(plugins, dead())
    wait_until("the window has ended", lambda: inbox.sent() and not alerts._window_is_open)
    bury(plugins, dead())
    wait_until("the second", lambda: inbox.events() == ["dead_letter", "dead_letter"])


def test_a_pause_and_its_end_are_told(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox))
    pause(plugins)
    recover(plugins)
    first, second = wait_until("both", lambda: len(inbox.sent()) == 2 and inbox.sent())
    assert first.keys() == second.keys() == KEYS
    assert (first["event"], first["codes"]) == ("provider_paused", {"locked_out": 1})
    assert first["text"].startswith("crmgate: acme refuses the credentials: locked_out.")
    assert (second["event"], second["codes"]) == ("provider_recovered", {})
    assert second["text"].startswith("crmgate: acme works again.")


def test_an_outage_is_not_told_as_refused_credentials(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox))
    error = Unavailable(f"no answer of {CANARY}", code=Code.TIMEOUT, provider="acme")
    notify(plugins, "provider_paused", provider="acme", error=error, cause="outage")
    (told,) = wait_until("it is told", inbox.sent)
    assert (told["event"], told["codes"]) == ("provider_away", {"timeout": 1})
    assert told["text"].startswith("crmgate: acme does not answer: timeout. Submissions are accepted and wait.")


def test_a_field_that_every_lead_lacks_is_told_as_such(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox))
    error = Rejected(f"{CANARY} is required", provider="acme", fields={CANARY: "required"})
    notify(plugins, "provider_paused", provider="acme", error=error, cause="epidemic")
    (told,) = wait_until("it is told", inbox.sent)
    assert (told["event"], told["codes"]) == ("provider_refuses", {"invalid_value": 1})
    assert told["text"].startswith("crmgate: acme refuses different submissions for the same reason: invalid_value.")


def test_a_cause_of_a_newer_version_is_told_without_an_error(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox))
    notify(plugins, "provider_paused", provider="acme", error=None, cause="closed")
    (told,) = wait_until("it is told", inbox.sent)
    assert (told["event"], told["codes"]) == ("provider_away", {"closed": 1})


def test_telegram_gets_the_same_words(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
    plugins = listening(**webhook(inbox), **telegram(inbox))
    pause(plugins)
    [body] = wait_until("the message", lambda: inbox.sent(f"/bot{TOKEN}/sendMessage"))
    assert body == {"chat_id": "-100123", "text": inbox.sent()[0]["text"]}


def test_an_operation_without_an_attempt_can_be_told_of(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
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


def test_no_thread_runs_before_there_is_something_to_tell(inbox: Inbox, listening: Callable[..., Plugins]) -> None:
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
    [told] = caught.value.problems
    assert told.startswith(problem)
    assert CANARY not in told
    assert caught.value.__context__ is None
    assert not plugins.manager.get_plugins()


SANDBOX = {"CRM_PROVIDER": "sandbox", "SANDBOX_URL": "http://127.0.0.1:1", "PLUGINS_DIR": str(PLUGINS)}


def problems(**changes: str) -> list[str]:
    """The settings at fault, when the gateway starts with some of them changed."""
    with pytest.raises(ConfigError) as caught:
        start(SANDBOX | changes)
    return [problem.partition(":")[0].partition(",")[0] for problem in caught.value.problems]


def test_the_problems_of_listeners_are_told_with_all_others() -> None:
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
    with Stack(tmp_path, **webhook(inbox), CRM_EPIDEMIC_AFTER="100") as stack:
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
        wait_until("the alert", lambda: "provider_refuses" in inbox.events())
        stack.espocrm.heal()
        wait_until("all are delivered", lambda: all(stack.operation(i).state == "delivered" for i in ids))
        stack.worker.stop()
        events = inbox.events()
        assert (events.count("provider_refuses"), events.count("provider_recovered")) == (1, 1)
        assert sum(body["count"] for body in inbox.sent()) == 4, "those before the fifth; they returned by themselves"
        assert CANARY not in output(stack)
