"""Schemas of the answers about many operations: edits of many dead letters, figures and causes."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from crmgate.errors import Code
from crmgate.store.tallies import Dimension
from crmgate.web.answers import FieldErrorSchema, SelectionSchema, _metadata, _text, _time, _word


def _number(about: str, example: int, **options: Any) -> fields.Integer:
    return fields.Integer(**{"required": True} | options, metadata=_metadata(about, example))


class EditExampleSchema(Schema):
    """One dead letter with the fields that the change affects."""

    id = _text("", "88c58fe866724682b5bfaf3062997351")
    before = fields.Dict(required=True, metadata=_metadata("", {"source": "fair"}))
    after = fields.Dict(required=True, metadata=_metadata("", {"source": "website"}))


class EditsSchema(Schema):
    """The preview of an edit of many dead letters (the first members), or the result of a batch (the last members)."""

    count = _number("Number of dead letters that match.", 214, required=False)
    exact = fields.Boolean(metadata=_metadata("False if not all were counted: there may be more.", True))
    filter = fields.Nested(SelectionSchema)
    example = fields.Nested(EditExampleSchema, allow_none=True)
    checked = _number("Number of dead letters that the preview applied the change to.", 100, required=False)
    edited = _number("Number of changed dead letters.", 98, required=False)
    unchanged = _number("Number of those that have these values already.", 0, required=False)
    refused = _number("Number of those that the change would make invalid.", 2)
    skipped = _number("Number of those that somebody else changed meanwhile.", 0, required=False)
    errors = fields.List(
        fields.Nested(FieldErrorSchema), required=True, metadata=_metadata("Errors of the first refused one.", [])
    )
    next = _text("The `cursor` for the next batch; null after the last one.", None, required=False, allow_none=True)


class DiscardsSchema(Schema):
    """The preview of a discard of many dead letters (the first members), or the result of a batch (the last ones)."""

    count = _number("Number of dead letters that match.", 214, required=False)
    exact = fields.Boolean(metadata=_metadata("False if not all were counted: there may be more.", True))
    filter = fields.Nested(SelectionSchema)
    discarded = _number("Number of discarded dead letters.", 100, required=False)
    skipped = _number("Number of those that somebody else retried or discarded meanwhile.", 0, required=False)
    next = _text("The `cursor` for the next batch; null after the last one.", None, required=False, allow_none=True)


class FiguresSchema(Schema):
    """Numbers of applications and clicks. A click counts only in the last two."""

    accepted = _number("Applications that were accepted.", 41)
    delivered = _number("Applications that the CRM confirmed.", 40)
    dead = _number("Applications that became dead letters.", 1)
    clicks = _number("Clicks on messenger links.", 12)
    applied = _number("Visits with a click that an application followed, under the last click.", 5)


class DayTotalSchema(FiguresSchema):
    """The figures of one day (UTC)."""

    day = _text("", "2026-11-23")


class ValueCountSchema(FiguresSchema):
    """The figures of one value; null for the rest of the values."""

    value = _text("", "website", allow_none=True)


class DayCountSchema(ValueCountSchema):
    """The figures of one value on one day (UTC)."""

    day = _text("", "2026-11-23")


class HourSchema(Schema):
    """Operations of all kinds in one hour."""

    at = _time("Begin of the hour.")
    accepted = _number("", 4)
    delivered = _number("", 4)
    dead = _number("", 0)


class StatsSchema(Schema):
    """The figures of some days and of the last 24 hours."""

    since = _text("The first day.", "2026-10-25")
    until = _text("The last day.", "2026-11-23")
    by = _word(Dimension)
    hours = fields.List(fields.Nested(HourSchema), required=True)
    days = fields.List(fields.Nested(DayTotalSchema), required=True)
    values = fields.List(fields.Nested(ValueCountSchema), required=True)
    items = fields.List(fields.Nested(DayCountSchema), required=True)


class CauseCountSchema(Schema):
    """Dead letters with the same cause. Its texts are empty for causes that are counted together."""

    provider = _text("", "espocrm")
    code = _word(("", *Code), "", Code.INVALID_VALUE)
    field = _text("Names of the refused CRM fields, separated by commas.", "source")
    count = _number("", 214)
    oldest = _time("Time at which the oldest one became a dead letter.")
    remedy = _text("What to do, for people.", "allow the value of source in the CRM, or edit the field, then retry")


class CauseCountsSchema(Schema):
    """The dead letters by cause."""

    items = fields.List(fields.Nested(CauseCountSchema), required=True)
    dead_letters = _number("Number of dead letters.", 214)
    indexed = _number("Number of dead letters in `items`: smaller for some seconds after an upgrade.", 214)
