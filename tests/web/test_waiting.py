"""Operators change waiting operations over HTTP, on a real ledger with a clock that the test controls."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from crmgate.errors import Rejected, Unavailable
from crmgate.model import new_id
from crmgate.policy import Dead
from tests.web.test_dead_letters import Call, call, services
from tests.world import World, away, well

__all__ = ["call", "services"]  # fixtures

ONE = "/api/v1/operations"
CHANGES = [("PATCH", "", {"city": "Izmir"}), ("POST", "/retry", None), ("DELETE", "", {"reason": "x"})]
ANY_VERSION = {"If-Match": '"1"'}


@pytest.fixture(autouse=True)
def built(services: Any) -> Any:
    """A client of routes that use the test's world."""
    return services


def held(world: World, count: int = 1) -> list[str]:
    """Operations that wait because the CRM is unavailable."""
    world.crm.trouble = away
    made = [world.apply(number) for number in range(10, 10 + max(count, 5))]
    world.pass_time(8)
    assert world.ledger.gate(world.delivery.recipient).cause == "outage"
    return [operation.id for operation in made[:count]]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_an_ended_operation_or_one_under_way_is_unchanged(
    call: Call, world: World, services: Any, method: str, path: str, body: Any
) -> None:
    answer = call(method, f"{ONE}/{new_id()}{path}", json=body, headers=ANY_VERSION)
    assert (answer.status_code, answer.json["type"]) == (404, "/problems/not-found")
    done = world.apply()
    world.work()
    answer = call(method, f"{ONE}/{done.id}{path}", json=body, headers=ANY_VERSION)
    assert (answer.status_code, answer.json["type"]) == (409, "/problems/not-a-dead-letter")
    assert "the operation has ended in the state delivered" in answer.json["detail"]
    busy = world.apply(2)
    world.ledger.claim(busy.id, world.delivery.recipient, "L", seconds=20)
    before = world.stored(busy)
    answer = call(method, f"{ONE}/{busy.id}{path}", json=body, headers={"If-Match": f'"{before.version}"'})
    assert (answer.status_code, answer.json["type"]) == (409, "/problems/under-way")
    assert world.stored(busy) == before
    assert services.audit.recent() == []


def test_a_retry_during_an_outage_names_the_cause_and_claims_no_delivery(call: Call, world: World) -> None:
    [waiting] = held(world)
    answer = call("POST", f"{ONE}/{waiting}/retry")
    assert (answer.status_code, answer.json["status"], answer.json["state"]) == (202, "waiting", "waiting")
    waits = answer.json["waits"]
    assert (waits["reason"], waits["cause"]) == ("crm", "outage")
    assert waits["what"] in waits["why"]
    assert "deliveries continue automatically" in waits["remedy"]
    sent = len(world.crm.sent) - len(world.crm.probes)
    world.pass_time(10)
    assert len(world.crm.sent) - len(world.crm.probes) == sent, "the gate is shut: nothing but probes"
    assert world.stored(waiting).state == "waiting"
    world.crm.trouble = well
    world.pass_time(30)
    assert world.stored(waiting).state == "delivered"


def test_a_retry_does_not_wait_for_the_time_of_the_next_attempt(call: Call, world: World) -> None:
    world.crm.trouble = lambda _operation: Unavailable("maintenance", retry_after=600)
    made = world.apply()
    world.work()
    shown = call("GET", f"{ONE}/{made.id}").json
    assert (shown["waits"]["reason"], shown["waits"]["until"]) == ("time", shown["due_at"])
    world.crm.trouble = well
    answer = call("POST", f"{ONE}/{made.id}/retry")
    assert answer.json["waits"]["reason"] == "turn"
    world.work()
    assert world.stored(made).state == "delivered"
    assert [event.outcome for event in world.stored(made).events] == ["failed", "released", "delivered"]


def test_one_that_is_about_to_become_a_dead_letter_is_retried(call: Call, world: World) -> None:
    world.crm.trouble = lambda _operation: Rejected("an option is missing")
    made = world.apply()
    outcome = world.run(made)
    assert isinstance(outcome.verdict, Dead)
    assert world.stored(made).state == "waiting", "it becomes a dead letter in a second step"
    world.crm.trouble = well
    assert call("POST", f"{ONE}/{made.id}/retry").status_code == 202
    world.pass_time(20)
    assert world.stored(made).state == "delivered"


def test_an_edit_of_the_version_that_was_read_is_what_the_crm_gets(call: Call, world: World, services: Any) -> None:
    [waiting] = held(world)
    shown = call("GET", f"{ONE}/{waiting}")
    assert shown.json["payload"]["email"] == "test10@example.com"
    assert call("GET", f"{ONE}/{waiting}", "reader").json["payload"]["email"] == "t***@e***.com"
    url, patch = f"{ONE}/{waiting}", {"city": "Izmir", "email": "new@example.com"}
    assert call("PATCH", url, json=patch).status_code == 428
    assert call("PATCH", url, json=patch, headers={"If-Match": '"99"'}).status_code == 412
    bad = call("PATCH", url, json={"email": "x"}, headers={"If-Match": shown.headers["ETag"]})
    assert (bad.status_code, bad.json["errors"][0]["field"]) == (422, "email")
    answer = call("PATCH", url, json=patch, headers={"If-Match": shown.headers["ETag"]})
    assert (answer.status_code, answer.json["payload"]["city"]) == (200, "Izmir")
    assert answer.headers["ETag"] != shown.headers["ETag"]
    assert answer.json["waits"]["cause"] == "outage"
    late = call("PATCH", url, json=patch, headers={"If-Match": shown.headers["ETag"]})
    assert late.status_code == 412
    sent = []
    world.crm.trouble = lambda operation: sent.append(operation)  # type: ignore[func-returns-value]
    world.pass_time(30)
    [lead] = [operation.lead for operation in sent if operation and operation.id == waiting]
    assert (lead.city, lead.email) == ("Izmir", "new@example.com")
    entry, view = services.audit.recent()
    assert (view.what, view.who, view.on) == ("operations.view", "operator", waiting)
    assert (entry.what, entry.who, entry.on, "email" in entry.detail) == (
        "dead_letters.edit", "operator", waiting, True,
    )  # fmt: skip
    assert "example.com" not in entry.detail


def test_a_discarded_one_never_reaches_the_crm_and_frees_those_behind_it(
    call: Call, world: World, services: Any, redis_client: redis.Redis
) -> None:
    held(world)
    first, second = world.apply(1, session="s"), world.click(session="s")
    waits = call("GET", f"{ONE}/{second.id}").json["waits"]
    assert (waits["reason"], waits["operation"], waits["cause"]) == ("operation", first.id, None)
    assert call("DELETE", f"{ONE}/{first.id}", json={"reason": " "}).status_code == 422
    answer = call("DELETE", f"{ONE}/{first.id}", json={"reason": "a test"})
    assert (answer.status_code, answer.json["state"], answer.json["waits"]) == (200, "discarded", None)
    assert "payload" not in {name.decode() for name in redis_client.hkeys(f"{{crmgate}}:op:{first.id}")}
    assert (services.audit.recent()[0].what, services.audit.recent()[0].on) == ("dead_letters.discard", first.id)
    world.crm.trouble = well
    world.pass_time(90)
    assert first.id not in world.crm.records
    assert world.stored(second).state == "delivered"


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_the_routes_of_dead_letters_take_one_that_waits(
    call: Call, world: World, method: str, path: str, body: Any
) -> None:
    [waiting] = held(world)
    shown = call("GET", f"/api/v1/dead-letters/{waiting}")
    assert (shown.status_code, shown.json["waits"]["cause"]) == (200, "outage")
    headers = {"If-Match": shown.headers["ETag"]}
    answer = call(method, f"/api/v1/dead-letters/{waiting}{path}", json=body, headers=headers)
    assert answer.status_code in (200, 202)
    assert world.stored(waiting).events[-1].outcome in ("edited", "released", "discarded")


def test_the_list_has_the_reason_for_each_wait(call: Call, world: World) -> None:
    [waiting] = held(world)
    items = {item["id"]: item for item in call("GET", f"{ONE}?state=waiting").json["items"]}
    assert items[waiting]["waits"]["cause"] == "outage"
    assert {item["waits"] for item in call("GET", "/api/v1/dead-letters").json["items"]} <= {None}


def test_a_token_that_may_only_look_changes_nothing(call: Call, world: World) -> None:
    [waiting] = held(world)
    before = world.stored(waiting)
    for method, path, body in CHANGES:
        assert call(method, f"{ONE}/{waiting}{path}", "reader", json=body, headers=ANY_VERSION).status_code == 403
    assert world.stored(waiting) == before


def test_a_pause_and_its_end(call: Call, world: World, services: Any) -> None:
    assert call("POST", "/api/v1/crm/pause", "reader").status_code == 403
    paused = call("POST", "/api/v1/crm/pause")
    assert (paused.status_code, paused.json["provider"], paused.json["cause"]) == (200, "acme", "paused")
    made = world.apply(inline=True)
    world.pass_time(10)
    assert world.crm.sent == []
    assert call("GET", f"{ONE}/{made.id}").json["waits"]["cause"] == "paused"
    assert call("POST", "/api/v1/crm/pause").json["held"] == 1
    resumed = call("POST", "/api/v1/crm/resume")
    assert (resumed.status_code, resumed.json["cause"], resumed.json["what"]) == (200, None, None)
    world.work()
    assert world.stored(made).state == "delivered"
    changes = [entry.what for entry in services.audit.recent() if entry.what != "operations.view"]
    assert changes == ["crm.resume", "crm.pause", "crm.pause"]


def test_a_resumption_of_another_cause_does_not_claim_that_it_ended(call: Call, world: World) -> None:
    held(world)
    answer = call("POST", "/api/v1/crm/resume")
    assert (answer.status_code, answer.json["cause"]) == (200, "outage")
