"""`GET /api/v1/operations/{id}`: how far a submission has come, and with a token how it came there."""

from __future__ import annotations

import re

from flask import Blueprint, Response, jsonify

from crmgate.tokens import Scope
from crmgate.web import limits
from crmgate.web.auth import offered, require
from crmgate.web.codes import ProblemCode
from crmgate.web.problems import Problem
from crmgate.web.receipts import details, receipt
from crmgate.web.services import services

blueprint = Blueprint("operations", __name__, url_prefix="/api/v1/operations")

_ID = re.compile(r"[0-9a-f]{32}")


@blueprint.get("/<operation_id>")
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
