"""What the tests of failures share: times, waits, and questions to a running gateway.

`FULL_TIMES=1` takes the times that occur in production, as `make chaos` does; without it they are shorter.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from typing import Any

import requests

from tests.forked import crmgate
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, SLOWNESS, wait_until

FULL = bool(os.environ.get("FULL_TIMES"))
RATE_LIMIT, EPIDEMIC, FLAPPING = (75.0, 60.0, 60.0) if FULL else (8.0, 12.0, 11.0)
"""Seconds that a trouble of everybody lasts."""
DELAYS = {"CRM_RETRY_DELAYS": "1,5,25" if FULL else "0.3,0.6,1.2"}
"""The waits between attempts: shorter than the trouble, so that one that used attempts would run out of them."""
SPEEDY, PROBED = 20.0 * SLOWNESS, 45.0 * SLOWNESS
"""Seconds until all goes on once a trouble is over; where the probe is sent every 30 s, that and the delivery."""


def full(*values: Any) -> list[Any]:
    """All values with `FULL_TIMES=1`, else the first: each of them takes a gateway of its own, and 10 s or more."""
    return list(values if FULL else values[:1])


REFUSED_FOR_GOOD = {"CRM_ON_REJECTED_FIELD": "dead"}


def states(stack: Stack, ids: Iterable[str]) -> list[str]:
    return [stack.operation(operation_id).state for operation_id in ids]


def all_delivered(stack: Stack, ids: list[str], seconds: float) -> None:
    def done() -> bool:
        return set(states(stack, ids)) == {"delivered"}

    try:
        wait_until("all are delivered", done, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {states(stack, ids)}, {stack.ledger.gate(stack.recipient)}") from None


def most_dead(stack: Stack, seconds: float) -> int:
    """The maximum number of dead letters at any time within the next `seconds`."""
    until, most = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        most = max(most, stack.ledger.stats()["dead_letters"])
        time.sleep(0.1)
    return most


def cause(stack: Stack) -> str:
    """The cause for which the gate is shut; empty: it is open."""
    return stack.ledger.gate(stack.recipient).cause or ""


def becomes(stack: Stack, wanted: str, seconds: float = DEADLINE) -> None:
    wait_until(f"the gate is {wanted or 'open'}", lambda: cause(stack) == wanted, seconds)


def ready(stack: Stack) -> requests.Response:
    return requests.get(f"{stack.url}/readyz", timeout=DEADLINE)


def provider_in_readyz(stack: Stack) -> str:
    """The state of the CRM in `readyz`."""
    return str(next(check["detail"] for check in ready(stack).json()["checks"] if check["name"] == "provider"))


def command(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return crmgate(stack.web.environ(), *arguments)


def emails(stack: Stack) -> list[str]:
    """The email address of every lead in the CRM."""
    if stack.env["CRM_PROVIDER"] == "espocrm":
        return [lead["emailAddress"] for lead in stack.espocrm.leads]
    rows = (row for lead in stack.bitrix.records()["lead"] for row in lead["fm"])
    return [row["value"] for row in rows if row["typeId"] == "EMAIL"]


def address(number: int) -> str:
    return str(person(number)["personal_info"]["email"])


def events(stack: Stack, ids: list[str]) -> list[Any]:
    return [event for operation_id in ids for event in stack.operation(operation_id).events]
