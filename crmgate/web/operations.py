"""`/api/v1/operations`: the list for operators, one operation for the holder of its id, and changes by operators."""

from __future__ import annotations

import logging
import re

from flask import Blueprint, Response, request

from crmgate.errors import SpoolUnavailable
from crmgate.model import Operation
from crmgate.store.tokens import Scope
from crmgate.web import changes, limits
from crmgate.web.answers import ListedSchema, OperationSchema
from crmgate.web.auth import offered, require
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import OperationsQuery, read_list
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.problems import Problem
from crmgate.web.receipts import OPERATIONS, answer, details, listed, receipt
from crmgate.web.services import services

log = logging.getLogger(__name__)

blueprint = Blueprint("operations", __name__, url_prefix=OPERATIONS)

_TAG = "Operations"
_ID = re.compile(r"[0-9a-f]{32}")


@blueprint.get("")
@Describe(
    "List operations", _TAG, {200: ResponseDoc("A page of operations, newest first.", ListedSchema)},
    token=Scope.READ, query=OperationsQuery, problems=[ProblemCode.INVALID_QUERY],
)  # fmt: skip
def index() -> Response:
    """All operations, newest first, or those with a tracking code, or those of a person. Contains no payloads."""
    require(Scope.READ)
    if "tracking_code" in request.args:
        return answer(listed(services().inventory.find(request.args["tracking_code"])))
    if "person" in request.args:
        return answer(listed(services().persons.of(request.args["person"])))
    asked = read_list(request.args)
    page = services().inventory.page(asked.filter, asked.cursor, asked.limit)
    return answer(listed(page.items, page.next))


@blueprint.get("/<operation_id>")
@Describe(
    "Read the status of a submission", "Submissions",
    {200: ResponseDoc("The status. `ETag` is present only with a token.", OperationSchema, ("ETag",))},
    parameters=[changes.ID], more_with_token=True,
    problems=[
        ProblemCode.INVALID_TOKEN, ProblemCode.NOT_FOUND, ProblemCode.RATE_LIMITED, ProblemCode.SERVICE_UNAVAILABLE
    ],
)  # fmt: skip
def show(operation_id: str) -> Response:
    """The status for anybody with the id, which has 122 random bits and is known only to the sender.

    With a token the answer has more members; with the scope `operate` also the payload. An invalid token is refused.
    A submission in the spool of this host is `waiting`, with no more members. The id of a submission that Redis
    recognized as a repetition afterwards leads to the first one.
    """
    token = require(Scope.READ) if offered() else None
    limits.admit(services().settings.limits.lookups, Scope.READ)
    spooled = _in_spool(operation_id)
    operation = spooled or _find(operation_id)
    if token is None or spooled:
        return answer(receipt(operation))
    more = details(operation) | {"payload": services().payloads.shown(operation, token.scope, token.name)}
    return changes.with_version(answer(receipt(operation) | more), operation)


@blueprint.patch("/<operation_id>")
@changes.describe_edit("Edit a waiting operation", _TAG)
def edit(operation_id: str) -> Response:
    """Change fields of the payload of a waiting operation (RFC 7396). Validated like a new submission.

    The next attempt sends the change. `session` cannot be changed, nor `occurred_at` of a click.
    """
    return changes.edit(operation_id)


@blueprint.post("/<operation_id>/retry")
@changes.describe_retry("Retry a waiting operation now", _TAG)
def retry(operation_id: str) -> Response:
    """Retry a waiting operation now with its full number of attempts. Answers 202: the CRM does not have it yet.

    While nothing is sent to the CRM, the operation continues to wait; `waits` has the cause.
    """
    return changes.retry(operation_id)


@blueprint.delete("/<operation_id>")
@changes.describe_discard("Discard a waiting operation", _TAG)
def discard(operation_id: str) -> Response:
    """End a waiting operation without a delivery. Its history keeps the reason in the body."""
    return changes.discard(operation_id)


def _in_spool(operation_id: str) -> Operation | None:
    """The operation if the spool of this host has it. A spool that cannot be read has nothing to say."""
    spool = services().spool
    if spool is None or not spool.on:
        return None
    try:
        return spool.find(operation_id)
    except SpoolUnavailable as error:
        log.error("%s", error)
        return None


def _find(operation_id: str) -> Operation:
    """The operation with this id. Raises `Problem`: 404 if there is none."""
    operation = services().ledger.get(operation_id) if _ID.fullmatch(operation_id) else None
    if operation is None:
        raise Problem(ProblemCode.NOT_FOUND, "There is no operation with this id, or it is no longer kept.")
    return operation
