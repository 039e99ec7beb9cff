"""`make bench`: measures crmgate beside what people would use instead, and writes docs/performance.md.

Absolute figures are the machine's; compare ratios within one run.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from benchmarks import machine, page
from benchmarks.environments import NotInstalled
from benchmarks.figures import Report
from benchmarks.goals import verdicts
from benchmarks.loads import LOADS
from benchmarks.options import Options
from benchmarks.processes import TooSlow
from benchmarks.wrk import LoadFailed


def main() -> int:
    """Run the chosen loads and print their figures. A complete run writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loads", nargs="*", metavar="load", help=f"of {', '.join(LOADS)}; default: all")
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--deliveries", type=int, default=Options.deliveries, help="operations of the load `cost`")
    parser.add_argument("--page", action="store_true", help="measure nothing, write docs/performance.md again")
    chosen = parser.parse_args()
    if chosen.page:
        page.write(page.Results.load())
        return 0
    if unknown := set(chosen.loads) - LOADS.keys():
        parser.error(f"no such load: {', '.join(sorted(unknown))}")
    return _measure(chosen.loads, replace(Options(), rounds=chosen.rounds, deliveries=chosen.deliveries))


def _measure(names: list[str], options: Options) -> int:
    """Run the loads; a load that fails does not stop the others. Exit status 1 if one failed."""
    where, when = machine.describe(), datetime.now(UTC).date().isoformat()
    print(where, flush=True)
    reports: dict[str, Report] = {}
    for name in names or LOADS:
        try:
            reports[name] = _run(name, options)
        except (LoadFailed, NotInstalled, TooSlow) as error:
            print(f"{name} failed: {error}", flush=True)
    print(verdicts(reports))
    whole = reports.keys() == LOADS.keys()
    if whole:
        results = page.Results(where, when, reports)
        results.save()
        page.write(results)
    return 0 if whole or reports.keys() == set(names) else 1


def _run(name: str, options: Options) -> Report:
    """Run one load, and print its figures and how long it took."""
    print(f"{name} ...", flush=True)
    begun = time.monotonic()
    report = LOADS[name](options, partial(print, "  ", flush=True))
    print(f"\n{page.section(report)}\n\n({name}: {time.monotonic() - begun:.0f} s)\n", flush=True)
    return report


if __name__ == "__main__":
    sys.exit(main())
