"""`/ops/numbers`: where applications and clicks come from, by day. Contains no personal data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flask import Response, request

from crmgate.operators.numbers import Amounts, DayTotal, ValueCount
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError
from crmgate.store.tallies import Dimension
from crmgate.web.codes import ProblemCode
from crmgate.web.ops.shell import blueprint, page
from crmgate.web.problems import Problem
from crmgate.web.services import services
from crmgate.web.stats import sheet

RANGES = (7, 30, 90, 400)
"""Numbers of days that the page offers."""
DEFAULT = 30


@dataclass(frozen=True, slots=True)
class Asked:
    """The days from `since` to `until`, both included, the dimension, and one of its values; empty: all values."""

    days: int
    by: Dimension
    value: str
    since: date
    until: date


@blueprint.get("/numbers")
def numbers() -> Response:
    """The figures of each value, and of each day, of all values or of the one in the address."""
    asked = _asked()
    values = services().numbers.values(asked.since, asked.until, asked.by)
    days = [*(_of_value(asked) if asked.value else services().numbers.totals(asked.since, asked.until))]
    return page(
        "ops/numbers.html",
        asked=asked, values=values, days=[(_start(day.day), day) for day in days], total=_total(days),
        ranges=RANGES, dimensions=list(Dimension),
    )  # fmt: skip


@blueprint.get("/numbers.csv")
def numbers_csv() -> Response:
    """Download a line for each day and value. No cell is a formula for a spreadsheet."""
    asked = _asked()
    response = sheet(services().numbers.days(asked.since, asked.until, asked.by))
    name = f"crmgate-{asked.by}-{asked.since}-{asked.until}.csv"
    response.headers["Content-Disposition"] = f"attachment; filename={name}"
    return response


def _of_value(asked: Asked) -> Iterator[DayTotal]:
    """The figures of one value for each day, also of days without an event."""
    rows = services().numbers.days(asked.since, asked.until, asked.by)
    found = {row.day: row.figures for row in rows if row.value == asked.value}
    for number in range(asked.days):
        day = asked.since + timedelta(days=number)
        yield DayTotal(day, found.get(day, Amounts()))


def _total(days: Sequence[DayTotal | ValueCount]) -> Amounts:
    figures = [day.figures for day in days]
    return Amounts(
        accepted=sum(each.accepted for each in figures), delivered=sum(each.delivered for each in figures),
        dead=sum(each.dead for each in figures), clicks=sum(each.clicks for each in figures),
        applied=sum(each.applied for each in figures),
    )  # fmt: skip


def _start(day: date) -> int:
    """The beginning of a day (UTC) in seconds since the epoch."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _asked() -> Asked:
    """The range and the dimension in the address. Raises `Problem`: 400 with every error."""
    days, by = request.args.get("days") or str(DEFAULT), request.args.get("by") or Dimension.SOURCE
    errors = [*_wrong("days", days, RANGES), *_wrong("by", by, Dimension)]
    if errors:
        raise Problem(ProblemCode.INVALID_QUERY, "Correct the address and ask again.", errors=errors)
    until = services().numbers.today()
    since = until - timedelta(days=int(days) - 1)
    return Asked(int(days), Dimension(by), request.args.get("value", ""), since, until)


def _wrong(name: str, value: str, choices: Sequence[int] | type[Dimension]) -> Iterator[FieldError]:
    allowed = [str(choice) for choice in choices]
    if value not in allowed:
        yield FieldError(name, FieldCode.INVALID_CHOICE, f"Expected one of: {', '.join(allowed)}.")
