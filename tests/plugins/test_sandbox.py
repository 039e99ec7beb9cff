"""The sandbox plugin against a running sandbox CRM; answers that it never gives come from requests-mock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock as mocking

from crmgate.errors import (
    AuthFailed,
    Code,
    ConfigError,
    Duplicate,
    OutcomeUnknown,
    OutOfTime,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
)
from crmgate.model import Activity, Consent, Kind, Lead, Operation, Utm, new_id
from crmgate.plugin_host.loader import discover
from crmgate.provider import CRMProvider, time_budget
from crmgate.sandbox import create_app, running
from tests.cases import all_cases
from tests.processes import DEADLINE

PLUGINS = Path(__file__).parents[2] / "plugins"
KEY = "s3cret-key-ü"
FULL = Lead(
    first_name="محمد", last_name="Şahin-O'Neil", email="m@example.org", phone="+905321234567", country="Türkiye",
    city="İzmir", birth_date="2001-02-03", education_level="bachelor", field_of_study="Mathématiques",
    institution="Ege", graduation_year=2024, gpa="3.4", universities=("Koç", "Boğaziçi"), programs=("MSc",),
    budget="10,000 EUR", start_date="2026-09", scholarship_needed="yes", language_preference="english",
    user_type="student", language="both", scholarship="yes", university_chosen="no", referral_code="INSTA-24",
    source="landing", source_description="spring page", utm=Utm("google", "cpc", "spring", "banner", "study"),
    session="s1", consent=Consent(True, "Call me", "2026-01-02T03:04:05Z"), additional_info="First line\n第二行 🎓",
    custom={"how_heard": "a friend <b>"},
)  # fmt: skip


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with running(create_app(tmp_path / "leads.db", key=KEY)) as address:
        yield address


def provider(
    url: str, key: str = KEY, timeout: float = 5.0, on_rejected_field: str = "describe", on_update: str = "describe",
    **settings: str,
) -> Any:  # fmt: skip
    """The plugin as the gateway finds it. `Any`: its hooks are not those of the base class."""
    found = discover(PLUGINS, ("sandbox",))
    assert not found.quarantined
    environ = {"SANDBOX_URL": url, "SANDBOX_KEY": key} | settings
    made: CRMProvider = found.providers["sandbox"](
        environ, timeout=timeout, on_rejected_field=on_rejected_field, on_update=on_update
    )  # fmt: skip
    return made


def operation(data: Lead | Activity, kind: Kind = Kind.CREATE_LEAD) -> Operation:
    return Operation(id=new_id(), kind=kind, payload=data.to_dict(), accepted_at=0.0)


def ask(url: str, path: str, json: Any = None, method: str = "GET") -> Any:
    answer = requests.request(
        method, f"{url}/api{path}", json=json, headers={"X-Sandbox-Key": KEY.encode()}, timeout=DEADLINE
    )
    assert answer.ok, answer.text
    return answer.json()


def behave(url: str, mode: str, **options: Any) -> None:
    ask(url, "/behaviour", {"mode": mode} | options, "PUT")


def create(crm: Any, lead: Lead = FULL) -> Any:
    return crm.create_lead(lead=lead, operation=operation(lead))


def test_a_full_lead_arrives_whole(url: str) -> None:
    wanted = operation(FULL)
    delivered = provider(url).create_lead(lead=FULL, operation=wanted)
    lead = ask(url, f"/leads/{delivered.record_id}")
    assert (delivered.provider, delivered.url, delivered.adopted) == ("sandbox", f"{url}/#lead-1", False)
    expected = {
        "first_name": "محمد", "last_name": "Şahin-O'Neil", "email": "m@example.org", "phone": "+905321234567",
        "referral_code": "INSTA-24", "source": "landing", "user_type": "student", "language": "both",
        "field_of_study": "Mathématiques", "university": "Koç", "utm_source": "google", "utm_medium": "cpc",
        "utm_campaign": "spring", "utm_content": "banner", "utm_term": "study", "operation_id": wanted.id,
    }  # fmt: skip
    assert lead.items() >= expected.items()
    assert lead["description"].startswith("First line\n第二行 🎓\n\n")
    for text in (
        "Country: Türkiye", "City: İzmir", "Birth date: 2001-02-03", "Universities: Koç, Boğaziçi", "Programs: MSc",
        "Graduation year: 2024", "GPA: 3.4", "Budget: 10,000 EUR", "Start date: 2026-09", "Scholarship needed: yes",
        "Source description: spring page", "Consent: given at 2026-01-02T03:04:05Z (Call me)", "a friend <b>",
        f"Tracking code: {wanted.tracking_code}",
    ):  # fmt: skip
        assert text in lead["description"]


def test_a_minimal_application_sends_no_empty_fields(url: str) -> None:
    create(provider(url), Lead(first_name="Ada", email="ada@example.org"))
    lead = ask(url, "/leads")["leads"][0]
    own = {"id", "operation_id", "created_at", "revision", "activities"}
    assert lead.keys() - own == {"first_name", "email", "referral_code", "source", "description"}


def test_a_click_makes_a_minimal_lead(url: str) -> None:
    activity = Activity("telegram", "TG-1", "2026-01-02T03:04:05Z", metadata={"page": "/en"}, utm=Utm(source="ig"))
    wanted = operation(activity, Kind.CREATE_MINIMAL_LEAD)
    delivered = provider(url).create_minimal_lead(activity=activity, operation=wanted)
    lead = ask(url, f"/leads/{delivered.record_id}")
    names = {"first_name": "Messenger", "last_name": "Lead", "channel": "telegram"}
    assert lead.items() >= (names | {"referral_code": "TG-1", "utm_source": "ig", "operation_id": wanted.id}).items()
    assert "page: /en" in lead["description"]


def test_fields_can_be_renamed_but_the_operation_id_stays(url: str) -> None:
    crm = provider(url, SANDBOX_MAP_CITY="town", SANDBOX_MAP_EMAIL="", SANDBOX_MAP_OPERATION_ID="")
    wanted = operation(FULL)
    crm.create_lead(lead=FULL, operation=wanted)
    lead = ask(url, f"/leads?operation_id={wanted.id}")["leads"][0]
    assert lead["town"] == "İzmir"
    assert "email" not in lead
    assert "Email: m@example.org" in lead["description"]


def test_a_lead_is_found_by_its_operation(url: str) -> None:
    crm, wanted = provider(url), operation(FULL)
    assert crm.find_lead(operation=wanted) is None
    delivered = crm.create_lead(lead=FULL, operation=wanted)
    found = crm.find_lead(operation=wanted)
    assert (found.record_id, found.url, found.adopted) == (delivered.record_id, delivered.url, True)


def test_a_second_create_adopts_the_lead_of_the_first(url: str) -> None:
    crm, wanted = provider(url), operation(FULL)
    first = crm.create_lead(lead=FULL, operation=wanted)
    second = crm.create_lead(lead=FULL, operation=wanted)
    assert (second.record_id, second.adopted) == (first.record_id, True)
    assert len(ask(url, "/leads")["leads"]) == 1


def test_a_lead_whose_answer_was_forgotten_is_adopted(url: str) -> None:
    crm, wanted = provider(url), operation(FULL)
    behave(url, "forget", times=1)
    with pytest.raises(OutcomeUnknown) as raised:
        crm.create_lead(lead=FULL, operation=wanted)
    assert raised.value.code is Code.CONNECTION_DROPPED
    assert crm.find_lead(operation=wanted).record_id == "1"


@pytest.mark.parametrize(
    ("mode", "budget", "error", "code"),
    [
        ("fail", DEADLINE, Unavailable, Code.MAINTENANCE),
        ("unauthorized", DEADLINE, AuthFailed, Code.BAD_CREDENTIALS),
        ("hang", 0.4, OutcomeUnknown, Code.TIMEOUT),
        ("slow", 0.4, OutcomeUnknown, Code.TIMEOUT),
        ("forget", DEADLINE, OutcomeUnknown, Code.CONNECTION_DROPPED),
    ],
)
def test_each_misbehaviour_has_its_error(
    url: str, mode: str, budget: float, error: type[ProviderError], code: Code
) -> None:
    behave(url, mode)
    with time_budget(budget), pytest.raises(ProviderError) as raised:
        create(provider(url))
    assert (type(raised.value), raised.value.code) == (error, code)
    behave(url, "work")


@pytest.mark.parametrize("mode", ["fail", "hang", "slow"])
def test_a_look_up_that_fails_is_no_unknown_outcome(url: str, mode: str) -> None:
    behave(url, mode)
    # A busy machine can use up the time before the request: that is as harmless.
    with time_budget(0.4), pytest.raises((Unavailable, OutOfTime)):
        provider(url).find_lead(operation=operation(FULL))
    behave(url, "work")


def test_a_refused_field_is_named(url: str) -> None:
    behave(url, "refuse", field="email")
    crm = provider(url, on_rejected_field="dead")
    with pytest.raises(Rejected) as raised:
        create(crm)
    assert raised.value.fields == {"email": "Set to refuse this value."}
    assert (raised.value.code, raised.value.status) == (Code.INVALID_VALUE, 422)


def test_a_refused_value_moves_into_the_description(url: str) -> None:
    behave(url, "refuse", field="email")
    delivered = create(provider(url))
    lead = ask(url, f"/leads/{delivered.record_id}")
    assert delivered.moved == ("email",)
    assert "email" not in lead
    assert f"Email: {FULL.email}" in lead["description"]


def test_an_update_adds_to_the_lead_and_only_once(url: str) -> None:
    crm = provider(url)
    minimal = Lead(first_name="Messenger", last_name="Lead", referral_code="REF1")
    record = create(crm, minimal).record_id
    change = operation(Lead(first_name="Ada", email="ada@example.com", city="London"), Kind.UPDATE_LEAD)
    for _ in range(2):
        assert crm.update_lead(lead_id=record, lead=change.lead, operation=change).record_id == record
    lead = ask(url, f"/leads/{record}")
    assert (lead["first_name"], lead["last_name"], lead["email"]) == ("Ada", "", "ada@example.com")
    assert lead["referral_code"] == "REF1", "a default replaces nothing that is known"
    assert lead["description"].count("City: London") == 1


@pytest.mark.parametrize(("on_update", "language"), [("describe", "both"), ("overwrite", "english")])
def test_an_update_loses_no_value(url: str, on_update: str, language: str) -> None:
    crm = provider(url, on_update=on_update)
    record = create(crm).record_id
    again = Lead(first_name="محمد", phone="+905321234568", language="english", referral_code="LATER")
    change = operation(again, Kind.UPDATE_LEAD)
    crm.update_lead(lead_id=record, lead=again, operation=change)
    lead = ask(url, f"/leads/{record}")
    assert (lead["language"], lead["referral_code"]) == (language, "INSTA-24")
    shown = str(lead)
    assert [one for one in (FULL.phone, again.phone, "both", "english", "LATER") if one not in shown] == []
    assert "Update of 1970-01-01 00:00:00 UTC:" in lead["description"]


def test_an_activity_is_logged_once(url: str) -> None:
    crm = provider(url)
    record = create(crm).record_id
    click = operation(Activity(channel="telegram", referral_code="REF1"), Kind.LOG_ACTIVITY)
    first, second = (crm.log_activity(activity=click.activity, lead_id=record, operation=click) for _ in range(2))
    assert (first.adopted, second.adopted) == (False, True)
    assert [activity["channel"] for activity in ask(url, f"/leads/{record}")["activities"]] == ["telegram"]


def test_nobody_listens() -> None:
    with pytest.raises(Unavailable) as raised:
        create(provider("http://127.0.0.1:1"))
    assert raised.value.code is Code.CONNECTION_FAILED


@all_cases(
    ("status", "answer", "created", "found"),
    [
        (400, {"json": {"error": "bad_request"}}, Rejected, Rejected),
        (403, {"text": "no"}, AuthFailed, AuthFailed),
        (409, {"json": {"id": 7, "operation_id": "another"}}, Duplicate, Duplicate),
        (409, {"text": "conflict"}, Duplicate, Duplicate),
        (413, {"text": "too long"}, Rejected, Rejected),
        (422, {"text": "unreadable"}, Rejected, Rejected),
        (429, {"headers": {"Retry-After": "7"}}, RateLimited, RateLimited),
        (500, {"text": "<h1>Oops</h1>"}, OutcomeUnknown, Unavailable),
        (502, {"text": "<h1>Bad gateway</h1>"}, OutcomeUnknown, Unavailable),
        (504, {"text": ""}, OutcomeUnknown, Unavailable),
        (201, {"text": "<html>"}, OutcomeUnknown, Unavailable),
        (201, {"json": {"id": "x"}}, OutcomeUnknown, Unavailable),
        (200, {"json": []}, OutcomeUnknown, Unavailable),
        (200, {"json": {"leads": [{"id": 1, "operation_id": "another"}]}}, OutcomeUnknown, Unavailable),
        (302, {"headers": {"Location": "https://elsewhere.example"}}, Unavailable, Unavailable),
        (404, {"text": "nothing here"}, Unavailable, Unavailable),
    ],
)
def test_every_other_answer_has_its_error(
    status: int, answer: dict[str, Any], created: type[ProviderError], found: type[ProviderError]
) -> None:
    crm = provider("http://127.0.0.1:8081")
    with mocking.Mocker() as mocker:
        mocker.register_uri(mocking.ANY, mocking.ANY, status_code=status, **answer)
        with pytest.raises(ProviderError) as on_create:
            create(crm)
        with pytest.raises(ProviderError) as on_find:
            crm.find_lead(operation=operation(FULL))
    assert (type(on_create.value), type(on_find.value)) == (created, found)
    assert on_create.value.status == on_find.value.status == status


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("soon", None), ("-1", None)])
def test_retry_after_is_handed_on(value: str, seconds: float | None) -> None:
    with mocking.Mocker() as mocker:
        mocker.post(mocking.ANY, status_code=503, headers={"Retry-After": value})
        with pytest.raises(Unavailable) as raised:
            create(provider("http://127.0.0.1:8081"))
    assert raised.value.retry_after == seconds


def test_a_duplicate_names_the_record_in_the_way() -> None:
    with mocking.Mocker() as mocker:
        mocker.post(mocking.ANY, status_code=409, json={"id": 7, "operation_id": "another"})
        with pytest.raises(Duplicate) as raised:
            create(provider("http://127.0.0.1:8081"))
    assert raised.value.existing == "7"


def test_the_connection_test_passes(url: str) -> None:
    connection = provider(f"{url}/").test_connection()
    assert connection.connected
    assert connection.provider == "sandbox"
    assert connection.latency_ms > 0
    assert [check.ok for check in connection.checks] == [True]


def test_the_connection_test_says_what_to_repair(url: str) -> None:
    for crm, hint in (
        (provider(url, key="wrong"), "SANDBOX_KEY"),
        (provider("http://127.0.0.1:1"), "SANDBOX_URL"),
        (provider(f"{url}/elsewhere"), "SANDBOX_URL"),
    ):
        connection = crm.test_connection()
        assert not connection.connected
        assert hint in connection.checks[0].detail


@pytest.mark.parametrize("mode", ["fail", "unauthorized", "hang"])
def test_the_connection_test_fails_in_an_outage(url: str, mode: str) -> None:
    behave(url, mode)
    with time_budget(0.4):
        assert not provider(url).test_connection().connected
    behave(url, "work")


def test_the_address_is_required_and_the_key_is_not() -> None:
    found = discover(PLUGINS, ("sandbox",)).providers["sandbox"]
    with pytest.raises(ConfigError, match="SANDBOX_URL"):
        found({})
    assert found({"SANDBOX_URL": "https://crm.example"}).settings["SANDBOX_KEY"] == "sandbox"


def test_neither_secrets_nor_people_show_in_reprs_and_errors() -> None:
    crm = provider("http://127.0.0.1:8081")
    echo = {"error": KEY, "message": "m@example.org", "fields": {"email": f"{KEY} is no email"}}
    for status in (200, 400, 401, 409, 422, 500, 503):
        with mocking.Mocker() as mocker:
            mocker.post(mocking.ANY, status_code=status, json=echo, headers={"X-Echo": "key"})
            with pytest.raises(ProviderError) as raised:
                create(crm)
        shown = f"{raised.value!r} {raised.value} {vars(raised.value)} {crm!r}"
        assert KEY not in shown
        assert "m@example.org" not in shown
