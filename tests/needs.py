"""Programs that some tests need beside Python packages: installed where that is allowed, else said how to get them.

`make test` runs this as a program first, so that no test waits for an installation.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
TOOLS = {
    # name: (executable, Debian packages)
    "chromium": ("chromium-headless-shell", "chromium-headless-shell"),
    "firefox": ("firefox-esr", "firefox-esr"),
    "mariadb": ("mariadbd", "mariadb-server-core mariadb-client-core"),
    "docker-compose": ("docker-compose", "docker-compose"),
    "systemd": ("systemd-analyze", "systemd"),
    "luacheck": ("luacheck", "lua-check"),
    "prometheus": ("prometheus", "prometheus"),
}
INSTEAD = {"chromium-headless-shell": "chromium"}
"""Executables that a test can use instead. The whole Chromium takes three times the CPU time of its headless shell."""
SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"
"""Folders of server programs, which need not be on a user's PATH."""


def need(tool: str) -> str:
    """The path of a tool's executable. As root on Debian or Ubuntu a missing one is installed.

    Elsewhere the test is skipped with the reason (see `refuse_skip`).
    """
    return provide(tool) or pytest.skip(missing(tool))


def refuse_skip(report: Report) -> Report:
    """The report of a test or of the collection of a file. A skipped one is a failure under `CI=true`."""
    if report.skipped and os.environ.get("CI") == "true":
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"A test is skipped, which CI=true does not allow: {reason}"
    return report


def provide(tool: str) -> str | None:
    """The path of a tool's executable, installed where that is possible; None if it is missing."""
    executable, packages = TOOLS[tool]
    if found := _find(executable) or _instead(executable):
        return found
    _installed({executable: packages})
    return _find(executable)


def missing(tool: str) -> str:
    """A sentence that names the missing program and how to install it."""
    executable, packages = TOOLS[tool]
    return f"{executable} is missing; on Debian or Ubuntu: apt-get install {packages}"


def main() -> None:
    """Install all that is missing at once, and name what could not be."""
    lacking = {tool: TOOLS[tool] for tool in TOOLS if not _find(TOOLS[tool][0])}
    if lacking:
        print(f"Some tests need {', '.join(executable for executable, _ in lacking.values())} ...", flush=True)
        _installed(dict(lacking.values()))
    for tool, (executable, _) in lacking.items():
        if not (_find(executable) or _instead(executable)):
            print(f"{missing(tool)}. Its tests are skipped, or fail where CI=true.", flush=True)


def _find(executable: str) -> str | None:
    return shutil.which(executable, path=f"{os.environ.get('PATH', '')}:{SYSTEM}")


def _instead(executable: str) -> str | None:
    return _find(INSTEAD[executable]) if executable in INSTEAD else None


def _installed(wanted: Mapping[str, str]) -> None:
    """Install with apt-get where that may be done; the tests run in several processes, of which one does it."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    with (Path(tempfile.gettempdir()) / "crmgate-tests-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lacking = [names.split() for executable, names in wanted.items() if not _find(executable)]
        if lacking:
            _apt_get("update", "-q")
        for packages in lacking:  # each tool by itself: a release may lack one of them
            _apt_get("install", "-q", "-y", "--no-install-recommends", *packages)


def _apt_get(*arguments: str) -> None:
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", *arguments], env=environ, check=False, capture_output=True)


if __name__ == "__main__":
    main()
