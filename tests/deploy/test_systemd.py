"""The systemd units."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from crmgate import gunicorn
from tests.deploy.files import UNITS
from tests.needs import need

INSTALLED = "/opt/crmgate/.venv/bin"


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit whose programs are those of this installation."""
    source: Path = request.param
    text = source.read_text()
    assert INSTALLED in text
    (tmp_path / source.name).write_text(text.replace(INSTALLED, str(Path(sys.executable).parent)))
    return tmp_path / source.name


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([need("systemd"), *arguments], capture_output=True, text=True, check=False)


def test_systemd_takes_it_without_a_warning(unit: Path) -> None:
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_may_do_little(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--threshold=15", "--no-pager", unit)
    assert done.returncode == 0, done.stdout[-200:]


def test_it_gets_more_time_to_stop_than_it_takes(unit: Path) -> None:
    lines = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and line[0] != "#")
    words = lines["ExecStart"].split()
    option = "--shutdown-timeout" if "--shutdown-timeout" in words else "--graceful-timeout"
    assert int(lines["TimeoutStopSec"]) >= int(words[words.index(option) + 1]) + 10
    assert lines["KillMode"] == "mixed"


def test_a_reload_is_checked_before_the_signal() -> None:
    """`tests/deploy/test_deploys.py` runs both."""
    [unit] = [unit.read_text() for unit in UNITS if "web" in unit.name]
    check, signal = re.findall(r"^ExecReload=(.+)$", unit, re.MULTILINE)
    assert check == f"{INSTALLED}/gunicorn --check-config wsgi:app"
    assert signal == "/bin/kill -HUP $MAINPID"


def test_the_threads_of_two_generations_of_processes_fit() -> None:
    """Four web processes and their successors during a reload, each with some threads that handle no requests."""
    for unit in UNITS:
        threads = 8 * (gunicorn.threads + 16) if "web" in unit.name else 8 + 16
        assert int(re.findall(r"^TasksMax=(\d+)$", unit.read_text(), re.MULTILINE)[0]) >= threads
