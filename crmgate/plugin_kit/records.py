"""Records of a CRM: which values move into the description. Sends nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from crmgate.errors import Rejected
from crmgate.model import Delivered
from crmgate.plugin_kit.mapping import FieldMap, label
from crmgate.plugin_kit.values import text

MAX_MOVED = 5
"""Number of corrections of one record: refused values that move into the description, and stand-ins."""

DROPPED_SECONDS = 300.0
"""Seconds for which a field that the CRM dropped goes into the description instead."""


@dataclass(frozen=True)
class Known:
    """A lead that the CRM already has for a person. `own`: this operation created it or wrote on it."""

    lead_id: str
    own: bool = False


def move(record: Mapping[str, Any], names: Collection[str], text_field: str, field_map: FieldMap) -> dict[str, Any]:
    """The record without the fields `names`. Their values become labelled lines above the text of `text_field`.

    A blank line separates them from the text, which can be the words of the visitor.
    """
    facts = {name: fact for fact, name in field_map.names.items()}
    lines = [f"{label(facts.get(name, name))}: {text(record[name])}" for name in names]
    kept = {name: value for name, value in record.items() if name not in names}
    return kept | {text_field: "\n\n".join(filter(None, ("\n".join(lines), str(record.get(text_field, "")))))}


class _Corrections:
    """Corrections of one record after refusals. Fields in `fixed` never move."""

    def __init__(self, fixed: Collection[str], stand_ins: Callable[[Rejected], Mapping[str, Any]]) -> None:
        self._fixed, self._stand_ins = fixed, stand_ins
        self._moved, self._filled = list[str](), list[str]()
        self._count = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Corrected fields in their order, each once."""
        return tuple(dict.fromkeys((*self._moved, *self._filled)))

    def after(self, error: Rejected, record: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """Fields that move, and stand-ins by field. Raises `error` if nothing, or too much, is to be corrected."""
        done = {*self._fixed, *self._moved, *self._filled}
        refused = [name for name in error.fields if name in record and name not in done]
        absent = [name for name in error.fields if name in refused or name not in record]
        wanted = {name for name in absent if name not in self._filled}
        added = {name: value for name, value in self._stand_ins(error).items() if name in wanted}
        self._count += len({*refused, *added})
        if not (refused or added) or self._count > MAX_MOVED:
            raise error
        self._moved += refused
        self._filled += added
        return refused, added


class FieldMover:
    """Sends records. Values of refused and of recently dropped fields move into the description.

    A field that the CRM requires gets a stand-in. With `moves_refused=False` only values of dropped fields move, and
    there are no stand-ins. Threads may share an instance.
    """

    def __init__(self, *, moves_refused: bool) -> None:
        self._moves_refused = moves_refused
        self._dropped_until = dict[str, float]()

    def remember_dropped(self, names: Iterable[str]) -> None:
        """Move the values of the fields `names` into the description for the next `DROPPED_SECONDS`."""
        self._dropped_until |= dict.fromkeys(names, time.monotonic() + DROPPED_SECONDS)

    def send(
        self, send: Callable[[dict[str, Any]], Delivered], record: Mapping[str, Any], field_map: FieldMap, *,
        text_field: str, keep: Collection[str], silent: Collection[str],
        stand_ins: Callable[[Rejected], Mapping[str, Any]],
    ) -> Delivered:  # fmt: skip
        """Send a record; see `CRMProvider.send_describing`."""
        now = time.monotonic()
        dropped = tuple(name for name in record if self._dropped_until.get(name, now) > now)
        moved, added = list(dropped), dict[str, Any]()
        corrections = _Corrections({text_field, *keep}, stand_ins)
        while True:
            current = (move(record, moved, text_field, field_map) if moved else dict(record)) | added
            try:
                delivered = send(current)
            except Rejected as error:
                if not self._moves_refused:
                    raise
                refused, filled = corrections.after(error, current)
                moved += [name for name in refused if name not in silent]
                record = {name: value for name, value in record.items() if name not in silent or name not in refused}
                added |= filled
            else:
                return replace(delivered, moved=corrections.names, dropped=(*dropped, *delivered.dropped))


def no_stand_ins(_error: Rejected) -> Mapping[str, Any]:
    """No stand-ins, whatever the CRM requires."""
    return {}
