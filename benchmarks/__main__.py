"""`make bench`: measures crmgate beside what people would use instead, and writes docs/performance.md.

Absolute figures are the machine's; compare ratios within one run.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from functools import partial

from benchmarks.figures import Report
from benchmarks.loads import LOADS
from benchmarks.options import Options


def main() -> int:
    """Run the chosen loads, and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loads", nargs="*", default=[], metavar="load", help=f"of {', '.join(LOADS)}; default: all")
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    chosen = parser.parse_args()
    names = chosen.loads or list(LOADS)
    if unknown := set(names) - LOADS.keys():
        parser.error(f"no such load: {', '.join(sorted(unknown))}")
    options = replace(Options(), rounds=chosen.rounds)
    for name in names:
        show(measure(name, options))
    return 0


def measure(name: str, options: Options) -> Report:
    """Run one load and say how long it took."""
    print(f"{name} ...", flush=True)
    begun = time.monotonic()
    report = LOADS[name](options, partial(print, "  ", flush=True))
    print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    return report


def show(report: Report) -> None:
    """Print the figures of a load."""
    for figure in report.figures:
        print(f"  {figure.who:24} {figure.what:16} {figure}")
    for remark in report.remarks:
        print(f"  {remark}")


if __name__ == "__main__":
    sys.exit(main())
