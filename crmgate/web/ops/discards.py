"""`/ops/discards`: discard all dead letters that match a filter: their number first, then batches with progress.

The browser asks for batch after batch: the form of the progress page carries the filter, the reason and the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Response, request

from crmgate.operators.discards import DiscardBatch, discard_batch
from crmgate.operators.inventory import Cursor, Filter
from crmgate.web.changes import REASON, no_reason
from crmgate.web.codes import ProblemCode
from crmgate.web.ops import filters
from crmgate.web.ops.shell import actor, blueprint, page, require_operate
from crmgate.web.problems import Problem
from crmgate.web.services import services

_NUMBERS = ("total", "discarded", "skipped")
_OTHERS = ("reason", "place", *_NUMBERS)


@dataclass(frozen=True, slots=True)
class DiscardProgress:
    """Numbers of dead letters so far; `total` is 0 if it is unknown."""

    total: int
    discarded: int
    skipped: int

    @property
    def seen(self) -> int:
        """Number of dead letters that were handled."""
        return self.discarded + self.skipped

    @property
    def share(self) -> int:
        """Percentage that is done."""
        return min(100, self.seen * 100 // self.total) if self.total else 0


@blueprint.get("/discards/new")
def discards_new() -> Response:
    """The number of dead letters that match, before anything is done. The filter excludes later dead letters."""
    require_operate()
    return _confirm(filters.asked().filter)


@blueprint.post("/discards")
def discards_run() -> Response:
    """Discard one batch and show the progress."""
    require_operate()
    reason = request.form.get("reason", "").strip()
    wanted = filters.asked({name: text for name, text in request.form.items() if name not in _OTHERS}).filter
    if errors := no_reason(reason):
        return _confirm(wanted, errors[0].message, 422)
    before, place = _before()
    batch = discard_batch(services().inventory, services().desk, wanted, reason, actor(), place)
    done = DiscardProgress(before.total, before.discarded + batch.discarded, before.skipped + batch.skipped)
    again = _again(wanted, reason, done, batch)
    return page("ops/discard_run.html", progress=done, again=again, fields=filters.fields(wanted), reason=reason)


def _confirm(wanted: Filter, fault: str = "", status: int = 200) -> Response:
    count, fixed = services().desk.retries.preview(wanted)
    return page(
        "ops/discard_new.html", status,
        count=count, fields=filters.fields(fixed), fault=fault, reason_length=REASON,
    )  # fmt: skip


def _again(wanted: Filter, reason: str, done: DiscardProgress, batch: DiscardBatch) -> Mapping[str, str]:
    """The fields of the form for the next batch; none after the last one."""
    if batch.next is None:
        return {}
    numbers = {name: str(getattr(done, name)) for name in _NUMBERS}
    return filters.fields(wanted) | numbers | {"reason": reason, "place": str(batch.next)}


def _before() -> tuple[DiscardProgress, Cursor | None]:
    """The numbers and the place after the batch before. Raises `Problem` (422) for a changed form."""
    try:
        numbers = [int(request.form.get(name) or 0) for name in _NUMBERS]
        place = Cursor.parse(request.form["place"]) if request.form.get("place") else None
    except ValueError:
        raise Problem(ProblemCode.INVALID_BODY, "The form is damaged. Begin again with the list.") from None
    return DiscardProgress(*numbers), place
