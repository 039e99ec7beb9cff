"""Filters for operations, with the same names in a query and in a body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError

from crmgate.errors import Code
from crmgate.model import Kind, State, rfc3339
from crmgate.operators import export
from crmgate.operators.desk import KEPT_ASIDE
from crmgate.operators.inventory import PAGE, Cursor, Filter
from crmgate.schemas.choices import Choice
from crmgate.schemas.coded import Coded, flatten
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.fields import Moment, Text
from crmgate.web.codes import ProblemCode
from crmgate.web.problems import Problem

_TIMES = ("accepted_from", "accepted_to", "dead_before")
_SHOWN_TIMES = (*_TIMES, "started_at", "moved_at", "ended_at")


class FilterSchema(Schema):
    """A filter for operations. An absent member does not restrict the selection."""

    json_schema = {"additionalProperties": False}  # noqa: RUF012

    state = Choice(*State)
    kind = Choice(*Kind)
    provider = Text(64, about="The CRM that operations were delivered to, or tried with last.")
    code = Choice(*Code, about="The code of the last failure.")
    field = Text(200, about="A CRM field that was refused in the last failure; several are separated by commas.")
    detail = Text(100, about="A part of the message of the last failure, in any case.")
    accepted_from = Moment(about="Accepted at this time or later.")
    accepted_to = Moment(about="Accepted before this time.")
    dead_before = Moment(about="Became a dead letter before this time.")


class LimitParameter(Coded[int]):
    """Number of items per page; `read_list` parses it."""

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 1, "maximum": PAGE, "default": PAGE}


class DeadLettersQuery(FilterSchema):
    """Query of the list of dead letters or suspects."""

    state = Choice(*KEPT_ASIDE)
    limit = LimitParameter()
    cursor = Text(200, about="`next` of the previous page.")


class OperationsQuery(DeadLettersQuery):
    """Query of the list of all operations."""

    state = Choice(*State)
    tracking_code = Text(64, about="Tracking code as people type it, or 6 or more first digits of an id; excludes all"
                                   " other parameters.")  # fmt: skip
    person = Text(32, about="One of `references` of a person; excludes all other parameters.")


class ExportQuery(FilterSchema):
    """Query of the export."""

    state = Choice(*KEPT_ASIDE)
    format = Choice(*export.TYPES, about="Default: `csv`.")


@dataclass(frozen=True, slots=True)
class Asked:
    """The filter and the page that a caller requests."""

    filter: Filter
    cursor: Cursor | None
    limit: int


@dataclass(frozen=True, slots=True)
class Many:
    """A change of many dead letters: without `start` a preview, else the batch after the cursor."""

    filter: Filter
    start: bool
    cursor: Cursor | None


def read_list(query: Mapping[str, str], states: Iterable[State] = State, default: State | None = None) -> Asked:
    """Parse the query of a list of operations in one of `states`. Raises `Problem`: 400 with every error."""
    limit, cursor, errors = query.get("limit", str(PAGE)), None, list[FieldError]()
    if not (limit.isdecimal() and limit.isascii() and len(limit) < 4 and 1 <= int(limit) <= PAGE):
        errors.append(FieldError("limit", FieldCode.INVALID_NUMBER, f"Expected a number from 1 to {PAGE}."))
    try:
        cursor = Cursor.parse(query["cursor"]) if query.get("cursor") else None
    except ValueError:
        errors.append(FieldError("cursor", FieldCode.INVALID_CHOICE, "Expected `next` of the previous page."))
    rest = {name: value for name, value in query.items() if name not in ("limit", "cursor") and value}
    wanted, faults = _filter(rest, states)
    if errors := [*errors, *faults]:
        raise Problem(ProblemCode.INVALID_QUERY, "Correct the query and ask again.", errors=errors)
    return Asked(Filter.read({"state": default} | wanted), cursor, int(limit))


def read_filter(body: Mapping[str, Any], path: str) -> Filter:
    """Parse the filter in a body; `path` is its name there. Raises `InvalidFields` with every error."""
    wanted, errors = _filter(body, (State.DEAD,))
    if errors:
        raise InvalidFields([FieldError(f"{path}.{error.field}", error.code, error.message) for error in errors])
    return Filter.read(wanted)


def read_many(body: Mapping[str, Any], members: Iterable[str], errors: Iterable[FieldError] = ()) -> Many:
    """Parse the body of a change of many dead letters with these `members`. Raises `InvalidFields` with every error.

    `errors` are those of the other members.
    """
    wanted, start, cursor = body.get("filter") or {}, body.get("start", False), None
    found = [*_unknown(body, members), *errors]
    if not isinstance(wanted, Mapping):
        found.append(FieldError("filter", FieldCode.INVALID_TYPE, "Expected an object."))
    if not isinstance(start, bool):
        found.append(FieldError("start", FieldCode.INVALID_TYPE, "Expected true or false."))
    try:
        cursor = Cursor.parse(str(body["cursor"])) if body.get("cursor") else None
    except ValueError:
        found.append(FieldError("cursor", FieldCode.INVALID_CHOICE, "Expected `next` of the previous answer."))
    if found:
        raise InvalidFields(found)
    return Many(read_filter(wanted, "filter"), start, cursor)


def _unknown(body: Mapping[str, Any], members: Iterable[str]) -> Iterator[FieldError]:
    known = [*members]
    for name in body.keys() - known:
        yield FieldError(name[:64], FieldCode.UNKNOWN_FIELD, f"Expected one of: {', '.join(known)}.")


def selection(wanted: Filter) -> dict[str, Any]:
    """The filter for JSON."""
    return members_of(asdict(wanted))


def members_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a filter or a job for JSON: times in RFC 3339, null for empty values."""
    times = {name: rfc3339(record[name]) if record[name] else None for name in _SHOWN_TIMES if name in record}
    return {name: None if value == "" else value for name, value in record.items()} | times


def _filter(raw: Mapping[str, Any], states: Iterable[State]) -> tuple[dict[str, Any], list[FieldError]]:
    schema, values, errors = FilterSchema(), dict[str, Any](), list[FieldError]()
    known = ", ".join(schema.fields)
    for name in raw.keys() - schema.fields.keys():
        errors.append(FieldError(name[:64], FieldCode.UNKNOWN_FIELD, f"Expected one of: {known}."))
    try:
        values = dict(schema.load({name: raw[name] for name in schema.fields if raw.get(name) not in (None, "")}))
    except ValidationError as error:
        values = dict(error.valid_data or {})
        errors += flatten(error.messages_dict)
    allowed = [*states]
    if values.get("state", allowed[0]) not in allowed:
        errors.append(FieldError("state", FieldCode.INVALID_CHOICE, f"Expected one of: {', '.join(allowed)}."))
    values |= {name: datetime.fromisoformat(values[name]).timestamp() for name in _TIMES if name in values}
    return values, errors
