"""Every failure that the sandbox can simulate."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import requests

from tests.processes import wait_until
from tests.sandbox.conftest import Client


def test_it_works_by_default(client: Client) -> None:
    assert client.behaviour() == {"mode": "work", "times": None, "seconds": 5.0, "field": ""}


@pytest.mark.parametrize(("mode", "status"), [("fail", 503), ("unauthorized", 401), ("refuse", 422)])
def test_modes_that_answer_store_nothing(client: Client, mode: str, status: int) -> None:
    client.behave(mode)
    assert client.create(operation_id="op1", first_name="Ada").status_code == status
    client.behave("work")
    assert client.leads() == []


def test_hang_stores_nothing_and_stays_silent_until_the_client_leaves(client: Client) -> None:
    threads = threading.active_count()
    client.behave("hang")
    with pytest.raises(requests.ReadTimeout):
        client.send("POST", "/api/leads", {"first_name": "Ada"}, timeout=0.3)
    wait_until("the silent request ends", lambda: threading.active_count() <= threads)
    client.behave("work")
    assert client.leads() == []


def test_forget_stores_the_lead_and_drops_the_connection(client: Client) -> None:
    client.behave("forget")
    with pytest.raises(requests.ConnectionError):
        client.create(operation_id="op1", first_name="Ada")
    with pytest.raises(requests.ConnectionError):
        client.create(operation_id="op1", first_name="Ada")
    assert [lead["operation_id"] for lead in client.leads(operation_id="op1")] == ["op1"]


def test_slow_waits_and_then_works(client: Client) -> None:
    client.behave("slow", seconds=0.2)
    begun = time.monotonic()
    assert client.create(first_name="Ada").status_code == 201
    assert time.monotonic() - begun >= 0.2


def test_refuse_names_the_first_field_of_every_lead(client: Client) -> None:
    client.behave("refuse")
    sent: dict[str, Any] = {"operation_id": "op1", "description": "text", "first_name": "Ada", "city": "Paris"}
    for named in ("first_name", "city", "description"):
        answer = client.create(**sent)
        assert (answer.status_code, list(answer.json()["fields"])) == (422, [named])
        del sent[named]


def test_refuse_one_field_lets_a_lead_without_it_pass(client: Client) -> None:
    client.behave("refuse", field="phone", times=1)
    assert client.create(first_name="Ada").status_code == 201
    assert client.create(first_name="Ada", phone="+1").json()["fields"].keys() == {"phone"}
    assert client.create(first_name="Ada", phone="+1").status_code == 201


def test_times_counts_writes_and_then_it_works_again(client: Client) -> None:
    client.behave("fail", times=2)
    assert client.send("GET", "/api/ping").status_code == 200
    assert [client.create(first_name="Ada").status_code for _ in range(3)] == [503, 503, 201]
    assert client.behaviour()["mode"] == "work"


@pytest.mark.parametrize(("mode", "status"), [("fail", 503), ("unauthorized", 401), ("refuse", 200), ("forget", 200)])
def test_an_outage_hits_reads_too_where_that_makes_sense(client: Client, mode: str, status: int) -> None:
    client.behave(mode)
    assert client.send("GET", "/api/ping").status_code == status


def test_a_wrong_key_uses_nothing_up(client: Client) -> None:
    client.behave("fail", times=1)
    Client(client.url, "wrong").create(first_name="Ada")
    assert client.behaviour()["times"] == 1


@pytest.mark.parametrize(
    ("behaviour", "named"),
    [
        ({"mode": "explode"}, "mode"),
        ({}, "mode"),
        ({"mode": "fail", "times": 0}, "times"),
        ({"mode": "slow", "seconds": -1}, "seconds"),
        ({"mode": "slow", "seconds": "nan"}, "seconds"),
        ({"mode": "refuse", "field": "x" * 65}, "field"),
        ({"mode": "fail", "tmies": 1}, "tmies"),
    ],
)
def test_a_behaviour_that_does_not_exist_is_refused(client: Client, behaviour: dict[str, Any], named: str) -> None:
    answer = client.send("PUT", "/api/behaviour", behaviour)
    assert (answer.status_code, list(answer.json()["fields"])) == (422, [named])
    assert client.behaviour()["mode"] == "work"
