"""The background worker: it keeps nobody waiting, survives what it calls, and ends in good order."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest

from crmgate.background import Background
from tests.processes import DEADLINE, ROOT, wait_until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """The event for which a blocked call waits."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("crmgate"), "propagate", True)
    return caplog


def blocked(background: Background, gate: threading.Event) -> None:
    """Have the thread wait for `gate`."""
    at_work = threading.Event()

    def wait() -> None:
        at_work.set()
        assert gate.wait(DEADLINE)

    background.offer(wait)
    assert at_work.wait(DEADLINE)


def test_calls_are_made_in_order_on_one_thread() -> None:
    background, seen = Background("work"), list[tuple[int, str]]()
    for number in range(500):
        background.offer(lambda number=number: seen.append((number, threading.current_thread().name)))
    background.stop()
    assert seen == [(number, "work") for number in range(500)]
    assert background.dropped() == {}


def test_a_full_queue_keeps_nobody_waiting_and_is_logged_while_the_thread_hangs(
    gate: threading.Event, said: pytest.LogCaptureFixture
) -> None:
    background, seen = Background("work", capacity=5), list[int]()
    blocked(background, gate)
    begun = time.monotonic()
    for number in range(20):
        background.offer(partial(seen.append, number))
    assert time.monotonic() - begun < 1
    assert background.dropped() == {"too many at once": 15}
    assert said.messages[0] == "work: 1 dropped (too many at once)"
    gate.set()
    background.stop()
    assert seen == [0, 1, 2, 3, 4]
    assert said.messages[1:] == ["work: 14 dropped (too many at once)"]


def leave() -> None:
    sys.exit("secret")


def fail() -> None:
    raise ValueError("secret")


def interrupt() -> None:
    raise KeyboardInterrupt("secret")


@pytest.mark.parametrize(
    ("call", "name"), [(leave, "SystemExit"), (fail, "ValueError"), (interrupt, "KeyboardInterrupt")]
)
def test_a_call_that_raises_affects_no_other(
    said: pytest.LogCaptureFixture, call: Callable[[], None], name: str
) -> None:
    background, seen = Background("work"), list[int]()
    background.offer(call)
    background.offer(partial(seen.append, 1))
    background.stop()
    assert seen == [1]
    [(reason, number)] = background.dropped().items()
    assert reason.startswith(f"an unexpected {name} in test_background.py:")
    assert (number, said.messages) == (1, [f"work: 1 dropped ({reason})"])
    assert "secret" not in said.text


def test_a_report_that_fails_is_made_again() -> None:
    reports, broken = list[Mapping[str, int]](), [True]

    def report(numbers: Mapping[str, int]) -> None:
        reports.append(numbers)
        if broken:
            raise broken.pop() and OSError()

    background = Background("work", report=report)
    background.drop("a reason", 3)
    background.offer(lambda: None)
    wait_until("the second report", lambda: len(reports) == 2)
    wait_until("nothing is left to report", lambda: background.dropped() == {})
    background.stop()
    assert reports == [{"a reason": 3}] * 2


def test_a_stop_finishes_what_waits_and_what_that_leads_to_and_then_the_last_call(gate: threading.Event) -> None:
    seen: list[str] = []
    background = Background("work", last=partial(seen.append, "last"))
    blocked(background, gate)
    background.offer(lambda: background.offer(partial(seen.append, "second")))
    background.offer(partial(seen.append, "first"))
    threading.Timer(0.05, gate.set).start()
    background.stop()
    assert seen == ["first", "second", "last"]
    background.offer(partial(seen.append, "late"))
    assert (seen, background.dropped()) == (["first", "second", "last"], {"the process stopped": 1})


def test_a_stop_does_not_wait_for_ever(gate: threading.Event, said: pytest.LogCaptureFixture) -> None:
    background = Background("work")
    blocked(background, gate)
    for _ in range(4):
        background.offer(fail)
    background.stop(0.05)
    assert background.dropped() == {"the process stopped": 5}
    assert said.messages == ["work: 5 dropped (the process stopped)"]


def run(script: str) -> tuple[list[str], float]:
    """The lines that a Python process prints, and the seconds that it took."""
    begun = time.monotonic()
    head = "import os, sys, threading, time\nfrom crmgate.background import Background\n"
    command = [sys.executable, "-u", "-c", head + textwrap.dedent(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=True)
    return done.stdout.splitlines(), time.monotonic() - begun


def test_the_end_of_a_process_finishes_what_waits() -> None:
    lines, _ = run("""
        background = Background("work", last=lambda: print("last"))
        background.offer(lambda: time.sleep(0.5))
        background.offer(lambda: print("done"))
        sys.exit(0)
    """)
    assert lines == ["done", "last"]


def test_workers_that_hang_share_one_deadline_at_the_end_of_a_process() -> None:
    lines, seconds = run("""
        for number in range(5):
            Background("hangs").offer(threading.Event().wait)
        good = Background("good")
        good.offer(lambda: print("done"))
    """)
    assert lines == ["done"]
    assert 4.5 < seconds < 20, "five seconds together, and not for each"


def test_a_fork_begins_with_an_empty_queue_and_a_thread_of_its_own() -> None:
    """The parent has a call in hand and one that waits; the child makes neither, and the parent's are not lost."""
    lines, _ = run("""
        background = Background("work")
        gate, at_work = threading.Event(), threading.Event()
        background.offer(lambda: (at_work.set(), gate.wait(30)))
        at_work.wait(30)
        background.offer(lambda: print("parent", flush=True))
        background.drop("a reason")
        child = os.fork()
        if not child:
            print("dropped", background.dropped(), flush=True)
            background.offer(lambda: print("child", flush=True))
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        gate.set()
    """)
    assert lines == ["dropped {}", "child", "parent"]


def test_a_fork_while_another_thread_offers_calls_leaves_no_lock_locked() -> None:
    lines, _ = run("""
        background, stop = Background("work"), threading.Event()

        def offer():
            while not stop.is_set():
                background.offer(lambda: None)

        threads = [threading.Thread(target=offer) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(30):
            child = os.fork()
            if not child:
                background.offer(lambda: os._exit(0))
                time.sleep(20)
                os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
        print("no child hung")
    """)
    assert lines == ["no child hung"]
