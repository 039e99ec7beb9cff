"""The gate of a provider with real processes: two web processes, two workers, one CRM."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.forked import Forked, crmgate
from tests.integration.stack import Stack, emails, person
from tests.processes import Process, huey_worker, wait_until


@contextmanager
def second_worker(stack: Stack) -> Iterator[Process]:
    worker = huey_worker(stack.folder, stack.env, "worker2", Forked)
    worker.start()
    try:
        wait_until("the second worker has begun", lambda: "Huey consumer started" in worker.output())
        yield worker
    finally:
        worker.kill()


def submit_all(stack: Stack, numbers: range, asynchronous: bool = False) -> list[str]:
    """Many visitors at once; the ids of their operations."""

    def one(number: int) -> str:
        headers = {"Prefer": "respond-async"} if asynchronous else {}
        response = stack.post(person(number), headers=headers)
        assert response.status_code in (201, 202), response.text
        return str(response.json()["id"])

    with ThreadPoolExecutor(12) as pool:
        return list(pool.map(one, numbers))


def test_all_processes_together_keep_to_the_number_at_once(own_stack: Stack) -> None:
    stack = own_stack.start()
    with second_worker(stack):
        stack.submit(person(0))
        stack.espocrm.peak = 0
        stack.espocrm.fail("latency", seconds=0.2)
        ids = [*submit_all(stack, range(1, 31)), *submit_all(stack, range(31, 61), asynchronous=True)]
        for operation_id in ids:
            stack.wait_for(operation_id, "delivered")
    assert stack.espocrm.peak == 4
    assert stack.emails == emails(range(61))


def test_all_processes_together_keep_to_the_rate_of_the_vendor(own_stack: Stack) -> None:
    own_stack.env |= {"CRM_PROVIDER": "bitrix", "BITRIX_RATE": "2/50", "BITRIX_API": "lead"}  # no batches
    stack = own_stack.start()
    stack.bitrix.rate_limit = True
    with second_worker(stack):
        ids = submit_all(stack, range(25))
        for operation_id in ids:
            operation = stack.wait_for(operation_id, "delivered")
            assert "rate_limited" not in [attempt.code for attempt in operation.events]
    assert stack.emails == emails(range(25))
    assert len(stack.bitrix.requests) > 50, "more than the burst: it had to be waited for"


def test_the_breaker_is_shared_and_an_operator_can_have_the_crm_asked(own_stack: Stack) -> None:
    stack = own_stack.start()
    with second_worker(stack) as worker:
        stack.submit(person(0))
        fault = stack.espocrm.fail("answer", status=503, body="<html>maintenance</html>")
        ids = submit_all(stack, range(1, 25))
        wait_until("the gate is shut", lambda: stack.ledger.gate(stack.recipient).cause == "outage")
        attempts = sum(len(stack.operation(operation_id).events) for operation_id in ids)
        assert attempts <= 5 + 4, "five failures, and those under way at that moment"
        assert fault.seen
        worker.stop()
        stack.worker.stop()  # their next probe would open the gate before the operator does
        stack.espocrm.heal()
        assert "Before, the CRM does not answer, or answers with errors" in resume(stack)
        stack.start_worker()
        for operation_id in ids:
            stack.wait_for(operation_id, "delivered")
        assert "provider espocrm works again" in stack.worker.output() + worker.output() + stack.web.output()


def resume(stack: Stack) -> str:
    done = crmgate(stack.worker.environ(), "crm", "resume")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
