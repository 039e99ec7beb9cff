"""Python programs that start as forks of a process which has imported their modules already (`tests.warm`).

Imports take most of the CPU time of a start. A forked program is a process like any other: it has a process id, a
session, an environment and a log of its own, and it ends as the interpreter ends. It differs from a program that its
command starts in three ways, which tests with real commands cover (`tests.integration.stack.Stack.web_kind`):

- Its modules are imported in another order, and before it has its environment.
- All forks of one test process have one hash seed.
- gunicorn's hook `pre_fork` does nothing (`tests.warm.keep_modules`).
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import forkserver, popen_forkserver
from pathlib import Path
from typing import Any
from unittest import mock

from tests import skewed
from tests.processes import DEADLINE, ROOT, Process, wait_until

CONTEXT = multiprocessing.get_context("forkserver")
MODULES = ["tests.warm", __name__]
CONTEXT.set_forkserver_preload(MODULES)
SKEWED_SERVER = forkserver.ForkServer()
"""A second fork server, whose modules use a clock that `tests.skew` moves."""
SKEWED_SERVER.set_forkserver_preload(["tests.skew.sitecustomize", *MODULES])
PYTHON = [sys.executable, "-m"]
READ_AT_START = ("PYTHON", "TZ", "WEB_CONCURRENCY")
"""First letters of environment variables that the interpreter or an import reads, so that a fork ignores them."""
SKEWED = ("PYTHONPATH", str(skewed.FOLDER))
"""The one variable of `READ_AT_START` that a fork obeys: it is a fork of `SKEWED_SERVER`."""


class Forked(Process):
    """A program of the form `python -m module arguments`, started as a fork.

    With a variable of `READ_AT_START` in its own environment it is started by its command, unless that is `SKEWED`.
    """

    def start(self) -> None:
        if any(name.startswith(READ_AT_START) and (name, value) != SKEWED for name, value in self.env.items()):
            super().start()
            return
        assert self.command[:2] == PYTHON, f"only `python -m` can be forked: {self.command}"
        self.popen = Child(self.command[2:], self.environ(), self.log, self.log)


def crmgate(environ: Mapping[str, str], *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line in a fork with this environment, in the folder `cwd`, and wait for its end."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        status = Child(["crmgate", *arguments], environ, output, errors, cwd).wait(DEADLINE)
        return subprocess.CompletedProcess(arguments, status, output.read_text(), errors.read_text())


class Child:
    """A forked program, with the methods of `subprocess.Popen` that tests use."""

    def __init__(
        self, command: list[str], environ: Mapping[str, str], output: Path, errors: Path, cwd: Path = ROOT
    ) -> None:
        kind = _SkewedProcess if SKEWED in environ.items() else CONTEXT.Process
        self._process = kind(target=_run, args=(command, dict(environ), output, errors, cwd), daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid
        wait_until(
            "the fork has a session of its own", lambda: self.poll() is not None or os.getsid(self.pid) == self.pid
        )

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # the fork server has reaped it meanwhile
                os.kill(self.pid, number)


class _SkewedPopen(popen_forkserver.Popen):
    """A fork of `SKEWED_SERVER`. One that another thread starts meanwhile may be, too: its clock does not move."""

    _lock = threading.Lock()

    def _launch(self, process_obj: Any) -> None:
        connect = SKEWED_SERVER.connect_to_new_process
        with self._lock, mock.patch.object(forkserver, "connect_to_new_process", connect):
            super()._launch(process_obj)


class _SkewedProcess(CONTEXT.Process):  # type: ignore[name-defined,misc]
    @staticmethod
    def _Popen(process_obj: Any) -> _SkewedPopen:
        return _SkewedPopen(process_obj)


def _run(command: list[str], environ: dict[str, str], output: Path, errors: Path, cwd: Path) -> None:
    """Become the program. The last steps are those of an interpreter that ends; `multiprocessing` leaves them out."""
    assert "tests.warm" in sys.modules, "the fork server passes over an ImportError"
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    for number, file in ((1, output), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666), number)
    sys.argv[:] = command
    sys.path.insert(0, str(ROOT))
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
