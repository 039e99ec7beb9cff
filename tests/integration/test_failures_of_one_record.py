"""A failure of one record affects that record only. Each test has real processes."""

from __future__ import annotations

from pathlib import Path

import requests

from tests.integration.failures import (
    SPEEDY,
    address,
    all_delivered,
    cause,
    emails,
)
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE


class TestOneRecord:
    """A refusal of one record affects that record only."""

    def test_a_lead_that_a_script_forbids_becomes_a_dead_letter_and_delays_no_other(self, own_stack: Stack) -> None:
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

    def test_a_closed_timeline_makes_the_application_another_lead(self, tmp_path: Path) -> None:
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
