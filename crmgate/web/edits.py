"""`/api/v1/dead-letters/edits`: makes the same change to many dead letters, in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response
from marshmallow import Schema, fields

from crmgate.channels import known_channels
from crmgate.operators.edits import EditBatch, EditPreview, Edits
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError
from crmgate.schemas.fields import Text
from crmgate.store.tokens import Scope
from crmgate.web.answers_of_many import EditsSchema
from crmgate.web.auth import require
from crmgate.web.body import READ_BODY, read_body
from crmgate.web.filters import FilterSchema, Many, read_many, selection
from crmgate.web.openapi import Body, Describe, Example, ResponseDoc
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("edits", __name__, url_prefix="/api/v1/dead-letters/edits")

_MEMBERS = ("filter", "changes", "start", "cursor")


class EditManySchema(Schema):
    """The dead letters to edit, the change, and whether to make it."""

    json_schema = {"additionalProperties": False}  # noqa: RUF012

    filter = fields.Nested(FilterSchema)
    changes = fields.Dict(
        required=True, metadata={"description": "Fields of the payload with their new values; null removes a field."}
    )
    start = fields.Boolean(metadata={"description": "Make the change; without it the answer is a preview."})
    cursor = Text(200, about="`next` of the previous batch.")


@blueprint.post("")
@Describe(
    "Edit many", "Dead letters", {200: ResponseDoc("The preview, or the result of a batch.", EditsSchema)},
    token=Scope.OPERATE, problems=READ_BODY,
    body=Body(EditManySchema, (
        Example("Preview", {"filter": {"field": "source"}, "changes": {"source": "website"}}, 200),
        Example("Edit", {"filter": {"field": "source"}, "changes": {"source": "website"}, "start": True}, 200),
    )),
)  # fmt: skip
def create() -> Response:
    """Preview a change of many dead letters, or with `start` make it for the next 100. Nothing is sent to the CRM.

    Send the `filter` of the preview, and then `next` of each answer as `cursor`, until it is null. A payload that would
    not be valid is left as it is, and counted in `refused`.
    """
    token = require(Scope.OPERATE)
    asked, changes = _read(read_body()[0])
    if asked.start:
        return answer(_done(edits().batch(asked.filter, changes, token.name, asked.cursor)))
    return answer(_previewed(edits().preview(asked.filter, changes, token.name)))


def edits() -> Edits:
    """Previews and makes edits with the settings of the gateway."""
    settings = services().settings
    return Edits(
        services().inventory, services().desk, services().payloads,
        default_region=settings.default_phone_region, channels=known_channels(settings.channels),
    )  # fmt: skip


def _previewed(preview: EditPreview) -> dict[str, Any]:
    return {
        "count": preview.count.number, "exact": preview.count.exact, "filter": selection(preview.filter),
        "example": asdict(preview.example) if preview.example else None,
        "checked": preview.checked, "refused": preview.refused, "errors": [asdict(error) for error in preview.errors],
    }  # fmt: skip


def _done(batch: EditBatch) -> dict[str, Any]:
    numbers = {str(effect): number for effect, number in batch.numbers.items()}
    errors = [asdict(error) for error in batch.errors]
    return numbers | {"errors": errors, "next": str(batch.next) if batch.next else None}


def _read(body: Mapping[str, Any]) -> tuple[Many, Mapping[str, Any]]:
    """The dead letters and the change. Raises `InvalidFields` with every error."""
    changes, errors = body.get("changes"), list[FieldError]()
    if not isinstance(changes, Mapping) or not changes:
        errors.append(FieldError("changes", FieldCode.REQUIRED, "Expected an object with the fields to change."))
    many = read_many(body, _MEMBERS, errors)
    assert isinstance(changes, Mapping)
    return many, changes
