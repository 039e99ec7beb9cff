"""`GET /go/<channel>` on running processes: it waits for neither Redis nor the CRM and reports lost clicks."""

from __future__ import annotations

import http.client
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from tests.integration.stack import Stack
from tests.processes import DEADLINE, wait_until

LINK = "https://t.me/example_bot"
BOUND = 0.010
"""Seconds that a redirect may take in the server."""
SILENCE = 20.0
"""Seconds that it would cost to wait for a Redis that does not answer."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Shared, since a start takes a while: what a test counts, it counts from its own beginning."""
    folder = tmp_path_factory.mktemp("stack")
    with Stack(folder, TELEGRAM_URL=LINK, REDIS_TIMEOUT=str(SILENCE)) as running:
        yield running.start()


@pytest.fixture
def fresh(own_stack: Stack) -> Stack:
    own_stack.env |= {"TELEGRAM_URL": LINK}
    return own_stack.start()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that accepts connections and does not answer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def click(stack: Stack, number: int = 0) -> requests.Response:
    url = f"{stack.url}/go/telegram?session=secret-{number}&ref=SECRET"
    response = requests.get(url, allow_redirects=False, timeout=DEADLINE)
    assert (response.status_code, response.headers["Location"]) == (302, f"{LINK}?start=SECRET")
    return response


def times(stack: Stack, paths: tuple[str, ...], number: int) -> list[list[float]]:
    """Seconds that each of `number` requests took, path by path: in turns, so that a busy machine delays all alike."""
    connection = http.client.HTTPConnection("127.0.0.1", int(stack.web.env["PORT"]), timeout=DEADLINE)
    taken: list[list[float]] = [[] for _ in paths]
    for turn in range(number):
        for path, each in zip(paths, taken, strict=True):
            begun = time.perf_counter()
            connection.request("GET", path.format(turn))
            connection.getresponse().read()
            each.append(time.perf_counter() - begun)
    connection.close()
    return taken


def p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]


def ready(stack: Stack) -> dict[str, dict[str, Any]]:
    answer = requests.get(f"{stack.url}/readyz", timeout=DEADLINE).json()
    return {check["name"]: check for check in answer["checks"]}


def test_robots_and_head_leave_no_trace(stack: Stack) -> None:
    url = f"{stack.url}/go/telegram?ref=REF"
    robot = requests.get(
        url, headers={"User-Agent": "TelegramBot (like TwitterBot)"}, allow_redirects=False, timeout=DEADLINE
    )
    head = requests.head(url, allow_redirects=False, timeout=DEADLINE)
    assert (robot.status_code, head.status_code) == (302, 302)
    click(stack, 99)
    wait_until("the click is a lead", lambda: stack.espocrm.leads)
    assert stack.ledger.stats()["accepted"] == 1


def test_a_short_silence_of_redis_loses_no_click(stack: Stack) -> None:
    leads, gone = len(stack.espocrm.leads), lost(stack)
    stack.redis.stop()
    for number in range(10):
        click(stack, number)
    stack.redis.start()
    wait_until("all are leads", lambda: len(stack.espocrm.leads) == leads + 10)
    assert lost(stack) == gone


def test_a_referral_code_that_no_messenger_carries_stands_in_the_description(stack: Stack) -> None:
    answer = requests.get(f"{stack.url}/go/telegram?ref=Help.Contact", allow_redirects=False, timeout=DEADLINE)
    assert answer.headers["Location"] == LINK
    wait_until(
        "the CRM has the click", lambda: any("Help.Contact" in str(lead["description"]) for lead in stack.espocrm.leads)
    )


def test_a_redirect_waits_neither_for_a_silent_redis_nor_for_a_hanging_crm(stack: Stack) -> None:
    """Beside `/healthz` in the same run; a round in which others had the machine does not count."""
    stack.espocrm.fail("hang")
    click(stack)
    slowest = 0.0
    with stopped(stack.redis.pid):
        for _ in range(10):
            bare, taken = times(stack, ("/healthz", "/go/telegram?session=s{}&ref=REF&page=/prices"), 100)
            slowest = max(slowest, *taken)
            if p99(taken) < (bound := max(BOUND, 4 * p99(bare))):
                break
    assert slowest < SILENCE / 2, "somebody waited for Redis"
    assert p99(taken) < bound


def test_what_is_lost_is_counted_logged_and_reported(fresh: Stack) -> None:
    fresh.redis.stop()
    for number in range(5):
        click(fresh, number)
    wait_until("the loss is in the log", lambda: lost(fresh) == 5)
    log = fresh.web.output()
    assert "secret" not in log.lower()
    assert "Traceback" not in log
    assert ready(fresh)["clicks"]["ok"] is False
    assert fresh.espocrm.leads == []
    fresh.redis.start()
    wait_until("it is counted", lambda: fresh.ledger.stats().get("clicks_lost") == 5)
    check = ready(fresh)["clicks"]
    assert (check["ok"], check["detail"]) == (
        True, "Clicks are recorded. Lost in the last 15 minutes: 5 (Redis did not answer).",
    )  # fmt: skip
    click(fresh, 9)
    wait_until("the next one is recorded", lambda: len(fresh.espocrm.leads) == 1)


def lost(stack: Stack) -> int:
    lines = [line for line in stack.web.output().splitlines() if "clicks on messenger links: " in line]
    return sum(int(line.partition("links: ")[2].split()[0]) for line in lines)


def test_an_orderly_stop_records_what_is_in_hand(fresh: Stack) -> None:
    """Redis is silent for a moment, so that the clicks still wait in the process when the signal comes."""
    with stopped(fresh.redis.pid):
        for number in range(20):
            click(fresh, number)
        os.kill(fresh.web.pid, signal.SIGTERM)
    assert fresh.web.stop() == 0
    assert fresh.ledger.stats()["accepted"] == 20
    assert lost(fresh) == 0


def test_without_minimal_leads_clicks_are_only_counted(own_stack: Stack) -> None:
    own_stack.env |= {"TELEGRAM_URL": LINK, "MINIMAL_LEADS": "off"}
    own_stack.redis.start()
    own_stack.start_web()
    click(own_stack)
    event = {"channel": "telegram", "referral_code": "REF"}
    answer = requests.post(f"{own_stack.url}/api/v1/messenger-events", json=event, timeout=DEADLINE)
    assert (answer.status_code, answer.json()) == (200, {"status": "counted"})
    wait_until("both are counted", lambda: own_stack.ledger.stats().get("clicks:telegram") == 2)
    assert "accepted" not in own_stack.ledger.stats()
