"""Records of a CRM: what an update writes, and which values move into the description. Sends nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from crmgate.errors import Rejected
from crmgate.model import Delivered
from crmgate.plugin_kit.mapping import FieldMap, Mapped, label, text

MAX_MOVED = 5
"""Number of refused fields that may move from one record into its description."""

DROPPED_SECONDS = 300.0
"""Seconds for which a field that the CRM dropped goes into the description instead."""


@dataclass(frozen=True)
class Known:
    """A lead that the CRM already has for a person. `own`: this operation created it or wrote on it."""

    lead_id: str
    own: bool = False


def changed_fields(mapped: Mapped, current: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Mapped fields without default values (`defaults`) of fields that have a value in the lead `current`."""
    kept = {name for name, value in defaults.items() if mapped.fields.get(name) == value and current.get(name)}
    return {name: value for name, value in mapped.fields.items() if name not in kept}


def move(record: Mapping[str, Any], names: Collection[str], text_field: str, field_map: FieldMap) -> dict[str, Any]:
    """The record without the fields `names`. Their values become labelled lines above the text of `text_field`."""
    facts = {name: fact for fact, name in field_map.names.items()}
    lines = [f"{label(facts.get(name, name))}: {text(record[name])}" for name in names]
    kept = {name: value for name, value in record.items() if name not in names}
    return kept | {text_field: "\n".join(filter(None, (*lines, str(record.get(text_field, "")))))}


class FieldMover:
    """Sends records. Values of refused and of recently dropped fields move into the description.

    With `moves_refused=False` only values of dropped fields move. Threads may share an instance.
    """

    def __init__(self, *, moves_refused: bool) -> None:
        self._moves_refused = moves_refused
        self._dropped_until = dict[str, float]()

    def remember_dropped(self, names: Iterable[str]) -> None:
        """Move the values of the fields `names` into the description for the next `DROPPED_SECONDS`."""
        self._dropped_until |= dict.fromkeys(names, time.monotonic() + DROPPED_SECONDS)

    def send(
        self, send: Callable[[dict[str, Any]], Delivered], record: Mapping[str, Any], field_map: FieldMap, *,
        text_field: str, keep: Collection[str], fallbacks: Mapping[str, Any],
    ) -> Delivered:  # fmt: skip
        """Send a record; see `CRMProvider.send_describing`."""
        now = time.monotonic()
        dropped = tuple(name for name in record if self._dropped_until.get(name, now) > now)
        current = move(record, dropped, text_field, field_map) if dropped else dict(record)
        moved = list[str]()
        while True:
            try:
                delivered = send(current)
            except Rejected as error:
                fixed = {text_field, *keep, *moved}
                refused = [name for name in error.fields if name in current and name not in fixed]
                moved += refused
                if not self._moves_refused or not refused or len(moved) > MAX_MOVED:
                    raise
                stand_ins = {name: value for name, value in fallbacks.items() if name in refused}
                current = move(current, refused, text_field, field_map) | stand_ins
            else:
                return replace(delivered, moved=tuple(moved), dropped=(*dropped, *delivered.dropped))
