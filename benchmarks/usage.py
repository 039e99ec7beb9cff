"""What processes use, read from /proc: memory and CPU time of a process and of all that it started."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from tests.processes import Process

PROC = Path("/proc")
MEGABYTE = 1024 * 1024
TICKS = os.sysconf("SC_CLK_TCK")
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def memory(process: Process) -> float:
    """Proportional memory of a process and its children, in MB: a page that two share counts half for each."""
    return sum(_memory(pid) for pid in _members(process.pid)) / MEGABYTE


def cpu(process: Process) -> float:
    """CPU seconds that a process and its running children have used."""
    return sum(_cpu(pid) for pid in _members(process.pid))


def _members(group: int) -> list[int]:
    """Processes of a process group. `tests.processes.Process` starts each program in a group of its own."""
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit() and _group(int(entry.name)) == group]


def _group(pid: int) -> int:
    with suppress(OSError):  # it has ended meanwhile
        return int(_stat(pid)[2])
    return 0


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name of the program, which may hold spaces."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _memory(pid: int) -> int:
    with suppress(OSError):
        found = _PSS.search((PROC / str(pid) / "smaps_rollup").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def _cpu(pid: int) -> float:
    with suppress(OSError):
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / TICKS
    return 0.0
