"""Dead letters retried by the hundred with real processes: bounded batches, a worker that is killed, none twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

from tests import forked
from tests.dead_letters import add_dead_letters
from tests.integration.stack import Stack
from tests.processes import DEADLINE, ROOT, wait_until

COUNT = int(os.environ.get("DEAD_LETTERS", "300"))


def crmgate(stack: Stack, *arguments: str, expect: int = 0) -> Any:
    """Run the command line against the stack and return its JSON output."""
    result = forked.crmgate(stack.web.environ(), *arguments, "--json")
    assert result.returncode == expect, result.stderr
    return json.loads(result.stdout)


def test_a_job_outlives_its_worker_and_delivers_each_once(own_stack: Stack) -> None:
    stack = own_stack
    stack.env |= {"CRM_MAX_CONCURRENCY": "8", "CRM_TIMEOUT": "3"}
    stack.redis.start()
    before = time.time()
    made = add_dead_letters(stack.ledger, COUNT, provider="espocrm", at=before - 10_000, step=0.01)
    stack.start_web()
    stack.start_worker()  # not earlier: its sweeper would deliver what is not a dead letter yet
    begun = time.monotonic()
    job = crmgate(stack, "dlq", "retry", "--all", "--yes", "--detach")
    assert job["total"] == COUNT
    wait_until("a part is delivered", lambda: len(stack.espocrm.leads) > COUNT // 5)
    stack.worker.kill()
    assert stack.ledger.stats()["dead_letters"] > 0, "all at once is no batch"
    assert stack.ledger.stats()["waiting"] <= 70
    stack.start_worker()
    done = crmgate(stack, "dlq", "retry", "--follow")
    assert (done["state"], done["seen"], done["released"]) == ("finished", COUNT, COUNT)
    wait_until("all are delivered", lambda: stack.ledger.stats()["delivered"] == COUNT)
    print(f"{COUNT} dead letters in {time.monotonic() - begun:.1f} s")
    ids = Counter(lead["crmgateOperationIdC"] for lead in stack.espocrm.leads)
    assert set(ids) == set(made)
    assert set(ids.values()) == {1}
    assert crmgate(stack, "dlq", "list") == {"items": [], "dead_letters": 0}


def test_a_lead_goes_the_whole_way_and_is_seen_on_it(stack: Stack) -> None:
    sent = crmgate(stack, "send", "lead", "--url", stack.url)
    assert sent["status"] == "delivered"
    assert crmgate(stack, "ops", "show", sent["tracking_code"])["crm"]["provider"] == "espocrm"
    result = crmgate(stack, "check")
    assert result["ok"], result
    command = [sys.executable, "-m", "crmgate", "ops", "tail", "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, env=stack.web.environ(), stdout=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    ) as tail:  # fmt: skip
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["id"] == sent["id"]
        clicked = crmgate(stack, "send", "click", "--url", stack.url)
        assert json.loads(tail.stdout.readline())["id"] == clicked["id"]
        tail.send_signal(signal.SIGINT)
        assert tail.wait(DEADLINE) == 0
