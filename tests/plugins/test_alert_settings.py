"""Settings of the plugin for alerts, and of listeners in general."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from crmgate.config import Settings
from crmgate.errors import ConfigError
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.services import build, start
from tests.plugins.alerting import (
    CANARY,
    PLUGINS,
    TOKEN,
    add_dead_letters,
    close,
    dead,
)
from tests.processes import wait_until

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
    add_dead_letters(plugins, dead())
    close(plugins)
    [tally] = plugins.manager.get_plugins()
    assert tally.seen == 8
    assert repr(tally) == "<Tally>"


def test_a_listener_that_does_not_call_the_base_class_still_hears(tmp_path: Path) -> None:
    text = LISTENER.replace("super().__init__(environ, **options)", "pass").replace('self.settings["TALLY_FROM"]', "0")
    plugins = found(tmp_path, text)
    plugins.listen({}, ())
    [tally] = plugins.manager.get_plugins()
    add_dead_letters(plugins, dead())
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
    add_dead_letters(plugins, dead())
    close(plugins)
    [tally] = plugins.manager.get_plugins()
    assert tally.seen == 1
    [message] = caplog.messages
    assert message.startswith("listener Tally: 1 dropped (an unexpected ValueError in ")
    assert CANARY not in caplog.text
