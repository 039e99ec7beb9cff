"""The same change to all dead letters of a cause: the form, the preview, batches with progress."""

from __future__ import annotations

import re
from html import unescape

import pytest

from crmgate.services import Services
from tests.dead_letters import add_dead_letters
from tests.web.ops.conftest import Browser
from tests.web.ops.html import MARKUP, fields, inline, texts

CAUSE = {"provider": "sandbox", "code": "invalid_value", "field": "source"}


def add_fair_letters(parts: Services, count: int = 30, **more: object) -> list[str]:
    payload: dict[str, object] = {"source": "fair"} | more
    return add_dead_letters(
        parts.ledger, count, provider="sandbox", field="source", at=parts.ledger.now() - 900, step=0.01, **payload
    )


def sources(parts: Services, ids: list[str]) -> list[object]:
    found = [parts.ledger.get(one) for one in ids]
    return [one.payload.get("source") for one in found if one]


def test_all_of_a_cause_are_edited_and_then_retried(operator: Browser, parts: Services) -> None:
    ids, others = add_fair_letters(parts), add_dead_letters(parts.ledger, 2, provider="sandbox", source="fair")
    [link] = [
        unescape(link)
        for link in re.findall(r'href="(/ops/edits/new[^"]*)">Edit these 30<', operator.get("/ops/").text)
    ]
    form = operator.get(link).text
    assert "Edit 30 dead letters" in texts(form)
    assert fields(form)["change"] == "source", "the field that the CRM refused"
    preview = operator.post("/ops/edits", **fields(form) | {"value": "website"}).text
    assert "Edit 30 dead letters?" in texts(preview)
    assert "Source fair website" in texts(preview)
    assert set(sources(parts, ids)) == {"fair"}
    done = operator.post("/ops/edits", **fields(preview)).text
    assert "30 dead letters edited" in texts(done)
    assert (set(sources(parts, ids)), set(sources(parts, others))) == ({"website"}, {"fair"})
    [retry] = [unescape(link) for link in re.findall(r'href="(/ops/retries/new[^"]*)"[^>]*>Retry these 30<', done)]
    assert "Retry 30 dead letters?" in texts(operator.get(retry).text)
    edits = [entry for entry in parts.audit.recent() if entry.what == "dead_letters.edit"]
    assert {(entry.who, entry.detail.split(", ")[-1]) for entry in edits} == {("ayse", "source")}


def test_many_are_edited_batch_after_batch_with_progress(operator: Browser, parts: Services) -> None:
    ids = add_fair_letters(parts, 230)
    page = operator.post("/ops/edits", **CAUSE, change="source", value="website").text
    late = add_fair_letters(parts, 1)  # a dead letter of the time before, made after the preview
    seen = []
    while "start" in (form := fields(page)):
        page = operator.post("/ops/edits", **form).text
        seen += re.findall(r"(\d+) of 230 checked", texts(page))
        if "data-continue" not in page:
            break
        assert 'aria-label="Progress of the edit"' in page
    assert seen == ["100", "200", "230"] or seen == ["100", "200", "231"], late
    assert set(sources(parts, ids)) == {"website"}


def test_a_change_that_is_not_valid_is_counted_and_not_made(operator: Browser, parts: Services) -> None:
    ids = add_fair_letters(parts, 3)
    page = operator.post("/ops/edits", **CAUSE, change="email", value="no address").text
    assert "3 of the first 3 would not be valid" in texts(page)
    assert "email: Expected an email address" in texts(page)
    assert "Edit these" not in page
    done = operator.post("/ops/edits", **CAUSE, change="email", value="no address", start="1").text
    assert "0 dead letters edited" in texts(done)
    assert "3 would not be valid" in texts(done)
    assert set(sources(parts, ids)) == {"fair"}


@pytest.mark.parametrize(("path", "value", "before", "after"), [
    ("utm.source", "ads", {"utm": {"source": "adds"}}, {"source": "ads"}),
    ("custom.fax", "1", {"custom": {"a": "b"}}, {"a": "b", "fax": "1"}),
])  # fmt: skip
def test_a_field_of_a_group_is_changed_alone(
    operator: Browser, parts: Services, path: str, value: str, before: dict[str, object], after: object
) -> None:  # fmt: skip
    [one] = add_fair_letters(parts, 1, **before)
    operator.post("/ops/edits", **CAUSE, change=path, value=value, start="1")
    found = parts.ledger.get(one)
    assert found is not None
    assert found.payload[path.partition(".")[0]] == after


def test_an_empty_value_removes_the_field(operator: Browser, parts: Services) -> None:
    [one] = add_fair_letters(parts, 1, city="Izmir")
    preview = operator.post("/ops/edits", **CAUSE, change="city", value="").text
    assert "city is removed" in texts(preview)
    operator.post("/ops/edits", **fields(preview))
    found = parts.ledger.get(one)
    assert found is not None
    assert "city" not in found.payload


def test_an_example_is_a_view_of_personal_data(operator: Browser, parts: Services) -> None:
    ids = add_fair_letters(parts, 1, first_name="Zeynep")
    operator.post("/ops/edits", **CAUSE, change="first_name", value="Ada")
    [view] = [entry for entry in parts.audit.recent() if entry.what == "operations.view"]
    assert (view.who, view.on) == ("ayse", ids[0])


@pytest.mark.parametrize("wrong", [
    {"change": ""}, {"change": "x" * 101}, {"value": "x" * 1001}, {"start": "1", "place": "x"},
    {"start": "1", "began": "x"}, {"start": "1", "total": "one"}, {"start": "1", "total": "nan"},
    {"start": "1", "edited": "inf"}, {"start": "1", "began": "1e999"}, {"start": "1", "edited": "-1"},
    {"code": "nothing"}, {"dead_before": "yesterday"},
])  # fmt: skip
def test_a_damaged_form_changes_nothing(operator: Browser, parts: Services, wrong: dict[str, str]) -> None:
    ids = add_fair_letters(parts, 1)
    answer = operator.post("/ops/edits", **CAUSE | {"change": "source", "value": "website"} | wrong)
    assert (answer.status_code in (400, 422), answer.mimetype) == (True, "text/html")
    assert sources(parts, ids) == ["fair"]


def test_markup_is_text_in_every_step(operator: Browser, parts: Services) -> None:
    add_fair_letters(parts, 1, source=MARKUP, city=MARKUP)
    for more in ({}, {"start": "1"}):
        answer = operator.post("/ops/edits", **CAUSE, change="city", value=f"x{MARKUP}", **more)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert inline(answer) == []
    answer = operator.post("/ops/edits", **CAUSE, change=MARKUP, value=MARKUP)
    assert "<script>alert" not in answer.text


def test_a_reader_edits_nothing(reader: Browser, parts: Services) -> None:
    ids = add_fair_letters(parts, 1)
    assert reader.get("/ops/edits/new").status_code == 403
    assert reader.post("/ops/edits", **CAUSE, change="source", value="website", start="1").status_code == 403
    assert sources(parts, ids) == ["fair"]
    assert "Edit these" not in reader.get("/ops/").text
