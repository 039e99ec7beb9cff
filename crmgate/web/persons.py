"""`/api/v1/persons`: finds, exports and erases what the gateway keeps about a person.

The contact is in the body, because a URL stands in logs and histories.
"""

from __future__ import annotations

from flask import Blueprint, Response

from crmgate.schemas.choices import YesNo
from crmgate.schemas.coded import Group
from crmgate.schemas.fields import Text
from crmgate.store.tokens import Scope
from crmgate.web.auth import require
from crmgate.web.body import READ_BODY, read_fields
from crmgate.web.openapi import Body, Describe, Example, ResponseDoc
from crmgate.web.operator_answers import ErasureSchema, PersonExportSchema, PersonSchema
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("persons", __name__, url_prefix="/api/v1/persons")

_TAG = "Persons"
_ADA = {"contact": "ada@example.com"}


class ContactSchema(Group):
    """The email or phone of a person."""

    json_schema = {"additionalProperties": False}  # noqa: RUF012

    contact = Text(254, required=True, example="ada@example.com", about="An email, or a phone in any spelling.")


class EraseSchema(ContactSchema):
    """The person to erase, and whether to do it."""

    confirm = YesNo(about="Erase; without it the answer is a preview.")


@blueprint.post("/search")
@Describe(
    "Find a person", _TAG, {200: ResponseDoc("What is kept; everything is 0 for an unknown person.", PersonSchema)},
    token=Scope.OPERATE, problems=READ_BODY, body=Body(ContactSchema, (Example("By email", _ADA, 200),)),
)  # fmt: skip
def search() -> Response:
    """The person's operations (also dead letters and suspects), sessions, and records in the CRM, without payloads."""
    who = require(Scope.OPERATE).name
    persons = services().persons
    return answer(persons.find(persons.contact(read_fields(ContactSchema())["contact"]), who).to_json())


@blueprint.post("/export")
@Describe(
    "Export a person", _TAG, {200: ResponseDoc("Everything that is kept.", PersonExportSchema)},
    token=Scope.OPERATE, problems=READ_BODY, body=Body(ContactSchema, (Example("By email", _ADA, 200),)),
)  # fmt: skip
def export() -> Response:
    """Everything that the gateway keeps about the person, with payloads. The CRM's data are not included."""
    who = require(Scope.OPERATE).name
    persons = services().persons
    return answer(persons.export(persons.contact(read_fields(ContactSchema())["contact"]), who))


@blueprint.post("/erase")
@Describe(
    "Erase a person", _TAG, {200: ResponseDoc("The preview or the result.", ErasureSchema)},
    token=Scope.OPERATE, problems=READ_BODY,
    body=Body(EraseSchema, (
        Example("Preview", _ADA, 200),
        Example("Erase", _ADA | {"confirm": True}, 200),
    )),
)  # fmt: skip
def erase() -> Response:
    """Preview an erasure, or with `confirm` erase: discard what has not ended, and remove everything else.

    The CRM's records stay: `crm` names them.
    """
    who = require(Scope.OPERATE).name
    persons, asked = services().persons, read_fields(EraseSchema())
    contact = persons.contact(asked["contact"])
    if asked.get("confirm"):
        return answer({"erased": True} | persons.erase(contact, who).to_json())
    return answer({"erased": False} | persons.find(contact, who).preview_json())
