"""`/api/v1/stats`, `/api/v1/causes` and the edit of many dead letters, on a real ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from crmgate.operators.numbers import Numbers
from crmgate.store.tallies import DAY
from tests.dead_letters import add_dead_letters
from tests.web.test_auth import bearer
from tests.web.test_dead_letters import DEAD, Call, call, services
from tests.world import World

__all__ = ["call", "services"]  # fixtures

STATS, CAUSES, EDITS, DISCARDS = "/api/v1/stats", "/api/v1/causes", f"{DEAD}/edits", f"{DEAD}/discards"
NOTHING = {"accepted": 0, "delivered": 0, "dead": 0, "clicks": 0, "applied": 0}


@pytest.fixture(autouse=True)
def _numbers(services: Any, world: World) -> None:
    services.numbers = Numbers(world.redis, world.clock)


def test_the_routes_take_a_token_of_their_scope(client: FlaskClient, call: Call) -> None:
    for method, path in (("GET", STATS), ("GET", CAUSES), ("POST", EDITS), ("POST", DISCARDS)):
        assert client.open(path, method=method).status_code == 401
        assert (call(method, path, "reader").status_code == 403) is (method == "POST")


def test_the_figures_by_day_and_value(call: Call, world: World) -> None:
    world.apply(1, source="fair", email="canary@example.com")
    world.click(referral_code="ADA")
    world.work()
    world.now += DAY
    world.apply(2, source="=1+1")
    answer = call("GET", f"{STATS}?since=2027-01-14&until=2027-01-16", "reader")
    assert "canary" not in answer.text
    found = answer.json
    assert (found["since"], found["until"], found["by"]) == ("2027-01-14", "2027-01-16", "source")
    assert found["items"] == [
        NOTHING | {"day": "2027-01-15", "value": "fair", "accepted": 1, "delivered": 1},
        NOTHING | {"day": "2027-01-16", "value": "=1+1", "accepted": 1},
    ]
    assert found["values"] == [
        NOTHING | {"value": "=1+1", "accepted": 1}, NOTHING | {"value": "fair", "accepted": 1, "delivered": 1},
    ]  # fmt: skip
    assert [day["accepted"] + day["clicks"] for day in found["days"]] == [0, 2, 1]
    assert len(found["hours"]) == 24
    assert (found["hours"][-1]["at"], found["hours"][-1]["accepted"]) == ("2027-01-16T08:00:00.000Z", 1)
    by_channel = call("GET", f"{STATS}?by=channel").json
    assert [(each["value"], each["clicks"]) for each in by_channel["values"]] == [("telegram", 1)]
    assert len(by_channel["days"]) == 30
    sheet = call("GET", f"{STATS}?format=csv&since=2027-01-16", "reader")
    assert sheet.mimetype == "text/csv"
    assert sheet.text.splitlines() == [
        "day,value,accepted,delivered,dead,clicks,applied", "2027-01-16,'=1+1,1,0,0,0,0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("since=yesterday", "since"), ("until=2027-02-30", "until"), ("by=email", "by"), ("format=xml", "format"),
        ("days=3", "days"), ("since=2027-01-15&until=2027-01-14", "since"), ("since=2020-01-01", "since"),
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_used_is_reported(call: Call, query: str, name: str) -> None:
    answer = call("GET", f"{STATS}?{query}")
    assert (answer.status_code, [error["field"] for error in answer.json["errors"]]) == (400, [name])


def test_the_whole_time_that_is_kept_can_be_asked_for(call: Call, services: Any) -> None:
    since = services.numbers.today() - timedelta(days=399)
    assert len(call("GET", f"{STATS}?since={since}").json["days"]) == 400


def test_the_causes_with_their_remedy(call: Call, world: World) -> None:
    add_dead_letters(world.ledger, 2, field="source")
    found = call("GET", CAUSES, "reader").json
    [cause] = found["items"]
    assert "source" in cause.pop("remedy")
    assert cause == {
        "provider": "acme", "code": "invalid_value", "field": "source", "count": 2,
        "oldest": "2027-01-15T08:00:00.000Z",
    }  # fmt: skip
    assert (found["dead_letters"], found["indexed"]) == (2, 2)


def test_lists_jobs_and_exports_take_the_field_and_the_message(call: Call, world: World, services: Any) -> None:
    [wanted] = add_dead_letters(world.ledger, field="source")
    add_dead_letters(world.ledger, field="email")
    for query in ("field=source", "field=source&detail=REFUSES"):
        assert [item["id"] for item in call("GET", f"{DEAD}?{query}").json["items"]] == [wanted]
    assert call("GET", f"{DEAD}?detail=accepts").json["items"] == []
    assert call("GET", f"/api/v1/operations?tracking_code={wanted[:8]}").json["items"][0]["id"] == wanted
    assert len(call("GET", f"{DEAD}/export?field=source&format=jsonl").text.splitlines()) == 1
    preview = call("POST", f"{DEAD}/retries", json={"filter": {"field": "source"}}).json
    assert (preview["count"], preview["filter"]["field"]) == (1, "source")
    call("POST", f"{DEAD}/retries", json={"filter": preview["filter"], "start": True})
    while services.desk.retries.step() is not None:
        world.work()
    assert world.crm.records.keys() == {wanted}


def test_many_are_edited_after_a_preview(call: Call, world: World) -> None:
    made = add_dead_letters(world.ledger, 120, field="source", source="fair", step=0.1)
    wanted = {"filter": {"field": "source"}, "changes": {"source": "website"}}
    preview = call("POST", EDITS, json=wanted).json
    assert (preview["count"], preview["exact"], preview["refused"]) == (120, True, 0)
    assert (preview["example"]["before"]["source"], preview["example"]["after"]["source"]) == ("fair", "website")
    assert world.stored(made[0]).payload["source"] == "fair"
    body = {"filter": preview["filter"], "changes": wanted["changes"], "start": True}
    first = call("POST", EDITS, json=body).json
    assert (first["edited"], first["refused"]) == (100, 0)
    second = call("POST", EDITS, json=body | {"cursor": first["next"]}).json
    assert (second["edited"], second["next"]) == (20, None)
    assert {world.stored(each).payload["source"] for each in made} == {"website"}


def test_a_refused_change_names_the_field(call: Call, world: World) -> None:
    add_dead_letters(world.ledger, field="source")
    preview = call("POST", EDITS, json={"changes": {"email": "nowhere"}}).json
    assert (preview["refused"], preview["example"]) == (1, None)
    assert [error["field"] for error in preview["errors"]] == ["email"]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "changes"), ({"changes": []}, "changes"), ({"changes": {}}, "changes"),
        ({"changes": {"city": "x"}, "filter": [1]}, "filter"), ({"changes": {"city": "x"}, "start": 1}, "start"),
        ({"changes": {"city": "x"}, "cursor": "x"}, "cursor"), ({"changes": {"city": "x"}, "all": True}, "all"),
        ({"changes": {"city": "x"}, "filter": {"code": "x"}}, "filter.code"),
        ({"changes": {"city": "x"}, "filter": {"state": "suspect"}}, "filter.state"),
    ],
)  # fmt: skip
def test_an_ambiguous_edit_is_refused(call: Call, body: Any, name: str) -> None:
    answer = call("POST", EDITS, json=body)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, name)


def test_many_are_discarded_after_a_preview(call: Call, world: World) -> None:
    made = add_dead_letters(world.ledger, 120, code="duplicate", step=0.1)
    [other] = add_dead_letters(world.ledger)
    body: dict[str, Any] = {"filter": {"code": "duplicate"}, "reason": " Sent twice. "}
    preview = call("POST", DISCARDS, json=body).json
    assert (preview["count"], preview["exact"]) == (120, True)
    assert world.ledger.stats()["dead_letters"] == 121
    body |= {"filter": preview["filter"], "start": True}
    first = call("POST", DISCARDS, json=body).json
    assert (first["discarded"], first["skipped"]) == (100, 0)
    assert call("POST", DISCARDS, json=body | {"cursor": first["next"]}).json == {
        "discarded": 20, "skipped": 0, "next": None,
    }  # fmt: skip
    gone = {(each.state, each.events[-1].detail, *each.payload) for each in map(world.stored, made)}
    assert gone == {("discarded", "Sent twice.")}
    assert world.stored(other).state == "dead"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "reason"), ({"reason": " "}, "reason"), ({"reason": "x" * 301}, "reason"), ({"reason": 1}, "reason"),
        ({"reason": "x", "start": "yes"}, "start"), ({"reason": "x", "filter": {"code": "x"}}, "filter.code"),
        ({"reason": "x", "cursor": "x"}, "cursor"), ({"reason": "x", "all": True}, "all"),
    ],
)  # fmt: skip
def test_an_ambiguous_discard_is_refused(call: Call, world: World, body: Any, name: str) -> None:
    add_dead_letters(world.ledger)
    answer = call("POST", DISCARDS, json=body)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, name)
    assert world.ledger.stats()["dead_letters"] == 1


def test_the_figures_are_not_for_the_public(client: FlaskClient) -> None:
    assert client.get(STATS, headers=bearer("wrong")).status_code == 401
