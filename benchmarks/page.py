"""Writes docs/performance.md and its chart from the results of a run and from `notes.md`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chart import Panel, draw
from benchmarks.figures import Report, short, table
from benchmarks.goals import verdicts
from benchmarks.loads import accept, alone, backlog, brownout, cost, drain, growth
from tests.processes import ROOT

PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"
NOTES = Path(__file__).with_name("notes.md")
RESULTS = Path(__file__).with_name("results.json")
"""The figures of docs/performance.md. The last complete run of `make bench` wrote them."""

TITLES = {
    accept.NAME: ("Accepting", "Applications with 64 connections, `CRM_DELIVERY=queued`, no worker. Limits, log and"
                  " metrics of crmgate have their defaults: each application is another person's from another address."
                  " The servers in Python have 2 processes with 8 threads each, crmgate has those of its"
                  " `gunicorn.conf.py`, Fastify has 2 processes."),
    drain.NAME: ("Delivering", "A backlog into a CRM of fixed latency, from the first request to the last answer."
                 " Every program makes the same POST, and would retry after 1, 5 and 25 s."),
    brownout.NAME: ("A CRM that hangs", "Latency of the requests that are due while the CRM hangs."),
    backlog.NAME: ("A backlog for Bitrix24", "The portal allows 2 requests a second after a burst of 50."),
    cost.NAME: ("What an operation costs", "Memory and CPU time. The memory of web and worker is proportional (PSS)."),
    growth.NAME: ("A long queue", "Calls of the ledger, by the number of operations that wait."),
    alone.NAME: ("The gateway alone", "Latency of visitors' requests while something fails, and round trips to Redis."),
}  # fmt: skip
"""By load: the heading of its section, and what is measured."""


@dataclass(frozen=True)
class Results:
    """The reports of a run, and the machine on which it was made."""

    machine: str
    when: str
    reports: Mapping[str, Report]

    def save(self) -> None:
        """Write `results.json`."""
        plain = {"machine": self.machine, "when": self.when, "reports": [r.to_dict() for r in self.reports.values()]}
        RESULTS.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls) -> Results:
        """Read `results.json`."""
        plain: dict[str, Any] = json.loads(RESULTS.read_text())
        reports = [Report.from_dict(report) for report in plain["reports"]]
        return cls(plain["machine"], plain["when"], {report.load: report for report in reports})


def write(results: Results) -> None:
    """Write the page and its chart."""
    PAGE.write_text(text(results, NOTES.read_text()))
    CHART.write_text(chart(results))


def text(results: Results, notes: str) -> str:
    """The page."""
    parts = [
        "# Performance",
        "<!-- `make bench` writes this page from benchmarks/results.json and benchmarks/notes.md. -->",
        "crmgate beside what people would use instead. All contenders ran in turn on one machine, so compare the"
        " ratios; absolute figures are the machine's. A figure is the median of all rounds, with the smallest and the"
        " largest in parentheses.",
        f"**The machine** ({results.when}): {results.machine}.",
        "![crmgate beside other programs](performance.svg)",
        "## Goals",
        verdicts(results.reports),
        "`tests/test_calls.py` counts the Python function calls of one accept, `tests/delivery/test_calls.py` those of"
        " one delivery; each has a limit.",
        *(section(results.reports[name]) for name in TITLES if name in results.reports),
        notes.strip(),
    ]
    return "\n\n".join(parts) + "\n"


def section(report: Report) -> str:
    """The part of the page about one load."""
    heading, about = TITLES[report.load]
    remarks = "\n".join(f"- {remark}" for remark in report.remarks)
    return "\n\n".join(part for part in (f"## {heading}", about, _figures(report), remarks) if part)


def _figures(report: Report) -> str:
    """One row for each contender; the ratio to the base of the report is in the second column."""
    header = ["", *report.quantities]
    if report.base:
        header.insert(1, f"of {report.base}")
    return table(header, (_row(report, who) for who in report.contenders))


def _row(report: Report, who: str) -> Sequence[str]:
    cells = [who, *(str(report.find(who, what) or "") for what in report.quantities)]
    if report.base:
        ratio = report.ratio(report.main, who, report.base)
        cells.insert(1, "" if ratio is None else short(ratio))
    return cells


def chart(results: Results) -> str:
    """The chart of the page."""
    panels = [
        Panel("Accepts a second (of the Flask echo); longer is better", accept.NAME, accept.RATE),
        Panel("Deliveries a second (of BullMQ); longer is better", drain.NAME, drain.RATE),
    ]
    return draw(panels, results.reports)
