"""`/ops/audit`: who changed, viewed and exported what, newest first."""

from __future__ import annotations

import re

from flask import Response, request, url_for

from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError
from crmgate.store.audit import KEPT, Action, Entry
from crmgate.web.codes import ProblemCode
from crmgate.web.ops.filters import PAGE
from crmgate.web.ops.shell import blueprint, page
from crmgate.web.problems import Problem
from crmgate.web.services import services

_ID = re.compile(r"[0-9a-f]{32}")
_JOBS = (Action.RETRIES_START, Action.RETRIES_CANCEL)


@blueprint.get("/audit")
def audit() -> Response:
    """A page of entries."""
    place = request.args.get("cursor", "")
    try:
        found = services().audit.page(PAGE, place)
    except ValueError:
        error = FieldError("cursor", FieldCode.INVALID_CHOICE, "Expected the address of a page of the audit log.")
        raise Problem(ProblemCode.INVALID_QUERY, "Correct the address and ask again.", errors=[error]) from None
    return page(
        "ops/audit.html",
        entries=[(entry, _address(entry)) for entry in found.items], next=found.next, first=not place, kept=KEPT,
    )  # fmt: skip


def _address(entry: Entry) -> str:
    """The page about what an entry is on; empty without one."""
    if not _ID.fullmatch(entry.on):
        return ""
    if entry.what in _JOBS:
        return url_for("ops.retry_job", job_id=entry.on)
    return url_for("ops.operation", operation_id=entry.on)
