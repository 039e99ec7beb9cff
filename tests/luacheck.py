"""Run luacheck on the Lua scripts of the ledger, put together as Redis gets them.

Each script becomes a function in one file, after what stands before it in Redis: so luacheck also finds a name that
hides another one, and a shared function that no script uses. `make check` runs this as a program.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping

from crmgate.store import scripts
from tests import needs
from tests.processes import ROOT

ALONE = ("limit", "trial")


def sources() -> dict[str, str]:
    """The text of every file in `lua/` by its name, in the order in which they are put together."""
    return {name: scripts.read(name) for name in (*scripts.SHARED, *scripts.NAMES, *ALONE)}


def problems(executable: str, sources: Mapping[str, str]) -> list[str]:
    """Findings of luacheck, each with the file and the line in it."""
    lines = list(_together(sources))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write("\n".join(text for _, text in lines) + "\n")
        file.flush()
        command = [executable, "--config", str(ROOT / ".luacheckrc"), "--formatter", "plain", "--codes", file.name]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1, 2), found.stderr
    places = re.findall(r":(\d+):\d+: (.*)", found.stdout)
    return [f"{lines[int(number) - 1][0]}: {text}" for number, text in places]


def _together(sources: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs of a place (file and line) and the text of a line."""
    for line in scripts.header("@id@").splitlines():
        yield "crmgate/store/scripts.py", f"{line}  -- luacheck: no max line length"
    for name, text in sources.items():
        place = f"crmgate/store/lua/{name}.lua"
        if name not in scripts.SHARED:
            yield place, "do local function script()"
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{place}:{number}", line
        if name not in scripts.SHARED:
            yield place, "end script() end"


def main() -> int:
    """Print what luacheck finds. Without luacheck say so; under `CI=true` that is an error."""
    executable = needs.provide("luacheck")
    if not executable:
        print(needs.missing("luacheck"), "The Lua scripts are not checked; where CI=true, that is an error.")
        return int(os.environ.get("CI") == "true")
    found = problems(executable, sources())
    print("\n".join(found) or "The Lua scripts: nothing found")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
