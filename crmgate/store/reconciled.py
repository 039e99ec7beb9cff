"""The part of the comparison with the CRM that is in Redis: kept payloads, repairs, and the result of the last run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from crmgate.model import Event, EventType, Operation
from crmgate.store import keys
from crmgate.store.audit import Entry, for_scripts, reported
from crmgate.store.entries import Inquiry
from crmgate.store.gate import Cause, Recipient
from crmgate.store.keys import RECONCILING_SECONDS, translated
from crmgate.store.ledger import Ledger
from crmgate.store.records import read_payload
from crmgate.store.scripts import compact
from crmgate.store.vault import Vault

log = logging.getLogger(__name__)

NO_RECORD = "the CRM no longer has its record"
"""Detail of the event of a repair."""


class KeptPayloads:
    """Payloads of delivered operations, which Redis removes after `PAYLOAD_KEEP`. Raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, vault: Vault | None = None) -> None:
        """`vault` decrypts the payloads."""
        self._redis, self._vault = client, vault or Vault()

    def read(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The payloads that are kept, by the ids of their operations; without those that cannot be decrypted."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for operation in ids:
                pipe.get(keys.kept(operation))
            texts: list[bytes | None] = pipe.execute()
        found = ((operation, text) for operation, text in zip(ids, texts, strict=True) if text is not None)
        return {operation: payload for operation, text in found if (payload := self._read(operation, text)) is not None}

    def _read(self, operation: str, text: bytes) -> Mapping[str, Any] | None:
        payload, unreadable = read_payload(self._vault, text)
        if unreadable:
            log.error("The kept payload of the operation %s is not used: %s", operation, unreadable)
            return None
        return payload

    def which(self, ids: Sequence[str]) -> set[str]:
        """Those of the operations whose payloads are kept."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for operation in ids:
                pipe.exists(keys.kept(operation))
            return {operation for operation, there in zip(ids, pipe.execute(), strict=True) if there}


class ReconcileBook:
    """Repairs, the result of the last run, and the mark of a run that is under way. Raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, ledger: Ledger) -> None:
        self._redis, self._ledger = client, ledger

    def repair(self, operation: Operation, to: Recipient, audit: Entry, *, people: Sequence[str]) -> bool:
        """Let a delivered operation whose record is gone wait for its provider again; the CRM is searched first.

        `people` are digests of the email and phone of its kept payload. False if the operation changed since it was
        read, or its payload is no longer kept. `audit` is written in the same step.
        """
        event = Event(self._ledger.now(), 0.0, "", EventType.RELEASED, counted=False, detail=NO_RECORD)
        arguments = {"version": operation.version, "people": list(people), **for_scripts(audit)}
        text = compact(event.to_dict())
        return reported(bool(self._ledger.run("repair", arguments, to=to, text=text, operation=operation.id)), audit)

    def inquire(self, to: Recipient, *, used: int, wanted: int) -> Inquiry:
        """Take `wanted` requests for a comparison with the CRM from those that its vendor allows.

        `used`: requests that the comparison sent since the last call, less those that it took then.
        """
        wait, cause = (part.decode() for part in self._ledger.run("inquire", {"used": used, "wanted": wanted}, to=to))
        return Inquiry(float(wait), Cause.read(cause) if cause else None)

    def begin(self, process: str) -> bool:
        """Mark a run of this process as under way for `RECONCILING_SECONDS`; False if another one is."""
        with translated():
            return bool(self._redis.set(keys.RECONCILING, process, nx=True, ex=RECONCILING_SECONDS))

    def proceed(self) -> None:
        """Keep the mark for another `RECONCILING_SECONDS`."""
        with translated():
            self._redis.expire(keys.RECONCILING, RECONCILING_SECONDS)

    def end(self) -> None:
        """Remove the mark."""
        with translated():
            self._redis.delete(keys.RECONCILING)

    def save(self, result: Mapping[str, Any]) -> None:
        """Keep the result of a run in the place of that of the last one."""
        with translated():
            self._redis.set(keys.RECONCILED, json.dumps(result))

    def last(self) -> dict[str, Any] | None:
        """The result of the last run; None before the first one."""
        with translated():
            text: bytes | None = self._redis.get(keys.RECONCILED)  # type: ignore[assignment]
        return json.loads(text) if text else None
