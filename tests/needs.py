"""Programs that some tests need beside Python packages: installed where that is allowed, else said how to get them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

TOOLS = {
    # name: (executable, Debian packages)
    "caddy": ("caddy", "caddy"),
    "chromium": ("chromium", "chromium"),
    "mariadb": ("mariadbd", "mariadb-server-core mariadb-client-core"),
    "docker-compose": ("docker-compose", "docker-compose"),
    "systemd": ("systemd-analyze", "systemd"),
}
SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where servers are, which need not be on a user's PATH."""


def need(tool: str) -> str:
    """The path of a tool's executable. As root on Debian or Ubuntu a missing one is installed.

    Elsewhere the test is skipped with the reason; under `CI=true` it fails.
    """
    executable, packages = TOOLS[tool]
    if found := _find(executable) or _installed(executable, packages):
        return found
    told = f"{executable} is missing; on Debian or Ubuntu: apt-get install {packages}"
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


def _find(executable: str) -> str | None:
    return shutil.which(executable, path=f"{os.environ.get('PATH', '')}:{SYSTEM}")


def _installed(executable: str, packages: str) -> str | None:
    """Install with apt-get where that may be done; the tests run in several processes, of which one does it."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    with (Path(tempfile.gettempdir()) / "crmgate-tests-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _find(executable):
            environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages.split()]):
                subprocess.run(["apt-get", *arguments], env=environ, check=False, capture_output=True)
    return _find(executable)
