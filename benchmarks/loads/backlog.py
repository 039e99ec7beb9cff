"""A backlog of leads into a Bitrix24 with the vendor's limits, beside a program that makes one call for each lead.

The limits are the vendor's: 2 requests a second after a burst of 50. A backlog that takes longer than `patience` is
measured for that time; the rest is computed from the rate of the second half, when the burst is used up.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks import gateway, processes
from benchmarks.contenders import CRMGATE
from benchmarks.figures import Gathered, Report
from benchmarks.options import Options
from benchmarks.portal import COUNT
from benchmarks.processes import answers, private_redis, running
from crmgate.cli.redis_server import free_port
from tests.processes import wait_until

NAME = "backlog"
ONE_EACH = "one call a lead"
SECONDS, RATE, EACH = "seconds for all", "leads/s", "requests a lead"
LATE = "refused after the first second"
SECRET = "fakesecret123456"
POLL_SECONDS = 1.0
WAIT_SECONDS = 0.5
"""Time after which the program with one call a lead tries a refused call again."""
CALLS_SECONDS = 40.0
"""Longest time for which that program is measured: 25 s use the burst up."""


@dataclass(frozen=True)
class Course:
    """Number of leads in the portal over time: pairs of seconds after the first request and leads."""

    points: tuple[tuple[float, int], ...]
    counts: dict[str, Any]

    def seconds_for(self, leads: int) -> float:
        """Seconds until the portal has `leads`, computed from the rate of the second half if it has fewer."""
        last_at, last = self.points[-1]
        return last_at if last >= leads else last_at + (leads - last) / self.rate

    @property
    def rate(self) -> float:
        """Leads a second in the second half."""
        at, leads = self.points[len(self.points) // 2]
        last_at, last = self.points[-1]
        return (last - leads) / (last_at - at) if last > leads else 0.001


def run(options: Options, say: Callable[[str], None]) -> Report:
    """Measure both once: the limits of the portal decide, not the machine."""
    shutil.rmtree(options.folder / NAME, ignore_errors=True)
    gathered, remarks = Gathered(), ["One round."]
    contenders = [(ONE_EACH, _one_each), (CRMGATE, _crmgate)] if options.peers else [(CRMGATE, _crmgate)]
    for who, drain in contenders:
        course = _measure(drain, options, options.folder / NAME / who.replace(" ", "-"))
        seconds, counts = course.seconds_for(options.leads), course.counts
        say(f"{who}: {counts['leads']} leads in {course.points[-1][0]:.0f} s, {options.leads} in {seconds:.0f} s")
        gathered.add(who, SECONDS, "s", seconds)
        gathered.add(who, RATE, "", options.leads / seconds)
        gathered.add(who, EACH, "", counts["requests"] / max(counts["leads"], 1))
        gathered.add(who, LATE, "", float(sum(at > 1 for at in counts["refused"])))
        if counts["leads"] < options.leads:
            remarks.append(
                f"{who}: measured for {course.points[-1][0]:.0f} s ({counts['leads']:,} leads),"
                f" the rest of the {options.leads:,} computed from the rate of the second half."
            )
    return Report(NAME, gathered.figures(), RATE, ONE_EACH, tuple(remarks))


def _measure(drain: Callable[[Path, str, Options, ExitStack], Course], options: Options, folder: Path) -> Course:
    folder.mkdir(parents=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.portal", "--port", str(port)]
    with ExitStack() as ends:
        ends.enter_context(running(processes.KIND("portal", command, folder)))
        wait_until("the portal answers", lambda: answers(lambda: requests.get(url + COUNT, timeout=5)))
        return drain(folder, url, options, ends)


def _crmgate(folder: Path, url: str, options: Options, ends: ExitStack) -> Course:
    """A worker with the default settings."""
    redis_url = ends.enter_context(private_redis(folder)).url
    env = {"CRM_PROVIDER": "bitrix", "REDIS_URL": redis_url, "BITRIX_WEBHOOK_URL": f"{url}/rest/1/{SECRET}/"}
    gateway.fill(env, options.leads)
    ends.enter_context(running(*gateway.workers(folder, env, 1)))
    points: list[tuple[float, int]] = []
    while not points or (points[-1][1] < options.leads and points[-1][0] < options.patience):
        time.sleep(POLL_SECONDS)
        counts = _counts(url)
        points.append((counts["seconds"], counts["leads"]))
    return Course(tuple(points), counts)


def _one_each(_folder: Path, url: str, options: Options, _ends: ExitStack) -> Course:
    """One `crm.lead.add` after the other, each repeated until the limits let it pass."""
    session, points, begun = requests.Session(), [(0.0, 0)], time.monotonic()
    number = 0
    while number < options.leads and points[-1][0] < min(CALLS_SECONDS, options.patience):
        fields = {"TITLE": f"Lead {number}", "EMAIL": [{"VALUE": f"test{number}@example.com", "VALUE_TYPE": "WORK"}]}
        answer = session.post(f"{url}/rest/1/{SECRET}/crm.lead.add.json", json={"fields": fields}, timeout=30)
        if answer.ok:
            number += 1
            points.append((time.monotonic() - begun, number))
        else:
            time.sleep(WAIT_SECONDS)
    return Course(tuple(points), _counts(url))


def _counts(url: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(url + COUNT, timeout=30).json()
    return found
