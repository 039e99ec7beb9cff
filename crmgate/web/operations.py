"""`GET /api/v1/operations`: all of them, for operators; `.../{id}`: how far a submission has come."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request

from crmgate.tokens import Scope
from crmgate.web import limits
from crmgate.web.auth import offered, require
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import read_list
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer, details, listed, receipt
from crmgate.web.services import services

blueprint = Blueprint("operations", __name__, url_prefix="/api/v1/operations")

_ID = re.compile(r"[0-9a-f]{32}")


@blueprint.get("")
def index() -> Response:
    """Every operation, the newest first, or those with a tracking code. Who typed what is not in it."""
    require(Scope.READ)
    if "tracking_code" in request.args:
        return answer(listed(services().inventory.find(request.args["tracking_code"])))
    asked = read_list(request.args)
    page = services().inventory.page(asked.filter, asked.cursor, asked.limit)
    return answer(listed(page.items, page.next))


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
    return answer(receipt(operation) | (details(operation) if offered() else {}))
