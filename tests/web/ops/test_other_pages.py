"""Markup in addresses, and forged forms, on the pages besides those about operations."""

from __future__ import annotations

import pytest

from crmgate.services import Services
from crmgate.store.tallies import Dimension
from tests.dead_letters import add_dead_letters
from tests.web.ops.conftest import Browser
from tests.web.ops.html import MARKUP, inline

PAGES = (
    "/ops/crm", "/ops/crm/test", "/ops/crm/fields", "/ops/crm/setup?field=source", "/ops/audit", "/ops/tokens",
    "/ops/persons", "/ops/edits/new", *(f"/ops/numbers?by={by}" for by in Dimension),
)  # fmt: skip


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
    add_dead_letters(parts.ledger, email="zeynep@example.com", source="fair", provider="sandbox")
    form = {"contact": "zeynep@example.com", "confirmed": "1", "name": "x", "scope": "operate", "start": "1",
            "change": "source", "value": "website"}  # fmt: skip
    answer = operator.post(path, **form | forged)  # type: ignore[arg-type]
    assert answer.status_code in (403, 422)
    assert [entry.what for entry in parts.audit.recent()] == ["ops.login"]
