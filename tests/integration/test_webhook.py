"""A receiver of webhooks behind the running gateway: each operation once, under one id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crmgate.testing.webhook import SECRET, FakeReceiver
from tests.integration.stack import Stack, person
from tests.processes import wait_until


@pytest.fixture(scope="module")
def receiver() -> Iterator[FakeReceiver]:
    with FakeReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: FakeReceiver) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("webhook")
    settings = {"WEBHOOK_URL": receiver.hook, "WEBHOOK_SECRET": SECRET}
    settings["CRM_TIMEOUT"] = "3"  # the lease of a killed worker ends soon
    with Stack(folder, "webhook", **settings) as running:
        yield running.start()


def ids(receiver: FakeReceiver, operation_id: str) -> list[str]:
    """The `webhook-id` of each request about an operation."""
    posts = [one for one in receiver.requests if one.method == "POST" and operation_id.encode() in one.body]
    return [one.header("webhook-id") for one in posts]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_500_and_then_a_200_are_two_requests_with_one_id(stack: Stack, receiver: FakeReceiver, when: str) -> None:
    """`after`: the receiver had the event already, and recognizes the repetition."""
    receiver.fail("answer", status=500, when=when, method="POST", times=1)
    number = 1 if when == "before" else 2
    operation_id = stack.submit(person(number), 202)
    events = stack.wait_for(operation_id, "delivered").events
    assert [(event.outcome, event.status) for event in events] == [("failed", 500), ("delivered", None)]
    assert ids(receiver, operation_id) == [operation_id] * 2
    assert list(receiver.events).count(operation_id) == 1


def test_a_killed_worker_leaves_an_event_that_is_sent_again(stack: Stack, receiver: FakeReceiver) -> None:
    receiver.fail("hang", when="after", method="POST", times=1)
    operation_id = stack.submit_queued(person(3))
    wait_until("the worker waits for the answer", lambda: ids(receiver, operation_id))
    stack.worker.kill()
    stack.start_worker()
    stack.wait_for(operation_id, "delivered")
    assert ids(receiver, operation_id) == [operation_id] * 2
    assert list(receiver.events).count(operation_id) == 1
