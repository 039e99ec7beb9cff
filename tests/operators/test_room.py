"""A job that retries dead letters leaves room for operations that wait for the CRM, also after they were tried."""

from __future__ import annotations

import time

import pytest
import redis

from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import BATCH, Retries
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from tests.dead_letters import add_dead_letters

ACME = Recipient("acme")


@pytest.mark.parametrize("queue", ["held", "tried"])
def test_a_job_waits_while_as_many_others_wait(ledger: Ledger, redis_client: redis.Redis, queue: str) -> None:
    retries = Retries(redis_client, ledger, Inventory(redis_client), ACME)
    add_dead_letters(ledger, 3, at=time.time() - 60)
    retries.start(Filter(), "cli:test")
    redis_client.zadd(f"{{crmgate}}:{queue}:acme", {f"other{number}": number for number in range(BATCH)})
    assert retries.step() == 0
    assert ledger.stats()["dead_letters"] == 3
    redis_client.delete(f"{{crmgate}}:{queue}:acme")
    assert retries.step() == 3
