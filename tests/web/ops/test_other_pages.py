"""Rules that hold on every page besides those about operations: policies, markup, roles."""

from __future__ import annotations

import re

import pytest

from crmgate.services import Services
from crmgate.store.tallies import Dimension
from tests.graves import bury
from tests.web.ops.conftest import Browser
from tests.web.ops.test_security import MARKUP, POLICY, inline, spoiled

PAGES = (
    "/ops/crm", "/ops/crm/test", "/ops/crm/fields", "/ops/crm/setup?field=source", "/ops/audit", "/ops/tokens",
    "/ops/persons", "/ops/edits/new", *(f"/ops/numbers?by={by}" for by in Dimension),
)  # fmt: skip
NOT_FOR_READERS = re.compile(r"tokens|persons|edits")
"""Pages that show personal data or tokens, or begin a change."""


@pytest.fixture
def spoilt(parts: Services) -> None:
    """Dead letters with markup in every field, of a provider and a code with markup."""
    for kind, payload in spoiled():
        bury(parts.ledger, kind=kind, provider="<script>", code=MARKUP, at=parts.ledger.now(), **payload)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_strict_and_shows_markup_as_text(operator: Browser, spoilt: None, path: str) -> None:
    answer = operator.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["Cache-Control"] == "no-store"
    assert "<script>alert" not in answer.text
    assert "<img" not in answer.text
    assert ">49<" not in answer.text
    assert inline(answer) == []


@pytest.mark.parametrize("path", PAGES)
def test_a_reader_sees_no_personal_data(reader: Browser, parts: Services, path: str) -> None:
    bury(parts.ledger, first_name="Zeynep", email="zeynep@example.com", additional_info="Merhaba")
    answer = reader.get(path)
    assert answer.status_code == (403 if NOT_FOR_READERS.search(path) else 200)
    for word in ("Zeynep", "zeynep@", "Merhaba"):
        assert word not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_markup_in_a_query_is_text(operator: Browser, path: str) -> None:
    for name in ("field", "code", "provider", "days", "by", "value", "cursor", "contact", MARKUP):
        answer = operator.get(path.partition("?")[0], query_string={name: MARKUP})
        assert answer.status_code in (200, 400)
        assert "<script>" not in answer.text
        assert inline(answer) == []


@pytest.mark.parametrize(
    "path", ["/ops/crm/setup", "/ops/persons/erase", "/ops/tokens", "/ops/edits", "/ops/crm/pause"]
)
@pytest.mark.parametrize("forged", [{"csrf": "x"}, {"origin": "https://evil.example"}, {"origin": None}])
def test_a_forged_form_changes_nothing(
    operator: Browser, parts: Services, path: str, forged: dict[str, str | None]
) -> None:  # fmt: skip
    bury(parts.ledger, email="zeynep@example.com", source="fair", provider="sandbox")
    form = {"contact": "zeynep@example.com", "confirmed": "1", "name": "x", "scope": "operate", "start": "1",
            "change": "source", "value": "website"}  # fmt: skip
    answer = operator.post(path, **form | forged)  # type: ignore[arg-type]
    assert answer.status_code in (403, 422)
    assert [entry.what for entry in parts.audit.recent()] == ["ops.login"]
