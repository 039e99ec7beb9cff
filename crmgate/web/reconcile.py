"""`/api/v1/reconcile`: the result of the last comparison of the delivered operations with the CRM."""

from __future__ import annotations

from flask import Blueprint, Response

from crmgate.store.tokens import Scope
from crmgate.web.auth import require
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.operator_answers import LastComparisonSchema
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("reconcile", __name__, url_prefix="/api/v1/reconcile")


@blueprint.get("")
@Describe(
    "Show the last comparison with the CRM", "Operating",
    {200: ResponseDoc("The result, or null before the first comparison.", LastComparisonSchema)}, token=Scope.READ,
)  # fmt: skip
def last() -> Response:
    """The operations of the last 7 days: their numbers by result, and the ones that the CRM lacks.

    `crmgate reconcile` makes a comparison, and so does a worker once a day with `RECONCILE=daily`.
    """
    require(Scope.READ)
    return answer({"last": services().reconcile.last()})
