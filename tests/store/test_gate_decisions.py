"""The decisions about a provider's gate, as a table: a gate and an event give a gate and an effect."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
import redis

NOW = 1_000.0
RULES = {
    "threshold": 5, "epidemic_after": 5, "most": 32, "first_probe": 5, "probe": 15, "young": 60, "refused_probe": 30,
    "epidemic_probe": 5, "first_epidemic_probe": 1, "limit_first": 1, "limit_growth": 0.3, "limit_most": 900,
    "quiet": 120,
}  # fmt: skip
REFUSAL = "invalid_value lastName"
"""A code and a field, as the ledger writes them."""


def run(client: redis.Redis, call: str, *arguments: Any) -> Any:
    """Run a function of gate.lua."""
    text = files("crmgate.store").joinpath("lua", "gate.lua").read_text()
    script = f"{text}\nlocal a = cjson.decode(ARGV[1])\nreturn cjson.encode({{{call}}})"
    return json.loads(client.eval(script, 0, json.dumps(arguments)))  # type: ignore[arg-type]


def decide(client: redis.Redis, gate: dict[str, Any], what: str, **event: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    defaults = {"now": NOW, "credentials": "key", "id": "this", "answered": True, "refusal": REFUSAL, "began": NOW - 1}
    after, effect = run(client, "decide(a[1], a[2], a[3])", gate, defaults | {"what": what} | event, RULES)
    return dict(after), dict(effect)


def is_shut(client: redis.Redis, gate: dict[str, Any], credentials: str = "key") -> bool:
    [answer] = run(client, "is_shut(a[1], a[2], a[3])", gate, NOW, credentials)
    return bool(answer)


def cap_times(client: redis.Redis, gate: dict[str, Any]) -> dict[str, Any]:
    [after] = run(client, "cap_times(a[1], a[2], a[3])", gate, NOW, RULES)
    return dict(after)


def next_probe(client: redis.Redis, gate: dict[str, Any], doubtful: bool = False) -> list[Any]:
    # cjson leaves nil out of an array, so that "nothing to do" is an empty answer
    found = run(client, "next_probe(a[1], a[2], a[3], a[4], a[5])", gate, NOW, "key", doubtful, RULES)
    return list(found)


OPEN: dict[str, Any] = {}
OUTAGE = {"cause": "outage", "since": "900", "until": "990", "window": "1", "failures": "5", "incident": "outage"}
REFUSED = {
    "cause": "refused", "since": "900", "until": "990", "by": "key", "confirmed": "1", "incident": "refused",
}  # fmt: skip
UNCONFIRMED = {"cause": "refused", "since": "900", "until": "990", "by": "key"}
LIMITED = {"cause": "limited", "since": "900", "until": "990", "limited_since": "900"}
EPIDEMIC = {
    "cause": "epidemic", "since": "900", "until": "990", "reason": REFUSAL, "refusal": REFUSAL,
    "streak": "a b c d e", "incident": "epidemic",
}  # fmt: skip
PAUSED = {"cause": "paused", "since": "900", "until": "900"}
FOUR = {"refusal": REFUSAL, "streak": "a b c d"}

CAUSES = [
    # what happens to an open gate
    pytest.param(OPEN, "delivered", {}, None, {}, id="a delivery leaves it open"),
    pytest.param({"failures": "3"}, "unavailable", {}, None, {}, id="the fourth failure in a row leaves it open"),
    pytest.param(
        {"failures": "4"}, "unavailable", {}, "outage", {"shut": "outage", "hold": True, "announce": "paused"},
        id="the fifth failure in a row is an outage",
    ),
    pytest.param(
        OPEN, "login_refused", {}, "refused", {"shut": "refused", "hold": True, "confirm": True},
        id="refused credentials shut it at once, unconfirmed and unannounced",
    ),
    pytest.param(
        {"vouched_at": "950"}, "login_refused", {"refused_at": 940.0}, None, {"dead": True},
        id="refused again after a connection test passed: the record is refused",
    ),
    pytest.param(
        {"vouched_at": "930"}, "login_refused", {"refused_at": 940.0}, "refused",
        {"shut": "refused", "hold": True, "confirm": True}, id="a connection test before the refusal proves nothing",
    ),
    pytest.param(OPEN, "limited", {}, "limited", {"shut": "limited", "hold": True}, id="a rate limit shuts it"),
    pytest.param(OPEN, "refusal", {}, None, {"dead": True}, id="one refused record leaves it open"),
    pytest.param(
        {"refusal": REFUSAL, "streak": "a b c"}, "refusal", {}, None, {"dead": True}, id="four different ones, too"
    ),
    pytest.param(
        FOUR, "refusal", {}, "epidemic",
        {"shut": "epidemic", "hold": True, "returning": ["a", "b", "c", "d"], "announce": "paused"},
        id="the fifth different one in a row is an epidemic, and the other four return",
    ),
    pytest.param(FOUR, "refusal", {"id": "d"}, None, {"dead": True}, id="the same operation again does not count"),
    pytest.param(FOUR, "refusal", {"refusal": "x"}, None, {"dead": True}, id="another refusal begins another row"),
    pytest.param(FOUR, "refusal", {"refusal": ""}, None, {"dead": True}, id="a missing record begins no row"),
    pytest.param(OPEN, "probe_passed", {}, None, {}, id="a passing test leaves it open"),
    pytest.param(
        OPEN, "probe_refused", {}, "refused", {"shut": "refused", "announce": "paused"},
        id="credentials that the test finds refused are announced",
    ),
    pytest.param(OPEN, "probe_failed", {}, None, {}, id="a failing test alone is no outage"),
    pytest.param(OPEN, "pause", {}, "paused", {"shut": "paused"}, id="an operator pauses it"),
    # what ends an outage
    pytest.param(OUTAGE, "delivered", {}, None, {"opened": "outage", "announce": "recovered"}, id="a delivery"),
    pytest.param(OUTAGE, "probe_passed", {}, None, {"opened": "outage"}, id="a passing test, without a word"),
    pytest.param(OUTAGE, "probe_failed", {}, "outage", {}, id="not a failing one"),
    pytest.param(OUTAGE, "refusal", {}, None, {"opened": "outage", "dead": True}, id="an answer, also a refusal"),
    pytest.param(
        OUTAGE, "refusal", {"answered": False}, "outage", {"dead": True}, id="not a fault of the plugin's own"
    ),
    pytest.param(
        OUTAGE, "probe_refused", {}, "refused", {"shut": "refused", "announce": "paused"},
        id="back with another key: refused, and announced",
    ),
    pytest.param(OUTAGE, "unavailable", {}, "outage", {"hold": True}, id="a further failure is no second message"),
    pytest.param(
        {"incident": "outage", "failures": "4"}, "unavailable", {}, "outage", {"shut": "outage", "hold": True},
        id="half-open: one failure shuts it again, without a second message",
    ),
    # what ends refused credentials
    pytest.param(REFUSED, "delivered", {}, None, {"opened": "refused", "announce": "recovered"}, id="a delivered one"),
    pytest.param(REFUSED, "refusal", {}, None, {"opened": "refused", "dead": True}, id="a refused field"),
    pytest.param(REFUSED, "probe_passed", {}, None, {"opened": "refused"}, id="a test that passes"),
    pytest.param(REFUSED, "probe_failed", {}, "refused", {}, id="not a test without an answer"),
    pytest.param(
        UNCONFIRMED, "probe_failed", {}, "outage", {"shut": "outage", "announce": "paused"},
        id="an unconfirmed refusal of a CRM that is away is an outage",
    ),
    pytest.param(UNCONFIRMED, "probe_refused", {}, "refused", {"announce": "paused"}, id="confirmed and announced"),
    pytest.param(REFUSED, "login_refused", {}, "refused", {"hold": True}, id="refused again"),
    pytest.param(
        REFUSED, "login_refused", {"credentials": "other"}, "refused", {"hold": True, "confirm": True},
        id="other credentials, refused as well, are tested",
    ),
    pytest.param(REFUSED, "unavailable", {}, "refused", {"hold": True}, id="no outage meanwhile"),
    # what ends a rate limit
    pytest.param(LIMITED, "delivered", {}, None, {"opened": "limited"}, id="a delivery ends a limit"),
    pytest.param(LIMITED, "refusal", {}, None, {"opened": "limited", "dead": True}, id="an answer ends a limit"),
    pytest.param(LIMITED, "limited", {}, "limited", {"hold": True}, id="limited again"),
    pytest.param(LIMITED, "probe_passed", {}, "limited", {}, id="a test says nothing about a limit"),
    # what ends an epidemic
    pytest.param(EPIDEMIC, "delivered", {}, None, {"opened": "epidemic", "announce": "recovered"}, id="a good lead"),
    pytest.param(EPIDEMIC, "refusal", {}, "epidemic", {"hold": True}, id="a refused probe keeps waiting"),
    pytest.param(EPIDEMIC, "refusal", {"refusal": "other"}, "epidemic", {"hold": True}, id="whatever its refusal"),
    pytest.param(EPIDEMIC, "refusal", {"refusal": ""}, "epidemic", {"dead": True}, id="but not a missing record"),
    pytest.param(EPIDEMIC, "limited", {}, "epidemic", {"hold": True}, id="limited during an epidemic"),
    pytest.param(EPIDEMIC, "probe_passed", {}, "epidemic", {}, id="a test says nothing about what is refused"),
    # an operator's pause ends only by the operator
    pytest.param(PAUSED, "delivered", {}, "paused", {}, id="a delivery that was under way leaves the pause"),
    pytest.param(PAUSED, "probe_refused", {}, "paused", {}, id="a pause stays a pause: refused"),
    pytest.param(PAUSED, "login_refused", {}, "paused", {"hold": True}, id="a pause stays a pause: login"),
    pytest.param(PAUSED, "limited", {}, "paused", {"hold": True}, id="a pause stays a pause: limited"),
    pytest.param(PAUSED, "unavailable", {}, "paused", {"hold": True}, id="a pause stays a pause: unavailable"),
    pytest.param(PAUSED, "resume", {}, None, {"opened": "paused"}, id="resume ends it"),
    pytest.param(OUTAGE, "resume", {}, "outage", {}, id="resume does not claim that a CRM is back"),
    pytest.param(OUTAGE, "pause", {}, "paused", {"shut": "paused"}, id="an operator may pause during an outage"),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "what", "event", "cause", "effect"), CAUSES)
def test_the_cause_after_an_event(
    redis_client: redis.Redis,
    gate: dict[str, Any],
    what: str,
    event: dict[str, Any],
    cause: str | None,
    effect: dict[str, Any],
) -> None:
    after, found = decide(redis_client, gate, what, **event)
    assert (after.get("cause"), found) == (cause, effect)


def test_an_open_gate_keeps_nothing_of_what_shut_it(redis_client: redis.Redis) -> None:
    for gate in (OUTAGE, REFUSED, LIMITED, EPIDEMIC):
        after, _ = decide(redis_client, gate, "delivered")
        assert set(after) == {"verified", "healthy_at", "opened_at"} | ({"window"} if "window" in gate else set())


@pytest.mark.parametrize(
    ("gate", "event", "until"),
    [
        pytest.param(OPEN, {"wait": 75}, NOW + 75, id="until the CRM's own time"),
        pytest.param(OPEN, {"wait": 7200}, NOW + 900, id="15 minutes at most"),
        pytest.param(OPEN, {}, NOW + 1, id="a second at first"),
        pytest.param(LIMITED, {}, NOW + 30, id="after 100 s another 30 s"),
        pytest.param(LIMITED | {"limited_since": "-9000"}, {}, NOW + 900, id="after hours 15 minutes"),
        pytest.param(EPIDEMIC, {"wait": 75}, NOW + 75, id="holds back the probes of an epidemic"),
    ],
)
def test_how_long_a_rate_limit_holds(
    redis_client: redis.Redis, gate: dict[str, Any], event: dict[str, Any], until: float
) -> None:
    after, _ = decide(redis_client, gate, "limited", **event)
    assert float(after["until"]) == until


def test_an_outage_of_several_rounds_is_one_pause_and_one_recovery(redis_client: redis.Redis) -> None:
    """A POST fails while the connection test passes: the gate opens and shuts, and listeners hear of it once."""
    gate: dict[str, Any] = {}
    heard = []
    for what in ["unavailable"] * 5 + ["probe_passed", "unavailable"] * 4 + ["probe_passed", "delivered"]:
        gate, effect = decide(redis_client, gate, what)
        if "announce" in effect:
            heard.append(effect["announce"])
    assert heard == ["paused", "recovered"]


@pytest.mark.parametrize(
    ("gate", "announced"),
    [
        pytest.param({"incident": "outage", "failed_at": "870", "vouched_at": "990"}, True, id="quiet"),
        pytest.param({"incident": "outage", "opened_at": "890", "vouched_at": "990"}, False, id="opened a moment ago"),
        pytest.param({"incident": "outage", "failed_at": "890", "vouched_at": "990"}, False, id="not for long enough"),
        pytest.param({"incident": "outage", "failed_at": "800", "vouched_at": "700"}, False, id="no test passed since"),
        pytest.param({"vouched_at": "990"}, False, id="nothing to announce"),
        pytest.param(OUTAGE | {"failed_at": "800", "vouched_at": "990"}, False, id="still shut"),
    ],
)  # fmt: skip
def test_an_incident_ends_after_two_quiet_minutes(
    redis_client: redis.Redis, gate: dict[str, Any], announced: bool
) -> None:
    _, effect = decide(redis_client, gate, "quiet")
    assert effect == ({"announce": "recovered"} if announced else {})


@pytest.mark.parametrize(
    ("gate", "shut"),
    [
        pytest.param(OPEN, False, id="open"),
        pytest.param(OUTAGE, True, id="an outage, whatever the time"),
        pytest.param(PAUSED, True, id="a pause, whatever the time"),
        pytest.param(REFUSED, True, id="refused credentials, whatever the time"),
        pytest.param(REFUSED | {"by": "earlier"}, False, id="other credentials than those refused"),
        pytest.param(LIMITED, False, id="a limit whose time has come: a probe"),
        pytest.param(LIMITED | {"until": "1001"}, True, id="a limit"),
        pytest.param(EPIDEMIC, False, id="an epidemic whose time has come: a probe"),
        pytest.param(EPIDEMIC | {"until": "1001"}, True, id="an epidemic"),
    ],
)
def test_whether_an_operation_may_be_sent(redis_client: redis.Redis, gate: dict[str, Any], shut: bool) -> None:
    assert is_shut(redis_client, gate) is shut


@pytest.mark.parametrize(
    ("gate", "doubtful", "expected"),
    [
        pytest.param(OPEN, False, [], id="nothing"),
        pytest.param(OPEN, True, ["test", NOW + 15], id="dead letters could return"),
        pytest.param({"incident": "outage"}, False, ["test", NOW + 15], id="an incident is not over"),
        pytest.param({"failures": "1", "probe_at": "1001"}, False, [], id="tested a moment ago"),
        pytest.param(OUTAGE | {"since": "990"}, False, ["test", NOW + 5], id="a young outage"),
        pytest.param(OUTAGE, False, ["test", NOW + 15], id="an outage"),
        pytest.param(OUTAGE | {"until": "1001"}, False, [], id="an outage, later"),
        pytest.param(REFUSED, False, ["test", NOW + 30], id="refused credentials"),
        pytest.param(REFUSED | {"by": "earlier"}, False, ["operation"], id="other credentials"),
        pytest.param(LIMITED, False, ["operation"], id="a limit"),
        pytest.param(EPIDEMIC, False, ["operation"], id="an epidemic"),
        pytest.param(PAUSED, False, [], id="a pause"),
    ],
)
def test_what_a_sweep_does(
    redis_client: redis.Redis, gate: dict[str, Any], doubtful: bool, expected: list[Any]
) -> None:
    assert next_probe(redis_client, gate, doubtful) == expected


FUTURE = str(NOW + 3600)
PAST = ("since", "failed_at", "limited_since", "vouched_at", "healthy_at", "opened_at", "tokens_at")


@pytest.mark.parametrize(
    ("cause", "longest"), [("outage", 30), ("refused", 30), ("limited", 900), ("epidemic", 900)]
)  # fmt: skip
def test_times_ahead_of_a_clock_that_was_set_back_are_shortened(
    redis_client: redis.Redis, cause: str, longest: int
) -> None:
    gate = {"cause": cause, "until": FUTURE, "probe_at": FUTURE, "failures": "7", **dict.fromkeys(PAST, FUTURE)}
    capped = {"until": NOW + longest, "probe_at": NOW + 15, **dict.fromkeys(PAST, NOW)}
    assert cap_times(redis_client, gate) == gate | capped


def test_times_that_can_be_right_stay(redis_client: redis.Redis) -> None:
    gate = {"cause": "limited", "until": str(NOW + 900), "since": "900", "limited_since": "900", "tokens": "-3.5"}
    assert cap_times(redis_client, gate) == gate
