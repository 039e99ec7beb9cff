"""What the tests of the Bitrix24 plugin share."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from crmgate.errors import (
    AuthFailed,
    Code,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.model import Activity, Consent, Delivered, Kind, Lead, Operation, Utm, new_id
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.processes import DEADLINE

FOLDER = Path(__file__).parents[3] / "plugins"
ADD = r"crm\.item\.add"
LIST = r"crm\.item\.list"
WRITES = re.compile(r"\.(add|update|delete)$")
COMMENT = r"timeline\.comment\.add"
BUDGET = DEADLINE / 3
"""Seconds for an operation: none runs out of time on a busy machine. A request has a shorter limit of its own."""
Connect = Callable[..., HookCaller]
BOTH_APIS = pytest.mark.parametrize("api", ["item", "lead"], indirect=True)
"""The tests that it marks are about the methods `crm.item.*` and the old `crm.lead.*`; all others use the former."""

ANNA = Lead(first_name="Anna", last_name="Lee", email="anna@example.com", phone="+12025550119")
FULL = Lead(
    first_name="Ayşe Gül",
    last_name="Öztürk-Şahin",
    email="ayse@example.com.tr",
    phone="+905321234567",
    country="Türkiye",
    city="İstanbul",
    birth_date="2004-02-29",
    education_level="Lise",
    field_of_study="Bilgisayar Mühendisliği",
    institution="Atatürk Lisesi",
    graduation_year=2022,
    gpa="[3.50] / 4",
    universities=("Boğaziçi", "ODTÜ"),
    programs=("CS", "Математика"),
    budget="< 10 000 €",
    start_date="2026-09",
    scholarship_needed="partial",
    language_preference="فارسی",
    user_type="student",
    language="both",
    scholarship="yes",
    university_chosen="no",
    referral_code="PARTNER017",
    source="referral",
    source_description="landing /pricing?a=1&b=2",
    utm=Utm("google", "cpc", "güz kampanyası", "banner", "осень"),
    session="s-ae97ba94",
    consent=Consent(True, "KVKK metnini okudum", "2026-01-02T03:04:05Z"),
    additional_info='=HYPERLINK("http://x")\n<b>bold?</b> & "quotes" 🎓',
    custom={"how did you hear": "بصديق", "empty?": "0"},
)
CLICK = Activity("telegram", "REF7", "2026-01-02T03:04:05Z", "s-1", Utm("ig", "bio"), {"page": "/apply", "notes": "ğ"})
UNKNOWN, REFUSED = (OutcomeUnknown, Code.SERVER_ERROR), (Rejected, Code.INVALID_REQUEST)
RIGHTS, CREDENTIALS = (AuthFailed, Code.NO_PERMISSION), (AuthFailed, Code.BAD_CREDENTIALS)
LIMIT, PERMANENT = (RateLimited, Code.RATE_LIMITED), (Unsupported, Code.UNSUPPORTED)
TABLE: list[tuple[str, int, tuple[type[ProviderError], Code]]] = [
    ("QUERY_LIMIT_EXCEEDED", 503, LIMIT),
    ("QUERY_LIMIT_EXCEEDED", 429, LIMIT),
    ("OPERATION_TIME_LIMIT", 429, LIMIT),
    ("OVERLOAD_LIMIT", 503, (AuthFailed, Code.LOCKED_OUT)),
    ("INTERNAL_SERVER_ERROR", 500, UNKNOWN),
    ("ERROR_UNEXPECTED_ANSWER", 500, UNKNOWN),
    ("NO_AUTH_FOUND", 401, CREDENTIALS),
    ("INVALID_CREDENTIALS", 401, CREDENTIALS),
    ("INVALID_CREDENTIALS", 403, CREDENTIALS),
    ("expired_token", 401, CREDENTIALS),
    ("PORTAL_DELETED", 500, CREDENTIALS),
    ("insufficient_scope", 403, RIGHTS),
    ("user_access_error", 403, RIGHTS),
    ("ACCESS_DENIED", 403, RIGHTS),
    ("ACCESS_DENIED", 400, RIGHTS),
    ("Access denied", 403, RIGHTS),
    ("CRM_ITEM_ADD_ACCESS_DENIED", 400, RIGHTS),
    ("CRM_ITEM_UPDATE_ACCESS_DENIED", 400, (Forbidden, Code.FORBIDDEN)),
    ("PAYMENT_REQUIRED", 402, RIGHTS),
    ("allowed_only_intranet_user", 403, RIGHTS),
    ("authorization_error", 400, CREDENTIALS),
    ("WRONG_ENCODING", 400, UNKNOWN),
    ("ERROR_CORE", 400, UNKNOWN),
    ("INVALID_REQUEST", 400, (Unsupported, Code.INVALID_REQUEST)),
    ("ERROR_METHOD_NOT_FOUND", 404, PERMANENT),
    ("ERROR_BATCH_METHOD_NOT_ALLOWED", 405, PERMANENT),
    ("ERROR_BATCH_LENGTH_EXCEEDED", 400, PERMANENT),
    ("CRM_FIELD_ERROR_VALUE_NOT_VALID", 400, (Rejected, Code.INVALID_VALUE)),
    ("CRM_FIELD_ERROR_REQUIRED", 400, (Rejected, Code.INVALID_VALUE)),
    ("INVALID_ARG_VALUE", 400, REFUSED),
    ("100", 400, REFUSED),
    ("NOT_FOUND", 400, (NotFound, Code.NOT_FOUND)),
    ("OWNER_NOT_FOUND", 400, (NotFound, Code.NOT_FOUND)),
]
CANARIES = ("Ayşe", "Öztürk", "ayse@", "905321234567", "KVKK", "HYPERLINK", "Atatürk")
"""Parts of what FULL says."""


@functools.cache
def plugins() -> Plugins:
    """The plugin as the gateway finds it, loaded once for all tests of a process."""
    return discover(FOLDER, ("bitrix",))


def creation(lead: Lead) -> Operation:
    return Operation(new_id(), Kind.CREATE_LEAD, lead.to_dict(), time.time())


def click(activity: Activity) -> Operation:
    return Operation(new_id(), Kind.CREATE_MINIMAL_LEAD, activity.to_dict(), time.time())


def update(lead_id: object, lead: Lead) -> Operation:
    return Operation(new_id(), Kind.UPDATE_LEAD, lead.to_dict(), 0.0, lead_id=str(lead_id), provider="bitrix")


def activity(lead_id: object, what: Activity = CLICK) -> Operation:
    return Operation(new_id(), Kind.LOG_ACTIVITY, what.to_dict(), 0.0, lead_id=str(lead_id), provider="bitrix")


def deliver(crm: HookCaller, operation: Operation) -> Delivered:
    return crm.deliver(operation, BUDGET)


def failure(act: Callable[[], object]) -> ProviderError:
    """The error that `act` ends with."""
    with pytest.raises(ProviderError) as caught:
        act()
    return caught.value


def bring(crm: HookCaller, operation: Operation, attempts: int = 4) -> Delivered:
    """Deliver as the gateway does: after an unknown outcome it looks first."""
    look = False
    for _ in range(attempts):
        try:
            return (crm.find(operation, BUDGET) if look else None) or deliver(crm, operation)
        except OutcomeUnknown:
            look = True
        except Unavailable:
            pass
    raise AssertionError("not delivered")


def only_lead(portal: FakeBitrix24) -> dict[str, Any]:
    (lead,) = portal.records()["lead"]
    return lead


def existing(portal: FakeBitrix24, phone: str = "", email: str = "", **values: Any) -> int:
    """A lead that somebody else put into the portal."""
    rows = [{"typeId": kind, "value": value} for kind, value in (("PHONE", phone), ("EMAIL", email)) if value]
    return int(portal.save_lead({"title": "Theirs", **values}, rows)["id"])


def contacts(lead: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["typeId"], row["value"]) for row in lead["fm"]]


def warm(crm: HookCaller, portal: FakeBitrix24) -> None:
    """Let the plugin learn the portal's fields, without a lead."""
    portal.fail_with("QUERY_LIMIT_EXCEEDED", path=r"crm\.(item|lead)\.add", times=1)
    assert isinstance(failure(lambda: deliver(crm, click(CLICK))), RateLimited)


def text_of_record(lead: dict[str, Any]) -> str:
    """All that the record says, as people read it."""
    return shown(json.dumps(lead, ensure_ascii=False, default=str).replace("\\n", "\n").replace('\\"', '"'))


def shown(text: Any) -> str:
    """A text of the portal as people read it: without entities, word joiners, links and the blanks around a `<`."""
    plain = re.sub(r"\[url=([^\]]*)\]\1\[/url\]", r"\1", unescape(str(text)).replace("\u2060", ""))
    return re.sub(r" ?< ?", "<", plain)


def assert_has_every_fact(lead: Lead, text: str) -> None:
    payload = lead.to_dict()
    nested = {**payload.pop("utm", {}), **payload.pop("custom", {}), **payload.pop("consent", {})}
    for value in [*payload.values(), *nested.values()]:
        for single in value if isinstance(value, list) else [value]:
            assert shown(single) in shown(text) or single is True, single


def calls(portal: FakeBitrix24, method: str) -> list[dict[str, Any]]:
    """The parameters of every request that named `method`."""
    return [json.loads(request.body) for request in portal.requests if f"/{method}.json" in request.path]


def methods(portal: FakeBitrix24) -> list[str]:
    """The methods called, in their order."""
    return [request.path.rpartition("/")[2].removesuffix(".json") for request in portal.requests]


def mocked(request: Any, **changes: Any) -> dict[str, Any]:
    """The answer of a portal that describes no fields, and echoes leads with `changes`."""
    if "userfield" in request.path or "status" in request.path:
        return {"error": "ACCESS_DENIED"}
    return {"result": {"item": echoed(request, **changes)}}


def echoed(request: Any, **changes: Any) -> dict[str, Any]:
    """A lead as sent."""
    return {**request.json()["fields"], "id": "5", **changes}


def checks(crm: HookCaller) -> dict[str, tuple[bool, str]]:
    return {check.name: (check.ok, check.detail) for check in crm.test_connection(BUDGET).checks}
