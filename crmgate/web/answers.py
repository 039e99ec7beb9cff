"""What answers look like. These schemas describe; the answers are made where they belong, and tests compare the two."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields
from marshmallow.validate import OneOf

from crmgate.errors import Code
from crmgate.model import Kind, State
from crmgate.operators.retries import JobState
from crmgate.operators.waiting import WaitsFor
from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.store.gate import Cause

_TIME = "2026-11-23T04:59:07.567Z"
_ID = "88c58fe866724682b5bfaf3062997351"
_OUTAGE = "the CRM does not answer, or answers with errors"
_OUTAGE_REMEDY = "nothing if the CRM is being repaired: deliveries go on by themselves; else see `crmgate crm test`"
_PAYLOAD = "Only with the scope `operate`."


def _text(about: str = "", example: str | None = None, **options: Any) -> fields.String:
    return fields.String(**{"required": True} | options, metadata=_told(about, example))


def _time(about: str = "", **options: Any) -> fields.String:
    told = _told(about, _TIME) | {"format": "date-time"}
    return fields.String(**{"required": True} | options, metadata=told)


def _word(words: Any, about: str = "", example: str | None = None, **options: Any) -> fields.String:
    choices = [str(word) for word in words]
    told = _told(about, example or choices[0])
    return fields.String(**{"required": True} | options, validate=OneOf(choices), metadata=told)


def _flag(about: str, example: bool) -> fields.Boolean:
    return fields.Boolean(required=True, metadata=_told(about, example))


def _told(about: str, example: Any) -> dict[str, Any]:
    return ({"description": about} if about else {}) | ({} if example is None else {"examples": [example]})


class WarningSchema(Schema):
    """What was done with a field that was accepted but did not go where its name says."""

    field = _text("Its name as it was sent.", "favourite_colour")
    code = _word(WarningCode)
    message = _text("For people.", "This field is not known; it was kept in `custom`.")


class CrmRecordSchema(Schema):
    """Where the CRM keeps it."""

    provider = _text("The name of the plugin.", "espocrm")
    lead_id = _text("The lead's id in the CRM.", "6743f0e1a2b3c4d5e")
    url = _text("The lead's page; may be empty.", "https://crm.example.com/#Lead/view/6743f0e1a2b3c4d5e")


class ReceiptSchema(Schema):
    """What everybody who holds the id may know."""

    id = _text("32 hexadecimal digits.", _ID)
    status = _word(("delivered", "waiting", "failed", "discarded"), "`failed`: somebody looks at it.")
    tracking_code = _text("For people: to be read out on the telephone.", "CG-H32R-ZT36")
    submitted_at = _time()


class SubmittedSchema(ReceiptSchema):
    """The receipt of a submission."""

    status = _word(("delivered", "waiting"), "`waiting`: it is recorded, and will reach the CRM.")
    warnings = fields.List(fields.Nested(WarningSchema), metadata=_told("Absent when there are none.", None))
    crm = fields.Nested(CrmRecordSchema, metadata=_told("Only once delivered, and with a valid token.", None))


class CountedSchema(Schema):
    """A click that was counted and left no operation."""

    status = _word(("counted",))
    warnings = fields.List(fields.Nested(WarningSchema))


class AttemptSchema(Schema):
    """One time that a request to the CRM went out."""

    at = _time()
    duration = fields.Float(required=True, metadata=_told("Seconds.", 0.41))
    provider = _text("", "espocrm")
    outcome = _text("`delivered`, or the kind of the failure.", "delivered")
    code = _word(("", *Code), "Empty where nothing failed.")
    status = fields.Integer(required=True, allow_none=True, metadata=_told("The CRM's HTTP status.", 200))
    vendor_code = _text("The CRM's own code.", "")
    detail = _text("Cut, and without personal data.", "")
    counted = _flag("Whether it used a retry up.", True)


class DeliveredSchema(CrmRecordSchema):
    """Where the CRM keeps it, and what it did not take as it was."""

    adopted = _flag("It was found, rather than made by this attempt.", False)
    dropped = fields.List(fields.String(), required=True, metadata=_told("CRM fields that were not kept.", []))
    moved = fields.List(
        fields.String(), required=True,
        metadata=_told("CRM fields whose value was refused (it is in the description) or that got a stand-in.", []),
    )  # fmt: skip


class CauseSchema(Schema):
    """Why nothing is sent to the CRM: null if something is."""

    cause = _word(Cause, "Why nothing is sent to the CRM.", allow_none=True)
    what = _text("The cause in words.", _OUTAGE, allow_none=True)
    remedy = _text("What to do about the cause.", _OUTAGE_REMEDY, allow_none=True)
    detail = _text("Refusal of the CRM that the cause is about.", allow_none=True)


class WaitSchema(CauseSchema):
    """What an operation waits for."""

    reason = _word(
        WaitsFor, "An earlier operation of its session, its CRM (nothing is sent there), a time, or its turn.",
        WaitsFor.CRM,
    )  # fmt: skip
    why = _text("For people.", f"nothing is sent to the CRM since {_TIME}, because {_OUTAGE}")
    operation = _text("The id of the operation that goes first.", allow_none=True)
    until = _time("The time of the next attempt, if one is set.", allow_none=True)


class GateSchema(CauseSchema):
    """Whether anything is sent to the CRM. Everything but `held` is null while it is."""

    since = _time("When it began.", allow_none=True)
    until = _time("When the CRM is tried next at the earliest.", allow_none=True)
    held = fields.Integer(required=True, metadata=_told("Number of operations that wait for the CRM.", 12))


class ProviderGateSchema(GateSchema):
    """The gate of the CRM after a pause or a resumption."""

    provider = _text("", "espocrm")


class OperationSchema(ReceiptSchema):
    """How far a submission has come; everything from `kind` on only with a valid token."""

    kind = _word(Kind, required=False)
    state = _word(State, "", "delivered", required=False)
    due_at = _time("When it is tried next.", required=False, allow_none=True)
    waits = fields.Nested(WaitSchema, allow_none=True, metadata=_told("Null if it does not wait.", None))
    attempts = fields.List(fields.Nested(AttemptSchema))
    crm = fields.Nested(DeliveredSchema, allow_none=True, metadata=_told("Null before the delivery.", None))
    version = fields.Integer(metadata=_told("As in `ETag`.", 3))
    payload = fields.Dict(metadata=_told(_PAYLOAD, {"first_name": "Ada", "phone": "+905321234567"}))


class SummarySchema(ReceiptSchema):
    """An operation in a list. `code`, `http_status` and `detail` are those of the last failure."""

    status = _word(("delivered", "waiting", "failed", "discarded"), "", "failed")
    kind = _word(Kind)
    state = _word(State, "", State.DEAD)
    dead_at = _time(allow_none=True)
    provider = _text("", "espocrm", allow_none=True)
    code = _word(("", *Code), "", Code.INVALID_VALUE, allow_none=True)
    http_status = fields.Integer(required=True, allow_none=True, metadata=_told("", 400))
    detail = _text("", "emailAddress: valid", allow_none=True)
    waits = fields.Nested(WaitSchema, required=True, allow_none=True, metadata=_told("Null if it does not wait.", None))


class ListedSchema(Schema):
    """A page of a list."""

    items = fields.List(fields.Nested(SummarySchema), required=True)
    next = _text("The `cursor` of the page that follows; null if there is none.", allow_none=True)


class DeadLetterSchema(SummarySchema):
    """A dead letter, a suspect or a waiting operation with its history."""

    due_at = _time("When it is tried next.", allow_none=True)
    attempts = fields.List(fields.Nested(AttemptSchema), required=True)
    crm = fields.Nested(DeliveredSchema, allow_none=True, required=True)
    version = fields.Integer(required=True, metadata=_told("As in `ETag`.", 3))
    payload = fields.Dict(metadata=_told(_PAYLOAD, {"first_name": "Ada", "phone": "+905321234567"}))
    warnings = fields.List(fields.Nested(WarningSchema), metadata=_told("Of an edit.", None))


class SelectionSchema(Schema):
    """A filter as it is told: null where everything passes."""

    state = _text("", "dead", allow_none=True)
    kind = _text(allow_none=True)
    provider = _text(allow_none=True)
    code = _text("", "timeout", allow_none=True)
    accepted_from = _time(allow_none=True)
    accepted_to = _time(allow_none=True)
    dead_before = _time(allow_none=True)


class PreviewSchema(Schema):
    """What a job would retry. With its `filter` it takes these dead letters and none that die later."""

    count = fields.Integer(required=True, metadata=_told("", 214))
    exact = _flag("False where there are more than were looked at.", True)
    filter = fields.Nested(SelectionSchema, required=True)


class JobSchema(Schema):
    """A job that retries dead letters."""

    id = _text("", _ID)
    state = _word(JobState)
    filter = fields.Nested(SelectionSchema, required=True)
    who = _text("The name of the token.", "ops")
    started_at = _time()
    total = fields.Integer(required=True, metadata=_told("The dead letters to look at.", 214))
    seen = fields.Integer(required=True, metadata=_told("Those looked at.", 50))
    released = fields.Integer(required=True, metadata=_told("Those put back.", 50))
    moved_at = _time("When it did something last.", allow_none=True)
    ended_at = _time(allow_none=True)


class LatestJobSchema(Schema):
    """The job that was started last."""

    job = fields.Nested(JobSchema, required=True, allow_none=True)


class CheckSchema(Schema):
    """One thing that was looked at."""

    name = _text("", "login")
    ok = _flag("", True)
    detail = _text("What to do, where something is wrong.", "")


class ConnectionSchema(Schema):
    """The result of a connection test."""

    provider = _text("", "espocrm")
    connected = _flag("", True)
    latency_ms = fields.Float(required=True, metadata=_told("", 41.3))
    checks = fields.List(fields.Nested(CheckSchema), required=True)
    tested_at = _time("When the CRM was asked: a result is shared for some seconds.")
    gate = fields.Nested(
        GateSchema, required=True, allow_none=True, metadata=_told("Null while Redis does not answer.", None)
    )


class AliveSchema(Schema):
    """The process answers."""

    status = _word(("ok",))


class ReadySchema(Schema):
    """Whether submissions are recorded and delivered."""

    ready = _flag("", True)
    checks = fields.List(fields.Nested(CheckSchema), required=True)


class FieldErrorSchema(Schema):
    """One field at fault."""

    field = _text("A dotted path.", "personal_info.phone")
    code = _word(FieldCode, "", FieldCode.INVALID_PHONE)
    message = _text("For people; never repeats what was sent.", "Expected a phone number with its country code.")


class ProblemSchema(Schema):
    """A failure (RFC 9457)."""

    type = _text("Which problem it is: a URI relative to the gateway. Switch on this.", "/problems/invalid-body")
    title = _text("For people: always the same for a type.", "Some fields need attention")
    status = fields.Integer(required=True, metadata=_told("The HTTP status.", 422))
    detail = _text(
        "For people: what happened, and what to do.", "Nothing was stored. Correct the fields and send again."
    )
    request_id = _text("The same as in `X-Request-ID`.", "0f5c2a7be3d94c1b8a6f7e2d1c3b4a59")
    errors = fields.List(
        fields.Nested(FieldErrorSchema), metadata=_told("Every field at fault, where fields are at fault.", None)
    )
