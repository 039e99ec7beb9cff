"""Edits many dead letters in bounded batches: the same change of the payload for all that match a filter.

Each payload is validated like the edit of one. A payload that the change makes invalid is left as it is and counted.
The time of the preview fixes the selection, so a dead letter that comes later is not edited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from crmgate.errors import AttemptUnderWay, ChangedMeanwhile, NoSuchOperation, OperationEnded
from crmgate.model import Operation, State
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import PAGE, Count, Cursor, Filter, Inventory
from crmgate.operators.payloads import Payloads
from crmgate.store.tokens import Scope

if TYPE_CHECKING:
    from crmgate.schemas.faults import FieldError

Payload = Mapping[str, Any]


class Effect(StrEnum):
    """What a change does to one dead letter."""

    EDITED = "edited"
    UNCHANGED = "unchanged"
    """It has these values already."""
    REFUSED = "refused"
    """The payload would not be valid."""
    SKIPPED = "skipped"
    """Somebody else changed, retried or discarded it meanwhile."""


@dataclass(frozen=True, slots=True)
class EditExample:
    """One dead letter with the fields that the change affects, before and after it. This is personal data."""

    id: str
    before: Payload
    after: Payload


@dataclass(frozen=True, slots=True)
class EditPreview:
    """The number of dead letters that match, and an example. `filter` selects exactly these.

    Of the first `checked` ones the change would make `refused` invalid; `errors` are those of the first of these.
    `example` is None if all of them are refused or have these values already.
    """

    count: Count
    filter: Filter
    example: EditExample | None
    checked: int
    refused: int
    errors: tuple[FieldError, ...]


@dataclass(frozen=True, slots=True)
class EditBatch:
    """The numbers of dead letters of one batch by their effect. `next` is the cursor of the next one, None at the end.

    `errors` are those of the first refused one.
    """

    numbers: Mapping[Effect, int]
    errors: tuple[FieldError, ...]
    next: Cursor | None


class Edits:
    """Previews and makes edits. Every method raises `LedgerUnavailable`.

    `default_region` is the ISO 3166 country of phone numbers without a country code, `channels` are the accepted
    channels of a click.
    """

    def __init__(
        self, inventory: Inventory, desk: Desk, payloads: Payloads, *, default_region: str, channels: Set[str]
    ) -> None:
        self._inventory, self._desk, self._payloads = inventory, desk, payloads
        self._region, self._channels = default_region, channels

    def preview(self, wanted: Filter, changes: Payload, who: str) -> EditPreview:
        """Count the dead letters that match, and apply the merge patch `changes` (RFC 7396) to the first ones.

        The audit log records that the operator `who` saw the example.
        """
        count, fixed = self._desk.retries.preview(wanted)
        page = self._inventory.page(fixed)
        results = [self._apply(operation, changes) for operation in page.items]
        errors = [errors for _, errors in results if errors]
        example = self._example(page.items, [after for after, _ in results], who)
        return EditPreview(count, fixed, example, len(results), len(errors), errors[0] if errors else ())

    def batch(
        self, wanted: Filter, changes: Payload, who: str, cursor: Cursor | None = None, limit: int = PAGE
    ) -> EditBatch:
        """Edit at most `limit` dead letters after the cursor, the newest first, each with an audit entry for `who`.

        `wanted` is the filter of the preview.
        """
        page = self._inventory.page(replace(wanted, state=State.DEAD), cursor, limit)
        numbers = dict.fromkeys(Effect, 0)
        refused: list[tuple[FieldError, ...]] = []
        for operation in page.items:
            effect, errors = self._edit(operation, changes, who)
            numbers[effect] += 1
            if errors:
                refused.append(errors)
        return EditBatch(numbers, refused[0] if refused else (), page.next)

    def _example(self, before: Sequence[Operation], after: Sequence[Payload | None], who: str) -> EditExample | None:
        """The first operation that the change affects; `after` has the payloads, None for a refused one."""
        for operation, payload in zip(before, after, strict=True):
            if payload is not None and payload != operation.payload:
                return _example(operation.id, self._payloads.shown(operation, Scope.OPERATE, who), payload)
        return None

    def _edit(self, operation: Operation, changes: Payload, who: str) -> tuple[Effect, tuple[FieldError, ...]]:
        after, errors = self._apply(operation, changes)
        if after is None:
            return Effect.REFUSED, errors
        if after == operation.payload:
            return Effect.UNCHANGED, ()
        try:
            self._desk.amend(operation, after, who)
        except (ChangedMeanwhile, OperationEnded, AttemptUnderWay, NoSuchOperation):
            return Effect.SKIPPED, ()
        return Effect.EDITED, ()

    def _apply(self, operation: Operation, changes: Payload) -> tuple[Payload | None, tuple[FieldError, ...]]:
        """The payload after the change; None and the errors if it would not be valid."""
        # Imported here because the import is slow, and most commands do not need it.
        from crmgate.schemas.edit import edited
        from crmgate.schemas.faults import InvalidFields

        try:
            after, _ = edited(operation, changes, default_region=self._region, channels=self._channels)
        except InvalidFields as invalid:
            return None, invalid.errors
        return after, ()


def _example(operation_id: str, before: Payload, after: Payload) -> EditExample:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    former = {name: before.get(name) for name in names}
    return EditExample(operation_id, former, {name: after.get(name) for name in names})
