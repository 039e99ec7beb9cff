"""`make js`: writes the script that the gateway serves from its commented source.

With `--check` nothing is written: exit status 1 says that the script is not the one of the source.
"""

from __future__ import annotations

import sys
from pathlib import Path

import minify

HERE = Path(__file__).parent
SOURCE = HERE / "crmgate.js"
SERVED = HERE.parent / "crmgate" / "web" / "static" / "crmgate.js"
HEADER = "// crmgate, MIT\n"


def script() -> str:
    """The script as it has to be served."""
    return HEADER + str(minify.string("application/javascript", SOURCE.read_text())) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if SERVED.read_text() != script():
            sys.exit(f"{SERVED} is not current: run `make js`.")
    else:
        SERVED.write_text(script())
        sys.stdout.write(f"{SERVED}: {SERVED.stat().st_size} bytes\n")
