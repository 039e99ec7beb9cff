"""Schemas of the answers, for the OpenAPI document. The views build the answers; tests compare both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import Schema, fields
from marshmallow.validate import OneOf

from crmgate.errors import Code
from crmgate.model import Kind, State, Suspicion
from crmgate.operators.waiting import WaitsFor
from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.store.entries import JobState
from crmgate.store.gate import Cause

_TIME = "2026-11-23T04:59:07.567Z"
_ID = "88c58fe866724682b5bfaf3062997351"
_OUTAGE = "the CRM does not answer, or answers with errors"
_OUTAGE_REMEDY = "nothing if the CRM is being repaired: deliveries continue automatically; else see `crmgate crm test`"
_PAYLOAD = "Masked, unless the token has the scope `operate`. Empty after the end of the operation."


def _text(about: str = "", example: str | None = None, **options: Any) -> fields.String:
    return fields.String(**{"required": True} | options, metadata=_metadata(about, example))


def _time(about: str = "", **options: Any) -> fields.String:
    metadata = _metadata(about, _TIME) | {"format": "date-time"}
    return fields.String(**{"required": True} | options, metadata=metadata)


def _word(words: Any, about: str = "", example: str | None = None, **options: Any) -> fields.String:
    choices = [str(word) for word in words]
    metadata = _metadata(about, example or choices[0])
    return fields.String(**{"required": True} | options, validate=OneOf(choices), metadata=metadata)


def _flag(about: str, example: bool) -> fields.Boolean:
    return fields.Boolean(required=True, metadata=_metadata(about, example))


def _metadata(about: str, example: Any) -> dict[str, Any]:
    return ({"description": about} if about else {}) | ({} if example is None else {"examples": [example]})


class WarningSchema(Schema):
    """A field that was accepted but changed, or stored under another name."""

    field = _text("The name of the field as it was sent.", "favourite_colour")
    code = _word(WarningCode)
    message = _text("For people.", "This field is not known; it was kept in `custom`.")


class CrmRecordSchema(Schema):
    """The record in the CRM."""

    provider = _text("The name of the plugin.", "espocrm")
    lead_id = _text("The lead's id in the CRM.", "6743f0e1a2b3c4d5e")
    url = _text("The lead's page; may be empty.", "https://crm.example.com/#Lead/view/6743f0e1a2b3c4d5e")


class ReceiptSchema(Schema):
    """The part of an operation that everybody with its id may see."""

    id = _text("32 hexadecimal digits.", _ID)
    status = _word(("delivered", "waiting", "failed", "discarded"), "`failed`: an operator has to look at it.")
    tracking_code = _text("For people: easy to read out on the telephone.", "CG-H32R-ZT36")
    submitted_at = _time()


class SubmittedSchema(ReceiptSchema):
    """The receipt of a submission."""

    status = _word(("delivered", "waiting"), "`waiting`: it is recorded, and will reach the CRM.")
    warnings = fields.List(fields.Nested(WarningSchema), metadata=_metadata("Absent when there are none.", None))
    crm = fields.Nested(CrmRecordSchema, metadata=_metadata("Only once delivered, and with a valid token.", None))


class ReceivedItemSchema(ReceiptSchema):
    """One submission that a form tool sent."""

    complete = _flag("False: it has no contact, and an operator has to complete it.", True)
    warnings = fields.List(fields.Nested(WarningSchema), required=True)


class ReceivedSchema(Schema):
    """The submissions in the body of a form tool."""

    received = fields.Integer(required=True, metadata=_metadata("Number of submissions.", 1))
    items = fields.List(fields.Nested(ReceivedItemSchema), required=True)


class CountedSchema(Schema):
    """The answer to a click that was only counted: there is no operation."""

    status = _word(("counted",))
    warnings = fields.List(fields.Nested(WarningSchema))


class AttemptSchema(Schema):
    """One attempt to deliver the operation, or a change by an operator."""

    at = _time()
    duration = fields.Float(required=True, metadata=_metadata("Seconds.", 0.41))
    provider = _text("", "espocrm")
    outcome = _text("`delivered`, or the kind of the failure.", "delivered")
    code = _word(("", *Code), "Empty where nothing failed.")
    status = fields.Integer(required=True, allow_none=True, metadata=_metadata("The CRM's HTTP status.", 200))
    vendor_code = _text("The CRM's own code.", "")
    detail = _text("Error message, shortened and without personal data.", "")
    field = _text("Names of the refused CRM fields, separated by commas.", "")
    counted = _flag("Whether it counts towards the limit of attempts.", True)


class DeliveredSchema(CrmRecordSchema):
    """The record in the CRM, and the values that the CRM did not accept unchanged."""

    adopted = _flag("Whether an existing record was found instead of a new one created.", False)
    dropped = fields.List(
        fields.String(), required=True, metadata=_metadata("CRM fields whose value the CRM did not keep.", [])
    )
    moved = fields.List(
        fields.String(), required=True,
        metadata=_metadata("CRM fields whose value was refused (it is in the description) or that got a stand-in.", []),
    )  # fmt: skip


class CauseSchema(Schema):
    """The cause for which nothing is sent to the CRM; null while operations are sent."""

    cause = _word(Cause, "Why nothing is sent to the CRM.", allow_none=True)
    what = _text("The cause, for people.", _OUTAGE, allow_none=True)
    remedy = _text("The remedy, for people.", _OUTAGE_REMEDY, allow_none=True)
    detail = _text("The CRM's refusal that led to the cause.", allow_none=True)


class WaitSchema(CauseSchema):
    """The reason why an operation waits."""

    reason = _word(
        WaitsFor, "An earlier operation of its session, its CRM (nothing is sent there), a key, a time or a worker.",
        WaitsFor.CRM,
    )  # fmt: skip
    why = _text("For people.", f"nothing is sent to the CRM since {_TIME}, because {_OUTAGE}")
    operation = _text("The id of the operation that has to end first.", allow_none=True)
    until = _time("The time of the next attempt, if one is set.", allow_none=True)


class GateSchema(CauseSchema):
    """Whether operations are sent to the CRM. While they are, all members except `held` are null."""

    since = _time("Time since when nothing is sent.", allow_none=True)
    until = _time("Earliest time of the next attempt.", allow_none=True)
    held = fields.Integer(required=True, metadata=_metadata("Number of operations that wait for the CRM.", 12))


class ProviderGateSchema(GateSchema):
    """The gate of the CRM after a pause or a resumption."""

    provider = _text("", "espocrm")


class OperationSchema(ReceiptSchema):
    """The status of a submission; the members from `kind` on only with a valid token."""

    kind = _word(Kind, required=False)
    state = _word(State, "", "delivered", required=False)
    due_at = _time("Time of the next attempt.", required=False, allow_none=True)
    waits = fields.Nested(WaitSchema, allow_none=True, metadata=_metadata("Null if it does not wait.", None))
    attempts = fields.List(fields.Nested(AttemptSchema))
    crm = fields.Nested(DeliveredSchema, allow_none=True, metadata=_metadata("Null before the delivery.", None))
    version = fields.Integer(metadata=_metadata("As in `ETag`.", 3))
    payload = fields.Dict(metadata=_metadata(_PAYLOAD, {"first_name": "Ada", "phone": "+905321234567"}))


class SummarySchema(ReceiptSchema):
    """An operation in a list. `code`, `http_status`, `detail` and `field` are those of the last failure."""

    status = _word(("delivered", "waiting", "failed", "discarded"), "", "failed")
    kind = _word(Kind)
    state = _word(State, "", State.DEAD)
    dead_at = _time(allow_none=True)
    provider = _text("", "espocrm", allow_none=True)
    code = _word(("", *Code), "", Code.INVALID_VALUE, allow_none=True)
    http_status = fields.Integer(required=True, allow_none=True, metadata=_metadata("", 400))
    detail = _text("", "emailAddress: valid", allow_none=True)
    field = _text("Names of the refused CRM fields, separated by commas.", "emailAddress")
    cause = _word(Suspicion, "Cause of a suspect, also after its release; else null.", allow_none=True)
    unreadable = _text("Why the payload cannot be decrypted; empty: it can.", "")
    waits = fields.Nested(
        WaitSchema, required=True, allow_none=True, metadata=_metadata("Null if it does not wait.", None)
    )


class ListedSchema(Schema):
    """A page of a list."""

    items = fields.List(fields.Nested(SummarySchema), required=True)
    next = _text("The `cursor` for the following page; null on the last page.", allow_none=True)


class DeadLetterSchema(SummarySchema):
    """A dead letter, a suspect or a waiting operation with its history."""

    due_at = _time("Time of the next attempt.", allow_none=True)
    attempts = fields.List(fields.Nested(AttemptSchema), required=True)
    crm = fields.Nested(DeliveredSchema, allow_none=True, required=True)
    version = fields.Integer(required=True, metadata=_metadata("As in `ETag`.", 3))
    payload = fields.Dict(metadata=_metadata(_PAYLOAD, {"first_name": "Ada", "phone": "+905321234567"}))
    warnings = fields.List(fields.Nested(WarningSchema), metadata=_metadata("Warnings of an edit.", None))


class SelectionSchema(Schema):
    """A filter; a member that is null does not restrict the selection."""

    state = _text("", "dead", allow_none=True)
    kind = _text(allow_none=True)
    provider = _text(allow_none=True)
    code = _text("", "timeout", allow_none=True)
    field = _text(allow_none=True)
    detail = _text(allow_none=True)
    accepted_from = _time(allow_none=True)
    accepted_to = _time(allow_none=True)
    dead_before = _time(allow_none=True)


class PreviewSchema(Schema):
    """The dead letters that a job would retry. Its `filter` selects exactly these, and none that come later."""

    count = fields.Integer(required=True, metadata=_metadata("", 214))
    exact = _flag("False if not all were counted: there may be more.", True)
    filter = fields.Nested(SelectionSchema, required=True)


class JobSchema(Schema):
    """A job that retries dead letters."""

    id = _text("", _ID)
    state = _word(JobState)
    filter = fields.Nested(SelectionSchema, required=True)
    who = _text("The name of the token.", "ops")
    started_at = _time()
    total = fields.Integer(required=True, metadata=_metadata("Number of dead letters to process.", 214))
    seen = fields.Integer(required=True, metadata=_metadata("Number processed so far.", 50))
    released = fields.Integer(required=True, metadata=_metadata("Number retried so far.", 50))
    moved_at = _time("Time of its last progress.", allow_none=True)
    ended_at = _time(allow_none=True)


class LatestJobSchema(Schema):
    """The job that was started last."""

    job = fields.Nested(JobSchema, required=True, allow_none=True)


class CheckSchema(Schema):
    """The result of one check."""

    name = _text("", "login")
    ok = _flag("", True)
    detail = _text("The remedy, if the check failed.", "")


class ConnectionSchema(Schema):
    """The result of a connection test."""

    provider = _text("", "espocrm")
    connected = _flag("", True)
    latency_ms = fields.Float(required=True, metadata=_metadata("Milliseconds.", 41.3))
    checks = fields.List(fields.Nested(CheckSchema), required=True)
    tested_at = _time("Time of the test: a result is shared for some seconds.")
    gate = fields.Nested(
        GateSchema, required=True, allow_none=True, metadata=_metadata("Null while Redis does not answer.", None)
    )


class AliveSchema(Schema):
    """The process answers."""

    status = _word(("ok",))


class ReadySchema(Schema):
    """Whether submissions are accepted."""

    ready = _flag("", True)
    degraded = _flag("Redis is unavailable: submissions are accepted, and delivered later.", False)
    checks = fields.List(fields.Nested(CheckSchema), required=True)


class SentSchema(Schema):
    """What a form tool sends: its own JSON or form, as its documentation describes it."""

    json_schema: ClassVar[Mapping[str, Any]] = {"additionalProperties": True}


class FieldErrorSchema(Schema):
    """An error in one field."""

    field = _text("A dotted path.", "personal_info.phone")
    code = _word(FieldCode, "", FieldCode.INVALID_PHONE)
    message = _text("For people; never repeats a value.", "Expected a phone number with its country code.")


class ProblemSchema(Schema):
    """A failure (RFC 9457)."""

    type = _text("The type of the problem: a URI relative to the gateway. Switch on this.", "/problems/invalid-body")
    title = _text("For people; always the same for a type.", "Some fields need attention")
    status = fields.Integer(required=True, metadata=_metadata("The HTTP status.", 422))
    detail = _text("For people: the failure and its remedy.", "Nothing was stored. Correct the fields and send again.")
    request_id = _text("The same as in `X-Request-ID`.", "0f5c2a7be3d94c1b8a6f7e2d1c3b4a59")
    errors = fields.List(
        fields.Nested(FieldErrorSchema), metadata=_metadata("All errors in fields; absent for other problems.", None)
    )
