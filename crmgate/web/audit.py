"""`/api/v1/audit`: the changes that operators made, and their views and exports of personal data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, request
from marshmallow import Schema

from crmgate.operators.inventory import PAGE
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError
from crmgate.schemas.fields import Text
from crmgate.store.tokens import Scope
from crmgate.web.auth import require
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import LimitParameter
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.operator_answers import AuditSchema
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("audit", __name__, url_prefix="/api/v1/audit")


class AuditQuery(Schema):
    """Query of the audit log."""

    limit = LimitParameter()
    cursor = Text(41, about="`next` of the previous page.")


@blueprint.get("")
@Describe(
    "Read the audit log", "Operating", {200: ResponseDoc("A page of entries, newest first.", AuditSchema)},
    token=Scope.READ, query=AuditQuery, problems=[ProblemCode.INVALID_QUERY],
)  # fmt: skip
def index() -> Response:
    """Changes by operators, and views and exports of personal data, newest first. The last 10,000 are kept."""
    require(Scope.READ)
    query = request.args.to_dict()
    limit, cursor = query.pop("limit", str(PAGE)), query.pop("cursor", "")
    errors = [FieldError(name[:64], FieldCode.UNKNOWN_FIELD, "Expected one of: limit, cursor.") for name in query]
    if not (limit.isdecimal() and limit.isascii() and len(limit) < 4 and 1 <= int(limit) <= PAGE):
        errors.append(FieldError("limit", FieldCode.INVALID_NUMBER, f"Expected a number from 1 to {PAGE}."))
    return answer(_page(limit, cursor, errors))


def _page(limit: str, cursor: str, errors: list[FieldError]) -> dict[str, Any]:
    """The page for JSON. Raises `Problem` with all errors of the query."""
    if not errors:
        try:
            page = services().audit.page(int(limit), cursor)
        except ValueError:
            errors.append(FieldError("cursor", FieldCode.INVALID_CHOICE, "Expected `next` of the previous page."))
        else:
            return {"items": [asdict(entry) for entry in page.items], "next": page.next or None}
    raise Problem(ProblemCode.INVALID_QUERY, "Correct the query and ask again.", errors=errors)
