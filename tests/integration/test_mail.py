"""A mail server behind the running gateway: no mail is sent twice, whatever is lost, and a person learns of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from crmgate.model import Operation
from crmgate.testing.smtp import PASSWORD, USER, FakeMailServer
from tests.forked import crmgate
from tests.integration.stack import Stack, person
from tests.processes import wait_until

NUMBERS = itertools.count(1)
"""Numbers of persons: the same submission twice is a double click."""


@pytest.fixture(scope="module")
def server() -> Iterator[FakeMailServer]:
    with FakeMailServer() as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, server: FakeMailServer) -> Iterator[Stack]:
    settings = {
        "MAIL_HOST": server.host, "MAIL_PORT": str(server.port), "MAIL_TLS": "off", "MAIL_USER": USER,
        "MAIL_PASSWORD": PASSWORD, "MAIL_FROM": USER, "MAIL_TO": "leads@example.com", "CRM_INLINE_BUDGET": "4",
        "CRM_TIMEOUT": "3",  # the lease of a killed process ends soon
    }  # fmt: skip
    with Stack(tmp_path_factory.mktemp("mail"), "mail", **settings) as running:
        yield running.start()


@pytest.fixture(autouse=True)
def _healed(server: FakeMailServer) -> Iterator[None]:
    yield
    server.heal()


def contents(server: FakeMailServer, operation_id: str) -> int:
    """Number of times that the content of this mail was sent."""
    return sum(operation_id.encode() in one.body for one in server.requests)


def stored(server: FakeMailServer, operation_id: str) -> int:
    return sum(operation_id in mail["raw"] for mail in server.mails)


def dead(stack: Stack, operation_id: str) -> Operation:
    wait_until("it is a dead letter", lambda: stack.operation(operation_id).state == "dead")
    return stack.operation(operation_id)


def test_a_mail_is_delivered_once(stack: Stack, server: FakeMailServer) -> None:
    operation_id = stack.submit(person(next(NUMBERS)), 201)
    assert (stack.operation(operation_id).state, stored(server, operation_id)) == ("delivered", 1)


@pytest.mark.parametrize(("inline", "when"), [(True, "after"), (False, "before")])
def test_a_server_that_hangs_after_the_content_gets_one_mail(
    stack: Stack, server: FakeMailServer, inline: bool, when: str
) -> None:
    """One mail at most and one dead letter; later mails are delivered, and this one is not sent again."""
    server.fail("hang", when=when, method="WRITE", times=1)
    someone = person(next(NUMBERS))
    operation_id = stack.submit(someone, 202) if inline else stack.submit_queued(someone)
    [event] = dead(stack, operation_id).events
    assert event.code == "outcome_unknown"
    assert event.detail.startswith("timeout: no reply within the time limit after the mail was sent. It may have arr")
    stack.submit(person(next(NUMBERS)), 201)
    assert contents(server, operation_id) == 1
    assert stored(server, operation_id) == (1 if when == "after" else 0)
    assert stack.operation(operation_id).state == "dead"


@pytest.mark.parametrize("process", ["worker", "web"])
def test_a_process_that_is_killed_after_the_content_sends_one_mail(
    stack: Stack, server: FakeMailServer, process: str
) -> None:
    """Then an operator, who found nothing in the mailbox, has it sent again."""
    before = len(server.mails)
    server.fail("hang", when="after", method="WRITE", times=1)
    headers = {"Prefer": "respond-async"} if process == "worker" else {}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(stack.post, person(next(NUMBERS)), headers=headers)
        wait_until("the content was sent", lambda: len(server.mails) > before)
        (stack.worker if process == "worker" else stack.web).kill()
    assert process == "worker" or isinstance(answer.exception(), requests.ConnectionError)
    if process == "worker":
        stack.start_worker()
    else:
        stack.start_web()
    operation_id = str(server.mails[-1]["headers"]["Message-ID"]).strip("<>").partition("@")[0]
    [event] = dead(stack, operation_id).events
    assert event.detail.startswith("an earlier attempt ended without a recorded outcome")
    assert (contents(server, operation_id), stored(server, operation_id)) == (1, 1)
    retried = crmgate(stack.worker.environ(), "dlq", "retry", operation_id)
    assert retried.returncode == 0, retried.stderr
    stack.wait_for(operation_id, "delivered")
    assert (contents(server, operation_id), stored(server, operation_id)) == (2, 2)
