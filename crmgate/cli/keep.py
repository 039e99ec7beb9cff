"""Keep one command running: `python -P keep.py [--last] LOCK COMMAND ...` restarts it when it ends.

SIGTERM and SIGINT end the command and then the keeper. On Linux so does the end of the process that started the keeper,
even by SIGKILL. Every keeper except the `--last` one holds a shared lock on the file LOCK while it runs. The last one
stops its command only when no other keeper holds the lock, so that Redis stops after the processes that need it.
"""

from __future__ import annotations

import ctypes
import fcntl
import signal
import subprocess
import sys
import threading
import time
from typing import IO

PR_SET_PDEATHSIG = 1  # prctl(2)
PAUSE = 1.0
"""Seconds before an ended command is restarted."""
PATIENCE = 4.0
"""Seconds that the last keeper waits for the others; the supervisor kills it after five."""


def keep(command: list[str], lock: IO[str], *, last: bool) -> int:
    """Run `command` until SIGTERM or SIGINT. Returns the exit status of the command."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _end_with_parent()
    if not last:
        fcntl.flock(lock, fcntl.LOCK_SH)
    while not stop.is_set():
        # In its own session: a signal to the process group reaches only the keeper, which then ends the command.
        child = subprocess.Popen(command, start_new_session=True, preexec_fn=_end_with_parent)  # noqa: S603
        while child.poll() is None and not stop.wait(0.05):
            pass
        if not stop.is_set():
            print(f"ended with status {child.returncode}; starting it again", flush=True)  # noqa: T201
            stop.wait(PAUSE)
    if last:
        _wait_for_others(lock)
    child.terminate()
    return child.wait()


def _end_with_parent() -> None:
    """Have Linux send SIGTERM to this process when its parent ends, because nothing else would stop it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for_others(lock: IO[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    arguments = sys.argv[1:]
    is_last = arguments[0] == "--last"
    path, *wanted = arguments[1:] if is_last else arguments
    with open(path, "w") as lock_file:
        sys.exit(keep(wanted, lock_file, last=is_last))
