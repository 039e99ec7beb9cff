"""One record's trouble costs that record only; everybody's trouble costs no record. Each with real processes.

`LAWS_FULL=1` takes the times that occur in production, as `make chaos` does; without it they are shorter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import requests

from crmgate.testing.server import FakeCRM, Request, Response
from tests.chaos.trials import ENFORCED, OFFICE
from tests.forked import crmgate
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, SLOWNESS, Process, wait_until
from tests.troubled import Troubled

FULL = bool(os.environ.get("LAWS_FULL"))
RATE_LIMIT, EPIDEMIC, FLAPPING = (75.0, 60.0, 60.0) if FULL else (8.0, 12.0, 11.0)
"""Seconds that a trouble of everybody lasts."""
DELAYS = {"CRM_RETRY_DELAYS": "1,5,25" if FULL else "0.3,0.6,1.2"}
"""The waits between attempts: shorter than the trouble, so that one that used attempts would run out of them."""
SPEEDY, PROBED = 20.0 * SLOWNESS, 45.0 * SLOWNESS
"""Seconds until all goes on once a trouble is over; where the probe is sent every 30 s, that and the delivery."""


def full(*values: Any) -> list[Any]:
    """All values with `LAWS_FULL=1`, else the first: each of them takes a gateway of its own, and 10 s or more."""
    return list(values if FULL else values[:1])


REFUSED_FOR_GOOD = {"CRM_ON_REJECTED_FIELD": "dead"}


def states(stack: Stack, ids: Iterable[str]) -> list[str]:
    return [stack.operation(operation_id).state for operation_id in ids]


def all_delivered(stack: Stack, ids: list[str], seconds: float) -> None:
    def done() -> bool:
        return set(states(stack, ids)) == {"delivered"}

    try:
        wait_until("all are delivered", done, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {states(stack, ids)}, {stack.ledger.gate(stack.recipient)}") from None


def most_dead(stack: Stack, seconds: float) -> int:
    """The maximum number of dead letters at any time within the next `seconds`."""
    until, most = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        most = max(most, stack.ledger.stats()["dead_letters"])
        time.sleep(0.1)
    return most


def cause(stack: Stack) -> str:
    """The cause for which the gate is shut; empty: it is open."""
    return stack.ledger.gate(stack.recipient).cause or ""


def becomes(stack: Stack, wanted: str, seconds: float = DEADLINE) -> None:
    wait_until(f"the gate is {wanted or 'open'}", lambda: cause(stack) == wanted, seconds)


def ready(stack: Stack) -> requests.Response:
    return requests.get(f"{stack.url}/readyz", timeout=DEADLINE)


def provider_in_readyz(stack: Stack) -> str:
    """The state of the CRM in `readyz`."""
    return str(next(check["detail"] for check in ready(stack).json()["checks"] if check["name"] == "provider"))


def command(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return crmgate(stack.web.environ(), *arguments)


def emails(stack: Stack) -> list[str]:
    """The email address of every lead in the CRM."""
    if stack.env["CRM_PROVIDER"] == "espocrm":
        return [lead["emailAddress"] for lead in stack.espocrm.leads]
    rows = (row for lead in stack.bitrix.records()["lead"] for row in lead["fm"])
    return [row["value"] for row in rows if row["typeId"] == "EMAIL"]


def address(number: int) -> str:
    return str(person(number)["personal_info"]["email"])


class TestOneRecord:
    """A refusal of one record affects that record only."""

    def test_a_lead_that_a_script_forbids_is_buried_and_holds_nobody_up(self, own_stack: Stack) -> None:
        stack = own_stack.start()
        stack.submit(person(21))
        stack.worker.stop()
        stack.espocrm.forbidden = {address(0): "Region closed."}
        refused = stack.submit_queued(person(0))
        others = [stack.submit_queued(person(number)) for number in range(1, 21)]
        stack.start_worker()
        all_delivered(stack, others, SPEEDY)
        letter = stack.wait_for(refused, "dead")
        assert "Region closed." in letter.events[-1].detail
        assert cause(stack) == ""

    def test_a_visitor_who_is_refused_pauses_nothing(self, own_stack: Stack) -> None:
        stack = own_stack.start()
        stack.espocrm.forbidden = {address(0): "Region closed."}
        refused = stack.submit(person(0), 202)
        for number in range(1, 4):
            stack.submit(person(number), 201)
        stack.wait_for(refused, "dead")

    def test_a_timeline_that_is_closed_gets_a_lead_beside_it(self, tmp_path: Path) -> None:
        """If the CRM allows no comment on the person's lead, the application becomes another lead."""
        with Stack(tmp_path, "bitrix") as stack:
            stack.start()
            stack.submit(person(0))
            stack.bitrix.locked_timelines = list(stack.bitrix.leads)
            again = stack.submit_queued(person(0, additional_info="once more"))
            others = [stack.submit_queued(person(number)) for number in range(1, 21)]
            all_delivered(stack, [again, *others], SPEEDY)
            assert emails(stack).count(address(0)) == 2
            assert cause(stack) == ""

    def test_a_click_on_a_closed_timeline_gets_another_lead_and_delays_no_operation(self, tmp_path: Path) -> None:
        with Stack(tmp_path, "bitrix") as stack:
            stack.start()
            session = {"session": "a" * 32}
            stack.submit(person(0) | session)
            stack.bitrix.locked_timelines = list(stack.bitrix.leads)
            clicked = requests.post(
                f"{stack.url}/api/v1/messenger-events", json={"channel": "telegram", "referral_code": "R"} | session,
                headers={"Prefer": "respond-async"}, timeout=DEADLINE,
            )  # fmt: skip
            assert clicked.status_code == 202, clicked.text
            others = [stack.submit_queued(person(number)) for number in range(1, 21)]
            all_delivered(stack, [*others, clicked.json()["id"]], SPEEDY)
            click = stack.operation(clicked.json()["id"])
            assert (click.kind, click.events[0].vendor_code) == ("create_minimal_lead", "ACCESS_DENIED")
            assert cause(stack) == ""


class TestRateLimit:
    @pytest.mark.parametrize("provider", full("espocrm", "bitrix"))
    def test_nobody_is_lost_to_it(self, provider: str, tmp_path: Path) -> None:
        with Stack(tmp_path, provider, **DELAYS) as stack:
            stack.start()
            ends = time.time() + RATE_LIMIT
            stack.fake.limited_until = ends
            ids = [stack.submit(person(number), 202) for number in range(4)]
            ids += [stack.submit_queued(person(number)) for number in range(4, 8)]
            shut_by = cause(stack)
            assert most_dead(stack, ends - time.time()) == 0
            asked = [request for request in stack.fake.requests if request.at < ends]
            all_delivered(stack, ids, DEADLINE)
            assert shut_by == "limited"
            assert all(event.code != "rate_limited" or not event.counted for event in events(stack, ids))
            assert len(asked) < 2 * len(ids), "the limit holds the provider, not each operation with its four attempts"

    def test_the_time_that_the_crm_asks_for_is_kept(self, tmp_path: Path) -> None:
        with Stack(tmp_path, **DELAYS) as stack:
            stack.start()
            ends = time.time() + RATE_LIMIT
            stack.espocrm.limited_until = ends
            waits = stack.submit(person(0), 202)
            stack.wait_for(waits, "delivered", RATE_LIMIT + DEADLINE)
            early = [request for request in stack.espocrm.requests[1:] if request.at < ends]
            assert early == []


def events(stack: Stack, ids: list[str]) -> list[Any]:
    return [event for operation_id in ids for event in stack.operation(operation_id).events]


class TestEpidemic:
    @pytest.mark.parametrize("provider", full("bitrix", "espocrm"))
    def test_a_field_that_nobody_can_fill_buries_five_at_most_and_they_return(
        self, provider: str, tmp_path: Path
    ) -> None:
        with Stack(tmp_path, provider, **DELAYS) as stack:
            stack.start()
            stack.fake.configure({"added_fields": OFFICE[provider], **ENFORCED[provider]})
            until = time.monotonic() + EPIDEMIC
            ids = [stack.submit_queued(person(number)) for number in range(40)]
            assert most_dead(stack, until - time.monotonic()) <= 5
            assert emails(stack) == []
            assert cause(stack) == "epidemic"
            assert next(iter(OFFICE[provider])) in stack.ledger.gate(stack.recipient).reason
            stack.fake.added_fields = {}
            all_delivered(stack, ids, SPEEDY)
            assert sorted(emails(stack)) == sorted(map(address, range(40)))
            assert stack.ledger.stats()["dead_letters"] == 0

    def test_dead_letters_of_another_cause_stay_where_they_are(self, own_stack: Stack) -> None:
        stack = own_stack.start()
        stack.espocrm.forbidden = {address(0): "Region closed."}
        refused = stack.submit(person(0), 202)
        stack.wait_for(refused, "dead")
        stack.espocrm.added_fields = OFFICE["espocrm"]
        ids = [stack.submit_queued(person(number)) for number in range(1, 13)]
        becomes(stack, "epidemic")
        stack.espocrm.added_fields = {}
        all_delivered(stack, ids, SPEEDY)
        assert stack.operation(refused).state == "dead"

    def test_the_command_line_names_a_required_field_that_nothing_fills(self, own_stack: Stack) -> None:
        stack = own_stack.start()
        stack.espocrm.added_fields = OFFICE["espocrm"]
        found = json.loads(command(stack, "crm", "test", "--json").stdout)
        named = [check for check in found["checks"] if "officeC" in f"{check['name']} {check['detail']}"]
        assert [check["ok"] for check in named] == [False]
        assert "officeC" in command(stack, "crm", "fields", "--json").stdout

    def test_a_required_text_is_filled_with_a_dash(self, own_stack: Stack) -> None:
        stack = own_stack.start()
        stack.espocrm.added_fields = {"officeC": {"type": "varchar", "required": True}}
        stack.submit(person(0), 201)
        assert [lead["officeC"] for lead in stack.espocrm.leads] == ["-"]


class TestCredentials:
    def test_a_repaired_key_delivers_whatever_stands_at_the_head(self, tmp_path: Path) -> None:
        """30 operations that the CRM refuses for a value of theirs prove that the key works again."""
        with Stack(tmp_path, **REFUSED_FOR_GOOD) as stack:
            stack.start()
            stack.espocrm.set_options("userTypeC", ["", "parent"])
            stack.espocrm.api_key = "another"
            bad = {"user_preferences": {"user_type": "student"}}
            refused = [stack.submit_queued(person(number, **bad)) for number in range(30)]
            becomes(stack, "refused")
            good = stack.submit_queued(person(30))
            assert set(states(stack, refused)) <= {"waiting", "delivering", "accepted"}
            stack.espocrm.api_key = "KEY-GATEWAY"
            stack.wait_for(good, "delivered", PROBED)
            assert "refused" not in provider_in_readyz(stack)
            assert emails(stack) == [address(30)]

    def test_a_right_that_is_missing_costs_no_lead(self, tmp_path: Path) -> None:
        with Stack(tmp_path, **DELAYS) as stack:
            stack.start()
            role = stack.espocrm.role
            stack.espocrm.role = role | {"Lead": role["Lead"] | {"create": "no"}}
            ids = [stack.submit(person(number), 202) for number in range(12)]
            becomes(stack, "refused")
            assert most_dead(stack, 5) == 0
            stack.espocrm.role = role
            all_delivered(stack, ids, PROBED)

    def test_the_right_that_bitrix24_does_not_show_costs_no_lead(self, tmp_path: Path) -> None:
        """No call that reads says that the user may not write: that different leads are refused alike says it."""
        with Stack(tmp_path, "bitrix", **DELAYS) as stack:
            stack.start()
            stack.bitrix.access_denied = True
            ids = [stack.submit_queued(person(number)) for number in range(12)]
            assert most_dead(stack, 8) <= 5
            assert cause(stack) in ("refused", "epidemic")
            stack.bitrix.access_denied = False
            all_delivered(stack, ids, PROBED)


class TestAnnouncements:
    """Alerts that are right: each cause once, and "works again" when it does."""

    def test_a_key_that_changed_during_an_outage_is_announced(self, tmp_path: Path, alerts: Alerts) -> None:
        with Stack(tmp_path, ALERT_WEBHOOK_URL=alerts.url) as stack:
            stack.start()
            stack.espocrm.stop()
            waiting = [stack.submit(person(number), 202) for number in range(6)]
            becomes(stack, "outage")
            stack.espocrm.api_key = "another"
            stack.espocrm.start()
            wait_until("the refusal is announced", lambda: alerts.about("refuse"), PROBED)
            assert alerts.about("works again") == []
            assert "refuse" in provider_in_readyz(stack)
            assert "bad_credentials" in stack.worker.output()
            stack.espocrm.api_key = "KEY-GATEWAY"
            all_delivered(stack, waiting, PROBED)
            wait_until("the end is announced", lambda: alerts.about("works again"))

    def test_a_crm_that_fails_at_writes_only_is_one_outage_and_one_message(
        self, tmp_path: Path, alerts: Alerts
    ) -> None:
        with Stack(tmp_path, ALERT_WEBHOOK_URL=alerts.url, ALERT_WINDOW="600") as stack:
            stack.start()
            stack.espocrm.fail("answer", method="POST", path="/Lead", status=500, content_type="application/json")
            ids = [stack.submit_queued(person(number)) for number in range(8)]
            wait_until("the outage is announced", alerts.of_provider)
            until = time.monotonic() + FLAPPING
            wait_until("it has flapped for long enough", lambda: time.monotonic() > until, FLAPPING + 5)
            assert len(alerts.of_provider()) == 1, alerts.texts()
            stack.espocrm.heal()
            all_delivered(stack, ids, PROBED)
            wait_until("the end is announced", lambda: len(alerts.of_provider()) == 2)
            assert len(alerts.about("works again")) == 1


class Alerts(FakeCRM):
    """A webhook that keeps the messages that it gets."""

    def answer(self, request: Request) -> Response:
        return Response(body="{}")

    def records(self) -> dict[str, list[dict[str, Any]]]:
        return {}

    def messages(self) -> list[dict[str, Any]]:
        with self.lock:
            return [json.loads(request.body) for request in self.requests]

    def texts(self) -> list[str]:
        return [message["text"] for message in self.messages()]

    def about(self, word: str) -> list[str]:
        return [text for text in self.texts() if word in text]

    def of_provider(self) -> list[str]:
        """The messages that are not about dead letters."""
        return [message["text"] for message in self.messages() if not message["event"].startswith("dead_letter")]


@pytest.fixture
def alerts() -> Any:
    with Alerts() as receiver:
        yield receiver


class TestOperators:
    def test_a_pause_holds_everything_until_it_is_lifted(self, own_stack: Stack) -> None:
        stack = own_stack.start()
        paused = command(stack, "crm", "pause")
        assert paused.returncode == 0, paused.stderr
        ids = [stack.submit(person(number), 202) for number in range(3)]
        assert cause(stack) == "paused"
        assert "paused" in provider_in_readyz(stack)
        wait_until("the worker has swept", lambda: time.time() > stack.operation(ids[-1]).accepted_at + 12)
        assert (emails(stack), states(stack, ids)) == ([], ["waiting"] * 3)
        resumed = command(stack, "crm", "resume")
        assert resumed.returncode == 0, resumed.stderr
        all_delivered(stack, ids, SPEEDY)

    def test_an_operation_that_waits_can_be_discarded_edited_and_retried(self, own_stack: Stack) -> None:
        own_stack.env["CRM_RETRY_DELAYS"] = "600"
        stack = own_stack.start()
        stack.submit(person(2), 201)
        stack.espocrm.stop()
        unwanted, wanted = (stack.submit(person(number), 202) for number in range(2))
        discarded = command(stack, "dlq", "discard", unwanted, "--reason", "a test", "--json")
        assert discarded.returncode == 0, discarded.stdout + discarded.stderr
        assert stack.operation(unwanted).state == "discarded"
        edited = command(stack, "dlq", "edit", wanted, "--set", "city=Izmir", "--json")
        assert edited.returncode == 0, edited.stdout + edited.stderr
        tried = len(events(stack, [wanted]))
        retried = command(stack, "dlq", "retry", wanted, "--json")
        assert retried.returncode == 0, retried.stdout + retried.stderr
        # The retry itself is an event; the attempt that it causes is the second one.
        wait_until("it is tried at once, not after 600 s", lambda: len(events(stack, [wanted])) >= tried + 2)
        stack.espocrm.start()
        stack.wait_for(wanted, "delivered")
        assert emails(stack) == [address(2), address(1)]
        assert "Izmir" in str(stack.espocrm.leads)


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
    def test_nothing_is_sent_once_the_time_is_over(self, seconds: int, tmp_path: Path, troubled: Troubled) -> None:
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
    def test_a_delivery_that_cannot_be_is_not_believed(
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
