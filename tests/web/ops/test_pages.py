"""What the operator's pages show and do: lists, one operation, edit, selection, retries, discards, suspects."""

from __future__ import annotations

import csv
import io
import re
from html import unescape

import pytest

from crmgate.model import Kind, State, Suspicion
from crmgate.services import Services
from crmgate.tracking import code as tracking_code
from tests.dead_letters import add_dead_letters
from tests.web.ops.conftest import Browser
from tests.web.ops.html import fields, listed, texts

# Operations


def test_a_filter_is_in_the_address_and_survives_the_pages(operator: Browser, parts: Services, now: float) -> None:
    timeouts = add_dead_letters(parts.ledger, 60, code="timeout", at=now - 100)
    add_dead_letters(parts.ledger, 5, code="not_found", at=now - 100)
    first = operator.get("/ops/operations?state=dead&code=timeout").text
    [older] = [unescape(link) for link in re.findall(r'href="([^"]+)" rel="next"', first)]
    assert "code=timeout" in older
    second = operator.get(older).text
    assert listed(first) | listed(second) == set(timeouts)
    assert 'rel="next"' not in second


def test_times_of_a_form_are_utc(operator: Browser, parts: Services) -> None:
    [old] = add_dead_letters(parts.ledger, at=1_768_464_000.0)  # 2026-01-15T08:00:00Z
    assert listed(operator.get("/ops/operations?accepted_from=2026-01-15T08:00").text) == {old}
    assert listed(operator.get("/ops/operations?accepted_from=2026-01-15T08:01").text) == set()
    assert listed(operator.get("/ops/operations?accepted_to=2026-01-16").text) == {old}
    assert listed(operator.get("/ops/operations?accepted_to=2026-01-15").text) == set()


@pytest.mark.parametrize("query", ["state=nothing", "accepted_from=yesterday", "cursor=x", "colour=red"])
def test_a_wrong_filter_is_a_page_with_the_reason(operator: Browser, query: str) -> None:
    answer = operator.get(f"/ops/operations?{query}")
    assert (answer.status_code, answer.mimetype) == (400, "text/html")
    assert query.partition("=")[0] in texts(answer.text)


def test_search_finds_an_id_and_a_code(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger)
    for words in (operation, operation.upper(), tracking_code(operation), tracking_code(operation).lower()):
        assert operator.post("/ops/search", q=f" {words} ").location == f"/ops/operations/{operation}"
    assert "No operation has" in operator.post("/ops/search", q="CG-0000-0000").text
    assert "No operation has" in operator.post("/ops/search", q="").text


def test_a_person_is_found_by_email_and_phone_without_a_trace_in_the_address(
    operator: Browser, reader: Browser, parts: Services
) -> None:
    made = add_dead_letters(parts.ledger, 2, email="zeynep@example.com", phone="+905321234567")
    add_dead_letters(parts.ledger)
    for words in (" Zeynep@Example.com", "+90 532 123 45 67", "+90 (532) 123-45-67"):
        found = operator.post("/ops/search", q=words)
        assert re.fullmatch(r"/ops/operations\?person=p[0-9a-f]{31}", found.location)
        assert listed(operator.get(found.location).text) == set(made)
    assert [(entry.who, entry.what) for entry in parts.audit.recent(1)] == [("ayse", "persons.show")]
    for words in ("nobody@example.com", "a@b@c", "+90 532 000 00 00", "@"):
        assert "No operation has" in operator.post("/ops/search", q=words).text
    assert reader.post("/ops/search", q="zeynep@example.com").status_code == 403
    assert listed(operator.get("/ops/operations?person=zeynep@example.com").text) == set()


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_the_selected_operations_are_counted_first(operator: Browser, parts: Services, action: str) -> None:
    chosen = add_dead_letters(parts.ledger, 3)[:2]
    asked = operator.post("/ops/selected", id=chosen, action=action)
    assert f"{action.capitalize()} 2 operations?" in texts(asked.text)
    assert parts.ledger.stats()["dead_letters"] == 3
    done = operator.post("/ops/selected", id=chosen, action=action, confirmed="1", reason="a test")
    assert ("2 operations sent again" if action == "retry" else "2 operations discarded") in texts(done.text)
    assert parts.ledger.stats()["dead_letters"] == 1
    assert [entry.what for entry in parts.audit.recent(2)] == [f"dead_letters.{action}"] * 2


def test_a_discard_needs_a_reason(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger)
    assert "required" in operator.post("/ops/selected", id=operation, action="discard", confirmed="1").text
    assert operator.post(f"/ops/operations/{operation}/discard", reason=" ").status_code == 422
    assert operator.post(f"/ops/operations/{operation}/discard", reason="x" * 301).status_code == 422
    assert parts.ledger.stats()["dead_letters"] == 1
    assert operator.post(f"/ops/operations/{operation}/discard", reason="a test").status_code == 303
    assert "a test" in operator.get(f"/ops/operations/{operation}").text


def test_what_cannot_be_changed_is_named(operator: Browser, parts: Services) -> None:
    gone, kept = add_dead_letters(parts.ledger, 2)
    parts.desk.discard(gone, "a test", "ayse")
    done = operator.post("/ops/selected", id=[gone, kept, "0" * 32], action="retry", confirmed="1")
    assert "1 operation sent again" in texts(done.text)
    assert "2 operations stayed as they were" in texts(done.text)
    assert "has ended in the state discarded" in texts(done.text)


def test_the_export_has_what_the_filter_matches(operator: Browser, parts: Services) -> None:
    wanted = add_dead_letters(parts.ledger, 3, code="timeout")
    add_dead_letters(parts.ledger, 2, code="not_found")
    answer = operator.get("/ops/export?format=csv&code=timeout")
    assert {row["id"] for row in csv.DictReader(io.StringIO(answer.text))} == set(wanted)
    assert answer.headers["Cache-Control"] == "no-store"
    assert [(entry.what, entry.who) for entry in parts.audit.recent(1)] == [("dead_letters.export", "ayse")]


# One operation


def test_one_operation_shows_its_failure_beside_what_would_be_sent_now(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger, provider="sandbox", city="Izmir", source="landing")
    page = operator.get(f"/ops/operations/{operation}?data=shown").text
    words = texts(page)
    assert "The CRM refuses it." in words
    assert "POST /leads" in words
    assert re.search(r"first_name First name Test0", words)
    assert "City: Izmir" in words
    assert "No field, so in the description: City." in words
    hidden = texts(operator.get(f"/ops/operations/{operation}").text)
    assert "first_name First name T***" in hidden
    assert "Izmir" not in hidden
    assert "landing" in hidden, "the source is no personal data"


def test_a_field_that_the_crm_refused_is_marked(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger, provider="sandbox", field="source,phone", source="landing")
    page = operator.get(f"/ops/operations/{operation}").text
    assert re.findall(r'<tr class="refused"><td><code>(\w+)</code>', page) == ["source"]


def test_neighbours_lead_from_one_dead_letter_to_the_next(operator: Browser, parts: Services) -> None:
    oldest, middle, newest = add_dead_letters(parts.ledger, 3)
    page = operator.get(f"/ops/operations/{middle}").text
    assert f'href="/ops/operations/{newest}" rel="prev"' in page
    assert f'href="/ops/operations/{oldest}" rel="next"' in page
    assert 'rel="prev"' not in operator.get(f"/ops/operations/{newest}").text
    assert 'rel="next"' not in operator.get(f"/ops/operations/{oldest}").text


def test_an_unknown_operation_is_a_page(operator: Browser) -> None:
    answer = operator.get("/ops/operations/" + "0" * 32)
    assert (answer.status_code, answer.mimetype) == (404, "text/html")


def test_a_retry_of_one(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger)
    assert operator.post(f"/ops/operations/{operation}/retry").location == f"/ops/operations/{operation}"
    assert parts.ledger.stats()["dead_letters"] == 0
    assert "Released for another attempt" in operator.get(f"/ops/operations/{operation}").text


# Edit


def test_an_edit_changes_only_what_was_changed(operator: Browser, parts: Services) -> None:
    custom = {"Visa type": "F1"}
    [operation] = add_dead_letters(
        parts.ledger, universities=["A", "B"], custom=custom, utm={"source": "ads"}, city="Izmir"
    )
    form = fields(operator.get(f"/ops/operations/{operation}/edit").text)
    assert (form["field.email"], form["field.custom.Visa type"]) == ("test0@example.com", "F1")
    before = parts.desk.get(operation).payload
    form |= {"field.email": "new@example.com", "field.universities": "A\r\nC\r\n", "field.city": ""}
    answer = operator.post(f"/ops/operations/{operation}/edit", **form, retry="1")
    assert answer.location == f"/ops/operations/{operation}", texts(answer.text)
    after = parts.ledger.get(operation)
    assert after is not None
    assert after.payload["email"] == "new@example.com"
    assert after.payload["universities"] == ["A", "C"]
    assert "city" not in after.payload
    kept = {name: value for name, value in before.items() if name not in ("email", "universities", "city")}
    assert kept.items() <= {name: after.payload.get(name) for name in kept}.items()
    assert after.state is State.WAITING


def test_an_edit_without_a_change_keeps_the_payload(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger, last_name="Byron", custom={"a": "b"})
    page = operator.get(f"/ops/operations/{operation}/edit").text
    assert operator.post(f"/ops/operations/{operation}/edit", **fields(page)).status_code == 303
    after = parts.ledger.get(operation)
    assert after is not None
    assert (after.state, after.payload["custom"]) == (State.DEAD, {"a": "b"})


def test_a_wrong_value_comes_back_with_its_reason(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger)
    page = operator.get(f"/ops/operations/{operation}/edit").text
    answer = operator.post(f"/ops/operations/{operation}/edit", **fields(page) | {"field.email": "no address"})
    assert answer.status_code == 422
    assert re.search(r'name="field.email" value="no address" aria-invalid="true"', answer.text)
    assert 'id="field.email-fault"' in answer.text
    assert parts.desk.get(operation).payload["email"] == "test0@example.com"


def test_an_edit_of_an_older_version_is_refused(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger)
    form = fields(operator.get(f"/ops/operations/{operation}/edit").text)
    parts.desk.amend(parts.desk.get(operation), {"first_name": "Other", "phone": "+905321234567"}, "mehmet")
    answer = operator.post(f"/ops/operations/{operation}/edit", **form | {"field.email": "new@example.com"})
    assert answer.status_code == 412
    assert parts.desk.get(operation).payload["first_name"] == "Other"


def test_a_click_can_be_edited(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger, kind=Kind.CREATE_MINIMAL_LEAD, metadata={"page": "/prices"})
    form = fields(operator.get(f"/ops/operations/{operation}/edit").text)
    assert "field.occurred_at" not in form
    assert operator.post(f"/ops/operations/{operation}/edit", **form | {"field.metadata.page": "/"}).status_code == 303
    assert parts.desk.get(operation).payload["metadata"] == {"page": "/"}


# Retries


def test_a_job_shows_its_progress_and_can_be_cancelled(operator: Browser, parts: Services, now: float) -> None:
    add_dead_letters(parts.ledger, 120, provider="sandbox", code="timeout", at=now - 500)
    add_dead_letters(parts.ledger, 4, provider="sandbox", code="not_found", at=now - 500)
    confirm = operator.get("/ops/retries/new?code=timeout").text
    later = add_dead_letters(parts.ledger, 3, provider="sandbox", code="timeout", at=now + 3600)
    assert "Retry these 120" in texts(confirm)
    form = {name: value for name, value in fields(confirm).items() if name not in ("q", "csrf")}
    started = operator.post("/ops/retries", **form)
    assert started.status_code == 303
    assert parts.desk.retries.step()
    page = operator.get(started.location).text
    assert "50 sent again" in texts(page)
    assert 'hx-trigger="every 3s"' in page
    assert "A job retries dead letters" in texts(operator.get("/ops/").text)
    refused = operator.post("/ops/retries", **form)
    assert (refused.status_code, "job" in refused.text) == (409, True)
    operator.post(f"{started.location}/cancel")
    page = operator.get(started.location).text
    assert "The job was cancelled" in texts(page)
    assert "hx-trigger" not in page
    assert parts.ledger.stats()["dead_letters"] == 77
    assert all(parts.desk.get(one).state is State.DEAD for one in later)
    assert [entry.who for entry in parts.audit.recent(2)] == ["ayse", "ayse"]


def test_a_job_touches_no_later_dead_letter(operator: Browser, parts: Services, now: float) -> None:
    add_dead_letters(parts.ledger, 2, provider="sandbox", at=now - 10)
    confirm = operator.get("/ops/retries/new").text
    assert "Retry these 2" in texts(confirm)
    assert "dead_before" in fields(confirm)


# Discards


def continued(operator: Browser, page: str) -> str:
    """The page after the next batch."""
    form = re.search(r"<form[^>]* data-continue>(.*?)</form>", page, re.DOTALL)
    assert form
    return operator.post("/ops/discards", **{n: v for n, v in fields(form[1]).items() if n != "csrf"}).text


def test_all_that_match_are_discarded_batch_by_batch(operator: Browser, parts: Services, now: float) -> None:
    made = add_dead_letters(parts.ledger, 230, code="duplicate", at=now - 500, step=0.1)
    add_dead_letters(parts.ledger, 2, code="timeout", at=now - 500)
    listing = operator.get("/ops/operations?state=dead&code=duplicate").text
    [link] = [unescape(each) for each in re.findall(r'href="(/ops/discards/new[^"]*)"', listing)]
    confirm = operator.get(link).text
    add_dead_letters(parts.ledger, 1, code="duplicate", at=now + 3600)
    assert "Discard these 230" in texts(confirm)
    form = {name: value for name, value in fields(confirm).items() if name not in ("q", "csrf")}
    for reason in ("", "x" * 301):
        refused = operator.post("/ops/discards", **form | {"reason": reason})
        assert (refused.status_code, parts.ledger.stats()["dead_letters"]) == (422, 233)
    parts.desk.discard(made[0], "meanwhile", "mehmet")
    page = operator.post("/ops/discards", **form | {"reason": "sent twice"}).text
    assert "100 of 230 checked, 100 discarded" in texts(page)
    page = continued(operator, continued(operator, page))
    assert "229 dead letters discarded" in texts(page)
    assert "data-continue" not in page
    assert parts.ledger.stats()["dead_letters"] == 3
    assert [(entry.who, entry.what) for entry in parts.audit.recent(1)] == [("ayse", "dead_letters.discard")]


def test_a_damaged_form_discards_nothing(operator: Browser, parts: Services) -> None:
    add_dead_letters(parts.ledger)
    for wrong in ({"place": "x"}, {"total": "x"}, {"code": "x"}):
        assert operator.post("/ops/discards", reason="a test", **wrong).status_code in (400, 422)
    assert parts.ledger.stats()["dead_letters"] == 1


# Suspects


def test_suspects_are_released_and_discarded(operator: Browser, parts: Services) -> None:
    found = [
        parts.gateway.submit(Kind.CREATE_LEAD, {"first_name": f"Bot{n}"}, inline=False, suspect=Suspicion.HONEYPOT).id
        for n in range(3)
    ]
    assert listed(operator.get("/ops/suspects").text) == set(found)
    operator.post(f"/ops/operations/{found[0]}/retry")
    operator.post("/ops/selected", id=found[1], action="discard", confirmed="1", reason="a robot")
    assert listed(operator.get("/ops/suspects").text) == {found[2]}
    released = parts.ledger.get(found[0])
    assert released is not None
    assert released.state is State.WAITING
