"""`/ops/operations/<id>`: one operation, why it is where it is, and what would be sent now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from crmgate.errors import NoSuchOperation, ProviderError
from crmgate.model import Event, Operation, State
from crmgate.operators.desk import CHANGEABLE
from crmgate.operators.inventory import Cursor, Filter, failure_of, fields_of
from crmgate.operators.payloads import PLAIN, mask, mask_contacts
from crmgate.store.tokens import Scope
from crmgate.web.changes import REASON
from crmgate.web.codes import ProblemCode
from crmgate.web.ops.shell import actor, blueprint, go, may_operate, page, require_operate
from crmgate.web.problems import Problem
from crmgate.web.services import services

OPEN = PLAIN | {"operation_id"}
"""Facts whose values are shown to everybody, unless they may be an email or a phone number."""


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """An entry of the timeline. `at` is in seconds since the epoch; `event` is None for the acceptance."""

    at: float
    event: Event | None
    number: int = 0


@blueprint.get("/operations/<operation_id>")
def operation(operation_id: str) -> Response:
    """Timeline, failure, the request that would go out now, what the CRM kept, and the payload.

    Personal data is masked, and shown only after a click, which the audit records.
    """
    found = known(operation_id)
    [wait] = services().desk.waiting.of([found])
    newer, older = _neighbours(found)
    shown = may_operate() and request.args.get("data") == "shown"
    payload = services().payloads.shown(found, Scope.OPERATE if shown else Scope.READ, actor())
    return page(
        "ops/operation.html",
        operation=found, wait=wait, timeline=list(_timeline(found)), failure=failure_of(found),
        changeable=found.state in CHANGEABLE, payload=payload, shown=shown, newer=newer, older=older,
        reason_length=REASON, **_preview(found, shown=shown),
    )  # fmt: skip


@blueprint.post("/operations/<operation_id>/retry")
def retry(operation_id: str) -> BaseResponse:
    """Retry the operation now with its full number of attempts."""
    require_operate()
    services().desk.retry(operation_id, actor())
    return go("ops.operation", operation_id=operation_id)


@blueprint.post("/operations/<operation_id>/discard")
def discard(operation_id: str) -> BaseResponse:
    """End the operation without a delivery."""
    require_operate()
    reason = request.form.get("reason", "").strip()
    if not 0 < len(reason) <= REASON:
        raise Problem(ProblemCode.INVALID_BODY, f"Give a reason of at most {REASON} characters, without personal data.")
    services().desk.discard(operation_id, reason, actor())
    return go("ops.operation", operation_id=operation_id)


def known(operation_id: str) -> Operation:
    """The operation in any state. Raises `NoSuchOperation`."""
    found = services().ledger.get(operation_id)
    if found is None:
        raise NoSuchOperation
    return found


def _timeline(operation: Operation) -> Iterator[TimelineEntry]:
    yield TimelineEntry(operation.accepted_at, None)
    for number, event in enumerate(operation.events, start=1):
        yield TimelineEntry(event.at, event, number)


def _neighbours(operation: Operation) -> tuple[str, str]:
    """Ids of the next newer and the next older operation in the same list of dead letters or suspects, or of all."""
    state = operation.state if operation.state in (State.DEAD, State.SUSPECT) else None
    place = Cursor(operation.dead_at if state is State.DEAD else operation.accepted_at, operation.id)
    return services().inventory.neighbours(Filter(state=state), place)


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A value of a request: its path in the body, the fact that it comes from, and whether the CRM refused it."""

    path: str
    fact: str
    value: Any
    refused: bool


def _preview(operation: Operation, *, shown: bool) -> Mapping[str, Any]:
    """The request that the current mapping gives, with personal data only if they are `shown`."""
    if operation.state not in CHANGEABLE or not operation.payload:
        return {"preview": None, "no_preview": ""}
    try:
        found = services().crm.preview(operation)
    except ProviderError as error:
        return {"preview": None, "no_preview": error.detail}
    refused = fields_of(operation)
    lines = [
        RequestLine(path, fact, value if shown else _masked(fact, value), name in refused or path in refused)
        for path, name, value in _leaves(found.body)
        for fact in [found.facts.get(name, "")]
    ]
    described = [name if shown else mask_contacts(name) for name, _value in found.described]
    return {"preview": found, "no_preview": "", "request_lines": lines, "described": described}


def _masked(fact: str, value: Any) -> Any:
    return mask_contacts(value) if fact in OPEN else mask(value)


def _leaves(body: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, name and value of each value in a body that is no object."""
    for name, value in body.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", name, value
