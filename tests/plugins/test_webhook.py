"""The webhook: its signature, its event, and what each answer means."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crmgate.errors import (
    AuthFailed,
    ConfigError,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
)
from crmgate.model import Activity, Kind, Lead, Operation, new_id
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.loader import discover
from crmgate.sources import sign_standard
from crmgate.testing.webhook import ANSWERS, SECRET, FakeReceiver
from tests.cases import all_cases

FOLDER = Path(__file__).parents[2] / "plugins"
LEAD = Lead(first_name="Ada", last_name="Lovelace", email="ada@example.com", custom={"visa": "no"})


def webhook(receiver: FakeReceiver, **settings: str) -> HookCaller:
    own = {"WEBHOOK_URL": receiver.hook, "WEBHOOK_SECRET": SECRET} | settings
    return discover(FOLDER, ("webhook",)).choose("webhook", own, 5, ("127.0.0.1",))


def operation(lead: Lead = LEAD) -> Operation:
    return Operation(new_id(), Kind.CREATE_LEAD, lead.to_dict(), time.time())


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with FakeReceiver() as running:
        yield running


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of the libraries of Standard Webhooks."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signature = sign_standard(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_event_of_an_application(receiver: FakeReceiver) -> None:
    one = operation()
    assert webhook(receiver).deliver(one, 10).record_id == one.id
    [request] = receiver.requests
    assert request.header("webhook-id") == one.id
    assert request.header("Content-Type") == "application/json"
    event = json.loads(request.body)
    assert (event["type"], event["data"]["tracking_code"]) == ("application.received", one.tracking_code)
    assert event["timestamp"].endswith("Z")
    assert event["data"] == {"operation": one.id, "tracking_code": one.tracking_code, "lead": LEAD.to_dict()}


def test_the_event_of_a_click(receiver: FakeReceiver) -> None:
    click = Activity("telegram", "TG-7", "2026-01-02T03:04:05Z")
    webhook(receiver).deliver(Operation(new_id(), Kind.CREATE_MINIMAL_LEAD, click.to_dict(), time.time()), 10)
    [event] = receiver.records()["events"]
    assert (event["type"], event["data"]["activity"]) == ("click.received", click.to_dict())


def test_a_repetition_has_the_same_id_and_body_and_a_new_time(
    receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm, one = webhook(receiver), operation()
    crm.deliver(one, 10)
    later = time.time() + 100
    monkeypatch.setattr(time, "time", lambda: later)
    crm.deliver(one, 10)
    first, second = receiver.requests
    assert first.header("webhook-id") == second.header("webhook-id") == one.id
    assert first.body == second.body
    assert int(second.header("webhook-timestamp")) - int(first.header("webhook-timestamp")) in (100, 101)
    assert first.header("webhook-signature") != second.header("webhook-signature")
    assert len(receiver.events) == 1


@pytest.mark.parametrize("style", ANSWERS)
def test_each_tool_confirms(style: str) -> None:
    with FakeReceiver(style=style) as receiver:
        crm = webhook(receiver)
        assert crm.deliver(operation(), 10)
        assert crm.test_connection(10).connected
        assert [request.method for request in receiver.requests] == ["POST", "OPTIONS"]


def test_the_wrong_secret_is_refused(receiver: FakeReceiver) -> None:
    crm = webhook(receiver, WEBHOOK_SECRET=SECRET.replace("whsec_Y", "whsec_Z"))
    with pytest.raises(AuthFailed, match="compare WEBHOOK_SECRET"):
        crm.deliver(operation(), 10)


def test_a_workflow_that_is_off_makes_no_dead_letter(receiver: FakeReceiver) -> None:
    crm = webhook(receiver, WEBHOOK_URL=f"{receiver.url}/webhook/off")
    with pytest.raises(Unavailable, match="the workflow is off"):
        crm.deliver(operation(), 10)
    assert not crm.test_connection(10).connected


HTML = "<!DOCTYPE html><html><body>Please log in</body></html>"
STATUSES = [
    (200, "", None), (201, "ok", None), (204, "", None), (200, "<b>fine</b>", None), (200, HTML, OutcomeUnknown),
    (302, "", Unavailable), (404, "", Unavailable), (405, "", Unavailable), (410, "", Unavailable),
    (400, "Queue is full.", RateLimited), (400, "bad", Rejected), (413, "", Rejected), (422, "", Rejected),
    (401, "", AuthFailed), (403, "", AuthFailed), (409, "", OutcomeUnknown), (408, "", OutcomeUnknown),
    (425, "", RateLimited), (429, "", RateLimited), (500, "", OutcomeUnknown), (503, "", Unavailable),
    (504, "", OutcomeUnknown),
]  # fmt: skip


@all_cases(("status", "body", "error"), STATUSES)
def test_a_status(status: int, body: str, error: type[ProviderError] | None) -> None:
    with FakeReceiver() as receiver:
        receiver.fail("answer", status=status, body=body, method="POST")
        crm = webhook(receiver)
        if error is None:
            assert crm.deliver(operation(), 10)
            return
        with pytest.raises(ProviderError) as caught:
            crm.deliver(operation(), 10)
        assert type(caught.value) is error


@all_cases(("status", "connected"), [(200, True), (204, True), (405, True), (501, True), (404, False), (500, False)])
def test_a_connection_test(status: int, connected: bool) -> None:
    with FakeReceiver() as receiver:
        receiver.fail("answer", status=status, body="", method="OPTIONS")
        assert webhook(receiver).test_connection(10).connected == connected


BAD = ["secret", "whsec_", "whsec_short", "whsec_" + "A" * 31, "whsec_" + "A" * 200, SECRET.removeprefix("whsec_")]


@all_cases("bad", BAD)
def test_a_secret_that_is_none_stops_the_start(bad: str) -> None:
    with pytest.raises(ConfigError, match="WEBHOOK_SECRET, got a value that is not shown") as caught:
        webhook(FakeReceiver(port=80), WEBHOOK_SECRET=bad)
    assert "openssl rand -base64 32" in str(caught.value)
    assert bad == "whsec_" or bad not in str(caught.value)


def test_the_preview_is_what_is_sent(receiver: FakeReceiver) -> None:
    one, crm = operation(), webhook(receiver)
    shown: Any = crm.preview(one)
    crm.deliver(one, 10)
    assert shown.body == json.loads(receiver.requests[-1].body)
