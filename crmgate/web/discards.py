"""`/api/v1/dead-letters/discards`: discards many dead letters, in batches."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response
from marshmallow import Schema, fields

from crmgate.operators.discards import discard_batch
from crmgate.schemas.fields import Text
from crmgate.store.tokens import Scope
from crmgate.web.answers_of_many import DiscardsSchema
from crmgate.web.auth import require
from crmgate.web.body import READ_BODY, read_body
from crmgate.web.changes import REASON, no_reason
from crmgate.web.filters import FilterSchema, read_many
from crmgate.web.openapi import Body, Describe, Example, ResponseDoc
from crmgate.web.receipts import answer
from crmgate.web.retries import previewed
from crmgate.web.services import services

blueprint = Blueprint("discards", __name__, url_prefix="/api/v1/dead-letters/discards")


class DiscardManySchema(Schema):
    """The dead letters to discard, the reason, and whether to do it."""

    json_schema = {"additionalProperties": False}  # noqa: RUF012

    filter = fields.Nested(FilterSchema)
    reason = Text(REASON, required=True, example="Sent twice.", about="Kept with the receipts: no personal data.")
    start = fields.Boolean(metadata={"description": "Discard them; without it the answer is a preview."})
    cursor = Text(200, about="`next` of the previous batch.")


@blueprint.post("")
@Describe(
    "Discard many", "Dead letters", {200: ResponseDoc("The preview, or the result of a batch.", DiscardsSchema)},
    token=Scope.OPERATE, problems=READ_BODY,
    body=Body(DiscardManySchema, (
        Example("Preview", {"filter": {"code": "duplicate"}, "reason": "Sent twice."}, 200),
        Example("Discard", {"filter": {"code": "duplicate"}, "reason": "Sent twice.", "start": True}, 200),
    )),
)  # fmt: skip
def create() -> Response:
    """Preview a discard of many dead letters, or with `start` discard the next 100. Their payloads are deleted.

    Send the `filter` of the preview, and then `next` of each answer as `cursor`, until it is null.
    """
    token, body = require(Scope.OPERATE), read_body()[0]
    asked = read_many(body, DiscardManySchema().fields, no_reason(body.get("reason")))
    if not asked.start:
        return answer(previewed(asked.filter))
    parts = services()
    batch = discard_batch(
        parts.inventory, parts.desk, asked.filter, body["reason"].strip(), token.name, asked.cursor
    )  # fmt: skip
    return answer(asdict(batch) | {"next": str(batch.next) if batch.next else None})
