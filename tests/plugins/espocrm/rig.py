"""What the tests of the EspoCRM plugin share."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, assert_never

import requests_mock as mocking

from crmgate.errors import OutcomeUnknown
from crmgate.model import Activity, Connection, Consent, Delivered, Kind, Lead, Operation, Utm, new_id
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.provider import CRMProvider
from crmgate.testing.espocrm import GATEWAY_ROLE, FakeEspoCRM

ROOT = Path(__file__).parents[3]
KEY = "KEY-GATEWAY"
NOBODY = "http://127.0.0.1:1"
JSON, HTML = "application/json", "text/html; charset=UTF-8"
DEAD = {"on_rejected_field": "dead"}
ADA = Lead(first_name="Ada", last_name="Lovelace", email="ada@example.org")
FULL = Lead(
    first_name="Ayşe Gül", last_name="Çağlı-Öztürk", email="ayse@example.org", phone="+905321234567",
    country="Türkiye", city="İzmir", birth_date="2001-02-03", education_level="bachelor", field_of_study="Mühendislik",
    institution="Ege Üniversitesi", graduation_year=2024, gpa="3.4", universities=("Koç", "Boğaziçi"),
    programs=("MSc", "MBA"), budget="10,000 EUR", start_date="2026-09", scholarship_needed="full",
    language_preference="German", user_type="student", language="both", scholarship="yes", university_chosen="no",
    referral_code="INSTA-24", source="landing", source_description="spring page",
    utm=Utm("google", "cpc", "spring", "banner", "study"), session="s-1234",
    consent=Consent(True, "You may call me", "2026-01-02T03:04:05Z"), additional_info="First line\nsecond <line>",
    custom={"how_heard": "a friend", "blank": " "},
)  # fmt: skip
LEADS = {
    "minimal": Lead(first_name="Ada", phone="+905321234567"),
    "full": FULL,
    "emoji": Lead(first_name="🎓👩‍🎓", last_name="🙂", email="e@example.org", additional_info="👍🏽", city="🏙"),
    "right to left": Lead(first_name="محمد", last_name="الأحمد", email="m@example.org", city="القاهرة", source="مجلة"),
    "unmapped source": Lead(first_name="Ada", email="a@example.org", source="fair", user_type="teacher"),
    "partner": Lead(first_name="Ada", email="a@example.org", source="partner"),
}
CLICK = Activity(
    "telegram", "TG-1", "2026-01-02T03:04:05Z", session="s-1", utm=Utm(source="ig"), metadata={"page": "/en"}
)  # fmt: skip
UPDATE, CREATE = {"on_duplicate": "update"}, {"on_duplicate": "create"}
NO_CALLS = {**GATEWAY_ROLE, "Call": {"create": "no", "read": "no"}}
NO_LOGS = {**NO_CALLS, "Lead": {**GATEWAY_ROLE["Lead"], "stream": "no"}}
PHONE = Lead(first_name="Ada", phone="+905321234567")
AT = 1_767_322_800.0  # 2026-01-02 03:00:00 UTC


@functools.cache
def plugins() -> Plugins:
    """The plugin as the gateway finds it, loaded once for all tests of a process."""
    found = discover(ROOT / "plugins", ("espocrm",))
    assert not found.quarantined
    return found


def provider(url: str, policies: Mapping[str, str] | None = None, **settings: str) -> Any:
    """A provider. `Any`: its hooks are not those of the base class."""
    environ = {"ESPOCRM_URL": url, "ESPOCRM_API_KEY": KEY} | settings
    made: CRMProvider = plugins().providers["espocrm"](environ, timeout=5.0, **(policies or {}))
    return made


def operation(data: Lead | Activity, kind: Kind = Kind.CREATE_LEAD) -> Operation:
    return Operation(id=new_id(), kind=kind, payload=data.to_dict(), accepted_at=0.0)


def create(plugin: Any, lead: Lead = ADA, wanted: Operation | None = None) -> Delivered:
    delivered: Delivered = plugin.create_lead(lead=lead, operation=wanted or operation(lead))
    return delivered


def click(plugin: Any, wanted: Operation | None = None) -> Delivered:
    made = wanted or operation(CLICK, Kind.CREATE_MINIMAL_LEAD)
    delivered: Delivered = plugin.create_minimal_lead(activity=CLICK, operation=made)
    return delivered


def about(lead_id: str, data: Lead | Activity, kind: Kind) -> Operation:
    return Operation(id=new_id(), kind=kind, payload=data.to_dict(), accepted_at=AT, lead_id=lead_id)


def update(plugin: Any, lead_id: str, lead: Lead, wanted: Operation | None = None) -> Delivered:
    made = wanted or about(lead_id, lead, Kind.UPDATE_LEAD)
    delivered: Delivered = plugin.update_lead(lead_id=lead_id, lead=lead, operation=made)
    return delivered


def log(plugin: Any, lead_id: str, wanted: Operation | None = None, activity: Activity = CLICK) -> Delivered:
    made = wanted or about(lead_id, activity, Kind.LOG_ACTIVITY)
    delivered: Delivered = plugin.log_activity(activity=activity, lead_id=lead_id, operation=made)
    return delivered


def deliver(plugin: Any, wanted: Operation, attempts: int = 5) -> Delivered:
    """As the gateway does: look first after an outcome that is not known."""
    look = False
    for _ in range(attempts):
        try:
            found: Delivered | None = plugin.find_lead(operation=wanted) if look else None
            if found:
                return found
            match wanted.kind:
                case Kind.UPDATE_LEAD:
                    return update(plugin, wanted.lead_id, wanted.lead, wanted)
                case Kind.LOG_ACTIVITY:
                    return log(plugin, wanted.lead_id, wanted, wanted.activity)
                case Kind.CREATE_MINIMAL_LEAD:
                    return click(plugin, wanted)
                case Kind.CREATE_LEAD:
                    return create(plugin, wanted.lead, wanted)
                case _:
                    assert_never(wanted.kind)
        except OutcomeUnknown:
            look = True
    raise AssertionError("never delivered")


def sent(crm: FakeEspoCRM, method: str) -> int:
    return sum(request.method == method for request in crm.requests)


def written(crm: FakeEspoCRM) -> list[tuple[str, str]]:
    return [(one.method, one.path.removeprefix("/api/v1/")) for one in crm.requests if one.method != "GET"]


def logged(crm: FakeEspoCRM) -> list[str]:
    """The texts of all calls and notes."""
    calls = [f"{call['name']}\n{call['description']}" for call in crm.calls]
    return calls + [str(note["post"]) for note in crm.notes]


def words(value: Any) -> Iterator[str]:
    """Every text that a visitor gave."""
    match value:
        case dict():
            yield from (word for item in value.values() for word in words(item))
        case list() | tuple():
            yield from (word for item in value for word in words(item))
        case bool():
            return
        case _ if str(value).strip():
            yield str(value)


def user_id(crm: FakeEspoCRM, name: str) -> str:
    return next(str(user["id"]) for user in crm.records()["User"] if user["userName"] == name)


def failing(connection: Connection) -> dict[str, str]:
    return {check.name: check.detail for check in connection.checks if not check.ok}


def replay(mocker: mocking.Mocker, status: int, content_type: str, reason: str | None, body: str) -> None:
    """Answer everything like this; a reason arrives as raw UTF-8 bytes, which HTTP clients read as Latin-1."""
    raw = {} if reason is None else {"X-Status-Reason": reason.encode().decode("latin-1")}
    content = body.encode(errors="surrogateescape")
    headers = {"Content-Type": content_type, **raw}
    mocker.register_uri(mocking.ANY, mocking.ANY, status_code=status, headers=headers, content=content)
