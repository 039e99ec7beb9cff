"""Retries thousands of dead letters: a job in Redis that the workers run in bounded batches.

A job retries the dead letters of its preview, oldest first. It releases at most `BATCH` of them at once, and none while
that many operations wait for the provider, so that it neither floods the CRM nor delays new submissions. Redis has its
state after each batch, so any worker can continue it, also after a restart. A job retries an operation only once, even
if it becomes a dead letter again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import redis

from crmgate.errors import JobRunning
from crmgate.model import State, new_id
from crmgate.operators.inventory import SCAN, Count, Cursor, Filter, Inventory
from crmgate.store import audit, keys
from crmgate.store.entries import Batch, JobState
from crmgate.store.gate import Recipient
from crmgate.store.keys import translated
from crmgate.store.ledger import Ledger

BATCH = 50
"""Largest number of dead letters that are released at once; none are released while that many operations wait."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job: `seen` of `total` dead letters were checked, `released` of them are waiting again.

    Times are seconds since the epoch, 0 for none. `moved_at` is the time of the last progress.
    """

    id: str
    state: JobState
    filter: Filter
    who: str
    started_at: float
    total: int
    seen: int = 0
    released: int = 0
    moved_at: float = 0.0
    ended_at: float = 0.0
    cursor: str = ""


class Retries:
    """The job that retries dead letters. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, ledger: Ledger, inventory: Inventory, to: Recipient) -> None:
        self._redis, self._ledger, self._inventory, self._to = client, ledger, inventory, to

    def preview(self, wanted: Filter) -> tuple[Count, Filter]:
        """The number of dead letters that a job would retry, and the filter that selects exactly these."""
        fixed = self._fixed(wanted)
        return self._inventory.count_dead(fixed), fixed

    def start(self, wanted: Filter, who: str) -> Job:
        """Start a job for the operator `who`, with its audit entry. Raises `JobRunning` if one runs already."""
        fixed, job, now = self._fixed(wanted), new_id(), self._ledger.now()
        total = self._inventory.looked_at(fixed)
        chosen = {name: value for name, value in asdict(fixed).items() if value not in ("", None)}
        entry = audit.made(now, who, audit.Action.RETRIES_START, job, f"{total} dead letters")
        running = self._ledger.start_job(job, chosen, total, audit=entry)
        if running != job:
            raise JobRunning(running)
        started = self.get(job)
        assert started is not None
        return started

    def cancel(self, job: str, who: str) -> Job | None:
        """Cancel a job after its current batch, with an audit entry for `who`; None if no job has this id.

        Does nothing, and writes no entry, if the job has ended.
        """
        entry = audit.made(self._ledger.now(), who, audit.Action.RETRIES_CANCEL, job)
        return self.get(job) if self._ledger.cancel_job(job, audit=entry) else None

    def get(self, job: str) -> Job | None:
        """A job; None if no job has this id, or it ended more than 7 days ago."""
        with translated():
            fields: dict[bytes, bytes] = self._redis.hgetall(keys.job(job))  # type: ignore[assignment]
        return _job(job, {name.decode(): value.decode() for name, value in fields.items()}) if fields else None

    def current(self) -> Job | None:
        """The job that was started last; None if no job was started within the last 7 days or runs."""
        with translated():
            job: bytes | None = self._redis.get(keys.CURRENT_JOB)  # type: ignore[assignment]
        return self.get(job.decode()) if job else None

    def step(self) -> int | None:
        """Run one batch of the running job. Returns the number of dead letters checked; None if no job runs."""
        job = self.current()
        if job is None or job.state != JobState.RUNNING:
            return None
        room = self._room()
        if room < 1:
            return 0
        selective = job.filter.selective
        size = SCAN if selective else room  # without a filter each checked one is released
        cursor = Cursor.parse(job.cursor) if job.cursor else None
        rows = self._inventory.walk_dead(job.filter, cursor, size)
        ids, last = [row.id for row in rows], len(rows) < size
        if selective:
            chosen = [o.id for o in self._inventory.read(ids) if o and job.filter.passes(o)]
            if len(chosen) > room:
                rows, last = rows[: ids.index(chosen[room])], False  # the rest is left for the next batch
            ids = chosen[:room]
        return len(rows) if self._release(job, rows, ids, last=last) else 0

    def _release(self, job: Job, rows: list[Cursor], ids: list[str], *, last: bool) -> bool:
        upto = str(rows[-1]) if rows else job.cursor
        batch = Batch(job.id, job.cursor, upto, len(rows), tuple(ids), last)
        return self._ledger.release_batch(batch, self._to)

    def _room(self) -> int:
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zcard(keys.held(self._to.provider))
            pipe.zcard(keys.tried(self._to.provider))
            pipe.llen(keys.WAKE_LIST)
            waiting: list[int] = pipe.execute()
        return BATCH - sum(waiting)

    def _fixed(self, wanted: Filter) -> Filter:
        """The filter with `dead_before` at most now: otherwise a job would retry new dead letters without end."""
        now = int(self._ledger.now() * 1000) / 1000  # milliseconds, as in the HTTP answer
        return replace(wanted, state=State.DEAD, dead_before=min(wanted.dead_before or now, now))


def _job(job: str, fields: dict[str, str]) -> Job:
    return Job(
        id=job,
        state=JobState.read(fields["state"]),
        filter=Filter.read(json.loads(fields["filter"])),
        who=fields["who"],
        started_at=float(fields["started_at"]),
        total=int(fields["total"]),
        seen=int(fields.get("seen", 0)),
        released=int(fields.get("released", 0)),
        moved_at=float(fields.get("moved_at", 0)),
        ended_at=float(fields.get("ended_at", 0)),
        cursor=fields.get("cursor", ""),
    )
