"""Which operations a caller wants: the same names in a query and in a body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError

from crmgate.errors import Code
from crmgate.model import Kind, State
from crmgate.operators import export
from crmgate.operators.desk import KEPT_ASIDE
from crmgate.operators.inventory import PAGE, Cursor, Filter
from crmgate.schemas.coded import Coded, flatten
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.fields import Choice, Moment, Text
from crmgate.web.codes import ProblemCode
from crmgate.web.problems import Problem

_TIMES = ("accepted_from", "accepted_to", "dead_before")


class FilterSchema(Schema):
    """Which operations: what is absent lets everything pass."""

    json_schema = {"additionalProperties": False}  # noqa: RUF012

    state = Choice(*State)
    kind = Choice(*Kind)
    provider = Text(64, about="Those of this CRM: it has them, or was tried last.")
    code = Choice(*Code, about="Those whose last failure was this.")
    accepted_from = Moment(about="Accepted since then.")
    accepted_to = Moment(about="Accepted before then.")
    dead_before = Moment(about="Leaves out what became a dead letter later.")


class LimitParameter(Coded[int]):
    """How many to tell at once: read by `read_list`."""

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 1, "maximum": PAGE, "default": PAGE}


class DeadLettersQuery(FilterSchema):
    """What a list of dead letters or suspects takes in its query."""

    state = Choice(*KEPT_ASIDE)
    limit = LimitParameter()
    cursor = Text(200, about="Those after a page: its `next`.")


class OperationsQuery(DeadLettersQuery):
    """What the list of all operations takes in its query."""

    state = Choice(*State)
    tracking_code = Text(64, about="Those with this code, as people type it; takes no other parameter.")


class ExportQuery(FilterSchema):
    """What the export takes in its query."""

    state = Choice(*KEPT_ASIDE)
    format = Choice(*export.TYPES, about="`csv` by default.")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller wants to see of a list."""

    filter: Filter
    cursor: Cursor | None
    limit: int


def read_list(query: Mapping[str, str], states: Iterable[State] = State, default: State | None = None) -> Asked:
    """The list that a query asks for, of operations in one of `states`. Raises `Problem`: 400 with every fault."""
    limit, cursor, errors = query.get("limit", str(PAGE)), None, list[FieldError]()
    if not (limit.isdecimal() and limit.isascii() and len(limit) < 4 and 1 <= int(limit) <= PAGE):
        errors.append(FieldError("limit", FieldCode.INVALID_NUMBER, f"Expected a number from 1 to {PAGE}."))
    try:
        cursor = Cursor.parse(query["cursor"]) if query.get("cursor") else None
    except ValueError:
        errors.append(FieldError("cursor", FieldCode.INVALID_CHOICE, "Expected `next` of the page before."))
    rest = {name: value for name, value in query.items() if name not in ("limit", "cursor") and value}
    wanted, faults = _filter(rest, states)
    if errors := [*errors, *faults]:
        raise Problem(ProblemCode.INVALID_QUERY, "Correct the query and ask again.", errors=errors)
    return Asked(Filter.read({"state": default} | wanted), cursor, int(limit))


def read_filter(body: Mapping[str, Any], path: str) -> Filter:
    """The filter in a body. Raises `InvalidFields` with every fault."""
    wanted, errors = _filter(body, (State.DEAD,))
    if errors:
        raise InvalidFields([FieldError(f"{path}.{error.field}", error.code, error.message) for error in errors])
    return Filter.read(wanted)


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
