"""The download of operations with their payloads, for the JSON interface and for the pages."""

from __future__ import annotations

from dataclasses import replace

from flask import Response, request, stream_with_context

from crmgate.model import State
from crmgate.operators import export
from crmgate.operators.desk import KEPT_ASIDE
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError
from crmgate.store.audit import Action
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import read_list
from crmgate.web.problems import Problem
from crmgate.web.services import services


def download(who: str) -> Response:
    """Stream the operations that match the query, with an audit entry for `who`. Raises `Problem`: 400."""
    query = request.args.to_dict()
    form = query.pop("format", "csv")
    if form not in export.TYPES:
        error = FieldError("format", FieldCode.INVALID_CHOICE, f"Expected one of: {', '.join(export.TYPES)}.")
        raise Problem(ProblemCode.INVALID_QUERY, "Correct the query and ask again.", errors=[error])
    asked = read_list(query, KEPT_ASIDE, State.DEAD)
    state = asked.filter.state or State.DEAD
    services().audit.record(who, Action.EXPORT, state, form)
    lines = export.lines(services().inventory.all(replace(asked.filter, state=state)), form)
    name = f"attachment; filename=crmgate-{state}.{form}"
    headers = {"Content-Disposition": name, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(stream_with_context(lines), headers=headers, content_type=export.TYPES[form])
