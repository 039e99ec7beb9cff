"""`make chaos`: kill until the number is reached, and write what was found into docs/reliability.md."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.report import write
from tests.chaos.run import Result, run, summary

PROVIDERS = ("espocrm", "bitrix")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="how many processes to kill, over all providers")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the dice")
    parser.add_argument("--provider", choices=PROVIDERS, help="only this one (default: all at the same time)")
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds between two faults of one process")
    parser.add_argument("--write", action="store_true", help="write the table of docs/reliability.md")
    options = parser.parse_args()
    providers = [options.provider] if options.provider else PROVIDERS
    print(f"seed {options.seed}", flush=True)
    progress, halt = Progress(), threading.Event()
    signal.signal(signal.SIGINT, lambda *_: halt.set())

    def torment(provider: str) -> Result:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            kills, show = options.kills // len(providers), progress.of(provider)
            return run(
                Path(folder), provider, kills=kills, seed=options.seed, pause=options.pause, progress=show, halt=halt
            )  # fmt: skip

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(torment, providers))
    failed = [result for result in results if result.failures()]
    print("\n".join(["", *(result.story() for result in failed), *map(summary, results)]))
    if options.write and not halt.is_set():
        write(results)
    return bool(failed)


class Progress:
    """One line for all runs."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}

    def of(self, provider: str) -> Callable[[str], None]:
        """A function with which one run updates its part of the line."""

        def show(line: str) -> None:
            self._lines[provider] = line
            if sys.stdout.isatty():
                print("\r" + " | ".join(self._lines.values()), end="", flush=True)

        return show


if __name__ == "__main__":
    sys.exit(main())
