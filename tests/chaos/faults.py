"""The faults: what strikes which part of the site, how often, and for how long."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.site import API_KEY, PORTAL_SECRET, SETTINGS, WORKERS, Site

HTML = "text/html; charset=UTF-8"
PAGE = "<!DOCTYPE html><html><body><h1>We are sorry, something is being repaired.</h1></body></html>"
REFUSALS: dict[str, dict[str, Any]] = {
    "espocrm": {"status": 401, "content_type": HTML},
    "bitrix": {
        "status": 401, "content_type": "application/json",
        "body": json.dumps({"error": "INVALID_CREDENTIALS", "error_description": "Invalid request credentials"}),
    },
}  # fmt: skip
SLOW = 1.5 * float(SETTINGS["CRM_TIMEOUT"])
WRONG: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "espocrm": ({"api_key": "another"}, {"api_key": API_KEY}),
    "bitrix": ({"secret": "another"}, {"secret": PORTAL_SECRET}),
}
"""The key that the CRM takes: another than the gateway has, and then the gateway's."""
STEP = 60.0
"""Seconds by which a clock steps back."""
WRONG_CLOCKS = (45.0, -45.0, 600.0, 0.0)
"""Seconds by which a clock that is set may be ahead."""
SEARCH_LAG = 5.0
CREATES = {"espocrm": "/Lead", "bitrix": r"crm\.item\.add"}
"""Paths of requests that create a lead: a fault there may lose or duplicate it."""


@dataclass(frozen=True)
class Fault:
    """A fault of a site. `strike(site, target, seconds, dice)` causes it, and returns after its repair."""

    name: str
    strike: Callable[[Site, str, float, int], None]
    weight: int
    seconds: tuple[float, float] = (0.1, 1.0)
    kill: bool = False
    """Whether it is a SIGKILL."""


@dataclass(frozen=True)
class Struck:
    """A fault that happened, with its times (seconds since the epoch)."""

    fault: Fault
    target: str
    began: float
    ended: float


def _kill(site: Site, target: str, seconds: float, dice: int) -> None:
    site.kill(target)
    time.sleep(seconds)
    site.up(target)


def _kill_web_process(site: Site, target: str, seconds: float, dice: int) -> None:
    site.kill_web_process(dice)


def _kill_after_storing(site: Site, target: str, seconds: float, dice: int) -> None:
    """Wait until a lead is stored before its creator gets the answer."""
    _answer(site, kind="latency", when="after", seconds=3.0)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and not any(fault["seen"] for fault in site.control("GET", "faults")):
        time.sleep(0.02)
    time.sleep(0.1)
    _kill(site, target, seconds, dice)


def _freeze(site: Site, target: str, seconds: float, dice: int) -> None:
    site.freeze(target, seconds)


def _freeze_web_process(site: Site, target: str, seconds: float, dice: int) -> None:
    site.freeze_web_process(dice, seconds)


def _restart(site: Site, target: str, seconds: float, dice: int) -> None:
    site.terminate(target)
    site.up(target)


def _step_back(site: Site, target: str, seconds: float, dice: int) -> None:
    host = site.hosts[target]
    host.set(host.ahead - STEP)


def _set_wrong(site: Site, target: str, seconds: float, dice: int) -> None:
    site.hosts[target].set(WRONG_CLOCKS[dice % len(WRONG_CLOCKS)])


def _forget(site: Site, target: str, seconds: float, dice: int) -> None:
    site.forget_wakeups()


def _answer(site: Site, **fault: Any) -> None:
    site.control("POST", "faults", {"method": "POST", "path": CREATES[site.provider]} | fault)


def _misbehave(**fault: Any) -> Callable[[Site, str, float, int], None]:
    """The CRM answers so for a while."""

    def strike(site: Site, target: str, seconds: float, dice: int) -> None:
        _answer(site, **fault)
        time.sleep(seconds)
        site.control("DELETE", "faults")

    return strike


def _refuse(site: Site, target: str, seconds: float, dice: int) -> None:
    _answer(site, kind="answer", method=None, path=None, **REFUSALS[site.provider])
    time.sleep(seconds)
    site.control("DELETE", "faults")
    site.repair()


def change_key(site: Site, target: str, seconds: float, dice: int) -> None:
    """The CRM accepts another key for a while. It also locks out addresses with too many refused logins."""
    other, own = WRONG[site.provider]
    site.configure(**other)
    time.sleep(seconds)
    site.configure(**own)


def _change_key(site: Site, target: str, seconds: float, dice: int) -> None:
    change_key(site, target, seconds, dice)
    site.repair()


def limit(site: Site, target: str, seconds: float, dice: int) -> None:
    """The CRM, or a proxy, refuses every request for its number."""
    site.configure(limited_until=time.time() + seconds)
    time.sleep(seconds)


def search_late(site: Site, target: str, seconds: float, dice: int) -> None:
    """Leads are stored, the connection breaks, and a search shows none of them before it is `SEARCH_LAG` old."""
    site.configure(search_lag=SEARCH_LAG)
    _answer(site, kind="drop", when="after")
    time.sleep(seconds)
    site.control("DELETE", "faults")
    time.sleep(SEARCH_LAG)
    site.configure(search_lag=0.0)


def _lock_out(site: Site, target: str, seconds: float, dice: int) -> None:
    _answer(site, kind="answer", method=None, path=None, status=403, content_type=HTML)
    time.sleep(seconds)
    site.control("DELETE", "faults")
    site.repair()


_WHILE, _EVERYTHING = (1.0, 4.0), {"method": None, "path": None}
_CLOCK = (
    Fault("clock of the host steps back by 60 s", _step_back, 1),
    Fault("clock of the host is set wrong", _set_wrong, 1),
)
_WEB = (
    Fault("kill -9 of a web process", _kill_web_process, 5, kill=True),
    Fault("kill -9 of gunicorn", _kill, 3, kill=True),
    Fault("web process frozen (SIGSTOP)", _freeze_web_process, 1, (1, 6)),
    Fault("deploy: SIGTERM of gunicorn", _restart, 1),
    *_CLOCK,
)
_WORKER = (
    Fault("kill -9 of a worker", _kill, 8, kill=True),
    Fault("worker frozen (SIGSTOP)", _freeze, 1, (1, 6)),
    Fault("deploy: SIGTERM of a worker", _restart, 1),
    *_CLOCK,
)
_REDIS = (
    Fault("kill -9 of Redis", _kill, 7, kill=True),
    Fault("Redis frozen (SIGSTOP)", _freeze, 1, (1, 6)),
    Fault("restart of Redis (SIGTERM)", _restart, 1),
    Fault("Huey's queue and schedule deleted", _forget, 2),
)
_CRM = (
    Fault("kill -9 of the CRM", _kill, 5, kill=True),
    Fault("kill -9 of the CRM between storing and answering", _kill_after_storing, 7, kill=True),
    Fault("CRM frozen (SIGSTOP)", _freeze, 1, (1, 6)),
    Fault("CRM stores, never answers", _misbehave(kind="hang", when="after"), 2, _WHILE),
    Fault("CRM stores, drops the connection", _misbehave(kind="drop", when="after"), 2, _WHILE),
    Fault("CRM stores, answers 500", _misbehave(kind="answer", when="after", status=500), 1, _WHILE),
    Fault("CRM stores after the time limit", _misbehave(kind="latency", seconds=SLOW), 3, _WHILE),
    Fault("CRM answers 500", _misbehave(kind="answer", status=500), 2, _WHILE),
    Fault("CRM drops the connection", _misbehave(kind="drop"), 2, _WHILE),
    Fault("CRM takes the lead, and is silent", _misbehave(kind="hang"), 2, _WHILE),
    Fault("CRM answers 503", _misbehave(kind="answer", status=503, body=PAGE, **_EVERYTHING), 1, _WHILE),
    Fault("CRM answers a web page", _misbehave(kind="answer", status=200, body=PAGE, **_EVERYTHING), 1, _WHILE),
    Fault("CRM is silent to every request", _misbehave(kind="hang", **_EVERYTHING), 1, _WHILE),
    Fault("CRM limits the rate", limit, 1, _WHILE),
    Fault("CRM stores, drops the connection, and its search lags", search_late, 2, _WHILE),
)
CREDENTIALS = (
    Fault("CRM refuses the credentials", _refuse, 1, _WHILE),
    Fault("CRM locks the address out", _lock_out, 1, _WHILE),
    Fault("CRM takes another key", _change_key, 1, _WHILE),
)
ALL = tuple(dict.fromkeys(_WEB + _WORKER + _REDIS + _CRM + CREDENTIALS))


BY_TARGET = {"web": _WEB, **dict.fromkeys(WORKERS, _WORKER), "redis": _REDIS, "crm": _CRM + CREDENTIALS}
"""Faults of each part of a site."""


def throws(faults: tuple[Fault, ...], seed: str, pause: float) -> Iterator[tuple[float, Fault, float, int]]:
    """Seconds to wait, a fault, its seconds and a number that chooses among processes, again and again."""
    dice = random.Random(seed)
    while True:
        wait = dice.expovariate(1 / pause)
        [fault] = dice.choices(faults, [fault.weight for fault in faults])
        yield wait, fault, dice.uniform(*fault.seconds), dice.randrange(1000)


class Tormentor:
    """One thread for each target, with its own random generator: the order of faults depends on the seed alone."""

    def __init__(self, site: Site, seed: str, kills: int, pause: float) -> None:
        self.killed = 0
        """The SIGKILLs so far, those under way included."""
        self.log: list[Struck] = []
        self.errors: list[Exception] = []
        self._site, self._kills, self._pause = site, kills, pause
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [
            threading.Thread(target=self._torment, args=(target, faults, seed), daemon=True)
            for target, faults in BY_TARGET.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No further faults; those under way come to their end."""
        self._stop.set()

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _torment(self, target: str, faults: tuple[Fault, ...], seed: str) -> None:
        for wait, fault, seconds, number in throws(faults, f"{seed} {target}", self._pause):
            if self._stop.wait(wait) or (fault.kill and not self._one_more()):
                return
            began = time.time()
            try:
                fault.strike(self._site, target, seconds, number)
            except Exception as error:  # the run reports it and fails
                self.errors.append(error)
                self._stop.set()
            self.log.append(Struck(fault, target, began, time.time()))

    def _one_more(self) -> bool:
        with self._lock:
            if self.killed >= self._kills:
                return False
            self.killed += 1
            if self.killed == self._kills:
                self._stop.set()
            return True
