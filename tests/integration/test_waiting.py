"""Operators change operations that wait, with real processes, while the CRM is away."""

from __future__ import annotations

import requests

from crmgate.store.tokens import digest, generate
from tests.integration.stack import Stack, emails, person
from tests.integration.test_dead_letters import crmgate
from tests.processes import DEADLINE, wait_until


def test_a_discarded_one_of_three_never_reaches_the_crm(own_stack: Stack) -> None:
    stack, token = own_stack, generate()[1]
    stack.env |= {
        "API_TOKENS": f"ops:operate:{digest(token)}",
        "CRM_RETRY_DELAYS": "1,1,1,1,1,1,1,1",
        "CRM_TIMEOUT": "2",
    }
    stack.start()
    stack.espocrm.stop()
    first, second, third = (stack.submit_queued(person(number)) for number in (1, 2, 3))
    wait_until("the gate is shut", lambda: stack.ledger.gate(stack.recipient).cause == "outage")
    wait_until("nothing is under way", lambda: states(stack, first, second, third) == {"waiting"})

    url, headers = f"{stack.url}/api/v1/operations", {"Authorization": f"Bearer {token}"}
    answer = requests.delete(f"{url}/{second}", json={"reason": "a test"}, headers=headers, timeout=DEADLINE)
    assert (answer.status_code, answer.json()["state"]) == (200, "discarded"), answer.text
    shown = requests.get(f"{url}/{third}", headers=headers, timeout=DEADLINE)
    assert shown.json()["waits"]["cause"] == "outage"
    edited = requests.patch(
        f"{url}/{third}", json={"email": "test4@example.com"}, timeout=DEADLINE,
        headers=headers | {"If-Match": shown.headers["ETag"]},
    )  # fmt: skip
    assert edited.status_code == 200, edited.text
    [retried] = crmgate(stack, "ops", "retry", first)["items"]
    assert (retried["state"], retried["waits"]["cause"]) == ("waiting", "outage")

    stack.espocrm.start()
    for operation in (first, third):
        stack.wait_for(operation, "delivered")
    stack.wait_for(stack.submit(person(5)), "delivered")
    assert stack.emails == emails([1, 4, 5])
    assert stack.operation(second).state == "discarded"
    audited = [(entry["what"], entry["on"]) for entry in crmgate(stack, "audit")["items"]]
    assert [(what, on) for what, on in audited if what != "operations.view"] == [
        ("dead_letters.retry", first), ("dead_letters.edit", third), ("dead_letters.discard", second),
    ]  # fmt: skip


def states(stack: Stack, *operations: str) -> set[str]:
    return {str(stack.operation(operation).state) for operation in operations}
