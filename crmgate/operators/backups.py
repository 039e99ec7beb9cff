"""Makes backups and restores them: every operation, and what a new Redis needs to continue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from crmgate.errors import LedgerNotEmpty, LedgerUnavailable
from crmgate.operators.archive import Archive, Cipher, Contents, Writer
from crmgate.operators.inventory import Cursor, Filter, Inventory
from crmgate.store import keys
from crmgate.store.audit import Action, Audit
from crmgate.store.backup import BackupStore, Record
from crmgate.store.ledger import Ledger

BATCH = 100
"""Number of operations that one script reads or writes."""

Progress = Callable[[int], object]
"""Called with the number of operations that are done."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore wrote: numbers of operations and of other keys. What existed already is not counted."""

    operations: int
    entries: int


class Backups:
    """Makes and restores backups. Every method raises `LedgerUnavailable` and `OSError`. `who` is for the audit log."""

    def __init__(self, store: BackupStore, inventory: Inventory, ledger: Ledger, audit: Audit) -> None:
        self._store, self._inventory, self._ledger, self._audit = store, inventory, ledger, audit

    def count(self) -> int:
        """Number of operations and receipts in Redis."""
        return self._store.count()

    def make(self, file: BinaryIO, cipher: Cipher | None, who: str, progress: Progress = lambda _: None) -> Contents:
        """Write a backup into `file`; the gateway may be running. Returns what the file has.

        Each operation is as it was at one moment. An operation that is accepted meanwhile can be missing.
        """
        self._report(who)
        writer, done = Writer(file, self._ledger.now(), cipher), 0
        for ids in self._ids():
            for operation in self._store.operations(ids):
                writer.add(operation)
            done += len(ids)
            progress(done)
        for entry in self._store.entries():
            writer.add(entry)
        return writer.end()

    def restore(
        self, archive: Archive, who: str, *, merge: bool = False, progress: Progress = lambda _: None
    ) -> Restored:  # fmt: skip
        """Write what Redis does not have. A second restore of the same backup changes nothing.

        Each operation that has not ended waits for the CRM, which is searched before it is sent. Raises
        `LedgerNotEmpty` if Redis has operations, unless `merge` is set.
        """
        if not merge and self._store.count():
            raise LedgerNotEmpty
        base, foreign = float(int(self._ledger.now())), self._is_foreign(archive)
        entries = done = operations = 0
        # A stream takes no entry older than its last one: the entry of this restore comes after those of the backup.
        for batch in _batches(_keys(archive, trail=True)):
            entries += self._store.write((), batch, base=base, foreign=foreign)[1]
        self._audit.record(who, Action.RESTORE, "backup", f"{archive.contents.total} operations of {archive.made_at}")
        # Sessions come before operations: an operation that a worker delivers at once finds its session.
        for batch in _batches(_keys(archive, trail=False)):
            entries += self._store.write((), batch, base=base, foreign=foreign)[1]
        for batch in _batches(archive.records("operation")):
            operations += self._store.write(batch, (), base=base, foreign=foreign)[0]
            done += len(batch)
            progress(done)
        return Restored(operations, entries)

    def _is_foreign(self, archive: Archive) -> bool:
        name = keys.PERSON_KEY.removeprefix(keys.PREFIX)
        own: Any = next((record["value"] for record in archive.records("key") if record["key"] == name), None)
        return own is not None and self._store.has_other_key(own)

    def _report(self, who: str) -> None:
        """Record the backup, which has personal data, in the audit log."""
        try:
            self._audit.record(who, Action.BACKUP, "backup", f"{self.count()} operations")
        except LedgerUnavailable:  # a full Redis refuses the entry, and is a reason for a backup
            self._audit.log(who, Action.BACKUP, "backup")

    def _ids(self) -> Iterator[list[str]]:
        """Ids of all operations and receipts in batches, by the time of acceptance."""
        cursor: Cursor | None = None
        while rows := self._inventory.walk(keys.OPS, Filter(), cursor, BATCH):
            yield [row.id for row in rows]
            cursor = rows[-1]


def _keys(archive: Archive, *, trail: bool) -> Iterator[Record]:
    """The other keys of a backup: the audit trail, or all but the audit trail."""
    name = keys.AUDIT.removeprefix(keys.PREFIX)
    return (record for record in archive.records("key") if (record["key"] == name) is trail)


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    source = iter(records)
    while batch := list(islice(source, BATCH)):
        yield batch
