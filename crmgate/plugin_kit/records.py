"""Leads and clicks as records of a CRM, whatever CRM it is: the part of `CRMProvider` that sends nothing itself.

The mapping, values that the CRM refuses, what an update may write, and what becomes of a person who is known already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from crmgate.errors import NotFound, ProviderError, Rejected
from crmgate.model import Activity, Delivered, Lead, Operation
from crmgate.plugin_kit.mapping import FieldMap, Mapped, activity_facts, describe, label, lead_facts, text

MAX_MOVED = 5
"""Refused fields that a record may lose to its description; a CRM that refuses more has another trouble."""

DROPPED_SECONDS = 300.0
"""How long a field that the CRM dropped is written into the description before it is tried again."""


@dataclass(frozen=True)
class Known:
    """A lead that the CRM has of a person. `own`: the operation made it, or wrote on it."""

    lead_id: str
    own: bool = False


class Records:
    """What `CRMProvider` knows about records."""

    name: ClassVar[str] = ""
    on_duplicate: str
    on_rejected_field: str
    field_map: FieldMap
    _dropped_until: dict[str, float]

    @property
    def spares_duplicates(self) -> bool:
        """Whether a person who is known gets no second lead."""
        return self.on_duplicate != "create"

    def lead_url(self, lead_id: str) -> str:  # noqa: ARG002 - for those that override it
        """Where a person sees the lead in the CRM. For a plugin to override."""
        return ""

    def delivered(self, lead_id: str, *, adopted: bool = False, dropped: tuple[str, ...] = ()) -> Delivered:
        """What the CRM confirmed about a lead."""
        return Delivered(self.name, lead_id, self.lead_url(lead_id), adopted, dropped)

    def map_lead(self, lead: Lead, operation: Operation) -> Mapped:
        """The lead by the CRM's field names, and the facts that have no field."""
        return self.field_map.apply(lead_facts(lead, operation))

    def map_activity(self, activity: Activity, operation: Operation) -> Mapped:
        """A messenger click by the CRM's field names, and the facts that have no field."""
        return self.field_map.apply(activity_facts(activity, operation))

    def describe(self, mapped: Mapped, operation: Operation, free_text: str = "") -> str:
        """The text of the record: whatever has no field of its own, labelled."""
        return describe(mapped.rest, operation, free_text)

    def tell(self, submission: Lead | Activity, operation: Operation) -> str:
        """Everything that a submission says as text, whether it has a field or not: for a note on a lead."""
        if isinstance(submission, Lead):
            facts, free_text = lead_facts(submission, operation), submission.additional_info
        else:
            facts, free_text = activity_facts(submission, operation), ""
        return self.describe(FieldMap().apply(facts), operation, free_text)

    def news(self, mapped: Mapped, current: Mapping[str, Any], operation: Operation) -> dict[str, Any]:
        """What an update writes into the fields of the lead `current`.

        A default, such as the source of every form, replaces nothing that is known; the operation id stays as it is.
        """
        usual, id_field = self.map_lead(Lead(), operation).fields, self.field_map.names.get("operation_id")
        kept = {name for name, value in usual.items() if mapped.fields.get(name) == value and current.get(name)}
        return {name: value for name, value in mapped.fields.items() if name not in {*kept, id_field}}

    def meet(
        self, known: Iterable[Known], lead: Lead, operation: Operation, *,
        update: Callable[[str, Lead, Operation], Delivered], log: Callable[[str, Lead, Operation], Delivered],
        unless: tuple[type[ProviderError], ...] = (NotFound,),
    ) -> Delivered | None:  # fmt: skip
        """What becomes of a person of whom the CRM has the leads `known`, oldest first, as CRM_ON_DUPLICATE says.

        The operation's own lead is adopted; else the oldest is brought up to date with `update`, or told with `log`.
        None where there is neither, or where that fails with one of `unless`: then it becomes a lead of its own.
        """
        leads = list(known)
        for one in leads:
            if one.own:
                return self.delivered(one.lead_id, adopted=True)
        add = update if self.on_duplicate == "update" else log
        try:
            return replace(add(leads[0].lead_id, lead, operation), adopted=True) if leads else None
        except unless:
            return None

    def send_describing(
        self, send: Callable[[dict[str, Any]], Delivered], record: Mapping[str, Any], *,
        text_field: str = "description", keep: Collection[str] = (), fallbacks: Mapping[str, Any] | None = None,
    ) -> Delivered:  # fmt: skip
        """`send` a record; a value that the CRM refuses moves, labelled, into `text_field`, and it is sent again.

        That costs no attempt. `send` raises `Rejected` with the `fields` by their names in `record`. Those in `keep`
        never move; `fallbacks` holds what stands in for a field that the CRM requires. After `MAX_MOVED` fields, or
        with CRM_ON_REJECTED_FIELD=dead, the refusal stands. What moved is named in `Delivered.moved`. What the CRM
        dropped lately (see `remember_dropped`) moves at once, and is named in `Delivered.dropped`.
        """
        now = time.monotonic()
        absent = tuple(name for name in record if self._dropped_until.get(name, now) > now)
        current, moved = self.move(record, absent, text_field) if absent else dict(record), list[str]()
        while True:
            try:
                delivered = send(current)
            except Rejected as error:
                refused = [name for name in error.fields if name in current and name not in {text_field, *keep, *moved}]
                moved += refused
                if self.on_rejected_field != "describe" or not refused or len(moved) > MAX_MOVED:
                    raise
                current = self.move(current, refused, text_field) | {
                    name: value for name, value in (fallbacks or {}).items() if name in refused
                }
            else:
                return replace(delivered, moved=tuple(moved), dropped=(*absent, *delivered.dropped))

    def remember_dropped(self, names: Iterable[str]) -> None:
        """For five minutes the fields `names`, which the CRM drops in silence, are described rather than sent."""
        self._dropped_until |= dict.fromkeys(names, time.monotonic() + DROPPED_SECONDS)

    def move(
        self, record: Mapping[str, Any], names: Collection[str], text_field: str = "description"
    ) -> dict[str, Any]:
        """The record without the fields `names`, which stand as labelled lines above the text of `text_field`."""
        facts = {name: fact for fact, name in self.field_map.names.items()}
        lines = [f"{label(facts.get(name, name))}: {text(record[name])}" for name in names]
        kept = {name: value for name, value in record.items() if name not in names}
        return kept | {text_field: "\n".join(filter(None, (*lines, str(record.get(text_field, "")))))}
