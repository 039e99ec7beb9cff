"""`/ops/suspects`: submissions that look like those of a robot; a person decides."""

from __future__ import annotations

from dataclasses import replace

from flask import Response, url_for

from crmgate.model import State
from crmgate.web.ops import filters
from crmgate.web.ops.operations import rows
from crmgate.web.ops.shell import blueprint, page
from crmgate.web.services import services


@blueprint.get("/suspects")
def suspects() -> Response:
    """The suspects, newest first, with the reason why each was kept."""
    asked = filters.asked()
    wanted = replace(asked.filter, state=State.SUSPECT)
    found = services().inventory.page(wanted, asked.cursor, asked.limit)
    following = url_for("ops.suspects", cursor=str(found.next)) if found.next else ""
    return page("ops/suspects.html", rows=rows(found.items), following=following, first=asked.cursor is None)
