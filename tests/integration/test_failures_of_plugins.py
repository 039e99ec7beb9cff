"""A faulty plugin harms neither other operations nor the CRM. Each test has real processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.failures import (
    FULL,
    address,
    emails,
    events,
    full,
)
from tests.integration.stack import Stack, person
from tests.processes import Process, wait_until
from tests.troubled import Troubled


@pytest.fixture
def troubled(request: pytest.FixtureRequest, tmp_path: Path) -> Troubled:
    return Troubled(tmp_path, getattr(request, "param", "espocrm"))


def with_plugins(folder: Path, troubled: Troubled, provider: str = "espocrm", **settings: str) -> Stack:
    return Stack(folder, provider, PLUGINS_DIR=str(troubled.plugins), **settings)


class TestPlugins:
    """A plugin cannot harm the rest."""

    @pytest.mark.parametrize("fault", full(
        {"kind": "drop"}, {"kind": "answer", "status": 502, "body": "<h1>502 Bad Gateway</h1>"},
    ), ids=full("drop", "502"))  # fmt: skip
    def test_a_search_that_lags_makes_no_second_lead(self, fault: dict[str, Any], tmp_path: Path) -> None:
        with Stack(tmp_path, "bitrix") as stack:
            stack.start()
            stack.bitrix.search_lag = 5.0
            stack.bitrix.fail(when="after", path=r"crm\.item\.add", times=1, **fault)
            waiting = stack.submit(person(0), 202)
            operation = stack.wait_for(waiting, "delivered")
            assert operation.delivered is not None
            assert operation.delivered.adopted
            assert emails(stack) == [address(0)]

    @pytest.mark.parametrize("seconds", [4, 12] if FULL else [7])
    @pytest.mark.parametrize("troubled", ["bitrix"], indirect=True)
    def test_nothing_is_sent_after_the_time_budget(self, seconds: int, tmp_path: Path, troubled: Troubled) -> None:
        """The hook blocks for longer than its budget of 3 s, or its lease of 5 s, and then goes on."""
        with with_plugins(tmp_path, troubled, "bitrix", CRM_TIMEOUT="2") as stack:
            stack.start()
            stack.submit(person(2), 201)
            troubled.lay("block", str(seconds))
            waiting = stack.submit_queued(person(0))
            wait_until("the hook goes on", (troubled.fuses / "unblocked").exists)
            stack.wait_for(waiting, "delivered")
            stack.wait_for(stack.submit_queued(person(1)), "delivered")
            assert sorted(emails(stack)) == [address(0), address(1), address(2)]
            assert [event for event in events(stack, [waiting]) if event.outcome == "failed" and event.counted] == []
            assert stack.ledger.gate(stack.recipient).failures == 0, "our own lack of time is no failure of the CRM"

    @pytest.mark.parametrize("answer", full("other,77", "espocrm,"))
    def test_a_delivery_with_wrong_values_is_not_recorded(
        self, answer: str, tmp_path: Path, troubled: Troubled
    ) -> None:  # fmt: skip
        with with_plugins(tmp_path, troubled) as stack:
            stack.start()
            troubled.lay("answer", answer)
            operation = stack.wait_for(stack.submit(person(0), 202), "delivered")
            assert operation.events[0].code == "plugin_bug"
            assert emails(stack) == [address(0)]

    def test_what_a_visitor_typed_stays_out_of_the_record_and_the_log(
        self, tmp_path: Path, troubled: Troubled
    ) -> None:  # fmt: skip
        with with_plugins(tmp_path, troubled) as stack:
            stack.start()
            troubled.lay("quote")
            letter = stack.wait_for(stack.submit_queued(person(0)), "dead")
            assert address(0) not in letter.events[-1].detail
            assert address(0) not in stack.worker.output() + stack.web.output()

    @pytest.mark.parametrize(("name", "change"), [
        ("a copy", lambda plugins: (plugins / "espocrm").rename(plugins / "espocrm copy")),
        ("a rate", lambda plugins: _append(plugins / "espocrm" / "__init__.py", "\n\nTroubled.rate = 10\n")),
    ], ids=["ambiguous", "rate"])  # fmt: skip
    def test_a_plugin_that_cannot_work_stops_the_start(
        self, name: str, change: Any, tmp_path: Path, troubled: Troubled
    ) -> None:  # fmt: skip
        change(troubled.plugins)
        if name == "a copy":
            Troubled(_made(tmp_path / "again"), "espocrm").plugins.joinpath("espocrm").rename(
                troubled.plugins / "espocrm"
            )
        with with_plugins(tmp_path, troubled) as stack:
            stack.redis.start()
            started = Process("start", [sys.executable, "-c", "import wsgi"], tmp_path, stack.env)
            started.start()
            wait_until("it has ended", lambda: not started.running)
            assert started.stop() != 0
            assert ("espocrm copy" if name == "a copy" else "rate") in started.output()
            assert "Traceback" not in started.output()


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
