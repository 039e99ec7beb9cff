"""Discards dead letters that are older than `DEAD_DAYS`.

Nothing is discarded silently: each one has an entry in the audit log, and is counted; the log has their number.
"""

from __future__ import annotations

import logging

from crmgate.operators.inventory import Filter, Inventory
from crmgate.store.audit import Action, made
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger

log = logging.getLogger(__name__)

WHO = "gateway"
"""The `who` of the audit entries: no operator discards these dead letters."""
BATCH = 100
"""Largest number of dead letters that one call discards."""
_DAY = 86_400.0


class Expiry:
    """The age limit of dead letters in days; 0: they are kept until an operator decides. Raises `LedgerUnavailable`."""

    def __init__(self, ledger: Ledger, inventory: Inventory, to: Recipient, days: float) -> None:
        self._ledger, self._inventory, self._to, self._days = ledger, inventory, to, days

    def discard_old(self) -> int:
        """Discard at most `BATCH` dead letters beyond the age limit, the oldest first. Returns their number."""
        if not self._days:
            return 0
        before = self._ledger.now() - self._days * _DAY
        old = self._inventory.walk_dead(Filter(dead_before=before), None, BATCH)
        number = sum(self._discard(place.id, before) for place in old)
        if number:
            log.warning("%d dead letters were discarded: they were older than %g days", number, self._days)
        return number

    def _discard(self, operation_id: str, before: float) -> bool:
        reason = f"nobody decided about it within {self._days:g} days (DEAD_DAYS)"
        entry = made(self._ledger.now(), WHO, Action.DISCARD, operation_id, reason)
        return self._ledger.discard(operation_id, self._to, reason=reason, audit=entry, dead_before=before)
