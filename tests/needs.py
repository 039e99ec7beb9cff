"""Tools that some tests need and pip does not bring. Where it may, a test installs what it needs by itself."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

TOOLS = {
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "chromium"),
}
"""By name: the executables that will do, and the Debian package."""


@functools.cache
def need(tool: str) -> str:
    """The path of the executable; without it the test is skipped and says how to get it. Under `CI` it fails."""
    executables, package = TOOLS[tool]
    path = _find(executables) or (_may_install() and _install(executables, package))
    if path:
        return path
    message = f"{tool} is not installed; on Debian or Ubuntu: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _find(executables: tuple[str, ...]) -> str:
    return next((path for path in map(shutil.which, executables) if path), "")


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install(executables: tuple[str, ...], package: str) -> str:
    """Tests run in several processes: the first one installs, the others wait for it."""
    with (Path(tempfile.gettempdir()) / "crmgate-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
            if not _find(executables):
                environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
                subprocess.run(["apt-get", "-q", *command], env=environ, stdout=subprocess.DEVNULL, check=False)
    return _find(executables)
