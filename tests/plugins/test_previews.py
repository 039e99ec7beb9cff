"""The request that a plugin would send for an operation, as the operator's pages show it: without any request."""

from __future__ import annotations

from typing import Any

import pytest

from crmgate.errors import OutOfTime, ProviderError, Unsupported
from crmgate.model import Kind, Operation, Preview, new_id
from crmgate.plugin_host.caller import HookCaller, hook_manager
from crmgate.plugin_host.loader import discover
from tests.plugins.test_every_plugin import FOLDER

NOWHERE = "http://127.0.0.1:9"
SETTINGS = {
    "sandbox": {"SANDBOX_URL": NOWHERE},
    "espocrm": {"ESPOCRM_URL": NOWHERE, "ESPOCRM_API_KEY": "secret-key-4711"},
    "bitrix": {"BITRIX_WEBHOOK_URL": f"{NOWHERE}/rest/1/secret-key-4711/"},
    "hubspot": {"HUBSPOT_URL": NOWHERE, "HUBSPOT_TOKEN": "secret-key-4711"},
}
"""Settings of each provider; nothing listens at this address."""
LEAD = {"first_name": "Ayşe", "last_name": "Öz", "email": "ayse@example.com", "city": "Izmir", "source": "landing"}
CLICK = {"channel": "telegram", "referral_code": "REF7", "occurred_at": "2027-01-15T08:00:00.000Z"}
PAYLOADS = {
    Kind.CREATE_LEAD: LEAD, Kind.UPDATE_LEAD: LEAD, Kind.CREATE_MINIMAL_LEAD: CLICK, Kind.LOG_ACTIVITY: CLICK
}  # fmt: skip


def caller(name: str) -> HookCaller:
    plugins = discover(FOLDER, (f"{name}.py", name))
    return plugins.choose(name, SETTINGS[name], 1.0, ("127.0.0.1",))


def preview(name: str, kind: Kind) -> Preview:
    return caller(name).preview(Operation(new_id(), kind, PAYLOADS[kind], 1_800_000_000.0, lead_id="98765432"))


@pytest.mark.parametrize("kind", PAYLOADS)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_preview_has_the_visitors_values_and_no_secret(name: str, kind: Kind) -> None:
    shown = preview(name, kind)
    text = str(shown)
    values = ("Ayşe", "ayse@example.com", "Izmir") if PAYLOADS[kind] is LEAD else ("telegram", "REF7")
    assert [value for value in values if value not in text] == []
    assert "secret-key" not in text
    assert ("98765432" in text) == (kind in (Kind.UPDATE_LEAD, Kind.LOG_ACTIVITY))
    assert bool(shown.note) == (kind is Kind.UPDATE_LEAD)


REQUESTS = {
    ("espocrm", Kind.CREATE_LEAD): ("POST", "Lead"), ("espocrm", Kind.UPDATE_LEAD): ("PUT", "Lead/98765432"),
    ("espocrm", Kind.LOG_ACTIVITY): ("POST", "Call"), ("sandbox", Kind.UPDATE_LEAD): ("PUT", "/leads/98765432"),
    ("hubspot", Kind.CREATE_LEAD): ("POST", "/crm/v3/objects/contacts"),
    ("hubspot", Kind.UPDATE_LEAD): ("PATCH", "/crm/v3/objects/contacts/98765432"),
    ("hubspot", Kind.LOG_ACTIVITY): ("POST", "/crm/v3/objects/notes"),
    ("bitrix", Kind.CREATE_LEAD): ("POST", "crm.item.add"), ("bitrix", Kind.UPDATE_LEAD): ("POST", "crm.item.update"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), REQUESTS)
def test_the_preview_names_the_request(name: str, kind: Kind) -> None:
    shown = preview(name, kind)
    assert (shown.method, shown.path) == REQUESTS[name, kind]


def test_the_preview_follows_the_mapping() -> None:
    shown = preview("espocrm", Kind.CREATE_LEAD)
    assert (shown.body["source"], shown.facts["source"]) == ("Web Site", "source")
    assert ("City", "Izmir") in shown.described
    assert "City: Izmir" in shown.body["description"]


def test_a_plugin_has_no_time_for_a_request_in_a_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    made = caller("sandbox")
    plugin: Any = made._provider
    monkeypatch.setattr(plugin, "map_again", lambda *_: plugin._lead("1"))
    with pytest.raises(OutOfTime):
        made.preview(Operation(new_id(), Kind.CREATE_LEAD, LEAD, 0.0))


def test_a_plugin_without_the_hook_is_unsupported() -> None:
    from crmgate.provider import CRMProvider

    class Plain(CRMProvider):
        name = "plain"

    with pytest.raises(Unsupported) as caught:
        HookCaller(hook_manager(), Plain({})).preview(Operation(new_id(), Kind.CREATE_LEAD, LEAD, 0.0))
    assert isinstance(caught.value, ProviderError)
