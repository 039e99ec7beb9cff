"""The table of docs/reliability.md."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.faults import ALL
from tests.chaos.run import Result, by_fault
from tests.chaos.trials import TROUBLES
from tests.processes import ROOT

PAGE = ROOT / "docs" / "reliability.md"
LABELS = {"espocrm": "EspoCRM", "bitrix": "Bitrix24"}
BLOCK = re.compile(r"(<!-- measured by `make chaos` -->\n).*?(<!-- end -->)", re.DOTALL)
TOTALS: dict[str, Callable[[Result], object]] = {
    "processes killed (SIGKILL)": lambda result: result.kills,
    "faults in all": lambda result: len(result.struck),
    "submissions sent": lambda result: len(result.evidence.notes),
    "of these accepted (201 or 202)": lambda result: result.accepted,
    "**accepted and lost**": lambda result: f"**{result.count('lost')}**",
    "**duplicated**": lambda result: f"**{result.count('duplicated')}**",
    "other complaints of the auditor": lambda result: len(result.failures()) - _lost_or_duplicated(result),
    "times that it was left alone to recover": lambda result: len(result.recoveries),
    "dead letters that the CRM refused for good": lambda result: sum(
        letter.refused for letter in result.evidence.letters.values()
    ),
    "seconds until all had settled: longest": lambda result: f"{result.recovery:.1f}",
    "seconds until all had settled: median": lambda result: f"{statistics.median(result.recoveries):.1f}",
    "minutes": lambda result: f"{result.seconds / 60:.0f}",
}


def write(results: Sequence[Result], page: Path = PAGE) -> None:
    """Put the tables of these runs into the page."""
    text = "\n".join(tables(results))
    page.write_text(BLOCK.sub(lambda block: f"{block[1]}\n{text}\n\n{block[2]}", page.read_text()))


def tables(results: Sequence[Result]) -> Iterator[str]:
    """The results, and how often each fault struck."""
    crms = [LABELS[result.provider] for result in results]
    yield f"{datetime.now(UTC):%Y-%m-%d}, seed {results[0].seed}:"
    yield ""
    yield from _head("", crms)
    for name, total in TOTALS.items():
        yield _row(name, [total(result) for result in results])
    yield ""
    yield "Each fault: how often it struck / the longest recovery from it, in seconds."
    yield ""
    yield from _head("fault", crms)
    found = [by_fault(result) for result in results]
    for name in (fault.name for fault in ALL):
        yield _row(name, [f"{faults[name][0]} / {faults[name][1]:.1f}" if name in faults else "" for faults in found])
    yield ""
    yield "Each trouble alone: seconds that it lasted / seconds of the recovery / the most dead letters at a time."
    yield ""
    yield from _head("trouble", crms)
    for trouble in TROUBLES:
        yield _row(trouble.name, [_trial(result, trouble.name) for result in results])


def _trial(result: Result, name: str) -> str:
    tried = (trial for trial in result.evidence.trials if trial.name == name)
    return "".join(f"{one.ended - one.began:.0f} / {one.recovery:.1f} / {one.most}" for one in tried)


def _head(first: str, columns: Sequence[str]) -> Iterator[str]:
    yield _row(first, columns)
    yield f"|---|{'--:|' * len(columns)}"


def _row(first: str, cells: Sequence[object]) -> str:
    return f"| {first} | {' | '.join(map(str, cells))} |"


def _lost_or_duplicated(result: Result) -> int:
    return result.count("lost") + result.count("duplicated")
