"""Moves the clock of a Python process, as if its host's clock were wrong. Imported before the modules that use it.

`SKEW_FILE` names a file with the seconds by which the clock is ahead; a change takes effect at once, like a step of the
clock. `SKEW_HOST` is the name of the host. Monotonic clocks do not move. `tests.skewed` sets both. A new interpreter
imports this file at its start, a fork server before its other modules (`tests.forked`).
"""

import datetime
import os
import socket
import time

_time, _time_ns, _datetime, _host = time.time, time.time_ns, datetime.datetime, socket.gethostname


def _offset():
    if not (name := os.environ.get("SKEW_FILE")):
        return 0.0
    with open(name) as file:
        return float(file.read())


class _Dates(type):
    """Dates that C code made count as dates, too."""

    def __instancecheck__(cls, value):
        return isinstance(value, _datetime)

    def __subclasscheck__(cls, kind):
        return issubclass(kind, _datetime)


class _Datetime(_datetime, metaclass=_Dates):
    @classmethod
    def now(cls, tz=None):
        return _datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return _datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + int(_offset() * 1e9)
datetime.datetime = _Datetime
socket.gethostname = lambda: os.environ.get("SKEW_HOST") or _host()
