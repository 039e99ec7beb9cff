"""`/api/v1/stats` and `/api/v1/causes`: numbers for marketing and for operators, without personal data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from flask import Blueprint, Response, request
from marshmallow import Schema

from crmgate.model import rfc3339
from crmgate.operators import sheets
from crmgate.operators.numbers import KEPT_DAYS, DayCount
from crmgate.schemas.choices import Choice
from crmgate.schemas.coded import Coded
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError
from crmgate.store.tallies import Dimension
from crmgate.store.tokens import Scope
from crmgate.web.answers_of_many import CauseCountsSchema, StatsSchema
from crmgate.web.auth import require
from crmgate.web.codes import ProblemCode
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("stats", __name__, url_prefix="/api/v1")

DAYS = 30
"""Number of days without `since`."""
_FORMATS = ("json", "csv")
_NAMES = ("since", "until", "by", "format")
_TAG = "Operating"


class Day(Coded[str]):
    """A date such as `2026-11-23`; `stats` parses it."""

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


class StatsQuery(Schema):
    """Query of the figures."""

    since = Day(about=f"The first day (UTC). Default: {DAYS} days that end with `until`.")
    until = Day(about="The last day (UTC). Default: today.")
    by = Choice(*Dimension, about="What the figures are counted by. Default: `source`.")
    format = Choice(*_FORMATS, about="Default: `json`. `csv` has a row for each day and value.")


@dataclass(frozen=True, slots=True)
class _Asked:
    since: date
    until: date
    by: Dimension
    form: str


@blueprint.get("/stats")
@Describe(
    "Read the figures", _TAG,
    {200: ResponseDoc("The figures by hour, by day and by value.", StatsSchema, also=("text/csv",))},
    token=Scope.READ, query=StatsQuery, problems=[ProblemCode.INVALID_QUERY],
)  # fmt: skip
def stats() -> Response:
    """Applications (accepted, delivered, dead letters) and clicks for each day and value. Kept for 400 days.

    A value that is null stands for all values beyond 200 on one day, and for values that look like personal data.
    """
    require(Scope.READ)
    asked = _read(request.args)
    numbers = services().numbers
    rows = numbers.days(asked.since, asked.until, asked.by)
    if asked.form == "csv":
        return sheet(rows)
    totals, values = numbers.totals(asked.since, asked.until), numbers.values(asked.since, asked.until, asked.by)
    return answer({
        "since": asked.since.isoformat(), "until": asked.until.isoformat(), "by": asked.by,
        "hours": [asdict(hour) | {"at": rfc3339(hour.at)} for hour in numbers.hours()],
        "days": [{"day": row.day.isoformat()} | asdict(row.figures) for row in totals],
        "values": [{"value": row.value} | asdict(row.figures) for row in values],
        "items": [{"day": row.day.isoformat(), "value": row.value} | asdict(row.figures) for row in rows],
    })  # fmt: skip


def sheet(rows: Iterable[DayCount]) -> Response:
    """The figures as CSV."""
    response = Response("".join(sheets.lines(rows)), content_type="text/csv; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/causes")
@Describe(
    "Count dead letters by cause", _TAG, {200: ResponseDoc("The causes, the largest first.", CauseCountsSchema)},
    token=Scope.READ,
)  # fmt: skip
def causes() -> Response:
    """The dead letters by provider, code and refused field of their last failure, with the remedy in words."""
    require(Scope.READ)
    found = services().numbers.causes()
    items = [asdict(cause) | {"oldest": rfc3339(cause.oldest)} for cause in found.items]
    return answer({"items": items, "dead_letters": found.dead, "indexed": found.indexed})


def _read(query: Mapping[str, str]) -> _Asked:
    """Parse the query. Raises `Problem`: 400 with every error."""
    errors = [
        FieldError(name[:64], FieldCode.UNKNOWN_FIELD, f"Expected one of: {', '.join(_NAMES)}.")
        for name in query.keys() - _NAMES
    ]
    errors += [*_wrong_choice(query, "by", Dimension), *_wrong_choice(query, "format", _FORMATS)]
    until = _day(query, "until", services().numbers.today(), errors)
    since = _day(query, "since", until - timedelta(days=DAYS - 1), errors)
    if not errors and not timedelta() <= until - since < timedelta(days=KEPT_DAYS):
        errors.append(FieldError("since", FieldCode.INVALID_DATE, f"Expected 1 to {KEPT_DAYS} days up to `until`."))
    if errors:
        raise Problem(ProblemCode.INVALID_QUERY, "Correct the query and ask again.", errors=errors)
    return _Asked(since, until, Dimension(query.get("by") or Dimension.SOURCE), query.get("format") or "json")


def _wrong_choice(query: Mapping[str, str], name: str, choices: Any) -> list[FieldError]:
    allowed = [str(choice) for choice in choices]
    if query.get(name, "") in ("", *allowed):
        return []
    return [FieldError(name, FieldCode.INVALID_CHOICE, f"Expected one of: {', '.join(allowed)}.")]


def _day(query: Mapping[str, str], name: str, default: date, errors: list[FieldError]) -> date:
    """The date in the query; adds to `errors` if it is none."""
    text = query.get(name, "")
    try:
        return date.fromisoformat(text) if text else default
    except ValueError:
        errors.append(FieldError(name, FieldCode.INVALID_DATE, "Expected a date such as 2026-11-23."))
    return default
