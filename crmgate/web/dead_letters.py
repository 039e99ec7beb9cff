"""`/api/v1/dead-letters`: lists, shows, edits, retries, discards and exports dead letters.

`state=suspect` selects suspects instead. A payload is personal data: a token with the scope `read` gets it masked. The
routes for one operation also accept a waiting operation.
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from crmgate.model import State
from crmgate.operators.desk import KEPT_ASIDE
from crmgate.store.tokens import Scope
from crmgate.web import changes, exports
from crmgate.web.answers import DeadLetterSchema, ListedSchema
from crmgate.web.auth import require
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import DeadLettersQuery, ExportQuery, read_list
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.receipts import answer, listed
from crmgate.web.services import services

blueprint = Blueprint("dead_letters", __name__, url_prefix="/api/v1/dead-letters")

_TAG = "Dead letters"


@blueprint.get("")
@Describe(
    "List dead letters", _TAG, {200: ResponseDoc("A page of dead letters, newest first.", ListedSchema)},
    token=Scope.READ, query=DeadLettersQuery, problems=[ProblemCode.INVALID_QUERY],
)  # fmt: skip
def index() -> Response:
    """The dead letters, or with `state=suspect` the suspects, newest first."""
    require(Scope.READ)
    asked = read_list(request.args, KEPT_ASIDE, State.DEAD)
    page = services().inventory.page(asked.filter, asked.cursor, asked.limit)
    return answer(listed(page.items, page.next))


@blueprint.get("/<operation_id>")
@Describe(
    "Show one", _TAG, {200: ResponseDoc("The operation with its history.", DeadLetterSchema, ("ETag",))},
    token=Scope.READ, parameters=[changes.ID], problems=changes.UNCHANGEABLE,
)  # fmt: skip
def show(operation_id: str) -> Response:
    """One operation with its history and payload, masked for `read`. `ETag` is the version for an edit.

    Each view of a payload with the scope `operate` is an entry in the audit log.
    """
    token = require(Scope.READ)
    return changes.whole(services().desk.get(operation_id), token)


@blueprint.patch("/<operation_id>")
@changes.describe_edit("Edit one", _TAG)
def edit(operation_id: str) -> Response:
    """Change fields of the payload of an application or a click (RFC 7396). Validated like a new submission.

    `session` cannot be changed, nor `occurred_at` of a click.
    """
    return changes.edit(operation_id)


@blueprint.post("/<operation_id>/retry")
@changes.describe_retry("Retry one", _TAG)
def retry(operation_id: str) -> Response:
    """Retry the operation with its full number of attempts. Answers 202, because the CRM does not have it yet."""
    return changes.retry(operation_id)


@blueprint.delete("/<operation_id>")
@changes.describe_discard("Discard one", _TAG)
def discard(operation_id: str) -> Response:
    """End the operation without a delivery. Its history keeps the reason in the body."""
    return changes.discard(operation_id)


@blueprint.get("/export")
@Describe(
    "Export dead letters", _TAG,
    {
        200: ResponseDoc(
            "One operation per line.", headers=("Content-Disposition",), media="text/csv", also=("application/jsonl",)
        )
    },
    token=Scope.OPERATE, query=ExportQuery, problems=[ProblemCode.INVALID_QUERY],
)  # fmt: skip
def download() -> Response:
    """Stream all operations that match the filter, with their payloads, as `format=csv` or `jsonl`."""
    return exports.download(require(Scope.OPERATE).name)
