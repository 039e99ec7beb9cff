"""`make soak`: does a worker grow, and does Redis get its memory back? Written into docs/reliability.md.

A backlog of 50,000 is accepted while no worker runs, then one worker delivers it over HTTP. Its memory after 5,000 and
after all of them is compared, and Redis before and after, without the receipts (which go after 7 days).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.processes import ROOT
from tests.soak.run import soak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder), options.deliveries, progress=lambda text: print(text, end="\r", flush=True))
    print()
    print(result.table())
    page = ROOT / "docs" / "reliability.md"
    text = page.read_text()
    head, _, rest = text.partition("<!-- soak -->\n")
    _, end, tail = rest.partition("<!-- end of soak -->")
    if end:
        page.write_text(f"{head}<!-- soak -->\n\n{result.table()}\n\n<!-- end of soak -->{tail}")
    return 0 if result.well else 1


if __name__ == "__main__":
    sys.exit(main())
