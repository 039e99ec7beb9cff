"""An environment for each peer: a virtual environment, or a folder of node modules, in `.bench/`.

It is installed once. A change of the list of packages installs it again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.options import CACHE

PEERS = Path(__file__).parent / "peers"
FLASK = ("flask", "gunicorn")
REDIS = ("redis", "hiredis")


class NotInstalled(Exception):
    """A peer cannot be installed here. The text says why, in one line."""


@dataclass(frozen=True)
class PythonEnvironment:
    """A virtual environment with the newest releases of `packages`."""

    name: str
    packages: tuple[str, ...]

    def install(self) -> Path:
        """Create the environment unless it exists; its folder of programs. Raises `NotInstalled`."""
        folder = CACHE / self.name
        programs = folder / "bin"
        if not _is_current(folder, " ".join(self.packages)):
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)])
            _run([str(programs / "pip"), "install", "-q", "--disable-pip-version-check", *self.packages])
            _mark(folder, " ".join(self.packages))
        return programs

    def versions(self) -> str:
        """The main packages with their versions."""
        listed = _run([str(CACHE / self.name / "bin" / "pip"), "list", "--format=freeze"])
        found = dict(line.lower().split("==") for line in listed.splitlines() if "==" in line)
        names = (name.partition("[")[0] for name in self.packages)
        return _list({name: found[name] for name in names})


@dataclass(frozen=True)
class NodeEnvironment:
    """A copy of `peers/node/` with its packages from npm."""

    name: str = "node"

    def install(self) -> Path:
        """Copy the programs and install their packages; the folder. Raises `NotInstalled`."""
        for program in ("node", "npm"):
            if shutil.which(program) is None:
                raise NotInstalled(f"{program} is not on the PATH")
        folder, source = CACHE / self.name, PEERS / "node"
        wanted = (source / "package.json").read_text()
        folder.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            shutil.copy(file, folder)
        if not _is_current(folder, wanted):
            _run(["npm", "install", "--no-audit", "--no-fund", "--silent"], folder)
            _mark(folder, wanted)
        return folder

    def versions(self) -> str:
        """Node and the packages with their versions."""
        folder = CACHE / self.name / "node_modules"
        script = "for (const p of process.argv.slice(1)) console.log(p, require(p + '/package.json').version)"
        names = ("fastify", "zod", "bullmq")
        answer = _run(["node", "-e", script, *(str(folder / name) for name in names)])
        found = {Path(line.split()[0]).name: line.split()[1] for line in answer.splitlines()}
        return _list({"node": _run(["node", "--version"]).strip().removeprefix("v")} | found)


ECHO = PythonEnvironment("echo", FLASK)
HUEY = PythonEnvironment("huey", (*FLASK, *REDIS, "marshmallow", "huey", "requests"))
CELERY = PythonEnvironment("celery", (*FLASK, "hiredis", "marshmallow", "celery[redis]", "requests"))
DRAMATIQ = PythonEnvironment("dramatiq", (*REDIS, "dramatiq", "requests"))
DIRECT = PythonEnvironment("direct", (*FLASK, "requests"))
NODE = NodeEnvironment()


def load_generator() -> str:
    """Path of wrk. Raises `NotInstalled`: a load generator in Python would be the slowest part."""
    if found := shutil.which("wrk"):
        return found
    if shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], capture_output=True, check=False)
    if found := shutil.which("wrk"):
        return found
    raise NotInstalled("wrk is not on the PATH (Debian, Ubuntu: apt install wrk; macOS: brew install wrk)")


def _list(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _is_current(folder: Path, wanted: str) -> bool:
    mark = folder / "installed.txt"
    return mark.exists() and mark.read_text() == wanted


def _mark(folder: Path, wanted: str) -> None:
    (folder / "installed.txt").write_text(wanted)


def _run(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NotInstalled(f"{Path(command[0]).name} failed: {' '.join(last)}")
    return done.stdout
