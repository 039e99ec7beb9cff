"""Exports of dead letters: CSV without formulas, JSON Lines, and the filter of the list."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from crmgate.operators.export import harmless
from crmgate.store.ledger import Ledger
from tests.dead_letters import add_dead_letters
from tests.web.test_dead_letters import DEAD, Call, call, services

__all__ = ["call", "services"]  # fixtures


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("Ada; =1+1", "Ada; '=1+1"), ('a;"=1+1"', 'a;"\'=1+1"'), ("a\r\n-1", "a\r\n'-1"),
        ("a\t@SUM(A1)", "a\t'@SUM(A1)"), ("a\r\n\r\nb", "a\r\n\r\nb"), ("1+1=2; 2", "1+1=2; 2"), ("a-b, =c", "a-b, =c"),
    ],
)  # fmt: skip
def test_a_cell_that_a_spreadsheet_begins_inside_a_value_is_no_formula(text: str, cell: str) -> None:
    assert harmless(text) == cell


FORMULAS = {
    "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\uff1d1": "'\uff1d1",
    "\t=1": "'\t'=1", "\r=1": "'\r'=1", "\n1": "'\n1",
}  # fmt: skip
"""Texts and their cells."""


def test_the_csv_holds_no_formula(call: Call, ledger: Ledger, services: Any) -> None:
    for text in FORMULAS:
        add_dead_letters(ledger, first_name=text, phone="+905321234567", utm={"source": text}, custom={"=cmd": text})
    answer = call("GET", f"{DEAD}/export?format=csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == "attachment; filename=crmgate-dead.csv"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert {row["first_name"] for row in rows} == {*FORMULAS.values()}
    assert {row["utm_source"] for row in rows} == {*FORMULAS.values()}
    assert {row["phone"] for row in rows} == {"'+905321234567"}
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\n\uff1d")]
    assert rows[0]["code"] == "invalid_value"
    [entry] = services.audit.recent()
    assert (entry.who, entry.what, entry.detail) == ("operator", "dead_letters.export", "csv")


def test_the_lines_of_json_hold_everything_as_it_is(call: Call, ledger: Ledger) -> None:
    made = add_dead_letters(ledger, 120, first_name="=1+1\n<script>", city="\u0130zmir")
    answer = call("GET", f"{DEAD}/export?format=jsonl")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["id"] for line in lines] == made[::-1]
    assert (lines[0]["payload"]["first_name"], lines[0]["payload"]["city"]) == ("=1+1\n<script>", "\u0130zmir")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_an_export_has_the_lists_filters(call: Call, ledger: Ledger) -> None:
    add_dead_letters(ledger, code="timeout")
    [other] = add_dead_letters(ledger, code="duplicate")
    text = call("GET", f"{DEAD}/export?format=jsonl&code=duplicate").text
    assert [json.loads(line)["id"] for line in text.splitlines()] == [other]
    assert call("GET", f"{DEAD}/export?format=xlsx").json["errors"][0]["field"] == "format"
