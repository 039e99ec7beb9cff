"""`GET /api/v1/operations`: all of them, for operators; `.../{id}`: how far a submission has come."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request

from crmgate.store.tokens import Scope
from crmgate.web import limits
from crmgate.web.answers import ListedSchema, OperationSchema
from crmgate.web.auth import offered, require
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import OperationsQuery, read_list
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer, details, listed, receipt
from crmgate.web.services import services

blueprint = Blueprint("operations", __name__, url_prefix="/api/v1/operations")

_ID = re.compile(r"[0-9a-f]{32}")


ID = {
    "name": "operation_id", "in": "path", "required": True, "example": "88c58fe866724682b5bfaf3062997351",
    "description": "The `id` of a receipt.", "schema": {"type": "string"},
}  # fmt: skip


@blueprint.get("")
@Describe(
    "List operations", "Operations", {200: ResponseDoc("A page of them, the newest first.", ListedSchema)},
    token=Scope.READ, query=OperationsQuery, problems=[ProblemCode.INVALID_QUERY],
)  # fmt: skip
def index() -> Response:
    """Every operation, the newest first, or those with a tracking code. Who typed what is not in it."""
    require(Scope.READ)
    if "tracking_code" in request.args:
        return answer(listed(services().inventory.find(request.args["tracking_code"])))
    asked = read_list(request.args)
    page = services().inventory.page(asked.filter, asked.cursor, asked.limit)
    return answer(listed(page.items, page.next))


@blueprint.get("/<operation_id>")
@Describe(
    "Ask how far a submission has come", "Submissions", {200: ResponseDoc("How far it has come", OperationSchema)},
    parameters=[ID], told_more=True,
    problems=[
        ProblemCode.INVALID_TOKEN, ProblemCode.NOT_FOUND, ProblemCode.RATE_LIMITED, ProblemCode.SERVICE_UNAVAILABLE
    ],
)  # fmt: skip
def show(operation_id: str) -> Response:
    """The status for whoever holds the id: an id has 122 random bits and is told to nobody else.

    Who offers a token wants more: one that is not valid is refused rather than passed over.
    """
    if offered():
        require(Scope.READ)
    limits.admit(services().settings.limits.lookups)
    operation = services().ledger.get(operation_id) if _ID.fullmatch(operation_id) else None
    if operation is None:
        raise Problem(ProblemCode.NOT_FOUND, "There is no operation with this id, or it is no longer kept.")
    return answer(receipt(operation) | (details(operation) if offered() else {}))
