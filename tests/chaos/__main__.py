"""`make chaos`: kill until the number is reached, and write what was found into docs/reliability.md."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import write
from tests.chaos.run import Result, run, summary

PROVIDERS = ("espocrm", "bitrix")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="how many processes to kill, over all providers")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the dice")
    parser.add_argument("--provider", choices=PROVIDERS, help="only this one (default: one after the other)")
    parser.add_argument("--pause", type=float, default=1.5, help="mean seconds between two faults of one process")
    parser.add_argument("--write", action="store_true", help="write the table of docs/reliability.md")
    options = parser.parse_args()
    providers = [options.provider] if options.provider else PROVIDERS
    print(f"seed {options.seed}", flush=True)
    results = [_run(name, options.kills // len(providers), options) for name in providers]
    if options.write:
        write(results)
    return any(result.failures() for result in results)


def _run(provider: str, kills: int, options: argparse.Namespace) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            Path(folder), provider, kills=kills, seed=options.seed, pause=options.pause, progress=_show
        )  # fmt: skip
    print(f"\r{summary(result)}", flush=True)
    if result.failures():
        print(result.story(), flush=True)
    return result


def _show(line: str) -> None:
    if sys.stdout.isatty():
        print(f"\r{line}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
