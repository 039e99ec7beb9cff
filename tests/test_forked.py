"""A forked program does what the same program does when its command starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked
from tests.forked import PYTHON, Forked
from tests.processes import DEADLINE, ROOT, Process


@pytest.mark.parametrize("arguments", [["stats", "--help"], ["nothing"], ["stats"]], ids=" ".join)
def test_a_command_has_the_same_output_and_status(arguments: list[str]) -> None:
    environ = Process("", [], ROOT, {"CRM_PROVIDER": "sandbox", "REDIS_URL": "redis://127.0.0.1:1"}).environ()
    command = subprocess.run(
        [*PYTHON, "crmgate", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=DEADLINE
    )
    fork = forked.crmgate(environ, *arguments)
    assert (fork.returncode, fork.stdout, fork.stderr) == (command.returncode, command.stdout, command.stderr)


def test_what_only_a_new_interpreter_reads_makes_a_start_by_command(tmp_path: Path) -> None:
    command = [*PYTHON, "this"]
    for name, kind in (
        ("PYTHONHASHSEED", subprocess.Popen),
        ("WEB_CONCURRENCY", subprocess.Popen),
        ("A", forked.Child),
    ):
        process = Forked("this", command, tmp_path, {name: "1"})
        process.start()
        assert isinstance(process.popen, kind)
        assert process.popen.wait(DEADLINE) == 0


def test_a_signal_to_an_ended_fork_changes_nothing(tmp_path: Path) -> None:
    process = Forked("this", [sys.executable, "-m", "this"], tmp_path)
    process.start()
    assert process.popen
    assert process.popen.wait(DEADLINE) == 0
    assert process.stop() == 0
    assert "Zen" in process.output()
