"""Schemas of the answers about the CRM's fields, plugins, the audit log, tokens and persons, for OpenAPI."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields
from marshmallow.validate import OneOf

from crmgate.errors import Code
from crmgate.model import FieldState, Kind, State, Suspicion
from crmgate.store.tokens import IN_REDIS, IN_SETTINGS, Scope

_TIME = "2026-11-23T04:59:07.567Z"
_ID = "88c58fe866724682b5bfaf3062997351"


def _about(about: str, example: Any) -> dict[str, Any]:
    return ({"description": about} if about else {}) | ({} if example is None else {"examples": [example]})


def _text(about: str = "", example: str | None = None, **options: Any) -> fields.String:
    return fields.String(**{"required": True} | options, metadata=_about(about, example))


def _time(about: str = "", **options: Any) -> fields.String:
    return fields.String(required=True, metadata=_about(about, _TIME) | {"format": "date-time"}, **options)


def _word(words: Any, about: str = "", example: str | None = None, **options: Any) -> fields.String:
    choices = [str(word) for word in words]
    return fields.String(
        required=True, validate=OneOf(choices), metadata=_about(about, example or choices[0]), **options
    )


def _flag(about: str, example: bool) -> fields.Boolean:
    return fields.Boolean(required=True, metadata=_about(about, example))


def _number(about: str, example: int) -> fields.Integer:
    return fields.Integer(required=True, metadata=_about(about, example))


def _texts(about: str, example: list[str]) -> fields.List[Any]:
    return fields.List(fields.String(), required=True, metadata=_about(about, example))


def _many(schema: type[Schema], about: str = "") -> fields.List[Any]:
    return fields.List(fields.Nested(schema), required=True, metadata=_about(about, None))


class CrmFieldSchema(Schema):
    """A field of the CRM, compared with the mapping."""

    fact = _text("Empty for a field that the CRM requires and that no fact fills.", "referral_code")
    field = _text("The name of the field in the CRM.", "cReferralCode")
    type = _text("The CRM's name of its type.", "varchar")
    options = _texts("Options of a list.", [])
    state = _word(FieldState, "`required`: the CRM requires a value, but not every lead has one.")
    problem = _text("The problem and its remedy; empty if there is none.", "")


class CrmFieldsSchema(Schema):
    """The fields of the CRM beside the mapping."""

    provider = _text("", "espocrm")
    label = _text("", "EspoCRM")
    complete = _flag("Whether no field has a problem.", True)
    fields = _many(CrmFieldSchema)  # type: ignore[assignment]  # marshmallow takes it out of the class


class StepSchema(Schema):
    """A step of the set-up of the CRM."""

    what = _text("", "Create the field referralCode")
    done = _flag("", False)


class PlanSchema(Schema):
    """The steps of the set-up of the CRM."""

    provider = _text("", "espocrm")
    label = _text("", "EspoCRM")
    done = _flag("Whether nothing is to do.", False)
    steps = _many(StepSchema)


class SetupSchema(PlanSchema):
    """The result of the set-up."""

    settings = fields.Dict(
        keys=fields.String(), values=fields.String(), required=True,
        metadata=_about("New settings of the gateway: secrets, shown only now.", {"ESPOCRM_API_KEY": "..."}),
    )  # fmt: skip


class ProviderSchema(Schema):
    """A plugin for a CRM."""

    name = _text("The value of CRM_PROVIDER.", "espocrm")
    label = _text("", "EspoCRM")
    file = _text("", "/app/plugins/espocrm")
    active = _flag("Whether CRM_PROVIDER names it.", True)
    delivery = _text("What a request of unknown outcome leads to: the attribute `delivery`.", "exactly_once")
    capabilities = _texts("Hooks and features.", ["create_lead", "find_lead"])


class ListenerSchema(Schema):
    """A listener."""

    name = _text("", "Alerts")
    label = _text("", "Alerts")
    file = _text("", "/app/plugins/alerts.py")
    hooks = _texts("", ["operation_dead"])


class QuarantinedSchema(Schema):
    """A plugin that was set aside."""

    file = _text("", "/app/plugins/acme.py")
    reason = _text("", "line 3: invalid syntax.")
    remedy = _text("", "Correct the syntax.")


class PluginsSchema(Schema):
    """The plugins that this process has loaded, and those that it has set aside."""

    providers = _many(ProviderSchema)
    listeners = _many(ListenerSchema)
    quarantined = _many(QuarantinedSchema)
    notes = _texts("Further reasons why a plugin may be missing.", [])


class AuditEntrySchema(Schema):
    """A change by an operator, or a view or export of personal data."""

    at = _time()
    who = _text("The name of a token, or `cli:` and a user.", "ops")
    what = _text("", "dead_letters.retry")
    on = _text("The id of the object.", _ID)
    detail = _text("", "")


class AuditSchema(Schema):
    """A page of the audit log, newest first."""

    items = _many(AuditEntrySchema)
    next = _text("The `cursor` for the following page; null on the last page.", allow_none=True)


class TokenSchema(Schema):
    """An API token without its secret."""

    id = _text("Null for a token of API_TOKENS.", "5f1d9c02", allow_none=True)
    name = _text("", "monitoring")
    scope = _word(Scope)
    created_at = _time(allow_none=True)
    last_used = _time("To the minute.", allow_none=True)
    kept_in = _word((IN_REDIS, IN_SETTINGS))


class TokensSchema(Schema):
    """All API tokens."""

    items = _many(TokenSchema)


class NewTokenSchema(TokenSchema):
    """A new API token."""

    token = _text("The token. It cannot be shown again.", "cg_5f1d9c02_...")


class RecordSchema(Schema):
    """A record in the CRM."""

    provider = _text("", "espocrm")
    lead_id = _text("", "6743f0e1a2b3c4d5e")
    url = _text("May be empty.", "https://crm.example.com/#Lead/view/6743f0e1a2b3c4d5e")


class OpenCountsSchema(Schema):
    """Numbers of operations that have not ended."""

    waiting = _number("Operations that wait, or whose delivery is under way.", 0)
    dead_letters = _number("", 1)
    suspects = _number("", 0)


class TraceCountsSchema(OpenCountsSchema):
    """Numbers of what the gateway keeps about a person."""

    ended = _number("Receipts of operations that were delivered or discarded.", 2)
    sessions = _number("", 1)
    kept_payloads = _number("Delivered operations whose payload is kept (`PAYLOAD_KEEP`).", 0)
    spooled = _number("Submissions in the spool of the host that answers: Redis does not have them.", 0)


class PersonOperationSchema(Schema):
    """An operation of a person, without its payload."""

    id = _text("", _ID)
    tracking_code = _text("", "CG-H32R-ZT36")
    kind = _word(Kind)
    state = _word(State)
    submitted_at = _time()
    dead_at = _time(allow_none=True)
    provider = _text("", "espocrm")
    code = _word(("", *Code), "The code of the last failure.")
    http_status = fields.Integer(required=True, allow_none=True)
    detail = _text("", "")
    field = _text("Names of the refused CRM fields, separated by commas.", "")
    cause = _word(Suspicion, "Cause of a suspect, also after its release; else null.", allow_none=True)
    unreadable = _text("Why the payload cannot be decrypted; empty: it can.", "")


class PersonSchema(Schema):
    """What the gateway keeps about a person."""

    references = _texts("Values for `person` of `GET /api/v1/operations`.", ["p" + _ID[:31]])
    counts = fields.Nested(TraceCountsSchema, required=True)
    operations = _many(PersonOperationSchema, "Newest first.")
    crm = _many(RecordSchema, "Records in the CRM that the operations are about.")
    more = _flag("Whether there are more operations than these.", False)


class ExportedOperationSchema(PersonOperationSchema):
    """An operation of a person with everything that is kept of it."""

    attempts = fields.List(fields.Dict(), required=True, metadata=_about("Its history.", []))
    payload = fields.Dict(
        required=True, metadata=_about("Empty after its end, unless `PAYLOAD_KEEP` keeps it.", {"first_name": "Ada"})
    )


class PersonExportSchema(Schema):
    """Everything that the gateway keeps about a person."""

    contact = fields.Dict(required=True, metadata=_about("", {"email": "ada@example.com"}))
    operations = _many(ExportedOperationSchema)
    sessions = _many(RecordSchema, "For each session of the person the record in the CRM.")
    crm = _many(RecordSchema)
    more = _flag("Whether there are more operations than these.", False)


class ErasureSchema(Schema):
    """The preview or the result of an erasure."""

    erased = _flag("False for a preview.", True)
    counts = fields.Nested(TraceCountsSchema, required=True, metadata=_about("What was there before.", None))
    discarded = _number("Operations that had not ended, and those in the spool, that were, or would be, discarded.", 1)
    left = _texts("Ids of operations under way to the CRM, or from the spool to Redis: erase again.", [])
    crm = _many(RecordSchema, "Erase these in the CRM.")
    complete = _flag("Whether nothing is left. Always false for a preview.", True)


class MissingRecordSchema(RecordSchema):
    """A delivered operation that the CRM no longer has, with the record that its receipt names."""

    id = _text("", _ID)
    tracking_code = _text("", "CG-H32R-ZT36")
    kind = _word(Kind)
    submitted_at = _time()
    repairable = _flag("Whether its payload is kept, so that `crmgate reconcile --repair` can send it again.", True)


class ComparisonSchema(OpenCountsSchema):
    """The result of a comparison. `accepted` is the sum of the numbers from `in_crm` to `discarded`."""

    since = _time("Operations accepted since then were compared.")
    at = _time("Time of the comparison.")
    accepted = _number("Operations that the gateway knows.", 2000)
    checked = _number("Delivered operations that were looked for in a CRM.", 1990)
    in_crm = _number("Those that the CRM has.", 1985)
    missing = _number("Those that the CRM lacks.", 5)
    unsettled = _number("Not found, but delivered so recently that the search of the CRM may not show it yet.", 0)
    other_crm = _number("Delivered to a CRM that is not configured.", 0)
    not_comparable = _number("Delivered to a destination that cannot be searched, such as a webhook.", 0)
    discarded = _number("", 0)
    gaps = _many(MissingRecordSchema, "The missing ones, the oldest first, at most 1,000.")


class LastComparisonSchema(Schema):
    """The last comparison; null before the first one."""

    last = fields.Nested(ComparisonSchema, required=True, allow_none=True)
