"""Discards many dead letters in bounded batches: all that match a filter, for one reason.

The time of the preview (`Retries.preview`) fixes the selection, so a dead letter that comes later is not discarded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from crmgate.errors import AttemptUnderWay, NoSuchOperation, OperationEnded
from crmgate.model import State
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import PAGE, Cursor, Filter, Inventory


@dataclass(frozen=True, slots=True)
class DiscardBatch:
    """Numbers of dead letters of one batch. `next` is the cursor of the next one, None at the end.

    `skipped`: somebody else retried or discarded them meanwhile.
    """

    discarded: int
    skipped: int
    next: Cursor | None


def discard_batch(
    inventory: Inventory, desk: Desk, wanted: Filter, reason: str, who: str, cursor: Cursor | None = None
) -> DiscardBatch:
    """Discard at most `PAGE` dead letters after the cursor, the newest first, each with an audit entry for `who`.

    `wanted` is the filter of the preview. The receipts keep the `reason`, which contains no personal data. Raises
    `LedgerUnavailable`.
    """
    page = inventory.page(replace(wanted, state=State.DEAD), cursor, PAGE)
    discarded = sum(_discard(desk, operation.id, reason, who) for operation in page.items)
    return DiscardBatch(discarded, len(page.items) - discarded, page.next)


def _discard(desk: Desk, operation_id: str, reason: str, who: str) -> bool:
    try:
        desk.discard(operation_id, reason, who)
    except (OperationEnded, AttemptUnderWay, NoSuchOperation):
        return False
    return True
