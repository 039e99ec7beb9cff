"""The header Retry-After in each form of RFC 9110, 10.2.3."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from requests.structures import CaseInsensitiveDict

from crmgate.provider import Answer
from tests.cases import all_cases

DATE = "Sun, 06 Nov 1994 08:49:07 GMT"


def retry_after(value: str | None, date: str | None = None) -> float | None:
    given = {"Retry-After": value, "Date": date}
    headers = CaseInsensitiveDict({name: text for name, text in given.items() if text is not None})
    return Answer(503, headers, b"").retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("7", 7.0), ("007", 7.0), (" 120 ", 120.0), ("1.2", 2.0), ("0.01", 1.0), ("3.0", 3.0)],
)
def test_seconds_are_rounded_up(value: str, seconds: float) -> None:
    assert retry_after(value) == seconds


@pytest.mark.parametrize(
    "value", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_each_format_of_a_date_is_compared_with_the_date_of_the_answer(value: str) -> None:
    assert retry_after(value, DATE) == 30.0


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_without_a_date_of_the_answer_the_clock_is_used(date: str | None) -> None:
    found = retry_after(formatdate(time.time() + 300, usegmt=True), date)
    assert found == pytest.approx(300, abs=10)


@all_cases(
    "value",
    [
        None, "", "soon", "-1", "-0.5", "+5", "1e3", "1,5", ".5", "5.", "²", "٣", "nan", "inf", "9" * 400, "7 seconds",
        "Sun, garbage", "Mon", "Sun, 99 Foo 1994 99:99:99 GMT", "Sun, 06 Nov 99999999999 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:06 GMT",
    ],
)  # fmt: skip
def test_anything_else_is_ignored(value: str | None) -> None:
    assert retry_after(value, DATE) is None
