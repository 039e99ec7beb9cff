"""What a plugin prints reaches no output, and a warning names the plugin and the line."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from crmgate import hookimpl
from crmgate.model import Operation
from crmgate.plugin_host import output
from crmgate.plugin_host.caller import hook_manager
from crmgate.plugin_host.loader import Plugins
from crmgate.plugin_host.output import caught
from tests.listeners import notify_at_the_end
from tests.plugin_host.rig import CANARY, LEAD, acme


@pytest.fixture(autouse=True)
def _first_print(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No print was logged before, and the streams of pytest are back afterwards."""
    monkeypatch.setattr(output, "_named", set())
    before = sys.stdout, sys.stderr
    yield
    sys.stdout, sys.stderr = before


@pytest.mark.parametrize(
    "prints",
    ["print(operation.payload)", "print(operation.payload, file=__import__('sys').stderr)",
     "__import__('sys').stdout.writelines(['a', str(operation.payload)])"],
)  # fmt: skip
def test_a_print_in_a_hook_is_dropped_and_named(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, prints: str
) -> None:
    crm = acme(folder, f"{prints}; return None", "find_lead")
    crm.find(LEAD, 1.0)
    crm.find(LEAD, 1.0)
    assert CANARY not in "".join(capsys.readouterr()) + caplog.text
    named = [one.getMessage() for one in caplog.records if "prints in" in one.getMessage()]
    assert len(named) == 1, "each line is named once"
    assert "plugin acme prints in find_lead (acme.py:" in named[0]


def test_a_print_of_each_hook_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    acme(folder, "print('x'); return Connection(self.name, True, 1.0, ())", "test_connection").test_connection(1.0)
    assert "plugin acme prints in test_connection" in caplog.text


def test_a_listener_that_prints_is_named(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    class Talker:
        @hookimpl
        def operation_accepted(self, operation: Operation) -> None:
            print(operation.payload)

    plugins = Plugins(hook_manager())
    plugins.manager.register(Talker(), name="talker")
    notify_at_the_end(plugins, "operation_accepted", operation=LEAD)
    assert CANARY not in "".join(capsys.readouterr()) + caplog.text
    assert "plugin talker prints in operation_accepted" in caplog.text


def test_the_log_of_a_plugin_and_the_output_of_others_pass(capsys: pytest.CaptureFixture[str]) -> None:
    met = Barrier(2, timeout=30)

    def beside() -> None:
        met.wait()
        print("from another thread")
        met.wait()

    with ThreadPoolExecutor(1) as pool, caught("acme", "create_lead"):
        other = pool.submit(beside)
        handler = logging.StreamHandler(sys.stderr)
        handler.emit(logging.makeLogRecord({"msg": "from the log"}))
        met.wait()
        print("from the plugin")
        met.wait()
        other.result()
    print("after the hook")
    shown = capsys.readouterr()
    assert shown.out == "from another thread\nafter the hook\n"
    assert "from the log\n" in shown.err
    assert "from the plugin" not in shown.err


def test_a_stream_stays_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    below = io.StringIO()
    monkeypatch.setattr(sys, "stdout", below)
    for _ in range(3):
        with caught("acme", "create_lead"):
            pass
    stream = sys.stdout
    assert (stream.isatty(), stream.closed, vars(stream)["_below"]) == (False, False, below)
