"""The page of one person: search, export and erasure, with the email or phone in no address."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from crmgate.delivery import identity
from crmgate.model import Kind, Operation, new_id
from crmgate.operators.spooled import SpooledPersons
from crmgate.services import Services
from crmgate.store.spool import FILE, Spool, Spooled
from tests.dead_letters import add_dead_letters
from tests.web.ops.conftest import Browser
from tests.web.ops.html import MARKUP, inline, texts

EMAIL = "zeynep@example.com"
ADDRESSES = re.compile(r'(?:href|action|hx-get|src)="([^"]*)"')


@pytest.fixture
def letters(parts: Services) -> list[str]:
    """Dead letters of Zeynep, and one of somebody else."""
    add_dead_letters(parts.ledger, 1, email="other@example.com")
    return add_dead_letters(parts.ledger, 3, email=EMAIL, first_name="Zeynep", at=parts.ledger.now() - 60)


@pytest.mark.parametrize("typed", [EMAIL, " Zeynep@Example.com "])
def test_a_person_is_found_by_a_post(operator: Browser, parts: Services, letters: list[str], typed: str) -> None:
    answer = operator.post("/ops/persons", contact=typed)
    assert answer.status_code == 200
    assert "Dead letters 3" in texts(answer.text)
    assert set(re.findall(r'href="/ops/operations/([0-9a-f]{32})"', answer.text)) == set(letters)
    assert "Zeynep" not in answer.text, "a payload is shown on the page of its operation only"
    assert [address for address in ADDRESSES.findall(answer.text) if "@" in address or "zeynep" in address] == []
    [entry] = [entry for entry in parts.audit.recent() if entry.what == "persons.show"]
    assert "zeynep" not in repr(entry)


def test_a_phone_is_found_in_any_spelling(operator: Browser, parts: Services) -> None:
    add_dead_letters(parts.ledger, 1, phone="+905321234567")
    assert "Dead letters 1" in texts(operator.post("/ops/persons", contact="0532 123 45 67").text)


def test_a_get_never_searches(operator: Browser, parts: Services, letters: list[str]) -> None:
    page = operator.get("/ops/persons", query_string={"contact": EMAIL}).text
    assert EMAIL not in page
    assert "persons.show" not in [entry.what for entry in parts.audit.recent()]


@pytest.mark.parametrize("typed", ["", "nobody", "@", MARKUP, "x" * 5000])
def test_what_is_no_contact_is_refused_and_not_repeated(operator: Browser, typed: str) -> None:
    answer = operator.post("/ops/persons", contact=typed)
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    assert "<script>alert" not in answer.text
    assert inline(answer) == []
    for path in ("export", "erase"):
        assert operator.post(f"/ops/persons/{path}", contact=typed).status_code == 422


def test_somebody_unknown_has_nothing(operator: Browser, letters: list[str]) -> None:
    words = texts(operator.post("/ops/persons", contact="nobody@example.com").text)
    assert "crmgate keeps nothing about this person" in words
    assert "Erase" not in words


def test_an_export_has_the_payloads_and_is_in_the_audit_log(
    operator: Browser, parts: Services, letters: list[str]
) -> None:
    answer = operator.post("/ops/persons/export", contact=EMAIL)
    assert answer.headers["Content-Disposition"] == "attachment; filename=crmgate-person.json"
    assert answer.headers["Cache-Control"] == "no-store"
    found = json.loads(answer.text)
    assert {one["id"] for one in found["operations"]} == set(letters)
    assert {one["payload"]["first_name"] for one in found["operations"]} == {"Zeynep"}
    assert [entry.what for entry in parts.audit.recent(1)] == ["persons.export"]


def test_an_erasure_is_counted_first_and_names_the_records_of_the_crm(
    operator: Browser, parts: Services, letters: list[str]
) -> None:  # fmt: skip
    add_dead_letters(parts.ledger, 1, kind=Kind.CREATE_LEAD, email=EMAIL, at=parts.ledger.now())
    asked = texts(operator.post("/ops/persons/erase", contact=EMAIL).text)
    assert "Dead letters 4 discarded" in asked
    assert parts.audit.recent(1)[0].what == "persons.show", "the preview shows what is kept"
    assert "Discard 4 operations and erase the person" in asked
    assert parts.ledger.stats()["dead_letters"] == 5
    done = texts(operator.post("/ops/persons/erase", contact=EMAIL, confirmed="1").text)
    assert "The person is erased 4 operations discarded" in done
    assert parts.ledger.stats()["dead_letters"] == 1, "somebody else is untouched"
    assert "crmgate keeps nothing" in texts(operator.post("/ops/persons", contact=EMAIL).text)
    [entry] = [entry for entry in parts.audit.recent() if entry.what == "persons.erase"]
    assert "zeynep" not in repr(entry)


def test_records_of_the_crm_have_to_be_erased_there(
    operator: Browser, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    from crmgate.operators.persons import PersonData
    from crmgate.store.persons import VisitorSession

    found = PersonData(("p",), (), (VisitorSession("d", "sandbox", f"77{MARKUP}"),))
    monkeypatch.setattr(parts.persons, "find", lambda _contact, _who: found)
    for path, more in (("/ops/persons", {}), ("/ops/persons/erase", {})):
        answer = operator.post(path, contact=EMAIL, **more)
        assert "Erase this record in the CRM" in texts(answer.text)
        assert "sandbox: 77" in texts(answer.text)
        assert "<script>alert" not in answer.text
        assert inline(answer) == []


@pytest.fixture
def spool(parts: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """The spool of this host with a submission of Zeynep."""
    made = Spool(tmp_path, 1e6)
    made.prepare()
    payload = {"first_name": "Zeynep", "email": EMAIL}
    made.put(Spooled(Operation(new_id(), Kind.CREATE_LEAD, payload, 0.0)), identity.people(payload))
    monkeypatch.setattr(parts.persons, "_spooled", SpooledPersons(made))
    return made


def test_a_person_in_the_spool_is_found_and_erased(operator: Browser, spool: Spool) -> None:
    found = operator.post("/ops/persons", contact=EMAIL).text
    assert "In the spool 1" in texts(found)
    assert "Erase …" in texts(found)
    asked = texts(operator.post("/ops/persons/erase", contact=EMAIL).text)
    assert "In the spool of this host 1 discarded" in asked
    assert "Discard 1 operation and erase the person" in asked
    assert "1 operation discarded" in texts(operator.post("/ops/persons/erase", contact=EMAIL, confirmed="1").text)
    assert spool.empty()
    words = texts(operator.post("/ops/persons", contact=EMAIL).text)
    assert ("keeps nothing about this person" in words, "In the spool" in words) == (True, False)


def test_a_spool_that_cannot_be_read_is_no_empty_one(operator: Browser, spool: Spool, tmp_path: Path) -> None:
    (tmp_path / FILE).unlink()
    answer = operator.post("/ops/persons", contact=EMAIL)
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert "The spool of this host cannot be used" in answer.text


@pytest.mark.parametrize("path", ["", "/export", "/erase"])
def test_a_reader_finds_nobody(reader: Browser, parts: Services, letters: list[str], path: str) -> None:
    answer = reader.post(f"/ops/persons{path}", contact=EMAIL, confirmed="1")
    assert answer.status_code == 403
    assert reader.get("/ops/persons").status_code == 403
    assert "/ops/persons" not in reader.get("/ops/operations").text
    assert parts.ledger.stats()["dead_letters"] == 4
