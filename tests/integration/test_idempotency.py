"""Sending twice is safe: with an Idempotency-Key for a day, without one for a double click."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, wait_until


def send(stack: Stack, body: dict[str, Any], key: str) -> requests.Response:
    return stack.post(body, headers={"Idempotency-Key": key})


def leads_of(stack: Stack, number: int) -> int:
    return sum(lead.get("emailAddress") == f"test{number}@example.com" for lead in stack.espocrm.leads)


def test_the_same_key_and_body_get_the_same_operation(stack: Stack) -> None:
    first, second = send(stack, person(1), "key-1"), send(stack, person(1), "key-1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert leads_of(stack, 1) == 1


def test_the_same_body_written_otherwise_is_the_same_submission(stack: Stack) -> None:
    first = send(stack, person(2), "key-2")
    flat = {**person(2)["personal_info"], "source": "website"}
    assert send(stack, flat, "key-2").json()["id"] == first.json()["id"]


def test_the_same_key_with_another_body_is_refused_and_nothing_stored(stack: Stack) -> None:
    assert send(stack, person(3), "key-3").status_code == 201
    response = send(stack, person(4), "key-3")
    assert (response.status_code, response.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert leads_of(stack, 4) == 0


def test_another_site_with_the_same_key_is_another_sender(stack: Stack) -> None:
    """A key that can be guessed, and that somebody else used first, costs nobody a submission."""
    assert send(stack, person(31), "order-1").status_code == 201
    senders = ({"Origin": "https://a.example"}, {"Origin": "https://b.example"}, {"Authorization": "Bearer cg_1_x"})
    for number, own in enumerate(senders, 32):
        assert stack.post(person(number), headers={"Idempotency-Key": "order-1"} | own).status_code == 201
        assert stack.post(person(number), headers={"Idempotency-Key": "order-1"} | own).status_code == 201
        assert leads_of(stack, number) == 1


@pytest.mark.parametrize("key", ["x" * 256, "schlüssel".encode().decode("latin-1"), "tab\tbed"])
def test_a_key_that_cannot_be_used_is_refused(stack: Stack, key: str) -> None:
    response = send(stack, person(5), key)
    assert (response.status_code, response.json()["type"]) == (400, "/problems/invalid-idempotency-key")
    assert leads_of(stack, 5) == 0


def test_while_the_first_request_runs_the_second_is_refused(stack: Stack) -> None:
    stack.submit(person(60))
    slow = stack.espocrm.fail("latency", seconds=4.0, method="POST", times=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send, stack, person(6), "key-6")
        wait_until("the CRM has the first request", lambda: slow.seen)
        running = send(stack, person(6), "key-6")
    assert (first.result().status_code, running.status_code) == (201, 409)
    assert running.json()["type"] == "/problems/still-running"
    assert int(running.headers["Retry-After"]) > 0
    assert send(stack, person(6), "key-6").status_code == 201
    assert leads_of(stack, 6) == 1


def test_a_waiting_submission_is_answered_as_it_stands_now(stack: Stack) -> None:
    stack.espocrm.stop()
    first = send(stack, person(7), "key-7")
    again = send(stack, person(7), "key-7")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    stack.espocrm.start()
    stack.wait_for(first.json()["id"], "delivered")
    assert send(stack, person(7), "key-7").status_code == 201
    assert leads_of(stack, 7) == 1


def test_fifty_at_once_make_one_lead(stack: Stack) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: send(stack, person(8), "key-8"), range(50)))
    ids = {answer.json()["id"] for answer in answers if answer.status_code in (201, 202)}
    assert len(ids) == 1
    assert {answer.status_code for answer in answers} <= {201, 202, 409}
    stack.wait_for(ids.pop(), "delivered")
    assert leads_of(stack, 8) == 1


def test_a_double_click_makes_one_lead(stack: Stack) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: stack.post(person(9, session="s-1")), range(2)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert {answer.status_code for answer in answers} <= {201, 202}
    stack.wait_for(answers[0].json()["id"], "delivered")
    assert leads_of(stack, 9) == 1


def test_the_same_body_from_another_session_is_another_submission(stack: Stack) -> None:
    first, second = (stack.submit(person(10, session=session)) for session in ("s-1", "s-2"))
    assert first != second


def test_a_click_that_is_sent_again_is_the_same(stack: Stack) -> None:
    def post(click: dict[str, str], key: str = "") -> str:
        headers = {"Idempotency-Key": key} if key else {}
        response = requests.post(f"{stack.url}/api/v1/messenger-events", json=click, headers=headers, timeout=DEADLINE)
        assert response.status_code in (201, 202), response.text
        return str(response.json()["id"])

    click = {"channel": "telegram", "referral_code": "REF", "session": "s-11"}
    assert post(click) == post(click)
    assert post(click, "key-11") == post(click, "key-11")
