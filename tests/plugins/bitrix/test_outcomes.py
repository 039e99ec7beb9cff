"""The Bitrix24 plugin: faults of the portal that arrive as refusals, and refusals that concern every lead."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from crmgate.delivery.outcome import Sent, gate_event
from crmgate.errors import AuthFailed, OutcomeUnknown, Rejected
from crmgate.plugin_host.caller import HookCaller
from crmgate.policy import decide, refusal
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import (
    ADD,
    ANNA,
    BOTH_APIS,
    COMMENT,
    Connect,
    activity,
    checks,
    creation,
    deliver,
    existing,
    failure,
    only_lead,
    shown,
    update,
)

FAULTS = pytest.mark.parametrize("code", ["400", "0", "ERROR_CORE"])


class TestFaults:
    """The REST layer turns every exception into an error with status 400, also after the lead was saved."""

    @FAULTS
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_create_is_there_once(self, portal: FakeBitrix24, crm: HookCaller, code: str, when: str) -> None:
        portal.fail_with(code, path=ADD, times=1, when=when)
        operation = creation(ANNA)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        found = crm.find(operation, 5.0) or deliver(crm, operation)
        assert str(only_lead(portal)["id"]) == found.record_id

    @FAULTS
    def test_an_update_and_a_click(self, portal: FakeBitrix24, crm: HookCaller, code: str) -> None:
        lead = existing(portal)
        for operation, path in ((update(lead, ANNA), r"crm\.item\.update"), (activity(lead), COMMENT)):
            portal.fail_with(code, path=path, times=1, when="after")
            assert isinstance(failure(lambda sent=operation: deliver(crm, sent)), OutcomeUnknown)
            assert crm.find(operation, 5.0)


@BOTH_APIS
@pytest.mark.parametrize("address", ['"anna lee"@example.com', "anna@example.abcdefghijklmnopqrstu"])
def test_an_email_that_the_portal_refuses_moves(portal: FakeBitrix24, crm: HookCaller, address: str) -> None:
    """The code is "0", and the text names the field by its label."""
    assert deliver(crm, creation(replace(ANNA, email=address))).moved == ("EMAIL",)
    lead = only_lead(portal)
    assert [row["typeId"] for row in lead["fm"]] == ["PHONE"]
    assert f"Email: {address}" in shown(lead["comments"])


@BOTH_APIS
class TestQuota:
    """A used-up disk quota, or a plan without leads: each lead is refused with a text in the portal's language."""

    def test_it_stops_deliveries_and_makes_no_dead_letter(
        self, portal: FakeBitrix24, crm: HookCaller, api: str
    ) -> None:
        portal.quota_refusal = "Disk alanı doldu."
        errors = [failure(lambda: deliver(crm, creation(ANNA))) for _ in range(2)]
        assert all("disk quota" in error.detail and "plan" in error.detail for error in errors)
        assert "doldu" not in str(errors[0])
        verdict = decide(errors[0], 1, (1, 5), random.Random(1), asked=True)
        event = gate_event(Sent(None, errors[0]), verdict)
        assert event
        if api == "item":  # a fault after the lead was saved looks the same
            assert (type(errors[0]), event.what) == (OutcomeUnknown, "unavailable")
        else:
            assert (type(errors[0]), event.what) == (Rejected, "refusal")
        assert refusal(errors[0], asked=True) == refusal(errors[1], asked=True) != "", "the same for every lead"

    def test_an_update_still_works(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal)
        portal.quota_refusal = "Disk alanı doldu."
        assert deliver(crm, update(lead, ANNA)).record_id == str(lead)


def test_a_missing_subscription(portal: FakeBitrix24, crm: HookCaller) -> None:
    portal.subscribed = False
    error = failure(lambda: deliver(crm, creation(ANNA)))
    assert isinstance(error, AuthFailed)
    assert "subscription" in error.detail
    ok, detail = checks(crm)["webhook"]
    assert not ok
    assert "subscription" in detail


def test_nothing_needs_the_total_of_a_list(portal: FakeBitrix24, connect: Connect) -> None:
    """With `start` -1 the portal counts nothing, and the answer has no total."""
    crm, operation = connect(), creation(ANNA)
    deliver(crm, operation)
    bodies = [request.body for request in portal.requests if "crm.item.list" in request.path]
    assert crm.find(operation, 5.0)
    lists = [request.body for request in portal.requests if "crm.item.list" in request.path][len(bodies) :]
    assert [b'"start": -1' in body for body in lists] == [True]
