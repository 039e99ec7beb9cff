"""Trials of the two rules of the gate: one fault alone, for as long as it lasts in production, while submissions come.

The random faults of `faults` overlap, so they do not show which operations one trouble delays or makes dead letters.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import requests

from crmgate.testing.espocrm import GATEWAY_ROLE
from tests.chaos.auditor import CLOSED, Note, Trial, dead_letters
from tests.chaos.clients import Clients
from tests.chaos.faults import change_key, limit, search_late
from tests.chaos.site import PORTAL_SECRET, Site

PAUSE = (2.0, 6.0)
"""Seconds between two submissions of a client: what gathers in a minute has to be delivered within seconds."""
FIRST = 300
"""The number of the first trial's clients: nobody in it has the phone of somebody in the rounds before."""
PATIENCE = 120.0
"""Seconds after a trouble before a trial is given up."""
PROBED = 60.0
"""Seconds that recovery may take where a probe goes out every 30 s, or the vendor locks an address out for 60 s."""
OFFICE: dict[str, dict[str, dict[str, Any]]] = {
    "espocrm": {"officeC": {"type": "link", "entity": "Account", "required": True}},
    "bitrix": {"UF_CRM_OFFICE": {"user_type": "iblock_element", "mandatory": True}},
}
"""A required field for which nothing can stand in."""
ENFORCED: dict[str, dict[str, Any]] = {"espocrm": {}, "bitrix": {"enforce_required": True}}
"""The option with which the CRM refuses a record without a required field."""
RIGHTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "espocrm": (
        {"role": {**GATEWAY_ROLE, "Lead": {**GATEWAY_ROLE["Lead"], "create": "no"}}}, {"role": GATEWAY_ROLE},
    ),
    "bitrix": ({"access_denied": True}, {"access_denied": False}),
}  # fmt: skip
"""The API user without the right to create leads, and with it."""


@dataclass(frozen=True)
class Trouble:
    """A trouble that occurs alone. `strike(site, seconds)` causes it, and returns when it is over.

    `law` and `limit` are those of `Trial`; `law` is empty for a plugin that harms only the record that it has in hand.
    """

    name: str
    law: str
    strike: Callable[[Site, float], None]
    seconds: float
    limit: float = 20.0


def _wait(site: Site, seconds: float) -> None:
    time.sleep(seconds)


def _require(site: Site, seconds: float) -> None:
    site.configure(added_fields=OFFICE[site.provider], **ENFORCED[site.provider])
    time.sleep(seconds)
    site.configure(added_fields={})


def _forbid(site: Site, seconds: float) -> None:
    without, given = RIGHTS[site.provider]
    site.configure(**without)
    time.sleep(seconds)
    site.configure(**given)


def _limit(site: Site, seconds: float) -> None:
    limit(site, "crm", seconds, 0)


def _change_key(site: Site, seconds: float) -> None:
    change_key(site, "crm", seconds, 0)


def _search_late(site: Site, seconds: float) -> None:
    search_late(site, "crm", seconds, 0)


def _exit(site: Site, seconds: float) -> None:
    """The plugin exits, again and again: in a worker, or in a web process."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        site.troubled.lay("exit")
        time.sleep(2)


def _block(site: Site, seconds: float) -> None:
    site.troubled.lay("block", str(seconds))
    time.sleep(seconds + 1)


ONE_RECORD = Trouble("CRM refuses one record", "record", _wait, 30)
TROUBLES = (
    ONE_RECORD,
    Trouble("CRM limits the rate", "everybody", _limit, 60, 30),
    Trouble("CRM requires a field that nobody fills", "everybody", _require, 60),
    Trouble("API user lacks a right", "everybody", _forbid, 60, PROBED),
    Trouble("CRM takes another key", "everybody", _change_key, 60, PROBED),
    Trouble("CRM stores, drops the connection, and its search lags", "everybody", _search_late, 15),
    Trouble("plugin exits", "", _exit, 20),
    Trouble("plugin blocks", "", _block, 20),
)


def run_trial(site: Site, trouble: Trouble, seed: int, number: int, *, slack: float = 1.0) -> tuple[Trial, list[Note]]:
    """Send, strike, and wait until all has settled. Returns the trial, and the answers that the clients got.

    `slack` multiplies the limit of the recovery, for a machine with other work.
    """
    special = _special(site, number) if trouble.strike is _wait else ()
    clients = Clients(lambda: site.url, seed, FIRST + number, f"{site.provider}-trial", pause=PAUSE, special=special)
    before, watch = dead_letters(site.redis.url), _Watch(site.redis.url)
    clients.start()
    watch.start()
    began = time.time()
    trouble.strike(site, trouble.seconds)
    ended = time.time()
    clients.finish()
    while (clients.busy or not site.settled()) and time.time() < ended + PATIENCE:
        time.sleep(0.05)
    recovery = time.time() - ended
    clients.give_up()
    made = dead_letters(site.redis.url) - before
    watch.finish()
    trial = Trial(
        trouble.name, trouble.law, began, ended, recovery, trouble.limit * slack, made, watch.most(before), _ready(site)
    )
    return trial, clients.notes


def _special(site: Site, number: int) -> Iterator[str]:
    """The email addresses of those who are refused something that concerns only them."""
    if site.provider == "espocrm":
        return closed(f"trial-{number}")
    return iter(_locked(site, [f"locked-{number}-{place}@example.com" for place in range(10)]))


def closed(name: str) -> Iterator[str]:
    """Email addresses that EspoCRM refuses."""
    return (f"{name}-{place}{CLOSED}" for place in count())


def _locked(site: Site, addresses: list[str]) -> list[str]:
    """Addresses of leads in Bitrix24 on which the gateway may not comment: it has to make leads beside them."""
    made = []
    for email in addresses:
        fields = {"title": "Made by staff", "fm": [{"typeId": "EMAIL", "valueType": "WORK", "value": email}]}
        url = f"{site.crm_url}/rest/1/{PORTAL_SECRET}/crm.item.add.json"
        answer = requests.post(url, json={"entityTypeId": 1, "fields": fields}, timeout=10)
        made.append(answer.json()["result"]["item"]["id"])
    site.configure(locked_timelines=made)
    return addresses


def _ready(site: Site) -> bool:
    try:
        return site.ready()
    except requests.RequestException:
        return False


class _Watch(threading.Thread):
    """Looks at the dead letters all the time."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self._over = url, threading.Event()
        self._seen: list[frozenset[str]] = []

    def run(self) -> None:
        while not self._over.wait(0.2):
            self._seen.append(dead_letters(self._url))

    def finish(self) -> None:
        self._over.set()
        self.join()

    def most(self, before: frozenset[str]) -> int:
        """The most dead letters at a time, without those from before."""
        return max((len(seen - before) for seen in self._seen), default=0)
