"""A failure that affects every record costs no record, and operators hear of it once. Each test has real processes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from crmgate.testing.server import FakeCRM, Request, Response
from tests.chaos.trials import ENFORCED, OFFICE
from tests.integration.failures import (
    DELAYS,
    EPIDEMIC,
    FLAPPING,
    PROBED,
    RATE_LIMIT,
    REFUSED_FOR_GOOD,
    SPEEDY,
    address,
    all_delivered,
    becomes,
    cause,
    command,
    emails,
    events,
    full,
    most_dead,
    provider_in_readyz,
    states,
)
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, wait_until


class TestRateLimit:
    @pytest.mark.parametrize("provider", full("espocrm", "bitrix"))
    def test_a_rate_limit_makes_no_dead_letter(self, provider: str, tmp_path: Path) -> None:
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


class TestEpidemic:
    @pytest.mark.parametrize("provider", full("bitrix", "espocrm"))
    def test_a_field_that_nobody_can_fill_makes_five_dead_letters_at_most_and_they_return(
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
    def test_a_repaired_key_delivers_although_refused_records_wait_first(self, tmp_path: Path) -> None:
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

    def test_a_missing_right_makes_no_dead_letter(self, tmp_path: Path) -> None:
        with Stack(tmp_path, **DELAYS) as stack:
            stack.start()
            role = stack.espocrm.role
            stack.espocrm.role = role | {"Lead": role["Lead"] | {"create": "no"}}
            ids = [stack.submit(person(number), 202) for number in range(12)]
            becomes(stack, "refused")
            assert most_dead(stack, 5) == 0
            stack.espocrm.role = role
            all_delivered(stack, ids, PROBED)

    def test_a_missing_right_that_bitrix24_does_not_show_loses_no_lead(self, tmp_path: Path) -> None:
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
    def test_a_pause_stops_deliveries_until_it_ends(self, own_stack: Stack) -> None:
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
