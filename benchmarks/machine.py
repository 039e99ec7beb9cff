"""The machine of a run, in words."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from crmgate.cli.redis_server import executable


def describe() -> str:
    """Processor, memory, system, Python, Redis, and how busy the machine was before the run."""
    redis = subprocess.run([executable(), "--version"], capture_output=True, text=True, check=True).stdout.split()
    version = next((word.removeprefix("v=") for word in redis if word.startswith("v=")), "?")
    return (
        f"{os.cpu_count()} cores ({_processor()}), {_memory()}, {platform.system()} {platform.release().split('-')[0]},"
        f" Python {platform.python_version()}, Redis {version}; load average before the run: {os.getloadavg()[0]:.2f}"
    )


def _processor() -> str:
    return _find("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def _memory() -> str:
    found = _find("/proc/meminfo", "MemTotal")
    return f"{int(found.split()[0]) / 1e6:.0f} GB" if found else "unknown memory"


def _find(path: str, name: str) -> str:
    """Value of the first line `name : value` of a file; '' without such a line or file."""
    file = Path(path)
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
