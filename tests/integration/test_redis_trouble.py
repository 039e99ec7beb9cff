"""Redis full, read-only, slow or with another password: every success is true, and no lead comes twice.

The CRM is Bitrix24, which has no unique key, with CRM_ON_DUPLICATE=create: an operation sent twice makes two leads.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import requests

from crmgate.model import State
from crmgate.store.keys import REWRITE, WAKE_LIST
from crmgate.store.wakeups import wake_message
from tests.integration.redis_servers import somebody
from tests.integration.stack import Stack
from tests.processes import DEADLINE, Process, wait_until

TIMEOUT = 2.0
QUEUED = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {
        "REDIS_TIMEOUT": str(TIMEOUT),
        "CRM_ON_DUPLICATE": "create",
        "TELEGRAM_URL": "https://t.me/example_bot",
    }
    with Stack(tmp_path_factory.mktemp("stack"), "bitrix", web_workers=1, **settings) as stack:
        yield stack.start()


@pytest.fixture
def server(stack: Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stack.redis.url) as client:
        yield client


def titles(stack: Stack) -> list[str]:
    return [str(lead["title"]) for lead in stack.bitrix.records()["lead"]]


def title(body: dict[str, Any]) -> str:
    info = body["personal_info"]
    return f"Lead - {info['first_name']} {info['last_name']}"


def readiness(stack: Stack) -> dict[str, str]:
    """Problems that `/readyz` reports."""
    answer = requests.get(f"{stack.url}/readyz", timeout=DEADLINE)
    wrong = {check["name"]: check["detail"] for check in answer.json()["checks"] if not check["ok"]}
    assert (answer.status_code == 503) == bool({"redis", "worker"} & wrong.keys()), answer.text
    return wrong


def works(stack: Stack) -> None:
    """A lead goes all the way again."""
    stack.wait_for(stack.submit_queued(somebody()), "delivered")


def assert_only_the_crm_confirms(stack: Stack) -> None:
    """Redis accepts no writes: only a confirmation of the CRM is a success, inline or queued."""
    before, bodies = titles(stack), [somebody(), somebody()]
    assert stack.post(bodies[0]).status_code == 201
    assert stack.post(bodies[1], headers=QUEUED).status_code == 201
    assert sorted(titles(stack)) == sorted([*before, *map(title, bodies)])
    stack.bitrix.stop()
    refused = [stack.post(somebody(), headers=headers) for headers in ({}, QUEUED)]
    stack.bitrix.start()
    assert [answer.status_code for answer in refused] == [503, 503]
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)


@contextmanager
def full(server: redis.Redis) -> Iterator[None]:
    server.config_set("maxmemory", 1)
    try:
        yield
    finally:
        server.config_set("maxmemory", 0)


@contextmanager
def stopped(stack: Stack) -> Iterator[None]:
    """Redis stands still; what it is sent meanwhile waits in its socket: connection and scripts are there already."""
    works(stack)
    with suspended(stack.redis):
        yield


@contextmanager
def suspended(process: Process) -> Iterator[None]:
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def test_a_full_redis_is_reported_and_nothing_is_promised(stack: Stack, server: redis.Redis) -> None:
    with full(server):
        assert readiness(stack)["redis"] == "Redis accepts no writes. OOM: its memory is full: raise its maxmemory."
        assert_only_the_crm_confirms(stack)
    assert "the ledger is unavailable (OOM: its memory is full: raise its maxmemory)" in stack.web.output()
    works(stack)


def used_memory(server: redis.Redis) -> int:
    """Used bytes, after the daily rewrite of the append-only file, which has a buffer of 10 MB."""

    def is_rewritten() -> bool:
        return server.get(REWRITE) == b"done" and not server.info("persistence")["aof_rewrite_in_progress"]

    wait_until("the append-only file is rewritten", is_rewritten)
    return int(server.info("memory")["used_memory"])


@contextmanager
def room_for(server: redis.Redis, size: int) -> Iterator[None]:
    """Redis has room for `size` more bytes."""
    server.config_set("maxmemory", used_memory(server) + size)
    try:
        yield
    finally:
        server.config_set("maxmemory", 0)


def test_submissions_that_fill_redis_are_refused_at_its_limit_and_none_is_lost(
    stack: Stack, server: redis.Redis
) -> None:
    stack.bitrix.stop()
    accepted: list[dict[str, Any]] = []
    with room_for(server, 500_000), suspended(stack.worker):  # no failed attempts: nothing waits for the CRM later
        for _ in range(100):
            body = somebody() | {f"answer{number}": "x" * 1000 for number in range(20)}
            answer = stack.post(body, headers=QUEUED)
            if answer.status_code != 202:
                break
            accepted.append(answer.json() | {"title": title(body)})
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        # There may still be room for the small write of the check.
        assert {"redis", "redis_memory"} & readiness(stack).keys()
        stack.bitrix.start()
    assert len(accepted) > 3
    for operation in accepted:
        stack.wait_for(operation["id"], State.DELIVERED)
    assert all(titles(stack).count(operation["title"]) == 1 for operation in accepted)


def test_no_route_accepts_anything_while_redis_is_full(stack: Stack, server: redis.Redis) -> None:
    click = {"channel": "telegram", "referral_code": "REF"}
    with full(server):
        stack.bitrix.stop()
        application, event, form, suspect = (
            requests.post(f"{stack.url}/api/v1/{path}", timeout=DEADLINE, **body)
            for path, body in (
                ("applications", {"json": somebody()}),
                ("messenger-events", {"json": click}),
                ("applications", {"data": {"first_name": "Ada", "email": "ada@example.com"}}),
                ("applications", {"json": somebody() | {"_hp": "a robot"}}),
            )
        )
        for answer in (application, event, form, suspect):
            assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True), answer.text
        stack.bitrix.start()
        before = stack.ledger.stats()["accepted"]
        link = requests.get(f"{stack.url}/go/telegram?session=s1", allow_redirects=False, timeout=DEADLINE)
        assert link.status_code == 302, "the visitor gets to the messenger"
        assert "Clicks cannot be recorded" in readiness(stack)["clicks"]
    wait_until("the click is recorded when there is room", lambda: stack.ledger.stats()["accepted"] == before + 1)


def test_a_nearly_full_redis_is_reported_before_it_refuses_anything(stack: Stack, server: redis.Redis) -> None:
    used = used_memory(server)
    wait_until("the worker is seen", lambda: not readiness(stack))
    with room_for(server, used // 8):
        wrong = readiness(stack)["redis_memory"]
        assert wrong.endswith("% of maxmemory is in use: raise maxmemory. A full Redis accepts no submissions.")
        works(stack)


def test_a_full_redis_still_delivers_its_operations(stack: Stack, server: redis.Redis) -> None:
    stack.bitrix.stop()
    waiting = [stack.submit(somebody(), 202) for _ in range(3)]
    with full(server):
        stack.bitrix.start()
        for operation_id in waiting:
            stack.wait_for(operation_id, "delivered")
    assert len(titles(stack)) == len(set(titles(stack)))


def test_a_read_only_redis_is_reported_and_nothing_is_promised(stack: Stack, server: redis.Redis) -> None:
    server.replicaof("127.0.0.1", 1)
    try:
        assert readiness(stack)["redis"].startswith(
            "Redis accepts no writes. READONLY: it is a read-only replica: name"
        )
        assert_only_the_crm_confirms(stack)
    finally:
        server.replicaof("NO", "ONE")
    works(stack)


def test_what_could_lose_data_is_reported_at_the_start_and_by_readyz(stack: Stack, server: redis.Redis) -> None:
    server.config_set("maxmemory-policy", "allkeys-lru")
    server.config_set("appendonly", "no")
    try:
        wait_until("the worker is seen again", lambda: "worker" not in readiness(stack))
        wrong = readiness(stack)
        assert wrong.keys() == {"redis_eviction", "redis_persistence"}
        assert "set maxmemory-policy to noeviction, it is allkeys-lru" in wrong["redis_eviction"]
        assert "would lose every submission that waits: set appendonly to yes" in wrong["redis_persistence"]
        stack.web.kill()
        stack.start_web()
        stack.worker.stop()
        stack.start_worker()
        for process, name in itertools.product((stack.web, stack.worker), wrong):
            line = f"{name}: {wrong[name]}"
            wait_until(f"{process.name} logs it", lambda process=process, line=line: line in process.output())  # type: ignore[misc]
    finally:
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("appendonly", "yes")


def test_a_queued_submission_that_a_slow_redis_may_have_is_not_sent_by_the_web(stack: Stack) -> None:
    body = somebody()
    with stopped(stack):
        answer = stack.post(body, headers=QUEUED)
    assert answer.status_code == 503, "it was not confirmed"
    wait_until("the worker has delivered what Redis had in its socket", lambda: title(body) in titles(stack))
    again = stack.post(body, headers=QUEUED)
    assert again.status_code in (201, 202)
    stack.wait_for(again.json()["id"], "delivered")
    assert titles(stack).count(title(body)) == 1


def test_an_inline_submission_that_a_slow_redis_may_have_makes_one_lead(stack: Stack, server: redis.Redis) -> None:
    body = somebody()
    with stopped(stack):
        answer = stack.post(body)
    assert answer.status_code == 201, "the CRM has confirmed it"
    operation_id = answer.json()["id"]
    wait_until("Redis has carried out what was in its socket", lambda: stack.ledger.get(operation_id))
    end_lease(server, operation_id)
    operation = stack.wait_for(operation_id, "delivered")
    assert operation.delivered is not None
    assert operation.delivered.adopted
    assert titles(stack).count(title(body)) == 1


def end_lease(server: redis.Redis, operation_id: str) -> None:
    server.hset(f"{{crmgate}}:op:{operation_id}", "lease_until", "1")
    server.lpush(WAKE_LIST, wake_message(operation_id))


def test_a_redis_that_pauses_shorter_than_the_timeout_is_not_noticed(stack: Stack, server: redis.Redis) -> None:
    server.client_pause(int(TIMEOUT / 4 * 1000))
    operation_id = stack.submit_queued(somebody())
    stack.wait_for(operation_id, State.DELIVERED)


def test_a_wrong_password_is_reported_by_its_setting(stack: Stack) -> None:
    stack.web.kill()
    stack.start_web(REDIS_URL=stack.redis.url.replace("@", "x@"))
    try:
        remedy = "WRONGPASS: it refuses the login: correct REDIS_USERNAME and REDIS_PASSWORD, or those in REDIS_URL"
        assert readiness(stack)["redis"] == f"Redis accepts no writes. {remedy}."
        assert_only_the_crm_confirms(stack)
        assert f"the ledger is unavailable ({remedy})" in stack.web.output()
        assert stack.redis.url.split("@")[0] not in stack.web.output()
    finally:
        stack.web.kill()
        stack.start_web()
