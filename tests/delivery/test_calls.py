"""The work of one delivery in a worker, in function calls.

A duration depends on the machine and its load; the number of calls does not. A change that exceeds a limit either does
less for each delivery, or raises the limit here and says why.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import FrameType

import pytest
import redis

from crmgate.config import Settings
from crmgate.delivery.outcome import Outcome
from crmgate.logs import StandardError
from crmgate.model import Kind
from crmgate.services import Services, build
from crmgate.store.client import connect
from crmgate.testing.server import FakeCRM, Request, Response
from tests.processes import RedisProcess

CALLS = 1000
"""Largest number of calls of Python functions for one delivery to the sandbox: the request and the record."""
ROUND_TRIPS = 1
"""Commands to Redis for one delivery: the script that records it takes the next operation."""
SENT_PIECES = 2
"""Calls of `sendall` for one delivery: the request to the CRM, and the command to Redis."""
WARM_UP = 10
MEASURED = 5


class Sandbox(FakeCRM):
    """A sandbox that takes everything."""

    def answer(self, request: Request) -> Response:
        return Response(201, f'{{"id": {len(self.requests)}}}')

    def records(self) -> dict[str, list[dict[str, object]]]:
        return {}


@pytest.fixture
def services(redis_process: RedisProcess, redis_client: redis.Redis) -> Iterator[Services]:
    sandbox = Sandbox()
    sandbox.start()
    settings = {"CRM_PROVIDER": "sandbox", "SANDBOX_URL": sandbox.url, "REDIS_URL": redis_process.url}
    yield build(Settings.load(settings))
    sandbox.stop()


@pytest.fixture(autouse=True)
def _own_log_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep pytest's handlers from formatting each line of the log once more."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [each for each in root.handlers if isinstance(each, StandardError)])


class Counter:
    """Counts calls of Python functions, and of `sendall`, in this thread."""

    def __init__(self) -> None:
        self.calls = self.pieces = 0

    def __call__(self, _frame: FrameType, event: str, called: object) -> None:
        self.calls += event == "call"
        self.pieces += event == "c_call" and getattr(called, "__name__", "") == "sendall"


def submit(services: Services, number: int) -> str:
    """Accept an application with many facts; the id of its operation."""
    payload = {
        "first_name": f"Test{number}", "last_name": "Öğrenci", "email": f"test{number}@example.com",
        "phone": f"+90532{number:07}", "country": "TR", "education_level": "bachelor", "language": "tr",
        "field_of_study": "Computer Science", "universities": ["ITU", "METU"], "session": f"s{number}",
        "utm": {"source": "google", "medium": "cpc", "campaign": "autumn"}, "custom": {"visa type": "student"},
        "additional_info": "Please call in the evening.",
    }  # fmt: skip
    return services.gateway.submit(Kind.CREATE_LEAD, payload, inline=False).id


def follow(services: Services, outcome: Outcome, number: int) -> Outcome:
    """Attempt `number` operations, each taken with the record of the one before it."""
    for _ in range(number):
        assert outcome.delivered
        assert outcome.following
        outcome = services.delivery.follow(outcome.following, more=lambda: True)
    return outcome


def test_calls_of_a_delivery(services: Services, redis_process: RedisProcess) -> None:
    ids = [submit(services, number) for number in range(WARM_UP + MEASURED + 2)]
    outcome = follow(services, services.delivery.attempt(ids[0], more=lambda: True), WARM_UP)
    counter, client = Counter(), connect(redis_process.url)
    client.config_resetstat()
    sys.setprofile(counter)
    try:
        outcome = follow(services, outcome, MEASURED)
    finally:
        sys.setprofile(None)
    scripts = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    calls = counter.calls // MEASURED
    print(f"{calls} calls for a delivery")
    assert outcome.delivered
    assert scripts == MEASURED * ROUND_TRIPS
    assert counter.pieces == MEASURED * SENT_PIECES
    assert calls <= CALLS
    client.close()
