"""`/ops/edits`: make the same change to all dead letters that match a filter, with a preview first, in batches.

The browser asks for batch after batch: the form of the progress page carries the filter, the change and the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, request

from crmgate.model import Lead
from crmgate.operators.edits import Effect
from crmgate.operators.inventory import Cursor, Filter
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError
from crmgate.web.codes import ProblemCode
from crmgate.web.edits import edits
from crmgate.web.ops import filters
from crmgate.web.ops.editing import possible, value_of
from crmgate.web.ops.shell import actor, blueprint, page, require_operate
from crmgate.web.problems import Problem
from crmgate.web.services import services

LONGEST = 1000
"""Largest number of characters of the new value."""
_NUMBERS = ("total", "began", *Effect)
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
_OTHERS = ("change", "value", "start", "place", *_NUMBERS)


@dataclass(frozen=True, slots=True)
class Change:
    """The dead letters to edit, and the change: `path` of a field in the payload, and its new `value`; empty: none."""

    filter: Filter
    path: str
    value: str

    @property
    def patch(self) -> Mapping[str, Any]:
        """The change as a merge patch (RFC 7396)."""
        top, _, part = self.path.partition(".")
        value = value_of(self.path, self.value)
        return {top: {part: value}} if part else {top: value}

    @property
    def cause(self) -> dict[str, str]:
        """The fields of the filter without its limit in time."""
        chosen = filters.fields(self.filter).items()
        return {name: text for name, text in chosen if name not in ("state", "dead_before")}

    def fields(self) -> dict[str, str]:
        """The fields of the form that repeats the change."""
        return filters.fields(self.filter) | {"change": self.path, "value": self.value}


@dataclass(frozen=True, slots=True)
class EditProgress:
    """How far an edit is: `seen` of `total` dead letters, in `numbers` by their effect. `rate` is per second.

    `total` is 0 if it is unknown. `left` is in seconds, 0 while it is unknown.
    """

    numbers: Mapping[str, int]
    seen: int
    total: int
    rate: float
    left: float

    @property
    def share(self) -> int:
        """Percentage that is done."""
        return min(100, self.seen * 100 // self.total) if self.total else 0


@blueprint.get("/edits/new")
def edits_new() -> Response:
    """The form, with the field that the CRM refused."""
    require_operate()
    count, fixed = services().desk.retries.preview(filters.asked().filter)
    first = services().inventory.page(fixed, limit=1).items
    paths = list(possible(first[0])) if first else []
    return page(
        "ops/edits_new.html", count=count, fields=filters.fields(fixed), path=_refused(fixed.field), paths=paths
    )


@blueprint.post("/edits")
def edits_run() -> Response:
    """The preview with an example, or with `start` one batch and the progress. Nothing is sent to the CRM."""
    require_operate()
    change = _change()
    if "start" in request.form:
        return _batch(change)
    found = edits().preview(change.filter, change.patch, actor())
    fixed = Change(found.filter, change.path, change.value)
    return page("ops/edits_preview.html", change=fixed, found=found, began=services().ledger.now())


def _batch(change: Change) -> Response:
    try:
        place = Cursor.parse(request.form["place"]) if request.form.get("place") else None
    except ValueError:
        raise Problem(ProblemCode.INVALID_BODY, "The form is damaged. Begin again with the preview.") from None
    before = {name: _number(name) for name in _NUMBERS}
    batch = edits().batch(change.filter, change.patch, actor(), place)
    numbers = {str(effect): int(before[effect]) + number for effect, number in batch.numbers.items()}
    shown = _progress(numbers, int(before["total"]), services().ledger.now() - before["began"])
    kept = {"start": "1", "place": str(batch.next), "total": request.form.get("total", ""),
            "began": request.form.get("began", "")}  # fmt: skip
    again = change.fields() | kept | {name: str(number) for name, number in numbers.items()}
    return page(
        "ops/edits_progress.html",
        change=change, progress=shown, errors=batch.errors, again=again if batch.next else None,
    )  # fmt: skip


def _progress(numbers: Mapping[str, int], total: int, took: float) -> EditProgress:
    seen = sum(numbers.values())
    rate = seen / took if took > 0 else 0.0
    return EditProgress(numbers, seen, total, rate, max(total - seen, 0) / rate if rate else 0.0)


def _number(name: str) -> float:
    text = request.form.get(name) or "0"
    if not _NUMBER.fullmatch(text):
        raise Problem(ProblemCode.INVALID_BODY, "The form is damaged. Begin again with the preview.")
    return float(text)


def _change() -> Change:
    """The change in the form. Raises `Problem`: 400 for the filter, 422 for the change."""
    path, value = request.form.get("change", "").strip(), request.form.get("value", "").strip()
    if not path or len(path) > 100 or len(value) > LONGEST:
        error = FieldError("change", FieldCode.REQUIRED, f"Name a field; its value has at most {LONGEST} characters.")
        raise Problem(ProblemCode.INVALID_BODY, "Nothing was changed.", errors=[error])
    chosen = {name: text for name, text in request.form.items() if name not in _OTHERS}
    return Change(filters.asked(chosen).filter, path, value)


def _refused(field: str) -> str:
    """The path in the payload that the current mapping sends as the CRM field `field`; empty if it is unknown."""
    fact = services().crm.fact_of(field)
    path = fact.replace("utm_", "utm.", 1) if fact.startswith("utm_") else fact
    return path if path.partition(".")[0] in Lead.__dataclass_fields__ else ""
