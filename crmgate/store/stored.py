"""Reads payloads as Redis has them, and replaces them, for a new key in `PAYLOAD_KEYS` (`crmgate.operators.rotation`).

A payload is in the record of its operation or, for `PAYLOAD_KEEP` after the delivery, in a key of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import redis

from crmgate.store import keys
from crmgate.store.keys import translated
from crmgate.store.ledger import Ledger


class Replacement(NamedTuple):
    """A payload as it was read from Redis, and the text that replaces it."""

    operation: str
    before: bytes
    after: str


class StoredPayloads:
    """The payloads of operations and of receipts, encrypted or not. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, ledger: Ledger) -> None:
        self._redis, self._ledger = client, ledger

    def total(self) -> int:
        """Number of operations and receipts; most receipts have no payload."""
        with translated():
            return int(self._redis.zcard(keys.OPS))

    def read(self, ids: Sequence[str]) -> list[bytes | None]:
        """The payload of each operation as it is stored; None without a payload."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for operation_id in ids:
                pipe.hget(keys.op(operation_id), "payload")
                pipe.get(keys.kept(operation_id))
            found: list[bytes | None] = pipe.execute()
        return [waiting or kept for waiting, kept in zip(found[::2], found[1::2], strict=True)]

    def replace(self, replacements: Sequence[Replacement]) -> int:
        """Replace payloads that did not change since they were read; returns their number."""
        arguments = {
            "ids": [each.operation for each in replacements],
            "before": [each.before.decode() for each in replacements],
            "after": [each.after for each in replacements],
        }
        return int(self._ledger.run("reseal", arguments))
