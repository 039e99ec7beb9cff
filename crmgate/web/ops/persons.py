"""`/ops/persons`: find, export and erase what the gateway keeps about a person.

The email or phone is in the body of a form, never in an address: an address stands in logs and in the history.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flask import Response, request

from crmgate.schemas.faults import InvalidFields
from crmgate.web.ops.operations import rows
from crmgate.web.ops.shell import actor, blueprint, page, require_operate
from crmgate.web.services import services

if TYPE_CHECKING:
    from crmgate.schemas.typed_contact import Contact


@blueprint.get("/persons")
def persons() -> Response:
    """The form."""
    require_operate()
    return page("ops/persons.html")


@blueprint.post("/persons")
def persons_find() -> Response:
    """The person's operations, sessions and records in the CRM, without payloads. The audit records the search."""
    require_operate()
    try:
        contact = _contact()
    except InvalidFields as invalid:
        return page("ops/persons.html", 422, fault=invalid.errors[0].message)
    found = services().persons.find(contact, actor())
    return page("ops/persons.html", contact=contact, found=found, rows=rows(found.operations))


@blueprint.post("/persons/export")
def persons_export() -> Response:
    """Download everything that the gateway keeps about the person, with payloads, as JSON."""
    require_operate()
    found = services().persons.export(_contact(), actor())
    text = json.dumps(found, ensure_ascii=False, indent=2)
    headers = {"Content-Disposition": "attachment; filename=crmgate-person.json"}
    return Response(text, headers=headers, content_type="application/json; charset=utf-8")


@blueprint.post("/persons/erase")
def persons_erase() -> Response:
    """Erase the person: first the numbers of what it touches, then with `confirmed` the erasure."""
    require_operate()
    contact = _contact()
    if "confirmed" not in request.form:
        return page("ops/person_erase.html", contact=contact, found=services().persons.find(contact, actor()))
    return page("ops/person_erased.html", erasure=services().persons.erase(contact, actor()))


def _contact() -> Contact:
    """The email or phone in the form. Raises `InvalidFields`."""
    return services().persons.contact(request.form.get("contact", ""))
