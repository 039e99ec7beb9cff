"""What the tests of the HubSpot plugin share."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crmgate.errors import ProviderError
from crmgate.model import Activity, Delivered, Kind, Lead, Operation, Utm, new_id
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.testing.hubspot import FakeHubSpot
from tests.processes import DEADLINE

FOLDER = Path(__file__).parents[3] / "plugins"
CONTACTS, NOTES, BATCH = r"/objects/contacts\?", r"/objects/notes\?", "/batch/read"
KEY, PHONE, TEXT = "crmgate_operation_id", "crmgate_phone", "crmgate_text"
ADA = Lead(first_name="Ada", last_name="Lovelace", email="ada@example.org", phone="+905321234567", city="London")
PHONE_ONLY = Lead(first_name="Grace", phone="+12025550119")
CLICK = Activity("telegram", "REF7", "2026-01-02T03:04:05Z", "s-1", Utm("ig", "bio"), {"page": "/apply"})
BUDGET = DEADLINE / 3
"""Seconds for an operation: none runs out of time on a busy machine. A request has a shorter limit of its own."""
Connect = Callable[..., HookCaller]


@functools.cache
def plugins() -> Plugins:
    """The plugin as the gateway finds it, loaded once for all tests of a process."""
    return discover(FOLDER, ("hubspot",))


def connected(account: FakeHubSpot, timeout: float = 5.0, **options: str) -> HookCaller:
    """The plugin, called as the gateway calls it. Names in capitals are settings, the others policies."""
    environ = {"HUBSPOT_URL": account.url, "HUBSPOT_TOKEN": account.token}
    environ |= {name: value for name, value in options.items() if name.isupper()}
    policies = {name: value for name, value in options.items() if name.islower()}
    return plugins().choose("hubspot", environ, timeout, ("127.0.0.1",), **policies)


def creation(lead: Lead = ADA) -> Operation:
    return Operation(new_id(), Kind.CREATE_LEAD, lead.to_dict(), time.time())


def click() -> Operation:
    return Operation(new_id(), Kind.CREATE_MINIMAL_LEAD, CLICK.to_dict(), time.time())


def update(lead_id: str, lead: Lead = ADA) -> Operation:
    return Operation(new_id(), Kind.UPDATE_LEAD, lead.to_dict(), time.time(), lead_id=lead_id, provider="hubspot")


def activity(lead_id: str) -> Operation:
    return Operation(new_id(), Kind.LOG_ACTIVITY, CLICK.to_dict(), time.time(), lead_id=lead_id, provider="hubspot")


def deliver(crm: HookCaller, operation: Operation) -> Delivered:
    return crm.deliver(operation, BUDGET)


def failure(act: Callable[[], object]) -> ProviderError:
    """The error that `act` ends with."""
    with pytest.raises(ProviderError) as caught:
        act()
    return caught.value


def contacts(account: FakeHubSpot) -> list[dict[str, Any]]:
    return account.records()["contacts"]


def only(account: FakeHubSpot) -> dict[str, Any]:
    (contact,) = contacts(account)
    return contact


def notes(account: FakeHubSpot) -> list[str]:
    """The texts of the notes, as HubSpot stores them."""
    return [str(note["hs_note_body"]) for note in account.records()["notes"]]


def writes(account: FakeHubSpot) -> list[tuple[str, str]]:
    """Method and path of each request that changes something."""
    sent = [(one.method, one.path.removeprefix("/crm/v3/objects")) for one in account.requests]
    return [(method, path) for method, path in sent if method != "GET" and not path.endswith(("/read", "-info"))]


def text_of_records(account: FakeHubSpot) -> str:
    return json.dumps(account.records(), ensure_ascii=False)


def checks(crm: HookCaller) -> dict[str, tuple[bool, str]]:
    return {check.name: (check.ok, check.detail) for check in crm.test_connection(BUDGET).checks}
