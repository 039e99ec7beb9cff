"""The spool: submissions that Redis did not take, in an SQLite file of this host, until Redis takes them.

`put` returns only after the submission is on the disk. All processes of a host that name the same folder share the
file; one of them at a time drains it (`claimed`). The folder must be on a local disk: SQLite's shared memory and
`flock` do not work on NFS. Only the user of the gateway can read it. A removed submission is overwritten with zeros.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crmgate.errors import SpoolUnavailable
from crmgate.model import Kind, Operation, State, Suspicion
from crmgate.store.entries import Acceptance, Accepted, Once
from crmgate.store.records import read_payload
from crmgate.store.vault import Vault

FILE, LOCK = "spool.sqlite3", "spool.lock"
BUSY_SECONDS = 5.0
"""Seconds for which a write waits for another process."""

_SCHEMA = """
create table if not exists spool(
  seq integer primary key, id text not null unique, kind text not null, payload blob not null, at real not null,
  suspicion text not null, once text not null, once_key text unique, digest text not null, seconds real not null
);
create table if not exists marks(digest text not null, seq integer not null);
create table if not exists announced(cause text primary key);
create index if not exists marks_by_digest on marks(digest);
create index if not exists marks_by_seq on marks(seq);
create trigger if not exists marks_end after delete on spool begin delete from marks where seq = old.seq; end;
create trigger if not exists alerts_end after delete on spool when not exists (select 1 from spool)
  begin delete from announced; end;
"""
_COLUMNS = "id, kind, payload, at, suspicion, once"


@dataclass(frozen=True, slots=True)
class Spooled:
    """A submission in the spool. `once`: its identity, None if it has none. `suspect`: its cause if it is a suspect."""

    operation: Operation
    once: Once | None = None
    suspect: Suspicion | None = None

    def once_after(self, waited: float) -> Once | None:
        """The identity `waited` seconds after the submission was accepted; None if it has expired."""
        if self.once is None or round(self.once.seconds - waited) <= 0:
            return None
        return replace(self.once, seconds=round(self.once.seconds - waited))


@dataclass(frozen=True, slots=True)
class SpoolFigures:
    """Number of submissions in the spool, their size on the disk in bytes, and the age of the oldest in seconds.

    `share` is the used part of the limit: 1 is full.
    """

    operations: int = 0
    size: int = 0
    oldest: float = 0.0
    share: float = 0.0


class Spool:
    """The spool in `folder`, for `most` bytes. Every method but `prepare` raises `SpoolUnavailable`.

    `vault` encrypts the payloads; None: they are plain text. A process that has called neither `prepare` nor `join`, or
    whose `prepare` failed, has no spool (`on` is false).
    """

    def __init__(self, folder: Path, most: float, vault: Vault | None = None) -> None:
        self._folder, self._file, self._most = folder, str(folder / FILE), most
        self._vault = vault or Vault()
        self._processes: dict[int, _Process] = {}
        self.on = False
        self.problem = ""
        """Why the spool is off, for people; empty if it is on."""

    def prepare(self) -> None:
        """Create the folder and the file. If that fails, the spool stays off, and `problem` has the reason."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            for name in (FILE, LOCK):
                os.close(os.open(self._folder / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
                (self._folder / name).chmod(0o600)
            with self._writing():
                pass
            self._close()  # SQLite allows no connection to survive a fork, and this may be a process that forks
        except (OSError, SpoolUnavailable) as error:
            reason = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
            self.on, self.problem = False, f"SPOOL_DIR cannot be used: {reason}"
        else:
            self.on, self.problem = True, ""

    def join(self) -> None:
        """Use the spool that a web process of this host has made. Without one it stays off; nothing is created."""
        with self._translated():
            self.on = (self._folder / FILE).exists()

    def put(self, entry: Spooled, marks: Sequence[str]) -> Accepted:
        """Write a submission to the disk. The answer is `ACCEPTED`, or `REPLAY` or `CONFLICT` with an earlier one here.

        `marks` are digests of its key, its session and its persons (`concerns`, `about`). Raises `SpoolUnavailable` if
        the spool is full.
        """
        operation = entry.operation
        with self._writing() as db:
            if entry.once and (known := _known(db, entry.once, operation.accepted_at)):
                return known
            if _used(db) > self._most:
                raise SpoolUnavailable("the spool is full (SPOOL_MAX)")
            _insert(db, entry, marks, self._vault.seal(_written(entry.operation.payload)))
        return Accepted(Acceptance.ACCEPTED, operation.id, operation.kind, "", operation.accepted_at)

    def concerns(self, marks: Sequence[str]) -> bool:
        """Whether a submission with one of these marks is in the spool: a later one must not overtake it."""
        places = ", ".join("?" * len(marks))
        with self._reading() as db:
            return db.execute(f"select 1 from marks where digest in ({places}) limit 1", marks).fetchone() is not None  # noqa: S608

    def about(self, marks: Sequence[str]) -> list[str]:
        """The ids of the submissions with one of these marks, the oldest first."""
        places = ", ".join("?" * len(marks))
        query = f"select id from spool where seq in (select seq from marks where digest in ({places})) order by seq"  # noqa: S608
        with self._reading() as db:
            return [str(name) for (name,) in db.execute(query, marks).fetchall()]

    def find(self, operation_id: str) -> Operation | None:
        """The operation with this id; None if the spool does not have it."""
        with self._reading() as db:
            row = db.execute(f"select {_COLUMNS} from spool where id = ?", (operation_id,)).fetchone()  # noqa: S608
        return self._entry(row).operation if row else None

    def ids(self, after: int = 0, limit: int = 50) -> list[tuple[int, str]]:
        """The places and ids of the oldest submissions whose place is after `after`, in their order."""
        with self._reading() as db:
            rows = db.execute("select seq, id from spool where seq > ? order by seq limit ?", (after, limit))
            return [(int(seq), str(name)) for seq, name in rows.fetchall()]

    def read(self, operation_id: str) -> Spooled | None:
        """The submission with this id. Raises `ValueError` if it cannot be read."""
        with self._reading() as db:
            row = db.execute(f"select {_COLUMNS} from spool where id = ?", (operation_id,)).fetchone()  # noqa: S608
        return self._entry(row) if row else None

    def _entry(self, row: tuple[Any, ...]) -> Spooled:
        identifier, kind, stored, at, suspicion, once = row
        suspect = Suspicion.read(suspicion) if suspicion else None
        state = State.SUSPECT if suspect else State.WAITING
        payload, unreadable = read_payload(self._vault, stored)
        operation = Operation(
            identifier, Kind.read(kind), payload, at, state, suspicion=suspect, unreadable=unreadable
        )  # fmt: skip
        return Spooled(operation, _once(once) if once else None, suspect)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove submissions that Redis has."""
        with self._writing() as db:
            db.executemany("delete from spool where id = ?", [(name,) for name in ids])

    def erase(self, ids: Sequence[str]) -> None:
        """Remove submissions, also from SQLite's log. Raises `SpoolUnavailable` if another process uses the log."""
        self.remove(ids)
        with self._reading() as db:
            busy, *_ = db.execute("pragma wal_checkpoint(truncate)").fetchone()
        if busy:
            raise SpoolUnavailable("the spool is in use: what was removed is still in its log; try again")

    def tidy(self) -> None:
        """Empty SQLite's write-ahead log if the spool is empty: it still holds what was removed."""
        log = self._folder / f"{FILE}-wal"
        with self._reading() as db:
            if log.exists() and log.stat().st_size and not db.execute("select 1 from spool limit 1").fetchone():
                db.execute(
                    "pragma wal_checkpoint(truncate)"
                ).fetchone()  # a reader may prevent it: the next call does it

    def empty(self) -> bool:
        """Whether no submission is in the spool. It is asked for each submission."""
        process = self._process()
        try:
            with process.lock:
                return self._connection(process).execute("select 1 from spool limit 1").fetchone() is None
        except (sqlite3.Error, OSError) as error:
            raise _unusable(error) from None

    def figures(self) -> SpoolFigures:
        """The number, size and age of the submissions."""
        with self._reading() as db:
            number, oldest = db.execute("select count(*), min(at) from spool").fetchone()
            used = _used(db)
        if not number:
            return SpoolFigures()
        return SpoolFigures(number, used, max(time.time() - oldest, 0.0), used / self._most)

    def announce(self, causes: Sequence[str]) -> bool:
        """Mark these causes of an alert as announced; whether one of them was not.

        All processes share the marks. They end when the spool is empty.
        """
        if not causes:
            return False
        with self._writing() as db:
            return (
                db.executemany("insert or ignore into announced values (?)", [(cause,) for cause in causes]).rowcount
                > 0
            )

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Hold the lock with which one process of the host drains the spool; false if another process has it."""
        with self._translated(), (self._folder / LOCK).open("rb") as lock:
            yield _locked(lock.fileno())

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        process = self._process()
        with self._translated(), process.lock:
            yield self._connection(process)

    def _process(self) -> _Process:
        # A fork leaves its parent's connection and lock to the parent: SQLite allows no connection to survive a fork.
        return self._processes.get(os.getpid()) or self._processes.setdefault(os.getpid(), _Process())

    def _connection(self, process: _Process) -> sqlite3.Connection:
        if process.db and self._file_id() != process.file:
            process.close()  # SQLite would go on with a file that nobody finds after a restart
        if not process.db:
            process.db, process.file = self._opened(), self._file_id()
        return process.db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction. It is on the disk when the block has ended without an exception."""
        with self._reading() as db:
            db.execute("begin immediate")
            try:
                yield db
                db.execute("commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("rollback")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise _unusable(error) from None

    def _file_id(self) -> tuple[int, int] | None:
        """Identity of the file, which another file at its path does not have; None if there is no file."""
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _close(self) -> None:
        process = self._processes[os.getpid()]
        with self._translated(), process.lock, _one_at_a_time(self._folder):
            process.close()

    def _opened(self) -> sqlite3.Connection:
        # mode=rw: a file that was removed under a running process is an error, not an empty spool with other rights.
        address = f"{(self._folder / FILE).resolve().as_uri()}?mode=rw"
        db = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        with _one_at_a_time(self._folder):  # SQLite does not wait when two processes create a file in this mode
            for pragma in ("journal_mode = wal", "synchronous = full", "secure_delete = on"):
                db.execute(f"pragma {pragma}").fetchone()
            db.executescript(_SCHEMA)
        return db


def _unusable(error: Exception) -> SpoolUnavailable:
    """The error with the text of SQLite's, which holds no values."""
    return SpoolUnavailable(f"the spool cannot be used ({type(error).__name__}: {error})")


class _Process:
    """The connection of one process, which its threads use in turn."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.db: sqlite3.Connection | None = None
        self.file: tuple[int, int] | None = None

    def close(self) -> None:
        if self.db:
            self.db.close()
        self.db = None


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _written(payload: Any) -> bytes:
    """The stored form of a payload, not encrypted."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def _once(stored: str) -> Once:
    """The identity of its stored form. Raises `ValueError` if another version of crmgate wrote it otherwise."""
    try:
        return Once(**json.loads(stored))
    except TypeError:
        raise ValueError("another version wrote the identity") from None


def _known(db: sqlite3.Connection, once: Once, now: float) -> Accepted | None:
    """The earlier submission with the same key; its identity ends after its `seconds`."""
    found = db.execute("select id, kind, digest, at, seconds from spool where once_key = ?", (once.key,)).fetchone()
    if not found:
        return None
    name, kind, digest, at, seconds = found
    if abs(now - at) > seconds:
        db.execute("update spool set once_key = null where id = ?", (name,))
        return None
    what = Acceptance.REPLAY if digest == once.digest else Acceptance.CONFLICT
    return Accepted(what, name, Kind.read(kind), "", at)


def _insert(db: sqlite3.Connection, entry: Spooled, marks: Sequence[str], payload: str) -> None:
    operation, once = entry.operation, entry.once
    # The content of a suspect is not remembered: a robot could block the same of a person (accept.lua).
    remembered = once if once and (once.keyed or not entry.suspect) else None
    row = (
        operation.id, operation.kind, payload.encode(), operation.accepted_at, entry.suspect or "",
        json.dumps(asdict(once)) if once else "", remembered.key if remembered else None,
        once.digest if once else "", once.seconds if once else 0,
    )  # fmt: skip
    seq = db.execute(
        "insert into spool(id, kind, payload, at, suspicion, once, once_key, digest, seconds)"
        " values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row,
    ).lastrowid  # fmt: skip
    db.executemany("insert into marks values (?, ?)", [(mark, seq) for mark in marks])


def _used(db: sqlite3.Connection) -> int:
    """Bytes of the file that are in use, without the pages that were freed."""
    pages, free, size = (
        db.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
