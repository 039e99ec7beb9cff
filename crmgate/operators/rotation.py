"""Encrypts every stored payload with the first key of `PAYLOAD_KEYS`, in bounded batches, while the gateway runs.

A batch replaces only payloads that did not change since they were read. So a rotation can be ended at any point and
run again: it skips what is encrypted with the first key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import redis

from crmgate.operators.inventory import Cursor, Filter, Inventory
from crmgate.store import keys
from crmgate.store.keys import translated
from crmgate.store.ledger import Ledger
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

    def __init__(self, client: redis.Redis, ledger: Ledger, inventory: Inventory, vault: Vault) -> None:
        self._redis, self._ledger, self._inventory, self._vault = client, ledger, inventory, vault

    def total(self) -> int:
        """Number of operations that `steps` looks at, with receipts, which have no payload."""
        with translated():
            return int(self._redis.zcard(keys.OPS))

    def steps(self) -> Iterator[RotatedBatch]:
        """Encrypt batch after batch, the oldest operation first, also those that are accepted meanwhile."""
        cursor: Cursor | None = None
        while rows := self._inventory.walk(keys.OPS, Filter(), cursor, BATCH):
            yield self._step([row.id for row in rows])
            cursor = rows[-1]

    def _step(self, ids: Sequence[str]) -> RotatedBatch:
        changes, unreadable = list[tuple[str, bytes, str]](), 0
        for operation_id, stored in zip(ids, self._stored(ids), strict=True):
            if stored is None or self._vault.is_current(stored):
                continue
            try:
                changes.append((operation_id, stored, self._vault.seal(self._vault.unseal(stored))))
            except Undecryptable:
                unreadable += 1
        return RotatedBatch(len(ids), self._replace(changes) if changes else 0, unreadable)

    def _replace(self, changes: Sequence[tuple[str, bytes, str]]) -> int:
        """Replace payloads that did not change since they were read; returns their number."""
        ids, before, after = zip(*changes, strict=True)
        stored = [each.decode() for each in before]
        return self._ledger.on_many("reseal", {"ids": ids, "before": stored, "after": after})

    def _stored(self, ids: Sequence[str]) -> list[bytes | None]:
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for operation_id in ids:
                pipe.hget(keys.op(operation_id), "payload")
            return pipe.execute()
