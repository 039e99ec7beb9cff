"""Records turn into JSON and back without loss, and an older process can read what a newer one wrote."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import re

import pytest

from crmgate.errors import (
    Code,
    ConfigError,
    Duplicate,
    OutcomeUnknown,
    PluginError,
    ProviderError,
    Rejected,
    Unavailable,
)
from crmgate.model import (
    Activity,
    Check,
    Connection,
    Consent,
    Delivered,
    Event,
    EventType,
    Kind,
    Lead,
    Operation,
    State,
    Utm,
    Word,
    new_id,
    rfc3339,
)
from crmgate.tracking import code as tracking_code
from tests.cases import all_cases

ID = "8b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4"
UTM = Utm("google", "cpc", "spring", "banner", "study abroad")
FULL_LEAD = Lead(
    first_name="Ayşe", last_name="Öztürk", email="ayse@example.com", phone="+905321234567", country="Türkiye",
    city="İzmir", birth_date="2004-02-29", education_level="high school", field_of_study="医学", institution="Lycée",
    graduation_year=2022, gpa="3.9", universities=("Sabancı", "Koç"), programs=("Medicine", "Law"), budget="5000 €",
    start_date="2026-09", scholarship_needed="yes", language_preference="english", user_type="student", language="both",
    scholarship="yes", university_chosen="no", referral_code="REF_1", source="landing", source_description="footer",
    utm=UTM, session="s-1", consent=Consent(True, "I agree", "2026-01-01T00:00:00Z"), additional_info="مرحبا 👋",
    custom={"visaType": "student", "note": "a\nb"},
)  # fmt: skip
ATTEMPT = Event(1.5, 0.25, "espocrm", "failed", Code.TIMEOUT, 504, "E_X", "no answer", counted=False)
DELIVERED = Delivered("espocrm", "42", "https://crm.example.com/#Lead/view/42", adopted=True, dropped=("gpaC",))
OPERATION = Operation(
    ID, Kind.CREATE_LEAD, FULL_LEAD.to_dict(), 1_800_000_000.25, State.DELIVERED, 7.0, (ATTEMPT, ATTEMPT), DELIVERED
)
RECORDS = [
    Utm(), UTM, Consent(), Consent(True, "text", "2026-01-01T00:00:00Z"), Lead(), FULL_LEAD,
    Lead(consent=Consent(False)), Lead(source="", referral_code=""), Lead(graduation_year=0), Activity(),
    Activity("telegram", "R", "2026-01-01T00:00:00Z", "s", UTM, {"page": "/", "notes": "ü"}),
    Activity(referral_code=""),
    Delivered("espocrm", ""), DELIVERED, Event(0.0, 0.0, "", ""), ATTEMPT, Check("ping", False, "no"),
    Connection("espocrm", True, 12.5), Connection("espocrm", False, 0.0, (Check("a", True), Check("b", False, "why"))),
    Operation(ID, Kind.CREATE_MINIMAL_LEAD, {}, 0.0), OPERATION,
]  # fmt: skip


@all_cases("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_record_survives_json(record: Lead) -> None:
    assert type(record).from_dict(json.loads(json.dumps(record.to_dict()))) == record


@all_cases("record", RECORDS, ids=lambda record: type(record).__name__)
def test_keys_that_a_newer_process_wrote_are_ignored(record: Lead) -> None:
    written = record.to_dict() | {"from_the_future": {"a": [1]}, "to_dict": "x", "NESTED": {}}
    assert type(record).from_dict(written) == record


def test_unknown_keys_of_nested_records_are_ignored_too() -> None:
    data = {"utm": {"source": "google", "x": 1}, "consent": {"given": True, "x": 1}}
    assert Lead.from_dict(data) == Lead(utm=Utm("google"), consent=Consent(True))


def test_null_is_the_same_as_absent() -> None:
    data = {"utm": None, "consent": None, "first_name": None, "universities": None, "email": "a@example.com"}
    assert Lead.from_dict(data) == Lead(email="a@example.com")


def test_a_required_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(TypeError, match="record_id"):
        Delivered.from_dict({"provider": "espocrm"})


def test_what_is_empty_is_left_out_and_what_is_false_or_zero_stays() -> None:
    assert Utm().to_dict() == {}
    assert Lead(first_name="A").to_dict() == {"first_name": "A", "referral_code": "DIRECT", "source": "website"}
    assert Consent(False).to_dict() == {"given": False}
    assert Event(0.0, 0.0, "p", "failed", counted=False).to_dict() == {
        "at": 0.0, "duration": 0.0, "provider": "p", "outcome": "failed", "counted": False,
    }  # fmt: skip


def test_nested_records_come_back_as_records() -> None:
    back = Operation.from_dict(json.loads(json.dumps(OPERATION.to_dict())))
    assert back.events == (ATTEMPT, ATTEMPT)
    assert back.delivered == DELIVERED
    assert back.lead == FULL_LEAD
    assert back.lead.utm.campaign == "spring"


@pytest.mark.parametrize(("words", "text"), [(Kind, "newer_kind"), (State, "newer_state"), (EventType, "merged")])
def test_a_word_of_a_newer_version_keeps_its_text(words: type[Word], text: str) -> None:
    newer = words.read(text)
    assert (str(newer), json.dumps(newer), type(newer), newer.known) == (text, f'"{text}"', words, False)
    assert newer == words.read(text)
    assert not [member for member in words if member == newer]
    for member in words:
        assert words.read(str(member)) is member
        assert member.known
    with pytest.raises(ValueError, match=text):
        words(text)


def test_an_operation_of_a_newer_version_survives_json() -> None:
    event = {"at": 1.0, "duration": 0.0, "provider": "", "outcome": "merged"}
    words = {"kind": "newer_kind", "state": "newer_state"}
    back = Operation.from_dict(words | {"id": ID, "payload": {}, "accepted_at": 1.0, "events": [event]})
    assert (back.kind.known, back.state.known, back.events[0].outcome.known) == (False, False, False)
    written = json.loads(json.dumps(back.to_dict()))
    assert written.items() >= words.items()
    assert Operation.from_dict(written) == back


def test_the_payload_of_a_click_is_an_activity() -> None:
    activity = Activity("whatsapp", "R1", utm=UTM, metadata={"page": "/de"})
    assert Operation(ID, Kind.CREATE_MINIMAL_LEAD, activity.to_dict(), 0.0).activity == activity


def test_a_copy_of_the_data_is_handed_out() -> None:
    custom = {"a": "1"}
    written = Lead(custom=custom).to_dict()
    written["custom"]["a"] = "2"
    assert custom == {"a": "1"}


@all_cases("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_are_frozen(record: Lead) -> None:
    name = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, name, "x")


@pytest.mark.parametrize(
    ("operation_id", "code"),
    [
        ("0" * 32, "CG-0000-0000"),
        ("f" * 32, "CG-ZZZZ-ZZZZ"),
        ("0000000001" + "f" * 22, "CG-0000-0001"),
        ("8000000000" + "0" * 22, "CG-G000-0000"),
        (ID, "CG-HCE0-YKHD"),
    ],
)
def test_tracking_codes_are_the_first_40_bits_in_crockfords_base32(operation_id: str, code: str) -> None:
    assert tracking_code(operation_id) == code
    assert Operation(operation_id, Kind.CREATE_LEAD, {}, 0.0).tracking_code == code


def test_tracking_codes_can_be_read_aloud_and_do_not_hold_the_id() -> None:
    ids = [new_id() for _ in range(200)]
    assert len(set(ids)) == len({tracking_code(each) for each in ids}) == 200
    for each in ids:
        assert re.fullmatch(r"[0-9a-f]{32}", each)
        assert re.fullmatch(r"CG-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", tracking_code(each))


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_800_000_000.25, "2027-01-15T08:00:00.250Z"),
        (1_800_000_000, "2027-01-15T08:00:00.000Z"),
        (951_782_400.0019, "2000-02-29T00:00:00.001Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(timestamp: float, text: str) -> None:
    assert rfc3339(timestamp) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ProviderError(), "server_error"),
        (Unavailable("down", code=Code.MAINTENANCE, status=503), "maintenance (HTTP 503): down"),
        (Rejected("no", vendor_code="E1", status=400, provider="espocrm"), "espocrm: invalid_value (HTTP 400, E1): no"),
        (Duplicate(existing="7"), "duplicate"),
    ],
)
def test_errors_say_what_happened_and_where(error: ProviderError, text: str) -> None:
    assert str(error) == text
    assert repr(error) == f"{type(error).__name__}({text!r})"


def test_an_error_keeps_no_more_of_a_detail_than_it_shows() -> None:
    error = OutcomeUnknown("x" * 300 + "canary", vendor_code="y" * 100 + "canary")
    assert "canary" not in f"{error!r}{error}{error.args}{vars(error)}"


def test_provider_errors_survive_copying_and_pickling() -> None:
    error = Rejected("no", fields={"phone": "invalid"}, status=400, retry_after=3)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), vars(twin)) == (Rejected, vars(error))


def test_problems_of_the_configuration_are_all_in_the_message() -> None:
    error = ConfigError(["A: wrong.", "B: wrong."])
    assert (error.problems, str(error)) == (("A: wrong.", "B: wrong."), "A: wrong.\nB: wrong.")
    assert str(PluginError("a.py", "It is broken.", "Mend it.")) == "a.py: It is broken. Mend it."
