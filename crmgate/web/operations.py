"""`GET /api/v1/operations/{id}`: how far a submission has come, and with a token how it came there."""

from __future__ import annotations

import re

from flask import Blueprint, Response, jsonify

from crmgate.tokens import Scope
from crmgate.web import limits
from crmgate.web.auth import offered, require
from crmgate.web.codes import ProblemCode
from crmgate.web.openapi import Answer, Describe
from crmgate.web.problems import Problem
from crmgate.web.receipts import details, receipt
from crmgate.web.schemas.answers import OperationSchema
from crmgate.web.services import services

blueprint = Blueprint("operations", __name__, url_prefix="/api/v1/operations")

_ID = re.compile(r"[0-9a-f]{32}")


ID = {
    "name": "operation_id", "in": "path", "required": True, "example": "88c58fe866724682b5bfaf3062997351",
    "description": "The `id` of a receipt.", "schema": {"type": "string"},
}  # fmt: skip


@blueprint.get("/<operation_id>")
@Describe(
    "Ask how far a submission has come", "Submissions", {200: Answer("How far it has come", OperationSchema)},
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
    response = jsonify(receipt(operation) | (details(operation) if offered() else {}))
    response.headers["Cache-Control"] = "no-store"
    return response
