"""What happens to a submission when the CRM, Redis or the worker is away."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import pytest
import redis
import requests

from crmgate.model import Operation
from crmgate.testing.server import Request
from tests.integration.stack import Stack, emails, person
from tests.processes import DEADLINE, Process, wait_until


@pytest.fixture
def command_stack(own_stack: Stack) -> Stack:
    """A gateway for a test that kills or stops the worker, which its command starts. Not started yet."""
    own_stack.worker_kind = Process
    return own_stack


def started(stack: Stack) -> Stack:
    return stack.start()


def leads(stack: Stack) -> list[dict[str, object]]:
    return stack.espocrm.leads


def posts(stack: Stack) -> list[Request]:
    return [each for each in stack.espocrm.requests if each.method == "POST" and each.path.endswith("/Lead")]


def counted(operation: Operation) -> list[str]:
    return [attempt.outcome for attempt in operation.events]


def test_a_crm_that_comes_back_gets_the_lead(stack: Stack) -> None:
    stack.espocrm.stop()
    response = stack.post(person(1))
    assert response.status_code == 202
    assert response.json()["status"] == "waiting"
    stack.espocrm.start()
    operation = stack.wait_for(response.json()["id"], "delivered")
    assert counted(operation) == ["failed", "delivered"]


def test_a_visitor_waits_for_a_hanging_crm_no_longer_than_the_budget(own_stack: Stack) -> None:
    own_stack.env |= {"CRM_INLINE_BUDGET": "1.5", "CRM_TIMEOUT": "30"}
    stack = started(own_stack)
    stack.espocrm.fail("hang", method="POST", times=1)
    begun = time.monotonic()
    operation_id = stack.submit(person(2), 202)
    assert 1.4 <= time.monotonic() - begun < 30, "the time limit is the budget's and not that of one request"
    stack.wait_for(operation_id, "delivered")


def test_a_lead_that_was_stored_without_an_answer_is_adopted(stack: Stack) -> None:
    before = stack.emails
    stack.espocrm.fail("drop", when="after", method="POST", times=1)
    operation_id = stack.submit(person(3), 202)
    operation = stack.wait_for(operation_id, "delivered")
    assert operation.delivered is not None
    assert operation.delivered.adopted
    assert stack.emails == sorted([*before, "test3@example.com"])


def test_a_long_outage_leaves_a_dead_letter_with_its_payload(own_stack: Stack) -> None:
    own_stack.env["CRM_RETRY_DELAYS"] = "1,3,5"
    stack = started(own_stack)
    stack.espocrm.stop()
    body = person(4, additional_info="every word counts")
    operation_id = stack.submit(body, 202)
    letter = stack.wait_for(operation_id, "dead")
    waits = [later.at - earlier.at for earlier, later in itertools.pairwise(letter.events)]
    for seen, planned in zip(waits, (1, 3, 5), strict=True):
        assert planned * 0.79 <= seen, "at most 20 % of jitter; how much later depends on the machine"
    assert [attempt.code for attempt in letter.events] == ["connection_failed"] * 4
    assert all(attempt.detail for attempt in letter.events)
    assert letter.payload["additional_info"] == "every word counts"
    assert letter.payload["email"] == body["personal_info"]["email"]
    line = f"dead letter: operation {operation_id}"
    wait_until("the worker has logged it", lambda: line in stack.worker.output())


def test_a_lead_that_a_retry_cannot_repair_is_a_dead_letter_at_once(own_stack: Stack) -> None:
    own_stack.env["CRM_ON_REJECTED_FIELD"] = "dead"
    stack = started(own_stack)
    stack.espocrm.set_options("userTypeC", ["", "parent"])
    operation_id = stack.submit(person(5, user_preferences={"user_type": "student"}), 202)
    letter = stack.wait_for(operation_id, "dead")
    assert [(attempt.code, attempt.status) for attempt in letter.events] == [("invalid_value", 400)]
    assert "userTypeC" in letter.events[0].detail


def test_a_lead_with_a_refused_value_is_delivered(stack: Stack) -> None:
    stack.espocrm.set_options("userTypeC", ["", "parent"])
    operation_id = stack.submit(person(6, user_preferences={"user_type": "student"}), 201)
    stack.espocrm.set_options("userTypeC", ["", "student", "parent"])
    operation = stack.operation(operation_id)
    assert operation.delivered is not None
    assert operation.delivered.moved == ("userTypeC",)
    assert counted(operation) == ["delivered"]
    (lead,) = [lead for lead in leads(stack) if lead["id"] == operation.delivered.record_id]
    assert "User type: student" in str(lead["description"])


def test_waiting_operations_survive_redis_and_the_worker(own_stack: Stack) -> None:
    stack = started(own_stack)
    stack.espocrm.stop()
    ids = [stack.submit(person(number), 202) for number in range(20)]
    stack.worker.kill()
    stack.redis.stop()
    stack.redis.start()
    stack.espocrm.start()
    stack.start_worker()
    for operation_id in ids:
        stack.wait_for(operation_id, "delivered")
    assert stack.emails == emails(range(20))


def test_a_schedule_that_huey_lost_loses_nothing(own_stack: Stack) -> None:
    stack = started(own_stack)
    stack.espocrm.stop()
    ids = [stack.submit(person(number), 202) for number in range(5)]
    with redis.Redis.from_url(stack.redis.url) as client:
        stack.worker.kill()
        client.delete("{crmgate}:huey:queue", "{crmgate}:huey:schedule")
    stack.espocrm.start()
    stack.start_worker()
    for operation_id in ids:
        stack.wait_for(operation_id, "delivered")


def test_a_worker_killed_in_mid_delivery_costs_a_delay_and_no_second_lead(command_stack: Stack) -> None:
    command_stack.env["CRM_TIMEOUT"] = "3"  # the lease of a killed worker ends soon
    stack = started(command_stack)
    stack.espocrm.fail("hang", when="after", method="POST", path="/Lead", times=1)
    operation_id = stack.submit_queued(person(1))
    wait_until("the lead is stored", lambda: leads(stack))
    stack.worker.kill()
    stack.start_worker()
    operation = stack.wait_for(operation_id, "delivered")
    assert operation.delivered is not None
    assert operation.delivered.adopted
    assert stack.emails == emails([1])


def test_sigterm_lets_the_worker_finish_what_it_has_in_hand(command_stack: Stack) -> None:
    stack = started(command_stack)
    stack.espocrm.fail("latency", seconds=2, method="POST", path="/Lead")
    operation_id = stack.submit_queued(person(1))
    wait_until("the request is under way", lambda: stack.operation(operation_id).state == "delivering")
    wait_until("the CRM has the request", lambda: any(r.method == "POST" for r in stack.espocrm.requests))
    assert stack.worker.stop(signal.SIGTERM) == 0
    operation = stack.operation(operation_id)
    assert (operation.state, counted(operation)) == ("delivered", ["delivered"])


def test_sigterm_lets_the_worker_begin_nothing_more(command_stack: Stack) -> None:
    """A task delivers one operation after the other: it ends with the one that it has in hand."""
    command_stack.env["CRM_MAX_CONCURRENCY"] = "1"
    stack = started(command_stack)
    stack.espocrm.fail("latency", seconds=0.5, method="POST", path="/Lead")
    ids = [stack.submit_queued(person(number)) for number in range(20)]
    wait_until("the second delivery of a task is under way", lambda: len(posts(stack)) >= 2)
    assert "started with 3 thread" in stack.worker.output(), "one for the CRM, two spare ones"
    before = len(posts(stack))
    assert stack.worker.stop(signal.SIGTERM) == 0
    assert len(posts(stack)) <= before + 2
    states = [stack.operation(operation_id).state for operation_id in ids]
    assert states.count("delivered") == len(posts(stack))
    assert states.count("delivering") == 0


def test_switching_the_provider_takes_the_waiting_ones_along(own_stack: Stack) -> None:
    stack = started(own_stack)
    stack.submit(person(0))
    stack.espocrm.stop()
    waiting = [stack.submit(person(number), 202) for number in range(1, 4)]
    stack.web.stop()
    stack.worker.stop()
    stack.env["CRM_PROVIDER"] = "bitrix"
    stack.start_web()
    stack.start_worker()
    following = stack.submit(person(4))
    for operation_id in [*waiting, following]:
        operation = stack.wait_for(operation_id, "delivered")
        assert operation.delivered is not None
        assert operation.delivered.provider == "bitrix"
    assert stack.emails == emails(range(1, 5))
    assert [lead["emailAddress"] for lead in leads(stack)] == emails([0])


def test_refused_credentials_wait_for_the_repair(own_stack: Stack) -> None:
    stack = own_stack
    stack.env["ESPOCRM_API_KEY"] = "outdated"
    started(stack)
    ids = [stack.submit(person(number), 202) for number in range(5)]
    refused = [request for request in stack.espocrm.requests if request.header("X-Api-Key") == "outdated"]
    assert len(refused) <= 2, "one attempt, and the connection test that confirms its refusal"
    assert refused
    stack.web.stop()
    stack.worker.stop()
    stack.env["ESPOCRM_API_KEY"] = "KEY-GATEWAY"
    stack.start_worker()
    for operation_id in ids:
        assert stack.wait_for(operation_id, "delivered").events[-1].outcome == "delivered"


class TestWithoutRedis:
    """The last resort: only what the CRM confirmed is answered with success."""

    @pytest.fixture(autouse=True)
    def no_redis(self, own_stack: Stack) -> None:
        started(own_stack)
        own_stack.worker.stop()
        own_stack.redis.stop()

    def test_a_delivered_lead_is_a_success(self, own_stack: Stack) -> None:
        own_stack.submit(person(1), 201)
        assert own_stack.emails == emails([1])
        assert "the ledger is unavailable" in own_stack.web.output()

    def test_what_its_sender_will_repeat_waits_for_redis(self, own_stack: Stack) -> None:
        """Redis may know of an earlier request with this key: two leads, were it sent from here as well."""
        key = {"Idempotency-Key": "k"}
        response = own_stack.post(person(1), headers=key)
        assert (response.status_code, int(response.headers["Retry-After"]) > 0) == (503, True)
        assert leads(own_stack) == []
        own_stack.redis.start()
        wait_until("Redis is back", lambda: own_stack.post(person(1), headers=key).status_code == 201)
        assert own_stack.emails == emails([1])

    def test_nothing_is_accepted_without_redis_and_the_crm(self, own_stack: Stack) -> None:
        own_stack.espocrm.stop()
        response = own_stack.post(person(1))
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert response.headers["Content-Type"] == "application/problem+json"
        log = own_stack.web.output()
        assert "the ledger is unavailable" in log
        assert "connection_failed" in log
        assert "Traceback" not in log

    def test_the_status_of_an_operation_is_unknown_and_not_404(self, own_stack: Stack) -> None:
        response = requests.get(f"{own_stack.url}/api/v1/operations/{'a' * 32}", timeout=DEADLINE)
        assert response.status_code == 503

    def test_readiness_says_so(self, own_stack: Stack) -> None:
        response = requests.get(f"{own_stack.url}/readyz", timeout=DEADLINE)
        assert response.status_code == 503
        assert {check["name"]: check["ok"] for check in response.json()["checks"]}["redis"] is False
        assert requests.get(f"{own_stack.url}/healthz", timeout=DEADLINE).status_code == 200


class TestHostileQueue:
    """An attacker who can write to Redis cannot run code."""

    def test_a_pickle_in_the_queue_is_not_executed(self, stack: Stack, tmp_path: Path) -> None:
        import pickle

        proof = tmp_path / "executed"

        class Bomb:
            def __reduce__(self) -> object:
                return os.system, (f"touch {proof}",)

        with redis.Redis.from_url(stack.redis.url) as client:
            client.lpush("{crmgate}:huey:queue", pickle.dumps(Bomb()))
            wait_until("the worker has read it", lambda: client.llen("{crmgate}:huey:queue") == 0)
        stack.wait_for(stack.submit_queued(person(9)), "delivered")
        assert not proof.exists()

    def test_nothing_that_waits_in_redis_is_a_pickle(self, stack: Stack) -> None:
        stack.espocrm.stop()
        stack.submit(person(10), 202)
        with redis.Redis.from_url(stack.redis.url) as client:
            values = list(stored(client))
        stack.espocrm.start()
        assert any(b"crmgate.worker.deliver" in value for value in values)
        assert any(b"test10@example.com" in value for value in values)
        for value in values:
            assert value.decode()  # text all through: a pickle of protocol 2 and above begins with the byte 0x80


def stored(client: redis.Redis) -> list[bytes]:
    """Every value that Redis holds."""
    read = {
        b"hash": lambda key: client.hvals(key),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"set": lambda key: client.smembers(key),
        b"string": lambda key: filter(None, [client.get(key)]),
        b"stream": lambda key: [value for _, entry in client.xrange(key) for value in entry.values()],
        b"none": lambda _: [],  # it has just expired
    }
    return [value for key in client.scan_iter() for value in read[client.type(key)](key)]  # type: ignore[no-untyped-call,union-attr,index,misc]
