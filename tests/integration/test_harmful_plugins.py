"""Plugins that exit, hang or block, in a running gateway: they harm neither its processes nor anybody's lead."""

from __future__ import annotations

import shutil
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, ROOT, wait_until

HARMFUL = """
    import os, sys, threading
    from pathlib import Path
    from crmgate import hookimpl
    from crmgate_plugin_espocrm import EspoCRM


    def first(what, times=1):
        for number in range(times):
            try:
                Path(os.environ["HARM"], f"{what}-{number}").touch(exist_ok=False)
                return True
            except FileExistsError:
                continue
        return False


    class Harmful(EspoCRM):
        name = "harmful"

"""
EXITS = (
    HARMFUL
    + """
        @hookimpl
        def create_lead(self, lead, operation):
            if first("create_lead"):
                sys.exit(3)
            return super().create_lead(lead, operation)
"""
)
KILLS_THREADS = (
    HARMFUL
    + """
        def used(self):
            if threading.current_thread().name.startswith("Worker-") and first("used", 8):
                raise SystemExit
            return super().used()
"""
)
BLOCKS = """
    import os, time
    from crmgate import hookimpl

    @hookimpl
    def operation_accepted(operation):
        time.sleep(20)
"""
EXITING_LISTENER = """
    import sys
    from crmgate import hookimpl

    @hookimpl
    def operation_accepted(operation):
        sys.exit(3)

    @hookimpl
    def operation_delivered(operation, delivered):
        raise KeyboardInterrupt
"""
NOTES = """
    import os, sys, time
    from crmgate import hookimpl

    def note(hook, operation):
        time.sleep(0.2)
        process = "worker" if "huey" in sys.argv[0] else "web"
        with open(os.path.join(os.environ["HARM"], "notes"), "a") as notes:
            notes.write(f"{process} {hook} {operation.id}\\n")

    @hookimpl
    def operation_accepted(operation):
        note("accepted", operation)

    @hookimpl
    def operation_delivered(operation):
        note("delivered", operation)
"""


def stack_with(folder: Path, **plugins: str) -> Stack:
    """A gateway of its own, not started yet, with these plugins beside the one for EspoCRM."""
    (folder / "plugins").mkdir()
    shutil.copytree(ROOT / "plugins" / "espocrm", folder / "plugins" / "espocrm")
    for name, text in plugins.items():
        (folder / "plugins" / f"{name}.py").write_text(textwrap.dedent(text))
    provider = "harmful" if "harmful" in plugins else "espocrm"
    return Stack(folder, provider, PLUGINS_DIR=str(folder / "plugins"), HARM=str(folder))


def readiness(stack: Stack) -> tuple[int, Any]:
    answer = requests.get(f"{stack.url}/readyz", timeout=DEADLINE)
    return answer.status_code, answer.text


def test_an_exit_in_a_hook_of_the_worker_costs_one_attempt(tmp_path: Path) -> None:
    with stack_with(tmp_path, harmful=EXITS) as stack:
        stack.start()
        ids = [stack.submit_queued(person(number)) for number in range(2)]
        events = [event for one in ids for event in stack.wait_for(one, "delivered").events]
        [bug] = [event for event in events if event.outcome == "failed" and event.counted]
        assert bug.code == "plugin_bug"
        assert bug.detail.startswith("SystemExit in harmful.py:")
        assert len(stack.espocrm.leads) == 2
        assert readiness(stack)[0] == 200
        assert "died" not in stack.worker.output()


def test_an_exit_in_a_hook_of_a_web_process_does_not_stop_gunicorn(tmp_path: Path) -> None:
    with stack_with(tmp_path, harmful=EXITS) as stack:
        stack.start()
        first, second = stack.submit(person(1), 202), stack.submit(person(2), 201)
        stack.wait_for(first, "delivered")
        assert stack.operation(second).state == "delivered"
        assert len(stack.espocrm.leads) == 2
        assert stack.web.running
        assert readiness(stack)[0] == 200
        assert "Shutting down" not in stack.web.output()


def test_the_sweeper_outlives_every_thread_of_the_worker(tmp_path: Path) -> None:
    """Each of 8 deliveries ends the thread that makes it; the sweeper finds what they had in hand."""
    with stack_with(tmp_path, harmful=KILLS_THREADS) as stack:
        stack.start()
        stack.submit(person(99), 201)
        ids = [stack.submit_queued(person(number)) for number in range(8)]
        wait_until("threads died", lambda: stack.worker.output().count("died!") >= 4)
        assert readiness(stack)[0] == 200, "dying threads do not take the worker off the list"
        for operation_id in ids:
            stack.wait_for(operation_id, "delivered", 60)
        assert stack.worker.output().count("died!") == 8
        assert len(stack.espocrm.leads) == 9
        assert stack.ledger.workers_seen(10) == 1
        assert stack.worker.stop() == 0
        assert stack.ledger.workers_seen(60) == 0, "an orderly stop does"


def test_a_listener_that_blocks_delays_neither_the_answer_nor_the_delivery_nor_a_stop(tmp_path: Path) -> None:
    with stack_with(tmp_path, blocks=BLOCKS, notes=NOTES) as stack:
        stack.start()
        begun = time.monotonic()
        operation_id = stack.submit(person(1), 201)
        assert time.monotonic() - begun < 10, "it blocks for 20 seconds"
        assert [event.outcome for event in stack.operation(operation_id).events] == ["delivered"]
        notes = tmp_path / "notes"
        wait_until("the other listener heard of both", lambda: notes.exists() and notes.read_text().count("\n") == 2)
        named = "listener operation_accepted of {} is slow: it took 20.".format(tmp_path / "plugins" / "blocks.py")
        wait_until("the slow one is named", lambda: named in stack.web.output())
        stack.submit(person(2), 201)
        begun = time.monotonic()
        assert stack.web.stop() == 0
        assert time.monotonic() - begun < 15
        assert "blocks.py: 1 dropped (the process stopped)" in stack.web.output()
        assert len(stack.espocrm.leads) == 2


def test_a_listener_that_exits_disturbs_nobody(tmp_path: Path) -> None:
    with stack_with(tmp_path, exits=EXITING_LISTENER) as stack:
        stack.start()
        ids = [stack.submit(person(number), 201) for number in range(3)] + [stack.submit_queued(person(3))]
        for operation_id in ids:
            assert len(stack.wait_for(operation_id, "delivered").events) == 1
        wait_until("all are logged", lambda: stack.web.output().count("SystemExit in exits.py:") == 4)
        wait_until("all are logged", lambda: stack.web.output().count("KeyboardInterrupt in exits.py:") == 3)
        wait_until("the worker's", lambda: stack.worker.output().count("KeyboardInterrupt in exits.py:") == 1)
        assert readiness(stack)[0] == 200


@pytest.mark.parametrize("inline", [True, False])
def test_an_orderly_stop_calls_the_listeners_for_waiting_events(tmp_path: Path, inline: bool) -> None:
    """Ten events at 0.2 seconds each are still in hand when the signal comes."""
    with stack_with(tmp_path, notes=NOTES) as stack:
        stack.start()
        ids = [stack.submit(person(n), 201) if inline else stack.submit_queued(person(n)) for n in range(5)]
        for operation_id in ids:
            stack.wait_for(operation_id, "delivered")
        assert (stack.web.stop(), stack.worker.stop()) == (0, 0)
        notes = (tmp_path / "notes").read_text().splitlines()
        by = "web" if inline else "worker"
        assert [note for note in notes if " accepted " in note] == [f"web accepted {one}" for one in ids]
        delivered = [note for note in notes if " delivered " in note]
        assert sorted(delivered) == sorted(f"{by} delivered {one}" for one in ids)
        if inline:
            assert notes == [f"web {hook} {one}" for one in ids for hook in ("accepted", "delivered")]
