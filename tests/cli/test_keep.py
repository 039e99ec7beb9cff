"""The keeper of a command of `crmgate dev`: nothing goes on when the processes above it were killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crmgate.cli.dev import KEEPER
from tests.processes import wait_until

PARENT = "import subprocess, sys; subprocess.run(sys.argv[1:])"
COMMAND = 'echo $$ > "$0"; exec sleep 600'


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the end of a parent")
@pytest.mark.parametrize("last", [[], ["--last"]], ids=["web or worker", "Redis"])
def test_a_command_ends_when_the_parent_of_its_keeper_is_killed(tmp_path: Path, last: list[str]) -> None:
    pid_file = tmp_path / "pid"
    command = ["sh", "-c", COMMAND, str(pid_file)]
    with subprocess.Popen([sys.executable, "-c", PARENT, *KEEPER, *last, str(tmp_path / "lock"), *command]) as parent:
        wait_until("the command runs", lambda: pid_file.exists() and pid_file.read_text().strip())
        parent.kill()
    pid = pid_file.read_text().strip()
    wait_until("the command has ended", lambda: not _runs(pid))


def _runs(pid: str) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
