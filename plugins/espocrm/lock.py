"""One setup of EspoCRM at a time, and the repair of what an interrupted one left behind.

EspoCRM has no locks. A role that no user has marks a setup that is under way; the oldest of several continues, and the
others wait. Its name changes with each step: a setup whose mark does not change for `PATIENCE` seconds was killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from crmgate.errors import OutOfTime, Unavailable
from crmgate.provider import wait

from .answers import rows_with_id

MARK = "crmgate setup under way"
RESTORES = "restores customPrefixDisabled"
"""Part of the name of a mark: EspoCRM must name fields with its prefix again."""
PATIENCE = 20.0
POLL = 0.5
"""Seconds between two looks at the setups that are earlier."""
_OTHER = "another setup of EspoCRM is under way: run this one again when it has ended"
Mark = tuple[str, str]
"""Id and name."""


class SetupLock:
    """Marks a setup. `admin` sends a request as the administrator (method, path, `json`, parameters)."""

    def __init__(self, admin: Callable[..., dict[str, Any]]) -> None:
        self._admin = admin
        self._id, self._step, self._restores = "", 0, False
        self.patience, self.poll = PATIENCE, POLL

    def marks(self) -> list[Mark]:
        """Marks of setups that are under way, or were interrupted, the oldest first. Raises `ProviderError`."""
        where = {"where[0][type]": "startsWith", "where[0][attribute]": "name", "where[0][value]": MARK}
        found = rows_with_id(self._admin("GET", "Role", **where, select="id,name,createdAt").get("list"))
        found.sort(key=lambda row: (str(row.get("createdAt")), str(row["id"])))
        return [(str(row["id"]), str(row.get("name"))) for row in found]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until no other setup is under way, and repair what interrupted ones left. Raises `ProviderError`."""
        self._id = str(self._admin("POST", "Role", json={"name": MARK, "data": {}}).get("id"))
        try:
            self._wait()
            yield
        finally:
            self._remove(self._id)

    @contextmanager
    def literal_names(self) -> Iterator[None]:
        """Let EspoCRM create fields without the prefix `c`; restore the setting afterwards."""
        if self._admin("GET", "Settings").get("customPrefixDisabled"):
            yield
            return
        self._restores = True
        self.step()
        try:
            self._admin("PUT", "Settings", json={"customPrefixDisabled": True})
            yield
        finally:
            self._restore_prefix()
            self._restores = False

    def step(self) -> None:
        """Show other setups that this one is still running. Raises `ProviderError`."""
        self._step += 1
        name = f"{MARK}, step {self._step}" + (f", {RESTORES}" if self._restores else "")
        self._admin("PUT", f"Role/{quote(self._id)}", json={"name": name})

    def _wait(self) -> None:
        seen, since = list[Mark](), time.monotonic()
        while earlier := self._earlier():
            if earlier != seen:
                seen, since = earlier, time.monotonic()
            if time.monotonic() - since >= self.patience:
                self._repair(earlier)
            else:
                self._let_pass()

    def _let_pass(self) -> None:
        try:
            wait(self.poll)
        except OutOfTime:
            raise Unavailable(_OTHER) from None

    def _earlier(self) -> list[Mark]:
        marks = self.marks()
        ids = [one for one, _ in marks]
        return marks[: ids.index(self._id)] if self._id in ids else []

    def _repair(self, marks: list[Mark]) -> None:
        if any(RESTORES in name for _, name in marks):
            self._restore_prefix()
        for one, _ in marks:
            self._remove(one)

    def _restore_prefix(self) -> None:
        self._admin("PUT", "Settings", json={"customPrefixDisabled": False})

    def _remove(self, mark: str) -> None:
        self._admin("DELETE", f"Role/{quote(mark)}")
