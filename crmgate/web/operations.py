"""`/api/v1/operations`: the list for operators, one operation for the holder of its id, and changes by operators."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request

from crmgate.model import Operation
from crmgate.store.tokens import Scope
from crmgate.web import changes, limits
from crmgate.web.answers import ListedSchema, OperationSchema
from crmgate.web.auth import offered, require
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import OperationsQuery, read_list
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer, details, listed, receipt
from crmgate.web.services import services

blueprint = Blueprint("operations", __name__, url_prefix="/api/v1/operations")

_TAG = "Operations"
_ID = re.compile(r"[0-9a-f]{32}")


@blueprint.get("")
@Describe(
    "List operations", _TAG, {200: ResponseDoc("A page of them, the newest first.", ListedSchema)},
    token=Scope.READ, query=OperationsQuery, problems=[ProblemCode.INVALID_QUERY],
)  # fmt: skip
def index() -> Response:
    """Every operation, the newest first, or those with a tracking code. No payload is in it."""
    require(Scope.READ)
    if "tracking_code" in request.args:
        return answer(listed(services().inventory.find(request.args["tracking_code"])))
    asked = read_list(request.args)
    page = services().inventory.page(asked.filter, asked.cursor, asked.limit)
    return answer(listed(page.items, page.next))


@blueprint.get("/<operation_id>")
@Describe(
    "Ask how far a submission has come", "Submissions",
    {200: ResponseDoc("How far it has come. `ETag` comes with a token only.", OperationSchema, ("ETag",))},
    parameters=[changes.ID], told_more=True,
    problems=[
        ProblemCode.INVALID_TOKEN, ProblemCode.NOT_FOUND, ProblemCode.RATE_LIMITED, ProblemCode.SERVICE_UNAVAILABLE
    ],
)  # fmt: skip
def show(operation_id: str) -> Response:
    """The status for the holder of the id: an id has 122 random bits, and only its sender gets it.

    A token gets more, and one of the scope `operate` also the payload. A token that is not valid is refused.
    """
    token = require(Scope.READ) if offered() else None
    limits.admit(services().settings.limits.lookups)
    operation = _find(operation_id)
    if token is None:
        return answer(receipt(operation))
    more = details(operation) | changes.payload_for(token, operation)
    return changes.with_version(answer(receipt(operation) | more), operation)


@blueprint.patch("/<operation_id>")
@changes.describe_edit("Edit a waiting operation", _TAG)
def edit(operation_id: str) -> Response:
    """Change fields of the payload of an operation that waits (RFC 7396), checked like a new submission.

    The next attempt sends it. `session`, and of a click `occurred_at`, stay as they are.
    """
    return changes.edit(operation_id)


@blueprint.post("/<operation_id>/retry")
@changes.describe_retry("Retry a waiting operation now", _TAG)
def retry(operation_id: str) -> Response:
    """Try an operation that waits now, with all its retries: 202, because the CRM has not seen it yet.

    While nothing is sent to the CRM it waits until that ends: `waits` has the cause.
    """
    return changes.retry(operation_id)


@blueprint.delete("/<operation_id>")
@changes.describe_discard("Discard a waiting operation", _TAG)
def discard(operation_id: str) -> Response:
    """End an operation that waits without a delivery; the reason in the body is kept in its history."""
    return changes.discard(operation_id)


def _find(operation_id: str) -> Operation:
    """The operation with this id. Raises `Problem`: 404 if there is none."""
    operation = services().ledger.get(operation_id) if _ID.fullmatch(operation_id) else None
    if operation is None:
        raise Problem(ProblemCode.NOT_FOUND, "There is no operation with this id, or it is no longer kept.")
    return operation
