"""`/ops/operations`: find operations, and act on selected ones or on all that match."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from crmgate.errors import AttemptUnderWay, Code, NoSuchOperation, OperationEnded
from crmgate.model import Kind, Operation, State
from crmgate.operators.inventory import Cursor, code_of, failure_of, provider_of
from crmgate.operators.waiting import Wait
from crmgate.schemas.faults import InvalidFields
from crmgate.web import exports
from crmgate.web.changes import REASON
from crmgate.web.codes import ProblemCode
from crmgate.web.ops import filters
from crmgate.web.ops.shell import actor, blueprint, go, page, require_operate
from crmgate.web.problems import OPERATORS, Problem
from crmgate.web.services import services

TABS = (None, State.WAITING, State.DEAD, State.SUSPECT, State.DELIVERED, State.DISCARDED)
"""States that the page offers; None: all."""

_CONTACT = re.compile(r"@|^[+(]*(\d[\s()./-]*){7,}$")
"""What may be an email or a phone."""


@dataclass(frozen=True, slots=True)
class Row:
    """An operation in a list, with the code and the message of its last failure, or the reason why it waits."""

    operation: Operation
    provider: str
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class Handled:
    """The result of an action on one selected operation; `fault` is empty if it was done."""

    id: str
    fault: str = ""


@blueprint.get("/operations")
def operations() -> Response:
    """Operations that match the filter in the address, newest first, or those of the person of a search."""
    if person := request.args.get("person"):
        return page("ops/person_operations.html", rows=rows(services().persons.of(person)))
    asked = filters.asked()
    found = services().inventory.page(asked.filter, asked.cursor, asked.limit)
    fields = filters.fields(asked.filter)
    return page(
        "ops/operations.html",
        rows=rows(found.items), wanted=asked.filter, fields=fields, first=asked.cursor is None,
        following=_older(found.next, fields),
        tabs=TABS, kinds=list(Kind), codes=list(Code), totals=_totals(), live=request.args.get("live") != "off",
    )  # fmt: skip


@blueprint.get("/export")
def export() -> Response:
    """Download the dead letters or suspects that match the filter, with their payloads."""
    require_operate()
    return exports.download(actor())


@blueprint.post("/search")
def search() -> BaseResponse:
    """Find operations by id, tracking code, email or phone. A post, because an address stands in logs and histories.

    The address of the operations of a person has only a keyed digest of the email or phone.
    """
    words = request.form.get("q", "").strip()
    found = services().inventory.find(words)
    if not found and (one := services().ledger.get(words.lower())):
        found = [one]
    if len(found) == 1:
        return go("ops.operation", operation_id=found[0].id)
    if not found and _CONTACT.search(words) and (reference := _person(words)):
        return go("ops.operations", person=reference)
    return page("ops/search.html", rows=rows(found))


def _person(typed: str) -> str:
    """The reference of the person with this email or phone; empty if no operation is kept. The audit has the search."""
    require_operate()
    try:
        contact = services().persons.contact(typed)
    except InvalidFields:
        return ""
    found = services().persons.find(contact, actor())
    return found.references[0] if found.operations else ""


@blueprint.post("/selected")
def selected() -> BaseResponse:
    """Retry or discard the selected operations: first their number, then with `confirmed` the action."""
    require_operate()
    ids = list(dict.fromkeys(request.form.getlist("id")))[: filters.PAGE]
    action, reason = request.form.get("action", ""), request.form.get("reason", "").strip()
    if action not in ("retry", "discard") or not ids:
        raise Problem(ProblemCode.INVALID_BODY, "Select at least one operation, then choose an action.")
    if len(reason) > REASON:
        raise Problem(ProblemCode.INVALID_BODY, f"A reason has at most {REASON} characters.")
    if "confirmed" not in request.form or (action == "discard" and not reason):
        chosen = [operation for operation in services().inventory.read(ids) if operation]
        return page("ops/selected.html", rows=rows(chosen), action=action, reason_length=REASON)
    return page("ops/selected_done.html", action=action, done=[_act(one, action, reason) for one in ids])


def rows(operations: Sequence[Operation]) -> list[Row]:
    """The operations as rows of a list."""
    waits = services().desk.waiting.of(operations)
    return [_row(one, wait) for one, wait in zip(operations, waits, strict=True)]


def _row(operation: Operation, wait: Wait | None) -> Row:
    provider = provider_of(operation)
    if wait:
        return Row(operation, provider, "", wait.why)
    return Row(operation, provider, code_of(operation), _failure(operation))


def _failure(operation: Operation) -> str:
    failure = failure_of(operation)
    return failure.detail if failure and operation.state != State.DELIVERED else ""


def _act(operation_id: str, action: str, reason: str) -> Handled:
    desk = services().desk
    try:
        if action == "retry":
            desk.retry(operation_id, actor())
        else:
            desk.discard(operation_id, reason, actor())
    except (NoSuchOperation, OperationEnded, AttemptUnderWay) as error:
        return Handled(operation_id, OPERATORS[type(error)][1].format(error))
    return Handled(operation_id)


def _older(following: Cursor | None, fields: dict[str, str]) -> str:
    """Address of the next page; empty on the last one."""
    query: dict[str, Any] = {**fields, "cursor": str(following)}
    return url_for("ops.operations", **query) if following else ""


def _totals() -> dict[str, int]:
    """Number of operations in the states that can be counted without reading them."""
    stats = services().ledger.stats()
    return {State.WAITING: stats["waiting"], State.DEAD: stats["dead_letters"]}
