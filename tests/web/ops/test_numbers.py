"""The page of the numbers, and its CSV."""

from __future__ import annotations

import csv
import io
import re

import pytest
import redis

from crmgate.services import Services
from crmgate.store import keys
from crmgate.store.tallies import DAY, Dimension
from tests.web.ops.conftest import Browser
from tests.web.ops.html import texts

FORMULA = "=HYPERLINK(1)"


@pytest.fixture
def counted(parts: Services, redis_client: redis.Redis) -> None:
    """Two applications of today and one of yesterday, and a click of today that became an application."""
    today = int(parts.ledger.now() // DAY)

    def count(day: int, dimension: Dimension, value: str, **events: int) -> None:
        redis_client.hset(keys.day(day, dimension), mapping={f"{event}|{value}": n for event, n in events.items()})

    count(today, Dimension.SOURCE, "landing", accepted=2, dead=2)
    count(today - 1, Dimension.SOURCE, FORMULA, accepted=1, delivered=1)
    count(today, Dimension.CHANNEL, "telegram", clicks=1, applied=1)
    count(today, Dimension.UTM_SOURCE, "ads", accepted=2)
    count(today, Dimension.REFERRAL, "REF0", clicks=1)
    count(today, Dimension.REFERRAL, "", clicks=1000)


def rows(html: str) -> list[list[str]]:
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr data-.*?</tr>", html)]


def test_values_and_days_can_be_read_without_a_script(reader: Browser, counted: None) -> None:
    page = reader.get("/ops/numbers?days=7").text
    found = [[texts(cell) for cell in row] for row in rows(page)]
    assert found[0] == ["landing", "2", "0", "2", "0", "0"]
    assert found[1] == [FORMULA, "1", "1", "0", "0", "0"]
    days = found[-7:]
    assert [day[1:] for day in days[:3]] == [["2", "0", "2", "1", "1"], ["1", "1", "0", "0", "0"], ["0"] * 5]
    assert "Applications 3 Delivered 1 Dead 2 Clicks 1 Became applications 1" in texts(page)


def test_the_rest_of_the_values_is_the_last_row(reader: Browser, counted: None) -> None:
    found = [[texts(cell) for cell in row] for row in rows(reader.get("/ops/numbers?by=referral&days=7").text)]
    assert [row[0] for row in found[:2]] == ["REF0", "other values"]
    assert found[1][4] == "1,000"


@pytest.mark.parametrize(("by", "value"), [("channel", "telegram"), ("utm_source", "ads"), ("referral", "REF0")])
def test_each_dimension_has_its_values(reader: Browser, counted: None, by: str, value: str) -> None:
    page = reader.get(f"/ops/numbers?by={by}").text
    assert value in [texts(row[0]) for row in rows(page)]
    title = {"channel": "By channel", "utm_source": "By UTM source", "referral": "By referral"}[by]
    assert f"<h2>{title}</h2>" in page


def test_the_days_of_one_value(reader: Browser, counted: None) -> None:
    page = reader.get("/ops/numbers?days=7&value=landing").text
    found = [[texts(cell) for cell in row] for row in rows(page)][-7:]
    assert [day[1] for day in found] == ["2", "0", "0", "0", "0", "0", "0"]
    assert "value=landing" in page


@pytest.mark.parametrize("days", [7, 30, 90, 400])
def test_the_range_is_in_the_address(reader: Browser, counted: None, days: int) -> None:
    page = reader.get(f"/ops/numbers?days={days}").text
    assert len(re.findall(r"<tr data-at=", page)) == days
    assert f'days={days}" aria-current="page"' in page


@pytest.mark.parametrize("query", ["days=8", "days=-1", "days=x", "by=email", "days=401"])
def test_a_wrong_address_is_a_page_with_the_reason(reader: Browser, query: str) -> None:
    for path in ("numbers", "numbers.csv"):
        answer = reader.get(f"/ops/{path}?{query}")
        assert (answer.status_code, answer.mimetype) == (400, "text/html")
        assert query.partition("=")[0] in texts(answer.text)


def test_the_sheet_is_that_of_the_command_line_and_has_no_formula(reader: Browser, counted: None) -> None:
    answer = reader.get("/ops/numbers.csv?days=7")
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=crmgate-source-2")
    found = [*csv.DictReader(io.StringIO(answer.text))]
    assert {(row["value"], row["accepted"]) for row in found} == {("landing", "2"), ("'" + FORMULA, "1")}
    assert len({row["day"] for row in found}) == 2
