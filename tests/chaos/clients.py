"""The senders: a careful front end that insists until it is answered, and one that gives up at once."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import requests

from tests.chaos.auditor import ACCEPTED, Note

PATIENCE = 15.0
"""Seconds that a client waits for an answer."""
PAUSE = 0.5
"""Seconds before a careful client sends the same again. `Retry-After` says up to 10: a run has no time for that."""


class Clients:
    """Threads that send submissions, each for another person, until they are stopped.

    `pause`: the least and the most seconds between two of one thread. One more thread sends those of `special` email
    addresses, which the CRM treats in a way of its own.
    """

    def __init__(
        self, url: Callable[[], str], seed: int, number: int, name: str, *,
        pause: tuple[float, float] = (0.3, 1.2), special: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self.notes: list[Note] = []
        self._url, self._name, self._number, self._dice = url, f"{name}-{number}", number, f"{seed} {number} client"
        self._stop, self._give_up = threading.Event(), threading.Event()
        queued = {"Prefer": "respond-async"}
        ways = [*[(True, {})] * 5, (True, queued), (True, queued), (False, {}), (False, {}), (False, queued)]
        self._pause = pause
        self._threads = [
            threading.Thread(target=self._run, args=(number, *way), daemon=True) for number, way in enumerate(ways)
        ] + [threading.Thread(target=self._run_special, args=(len(ways), special), daemon=True)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """No new submissions; those under way go on."""
        self._stop.set()

    def give_up(self) -> None:
        """End what is still under way."""
        self._give_up.set()
        for thread in self._threads:
            thread.join(PATIENCE + 1)

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, number: int, careful: bool, headers: dict[str, str]) -> None:
        rng = random.Random(f"{self._dice} {number}")
        count = 0
        while not self._stop.wait(rng.uniform(*self._pause)):
            count += 1
            email = f"{self._name}-{number}-{count}@example.com"
            self.notes.append(self._submit(email, self._person(number, count), careful, headers))

    def _run_special(self, number: int, special: Iterable[str]) -> None:
        rng = random.Random(f"{self._dice} {number}")
        for count, email in enumerate(special):
            if self._stop.wait(rng.uniform(1, 4)):
                return
            self.notes.append(self._submit(email, self._person(number, count), True, {}))

    def _person(self, number: int, count: int) -> int:
        return self._number * 20_000 + number * 1000 + count

    def _submit(self, email: str, number: int, careful: bool, headers: dict[str, str]) -> Note:
        statuses, operation = list[int](), ""
        body = {
            "first_name": "Ada", "last_name": email.partition("@")[0], "email": email, "phone": f"+90532{number:07d}",
            "source": "website", "referral_code": "CHAOS",
        }  # fmt: skip
        key = {"Idempotency-Key": str(uuid.uuid4())} if careful else {}
        sent_at = time.time()
        while True:
            status, answer = self._post(body, headers | key)
            statuses.append(status)
            if status in ACCEPTED:
                operation = str(answer["id"])
            final = status in ACCEPTED or (400 <= status < 500 and status != 409)
            if final or not careful or self._give_up.wait(PAUSE):
                return Note(email, careful, sent_at, time.time(), operation, tuple(statuses))

    def _post(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        try:
            url = f"{self._url()}/api/v1/applications"
            response = requests.post(url, json=body, headers=headers, timeout=PATIENCE)
            return response.status_code, response.json()
        except (requests.RequestException, ValueError):
            return 0, {}
