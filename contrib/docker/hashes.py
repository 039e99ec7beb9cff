"""Writes the hashes of the packages into constraints.txt: `python contrib/docker/hashes.py`.

pip downloads the wheel of each line for each version of Python and each platform of Linux that the image, or an
installation without Docker, may have. A line with a marker is for the platform of the marker only.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

CONSTRAINTS = Path(__file__).with_name("constraints.txt")
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
TAGS = ("manylinux1", "manylinux2010", "manylinux2014", "manylinux_2_12", "manylinux_2_17", "manylinux_2_28")


def main() -> None:
    """Read the pins without their hashes, download their wheels and write both."""
    pins = re.findall(r"^[\w.-]+==[^\\\n]+", CONSTRAINTS.read_text(), re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        for python in PYTHONS:
            for machine in MACHINES:
                download(Path(folder), [pin for pin in pins if wanted(pin, python, machine)], python, machine)
        found = hashes(Path(folder))
    CONSTRAINTS.write_text("".join(line(pin.strip(), found) for pin in pins))


def wanted(pin: str, python: str, machine: str) -> bool:
    """Whether the marker of a line allows this version and machine: those of constraints.txt have one form."""
    return ";" not in pin or (python != "3.13" and machine == "x86_64")


def download(folder: Path, pins: list[str], python: str, machine: str) -> None:
    platforms = [word for tag in TAGS for word in ("--platform", f"{tag}_{machine}")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    names = [pin.partition(";")[0].strip() for pin in pins]
    subprocess.run([*command, *platforms, "--python-version", python, "--dest", str(folder), *names], check=True)  # noqa: S603


def hashes(folder: Path) -> dict[str, set[str]]:
    """The hashes of the wheels by the name of the package."""
    found = defaultdict(set)
    for wheel in folder.iterdir():
        name = wheel.name.partition("-")[0].lower().replace("_", "-")
        found[name].add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    return found


def line(pin: str, found: dict[str, set[str]]) -> str:
    name = pin.partition("==")[0].lower()
    return " \\\n    ".join([pin, *(f"--hash=sha256:{one}" for one in sorted(found[name]))]) + "\n"


if __name__ == "__main__":
    main()
