"""Records of a CRM: which values move into the description. Sends nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from crmgate.errors import Code, Rejected
from crmgate.model import Delivered
from crmgate.plugin_kit.mapping import FieldMap, label
from crmgate.plugin_kit.values import text

MAX_MOVED = 5
"""Number of corrections of one record: refused values that move into the description, and stand-ins."""

DROPPED_SECONDS = 300.0
"""Seconds for which a field that the CRM dropped goes into the description instead."""
ESSENTIAL = frozenset({"first_name", "last_name", "full_name", "email", "phone", "operation_id"})
"""Facts that stay in their fields after a refusal that names no field: without them nobody finds the record."""
_NO_VALUE = frozenset({Code.DUPLICATE, Code.INVALID_REQUEST})
"""Codes of a `Rejected` that is about no value: another record without the optional values would be refused, too."""


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
    """Corrections of one record after refusals.

    Fields in `fixed` never move. Fields in `optional` move together after a refusal that names no field.
    """

    def __init__(
        self, fixed: Collection[str], optional: Collection[str], stand_ins: Callable[[Rejected], Mapping[str, Any]]
    ) -> None:
        self._fixed, self._optional, self._stand_ins = fixed, optional, stand_ins
        self._moved, self._filled = list[str](), list[str]()
        self._count = 0
        self.unnamed = False
        """Whether a refusal named no field, so that all optional values moved."""

    @property
    def names(self) -> tuple[str, ...]:
        """Corrected fields in their order, each once."""
        return tuple(dict.fromkeys((*self._moved, *self._filled)))

    def after(self, error: Rejected, record: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """Fields that move, and stand-ins by field. Raises `error` if nothing, or too much, is to be corrected."""
        return self._named(error, record) if error.fields else (self._everything(error, record), {})

    def _named(self, error: Rejected, record: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
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

    def _everything(self, error: Rejected, record: Mapping[str, Any]) -> list[str]:
        """All optional fields, once. Raises `error` the second time."""
        done = {*self._fixed, *self._moved, *self._filled}
        names = [name for name in record if name in self._optional and name not in done]
        if self.unnamed or not names or error.code in _NO_VALUE:
            raise error
        self.unnamed = True
        self._moved += names
        return names


class FieldMover:
    """Sends records. Values of refused and of recently dropped fields move into the description.

    After a refusal that names no field, the values of all optional facts move, once. A field that the CRM requires
    gets a stand-in. With `moves_refused=False` only values of dropped fields move, and there are no stand-ins. Threads
    may share an instance.
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
        corrections = _Corrections({text_field, *keep}, optional(field_map), stand_ins)
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
                return replace(
                    delivered, moved=corrections.names, dropped=(*dropped, *delivered.dropped),
                    unnamed=corrections.unnamed,
                )  # fmt: skip


def optional(field_map: FieldMap) -> set[str]:
    """CRM fields of facts that are not `ESSENTIAL`."""
    named = {fact: name for fact, name in field_map.names.items() if name}
    return {*named.values()} - {name for fact, name in named.items() if fact in ESSENTIAL}


def no_stand_ins(_error: Rejected) -> Mapping[str, Any]:
    """No stand-ins, whatever the CRM requires."""
    return {}
