"""Encrypts every stored payload with the first key of `PAYLOAD_KEYS`, in bounded batches, while the gateway runs.

A batch replaces only payloads that did not change since they were read. So a rotation can be ended at any point and
run again: it skips what is encrypted with the first key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crmgate.operators.inventory import Cursor, Filter, Inventory
from crmgate.store import keys
from crmgate.store.audit import Action, Audit
from crmgate.store.stored import Replacement, StoredPayloads
from crmgate.store.vault import Undecryptable, Vault

BATCH = 100
"""Number of operations that one step looks at."""


@dataclass(frozen=True, slots=True)
class RotatedBatch:
    """Numbers of one batch: operations that were looked at, payloads that were encrypted, and those without a key."""

    seen: int
    encrypted: int = 0
    unreadable: int = 0


class Rotation:
    """Encrypts stored payloads with the first key. Every method raises `LedgerUnavailable`."""

    def __init__(self, payloads: StoredPayloads, inventory: Inventory, vault: Vault, audit: Audit) -> None:
        self._payloads, self._inventory, self._vault, self._audit = payloads, inventory, vault, audit

    def total(self) -> int:
        """Number of operations that `steps` looks at, with receipts, most of which have no payload."""
        return self._payloads.total()

    def steps(self, who: str) -> Iterator[RotatedBatch]:
        """Encrypt batch after batch, the oldest operation first, also those that are accepted meanwhile.

        The audit log has the operator `who` before the first payload changes.
        """
        self._audit.record(who, Action.KEYS_ROTATE, self._vault.current, f"{self.total()} operations and receipts")
        cursor: Cursor | None = None
        while rows := self._inventory.walk(keys.OPS, Filter(), cursor, BATCH):
            yield self._step([row.id for row in rows])
            cursor = rows[-1]

    def _step(self, ids: Sequence[str]) -> RotatedBatch:
        changes, unreadable = list[Replacement](), 0
        for operation_id, stored in zip(ids, self._payloads.read(ids), strict=True):
            if stored is None or self._vault.is_current(stored):
                continue
            try:
                changes.append(Replacement(operation_id, stored, self._vault.seal(self._vault.unseal(stored))))
            except Undecryptable:
                unreadable += 1
        return RotatedBatch(len(ids), self._payloads.replace(changes) if changes else 0, unreadable)
