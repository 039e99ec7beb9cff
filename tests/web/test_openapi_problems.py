"""Every problem that the OpenAPI document names can happen, and no other."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from crmgate.errors import StillRunning
from crmgate.store.tokens import Scope
from crmgate.web.body import READ_BODY
from crmgate.web.codes import ProblemCode
from tests.web.openapi_gateway import ADMIN, GOOD, SUBMIT, Gateway, crm, down, gateway, published, running

__all__ = ["crm", "down", "gateway", "running"]  # fixtures


# Every status of every route, by what brings it about; what is documented and cannot be brought about fails.

Cause = Callable[[Gateway, Gateway, str, str], Any]
BAD_TOKEN = {"Authorization": "Bearer cg_00000000_" + "x" * 43}


def send(**options: Any) -> Cause:
    return lambda up, _down, path, method: up.ask(path, method, **options)


def twice_with_one_key(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    up.ask(path, method, json=GOOD, headers={"Idempotency-Key": "k"})
    return up.ask(path, method, json={**GOOD, "referral_code": "OTHER"}, headers={"Idempotency-Key": "k"})


def while_it_runs(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(up.parts.gateway), "submit", raising(StillRunning()))
        return up.ask(path, method, json=GOOD)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def one_too_many(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    limited = up.but(RATE_LIMIT_ADDRESS="1/hour", RATE_LIMIT_LOOKUPS="1/hour", RATE_LIMIT_SOURCE="1/hour")
    options = {"json": GOOD} if method == "post" else {}
    limited.ask(path, method, **options)
    return limited.ask(path, method, **options)


def without_redis(_up: Gateway, down: Gateway, path: str, method: str) -> Any:
    return down.ask(path, method, json=GOOD, headers={} if path.startswith("/in/") else BAD_TOKEN)


def cut_off(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    """The environment of gunicorn, which marks the end of the input itself."""
    environ = {"CONTENT_LENGTH": "99", "wsgi.input_terminated": True}
    return up.ask(path, method, data="{", content_type="application/json", environ_overrides=environ)


def with_less(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    return up.ask(path, method, headers=up.token(Scope.READ))


def nowhere(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    at = re.sub(r"{\w+}", "nothing", path)
    return up.ask(path, method, at=at, json={"reason": "x"}, headers={"If-Match": '"1"'})


def of_a_delivered_one(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    up.ids["operation_id"] = up.ask(SUBMIT[0], "post", json=GOOD).json["id"]
    return up.ask(path, method, json={"reason": "x"}, headers={"If-Match": '"1"'})


def of_one_under_way(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    version = up.dead()
    operation = f"{{crmgate}}:op:{up.ids['operation_id']}"
    up.redis.hset(operation, mapping={"state": "delivering", "lease": "L", "lease_until": time.time() + 60})
    return up.ask(path, method, json={"reason": "x"}, headers={"If-Match": version})


def edit(body: dict[str, Any], version: str = "") -> Cause:
    """An edit of a dead letter, by default of its current version."""

    def cause(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
        right = up.dead() if "{operation_id}" in path else ""
        return up.ask(path, method, json=body, headers={"If-Match": version or right} if version != "none" else {})

    return cause


def a_second_job(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    up.dead()
    up.ask(path, method, json={"start": True})
    return up.ask(path, method, json={"start": True})


def with_a_crm_away(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    return up.but(crm_url="http://127.0.0.1:9", **ADMIN).ask(path, method)


CAUSES: dict[ProblemCode, Cause] = {
    ProblemCode.EMPTY_BODY: send(data="", content_type="application/json"),
    ProblemCode.MALFORMED_JSON: send(data="{", content_type="application/json"),
    ProblemCode.MALFORMED_FORM: send(data=b"a=%81", content_type="application/x-www-form-urlencoded"),
    ProblemCode.TOO_DEEP: send(data='{"a":' + "[" * 9 + "]" * 9 + "}", content_type="application/json"),
    ProblemCode.INVALID_IDEMPOTENCY_KEY: send(json=GOOD, headers={"Idempotency-Key": "ğ".encode().decode("latin-1")}),
    ProblemCode.INVALID_QUERY: send(query_string={"accepted_from": "yesterday"}),
    ProblemCode.TOKEN_REQUIRED: send(headers={"Authorization": ""}),
    ProblemCode.INVALID_TOKEN: send(headers=BAD_TOKEN),
    ProblemCode.WRONG_SECRET: send(query_string={"token": "wrong"}),
    ProblemCode.INSUFFICIENT_SCOPE: with_less,
    ProblemCode.NOT_FOUND: nowhere,
    ProblemCode.STILL_RUNNING: while_it_runs,
    ProblemCode.NOT_A_DEAD_LETTER: of_a_delivered_one,
    ProblemCode.UNDER_WAY: of_one_under_way,
    ProblemCode.NOT_CONFIGURED: send(),
    ProblemCode.CRM_FAILED: with_a_crm_away,
    ProblemCode.JOB_RUNNING: a_second_job,
    ProblemCode.CHANGED_MEANWHILE: edit({"city": "İzmir"}, '"99"'),
    ProblemCode.INCOMPLETE_BODY: cut_off,
    ProblemCode.BODY_TOO_LARGE: send(data=b"x" * 70_000, content_type="application/json"),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: send(data="x", content_type="text/plain"),
    ProblemCode.INVALID_BODY: edit({"nothing": "known"}),
    ProblemCode.IDEMPOTENCY_KEY_REUSED: twice_with_one_key,
    ProblemCode.VERSION_REQUIRED: edit({"city": "İzmir"}, "none"),
    ProblemCode.RATE_LIMITED: one_too_many,
    ProblemCode.SERVICE_UNAVAILABLE: without_redis,
}


def documented() -> list[Any]:
    """Path, method and code of every problem that a client can cause."""
    found = []
    for path, method, operation in published().operations():
        for described in operation["responses"].values():
            codes = described.get("content", {}).get("application/problem+json", {}).get("examples", {})
            found += [(path, method, ProblemCode(code)) for code in codes if code != "internal_error"]
    return found


@pytest.mark.parametrize(("path", "method", "code"), documented())
def test_each_documented_problem_can_happen(
    gateway: Gateway, down: Gateway, path: str, method: str, code: ProblemCode
) -> None:
    answer = CAUSES[code](gateway, down, path, method)
    assert (answer.status_code, answer.json["type"]) == (code.status, code.uri)


OF_SUBMISSIONS = (
    *READ_BODY, ProblemCode.INVALID_IDEMPOTENCY_KEY, ProblemCode.STILL_RUNNING, ProblemCode.IDEMPOTENCY_KEY_REUSED,
    ProblemCode.RATE_LIMITED, ProblemCode.SERVICE_UNAVAILABLE,
)  # fmt: skip


@pytest.mark.parametrize("code", OF_SUBMISSIONS)
@pytest.mark.parametrize("path", SUBMIT)
def test_problems_of_submissions_are_documented(gateway: Gateway, down: Gateway, path: str, code: ProblemCode) -> None:
    assert CAUSES[code](gateway, down, path, "post").status_code == code.status


def test_no_problem_is_left_out() -> None:
    """405 belongs to no operation, because it means that there is none, and 421 is that of a wrong address."""
    described = {code for _, _, code in documented()}
    general = {ProblemCode.INTERNAL_ERROR, ProblemCode.METHOD_NOT_ALLOWED, ProblemCode.UNKNOWN_HOST}
    assert described == set(ProblemCode) - general


@pytest.mark.parametrize("path", SUBMIT)
def test_an_unexpected_fault_is_documented_too(gateway: Gateway, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(gateway.parts.gateway), "submit", raising(RuntimeError("a bug")))
    assert gateway.ask(path, "post", json=GOOD).status_code == 500
