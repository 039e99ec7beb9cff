"""Data of the checks: leads of all kinds, and failures of a CRM."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crmgate.model import Activity, Consent, Lead, Utm
from crmgate.testing.server import FakeCRM
from crmgate.testing.transport import Fault, Request, Response

HTML, JSON = "text/html; charset=UTF-8", "application/json"

MINIMAL = Lead(first_name="Ottilie", email="ottilie@example.org")
FULL = Lead(
    first_name="Wilhelmina", last_name="Quastenflosser", email="wilhelmina.q@example.org", phone="+905321234567",
    country="Iceland", city="Hafnarfjordur", birth_date="2001-02-03", education_level="bachelor",
    field_of_study="Oceanography", institution="Lund College", graduation_year=2024, gpa="3.47",
    universities=("Uppsala", "Tartu"), programs=("MSc Limnology", "MBA"), budget="10,500 EUR", start_date="2026-09",
    scholarship_needed="partly", language_preference="German", user_type="student", language="both", scholarship="yes",
    university_chosen="no", referral_code="INSTA-24", source="landing", source_description="spring page",
    utm=Utm("google", "cpc", "spring-sale", "banner7", "study-abroad"), session="s-5f1c09",
    consent=Consent(True, "You may call me", "2026-01-02T03:04:05Z"),
    additional_info='Second <thoughts> & "doubts"\nabout my marzipan allergy', custom={"how_heard": "from Xanthippe"},
)  # fmt: skip
"""Every fact has a value, and all values differ: a value that does not arrive was lost."""
AGAIN = Lead(
    first_name="Mina", last_name="Flosser", email="wilhelmina.q@example.org", phone="+905337654321",
    country="Norway", city="Seydisfjordur", birth_date="2001-03-02", education_level="master",
    field_of_study="Glaciology", institution="Bergen Academy", graduation_year=2025, gpa="3.92",
    universities=("Turku", "Aarhus"), programs=("PhD Limnology", "LLM"), budget="22,500 EUR", start_date="2027-02",
    scholarship_needed="fully", language_preference="Danish", user_type="parent", language="english",
    scholarship="no", university_chosen="yes", referral_code="PARTNER-9", source="partner",
    source_description="autumn page", utm=Utm("bing", "display", "autumn-fair", "teaser3", "scholarships"),
    session="s-7b2d88", consent=Consent(True, "You may write to me", "2026-05-06T07:08:09Z"),
    additional_info="Third thoughts about my walnut allergy", custom={"how_heard": "from Zebedee"},
)  # fmt: skip
"""The same person as `FULL`, by the email. All other values differ."""
OF_AGAIN = "walnut allergy"
"""Words of `AGAIN` only."""
SPARSE = Lead(first_name="Wilhelmina", email="wilhelmina.q@example.org")
"""The same person as `FULL`, by the email, with few values: an update fills the empty fields."""
NON_ASCII = Lead(
    first_name="Ayşe Gül", last_name="Çağlı-Öztürk", email="ayse@example.org", city="İzmir", country="Türkiye",
    field_of_study="Mühendislik", additional_info="Şimdilik bu kadar – 東京 ελληνικά", custom={"nasıl": "öğretmenim"},
)  # fmt: skip
RIGHT_TO_LEFT = Lead(
    first_name="محمد", last_name="الأحمد", email="m@example.org", city="القاهرة", additional_info="أود الدراسة"
)
EMOJI = Lead(first_name="🎓👩‍🎓", last_name="🙂", email="e@example.org", city="🏙", additional_info="👍🏽 thanks")
CLICK = Activity(
    "telegram", "TG-PROMO-7", "2026-01-02T03:04:05Z", session="s-77aa01", utm=Utm("ig", "bio", "autumn-sale"),
    metadata={"page": "/marzipan", "notes": "değişik"},
)  # fmt: skip
NEWS = Activity(
    "whatsapp", "WA-NEWS-3", "2026-03-04T05:06:07Z", session="s-90bb02", utm=Utm("fb", "story", "winter-fair"),
    metadata={"page": "/scholarships-2027"},
)  # fmt: skip

MARKUP = "<thoughts>"
"""Markup of a visitor in the samples. No vendor has such a tag, so it differs from a plugin's own tags."""

PRIVATE = ("Wilhelmina", "Quastenflosser", "wilhelmina.q", "905321234567", "Hafnarfjordur", "2001-02-03", "marzipan")
"""Words of the full lead and of the click that no log and no error may contain."""

QUOTING_STATUSES = (200, 400, 401, 403, 409, 422, 500)


def quoting_page(secrets: str) -> str:
    """A page that repeats what was sent, as the error page of a web server does."""
    return f"<html><body><p>{' / '.join((*PRIVATE, secrets))}</p></body></html>"


def quoting(secrets: str) -> str:
    """An answer that repeats what was sent, in all places in which CRMs describe errors."""
    said = " / ".join((*PRIVATE, secrets))
    complaint = {"message": said, "detail": said, "field": said, "code": said}
    return json.dumps({
        "error": said, "error_description": said, "message": said, "detail": said, "reason": said, "code": said,
        "title": said, "messageTranslation": {"label": said}, "errors": [complaint], "id": None,
    })  # fmt: skip


@dataclass(frozen=True)
class Bad:
    """An answer that confirms nothing."""

    what: str
    status: int
    body: str
    content_type: str = JSON

    @property
    def when(self) -> str:
        """The part of a message that describes the answer."""
        return f"when the CRM answered with {self.what}"

    def options(self) -> dict[str, Any]:
        """Options of a `Fault` with this answer."""
        return {"status": self.status, "body": self.body, "content_type": self.content_type}


LOGIN_PAGE = "<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>"
SERVER_ERRORS = (
    Bad("a 500 in HTML", 500, "<html><body><h1>Internal Server Error</h1></body></html>", HTML),
    Bad("a 500 in JSON", 500, '{"message": "Internal Server Error"}'),
    Bad("a 502 of a proxy", 502, "<html><body><h1>Bad Gateway</h1></body></html>", HTML),
)
HTML_PAGES = (Bad("an HTML page with status 200", 200, LOGIN_PAGE, HTML), Bad("a page called JSON", 200, LOGIN_PAGE))
TRUNCATED = (Bad("half a JSON answer", 200, '{"id": "4711", "na'), Bad("one bracket", 201, "{"))
EMPTY = (Bad("an empty 200", 200, ""), Bad("an empty 204", 204, "", ""))
OTHER_JSON = tuple(Bad(f"the JSON {body}", 200, body) for body in ("{}", "[]", "null", '"ok"', "0", '[{"id": null}]'))
REFUSED_PAGE = "<html><body><h1>Sorry</h1></body></html>"
NO_RIGHT = (Bad("a 403 in HTML", 403, REFUSED_PAGE, HTML), Bad("a 403 in JSON", 403, '{"message": "no right"}'))
NO_PAGE = Bad("a 404 in HTML", 404, REFUSED_PAGE, HTML)
NO_PATH = Bad("a 404 in JSON", 404, '{"message": "no such path"}')
MAINTENANCE = (Bad("a 503 in HTML", 503, REFUSED_PAGE, HTML), Bad("a 503 in JSON", 503, '{"message": "come back"}'))
CONFLICTS = (
    Bad("a 409 in HTML", 409, REFUSED_PAGE, HTML), Bad("a 409 without an id", 409, '{"message": "exists"}'),
    Bad("a 409 with an id", 409, '{"id": "4711"}'),
)  # fmt: skip
WITHOUT_DATA = (*TRUNCATED, *EMPTY, *OTHER_JSON)
"""Successful answers that confirm something only where the status alone does."""
UNREADABLE = (*SERVER_ERRORS, *HTML_PAGES, *TRUNCATED, *EMPTY)


@dataclass
class WriteFault(Fault):
    """A fault that applies only to requests that change something in the CRM."""

    writes: Callable[[Request], bool] = lambda _: True

    def strikes(self, request: Request) -> bool:
        """Whether the fault applies to this request."""
        return self.writes(request) and super().strikes(request)


@dataclass
class Redirect(Fault):
    """Redirects every request to another host, with the same path and query."""

    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def strikes(self, request: Request) -> bool:
        """Whether the fault applies to this request. Sets the header Location."""
        query = f"?{request.query}" if request.query else ""
        self.headers["Location"] = f"{self.target}{request.path}{query}"
        return super().strikes(request)


class Stranger(FakeCRM):
    """Another host, which must not receive requests."""

    def answer(self, request: Request) -> Response:
        """A success for every request."""
        return Response(200, '{"id": "1"}')

    def records(self) -> dict[str, list[Mapping[str, Any]]]:  # type: ignore[override]
        """No records."""
        return {}

    @property
    def address(self) -> str:
        """Address with a host name that differs from that of the fake."""
        return f"http://localhost:{self.port}"
