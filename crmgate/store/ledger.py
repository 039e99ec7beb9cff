"""The durable record of every operation: each change is one Lua script, so one atomic step and one round trip.

An operation that has not ended is in `due`, in `held:<provider>`, a dead letter or a suspect (`crmgate.store.keys`).
Only `delivered` and `discarded` end one; no key of one that has not ended carries an expiry. All times are seconds
since the epoch, by Redis's clock: the scripts read it, so that the clocks of the hosts may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import redis

from crmgate.model import Activity, Check, Delivered, Event, EventType, Kind, Operation, Suspicion
from crmgate.store import keys
from crmgate.store.audit import Entry, for_scripts, reported
from crmgate.store.checks import inspect
from crmgate.store.clock import redis_time
from crmgate.store.entries import (
    Acceptance,
    Accepted,
    Batch,
    Claim,
    JobState,
    NoClaim,
    NotClaimed,
    Once,
    Recorded,
    Remake,
    Result,
    Session,
    Swept,
    Wanted,
    Written,
    announcement_of,
    discarded,
    flag,
)
from crmgate.store.figures import counted
from crmgate.store.gate import RETURN_BATCH, Cause, Gate, Recipient, cause_of
from crmgate.store.keys import RECEIPT_SECONDS, translated
from crmgate.store.limits import UNMETERED, Metered
from crmgate.store.records import to_claim, to_operation
from crmgate.store.scripts import Scripts, compact
from crmgate.store.tallies import labels
from crmgate.store.vault import Vault

PATIENCE = 60.0
"""Seconds between two checks of an operation that waits for an earlier one. The earlier one wakes it when it ends."""
SWEEP_LIMIT = 500
"""Wake-ups that may wait in Huey's queue before a sweep adds no more."""
HEARTBEAT_KEPT = 24 * 3600
"""Seconds for which the last heartbeat of a worker is kept."""


class Ledger:
    """The operations and the state of the providers. Every method raises `LedgerUnavailable`.

    `wake` builds the Huey message that makes a worker attempt an operation. A lost message costs a delay, never an
    operation.
    """

    clock: Callable[[], float] | None = None
    """None: Redis's clock. A test that moves time sets its own, in seconds since the epoch."""

    def __init__(
        self, client: redis.Redis, wake: Callable[[str], bytes], vault: Vault | None = None, *,
        replicas: int = 0, patience: float = 0.5, keep: float = 0.0,
    ) -> None:  # fmt: skip
        """A failover keeps accepted operations and leases: `replicas` replicas have them within `patience` seconds.

        Later changes may be lost with the master. A lease without an outcome makes the next attempt search the CRM. The
        payload of a delivered operation is kept for `keep` seconds. `vault` encrypts payloads.
        """
        self._redis, self.vault, self.keep = client, vault or Vault(), keep
        self._scripts = Scripts(client, wake, replicas=replicas, patience=patience)

    def now(self) -> float:
        """The time by the clock of the ledger, in seconds since the epoch. Compare its times with no other clock."""
        return self.clock() if self.clock else redis_time(self._redis)

    def run(self, script: str, arguments: Mapping[str, Any], **options: Any) -> Any:
        """Run a script by its name (`crmgate.store.scripts`), for this module and others of the store; its answer."""
        moved = {"now": self.clock()} if self.clock else {}
        return self._scripts.run(script, {**arguments, **moved}, **options)

    def accept(
        self, operation: Operation, to: Recipient, *, alarm: float, lease: str = "", seconds: float = 0.0,
        once: Once | None = None, session: Session | None = None, people: Sequence[str] = (),
        suspect: Suspicion | None = None, waited: float | None = None, metered: Metered = UNMETERED,
    ) -> Accepted:  # fmt: skip
        """Record a new operation. The caller attempts it if the answer is `LEASED` (needs `lease`), else a worker.

        A sweep looks at it `alarm` seconds from now; the lease lasts for `seconds`. `people` are digests of its email
        and phone. It waits for operations under way that have one of them, or its session.

        `waited`: seconds since a submission from the spool was accepted. If it is the same as an earlier operation, its
        id leads to that one (`get`) for as long as a receipt is kept. The uses in `metered` are counted in the same
        step: above their limits the answer is `LIMITED`, and nothing is recorded, or it is `SUSPECT`.
        """
        arguments: dict[str, Any] = {
            "alarm": alarm, "lease": lease, "lease_seconds": seconds, "kind": operation.kind, "key": "", "former": "",
            "keyed": False, "digest": "", "seconds": 0, "patience": PATIENCE, "suspect": suspect or "",
            "settle": to.settle, "people": list(people), "labels": labels(operation.kind, operation.payload),
            "waited": waited or 0, "same_seconds": 0 if waited is None else RECEIPT_SECONDS, **metered.for_scripts(),
        }  # fmt: skip
        if once:
            arguments |= once.for_scripts()
        if session:
            arguments["session"] = session.for_scripts()
        answer = self.run(
            "accept", arguments, to=to, text=self.vault.seal(compact(operation.payload)), operation=operation.id
        )
        what, identifier, *of_it = [part.decode() for part in answer]
        if what == Acceptance.LIMITED:
            return Accepted(Acceptance.LIMITED, identifier, operation.kind, wait=float(of_it[0]))
        kind, lead_id, at = of_it or (operation.kind, "", operation.accepted_at)
        return Accepted(Acceptance(what), identifier, Kind.read(kind), lead_id, float(at))

    def claim(
        self, operation_id: str, to: Recipient, lease: str, *, seconds: float, supported: Iterable[Kind] = (),
        batch: int = 0,
    ) -> Claim | NotClaimed:  # fmt: skip
        """Take the lease on an operation for `seconds`, if it may be attempted now (see `Wanted`)."""
        wanted = Wanted(lease, seconds, tuple(supported), batch).for_scripts(PATIENCE, to.settle, self.vault.ids)
        answer = self.run("claim", {"claim": wanted}, to=to, operation=operation_id)
        if answer[0] in (b"claimed", b"batch"):
            return to_claim(answer, lease, self.vault)
        return NotClaimed(NoClaim(answer[0].decode()), answer[1].decode() if len(answer) > 1 else "")

    def record_delivered(
        self, claim: Claim, to: Recipient, result: Result, delivered: Delivered, wanted: Wanted | None = None
    ) -> Recorded:
        """Record that the CRM confirmed the operation. Only its receipt stays.

        With `wanted`, the operation of the oldest wake-up that may be attempted now is taken in the same step
        (`Recorded.following`). None is taken where a lease has to be on replicas before the CRM is asked, nor at
        most once: a lost answer of Redis would end the taken operation.
        """
        receipt = {"receipt": compact(delivered.to_dict()), "record": delivered.record_id, "keep": round(self.keep)}
        wanted = wanted if self.lets_follow(to) else None
        return self._record(claim, to, Written.DELIVERED, result, receipt, wanted)

    def lets_follow(self, to: Recipient) -> bool:
        """Whether the step that ends an attempt may take the next operation (see `record_delivered`)."""
        return not self._scripts.replicas and not to.at_most_once

    def record_waiting(
        self, claim: Claim, to: Recipient, result: Result, *, delay: float, look: bool, wake: bool = False
    ) -> Recorded:
        """Record that the operation is tried again in `delay` seconds, or when the gate of its provider opens.

        With `look` the CRM is searched before the next attempt; with `wake` a worker is scheduled.
        """
        following = {"delay": delay, "look": flag(look), "wake": wake}
        return self._record(claim, to, Written.WAITING, result, following)

    def record_held(self, claim: Claim, to: Recipient, result: Result, *, look: bool, wake: bool = False) -> Recorded:
        """Record that the operation waits for the gate of its provider, or is dead if only this record is refused."""
        return self._record(claim, to, Written.HELD, result, {"look": flag(look), "wake": wake})

    def record_dead(
        self, claim: Claim, to: Recipient, result: Result, *, look: bool, wake: bool = False, remake: Remake = ""
    ) -> Recorded:  # fmt: skip
        """Record that no retry follows, unless the gate of its provider is shut or another lead is made (`remake`).

        `make_dead_letter` follows; until then the operation has an alarm. With `wake` a worker is woken.
        """
        return self._record(claim, to, Written.DEAD, result, {"look": flag(look), "wake": wake, "remake": remake})

    def _record(
        self, claim: Claim, to: Recipient, outcome: Written, result: Result, following: Mapping[str, Any],
        wanted: Wanted | None = None,
    ) -> Recorded:  # fmt: skip
        attempt = result.attempt
        arguments = {
            "lease": claim.lease, "outcome": outcome, "counted": attempt.counted,
            "used": result.used, "reserved": result.reserved, "outage": result.outage, "floor": result.floor,
            "settle": result.settle,
            "final": result.final, "settles_at": claim.settles_at if claim.look_first else 0,
            "figures": counted(claim.operation, attempt),
            "receipt_seconds": RECEIPT_SECONDS, "session_seconds": keys.SESSION_SECONDS, "remake": "", "keep": 0,
            **following,
        }  # fmt: skip
        if result.event:
            arguments["event"] = result.event.for_scripts()
        if wanted:
            arguments["claim"] = wanted.for_scripts(PATIENCE, to.settle, self.vault.ids)
        text = compact(attempt.to_dict())
        answer = self.run("record", arguments, to=to, text=text, operation=claim.operation.id)
        written, announcement, cause = (part.decode() for part in answer[:3])
        taken = to_claim(answer[3], wanted.lease, self.vault) if wanted and len(answer) > 3 else None
        return Recorded(announcement_of(announcement), cause_of(cause), Written(written), taken)

    def make_dead_letter(self, operation_id: str) -> bool:
        """Make an operation recorded with `record_dead` a dead letter; False if it is not so recorded, or is one."""
        return bool(self.run("dead_letter", {}, operation=operation_id))

    def release(self, operation_id: str, to: Recipient, *, audit: Entry | None = None) -> bool:
        """Let a dead letter, or a suspect, wait for its provider again, with all its retries.

        An operation that waits is tried now. False if it has ended, or an attempt is under way. `audit` is written in
        the same step.
        """
        event = compact(Event(self.now(), 0.0, "", EventType.RELEASED, counted=False).to_dict())
        done = bool(self.run("release", for_scripts(audit), to=to, text=event, operation=operation_id))
        return reported(done, audit)

    def discard(
        self, operation_id: str, to: Recipient, *, reason: str, seconds: int = RECEIPT_SECONDS,
        audit: Entry | None = None, dead_before: float | None = None,
    ) -> bool:  # fmt: skip
        """End a dead letter, a suspect or a waiting operation without a delivery. It blocks no later operation.

        False if it has ended, or an attempt is under way; with `dead_before` also if it is no dead letter of that time
        or earlier. The receipt stays for `seconds`. `audit` is written in the same step.
        """
        arguments = {"seconds": seconds, **for_scripts(audit)}
        if dead_before is not None:
            arguments["dead_before"] = dead_before
        event = compact(discarded(self.now(), reason))
        return reported(bool(self.run("discard", arguments, to=to, text=event, operation=operation_id)), audit)

    def amend(
        self, operation: Operation, payload: Mapping[str, Any], event: Event, audit: Entry, *, people: Sequence[str]
    ) -> str:  # fmt: skip
        """Replace the payload of a dead letter, a suspect or a waiting operation; `audit` is written in the same step.

        If its `people` (digests of its email and phone) change, it goes behind the operations about them. Returns
        `amended`; `changed` if the operation changed since it was read; else its state, empty if it does not exist.
        """
        arguments = {
            "version": operation.version, "event": compact(event.to_dict()), "people": list(people),
            **for_scripts(audit),
        }  # fmt: skip
        answer: bytes = self.run("amend", arguments, text=self.vault.seal(compact(payload)), operation=operation.id)
        reported(answer == b"amended", audit)
        return answer.decode()

    def start_job(self, job: str, wanted: Mapping[str, Any], total: int, *, audit: Entry) -> str:
        """Start a job that looks at `total` dead letters and retries those that pass the filter `wanted`.

        Returns the id of the job that runs now: another one if a job ran already. `audit` is written in the same step.
        """
        arguments = {"filter": compact(wanted), "who": audit.who, "total": total}
        running = self._job("start", job, arguments, audit)
        reported(running == job, audit)
        return running

    def cancel_job(self, job: str, *, audit: Entry) -> str:
        """Cancel a running job and write `audit` in the same step. Returns its state before, empty if none exists."""
        state = self._job("cancel", job, {"seconds": RECEIPT_SECONDS}, audit)
        reported(state == JobState.RUNNING, audit)
        return state

    def _job(self, what: str, job: str, arguments: Mapping[str, Any], audit: Entry) -> str:
        answer: bytes = self.run("job", {"what": what, "job": job, **arguments, **for_scripts(audit)})
        return answer.decode()

    def release_batch(self, batch: Batch, to: Recipient) -> bool:
        """Release the dead letters of a batch and advance its job; False if the job is no longer at `batch.start`."""
        event = compact(Event(self.now(), 0.0, "", EventType.RELEASED, counted=False).to_dict())
        arguments = {**asdict(batch), "seconds": RECEIPT_SECONDS}
        released: int = self.run("retries", arguments, to=to, text=event)
        return released >= 0

    def drop_suspects(self, keep: int, to: Recipient) -> int:
        """Discard the oldest suspects beyond `keep`, 100 at most. Returns their number, and counts them in `stats`."""
        with translated():
            number: int = self._redis.zcard(keys.SUSPECT)
            over: list[bytes] = []
            if number > keep:
                over = self._redis.zrange(keys.SUSPECT, 0, min(number - keep, 100) - 1)  # type: ignore[assignment]
        reason, seconds = "more suspects came than are kept", keys.DROPPED_SECONDS
        dropped = [self.discard(each.decode(), to, reason=reason, seconds=seconds) for each in over].count(True)
        if dropped:
            with translated():
                self._redis.hincrby(keys.STATS, "suspects_dropped", dropped)
        return dropped

    def sweep(
        self, to: Recipient, *, again: float, lease: float, wait: float, limit: int = SWEEP_LIMIT,
        suspects: float = keys.SUSPECT_SECONDS,
    ) -> Swept:  # fmt: skip
        """Wake operations that are due or may be sent, until `limit` wake-ups wait; return dead letters of an outage.

        An operation that was due is woken again in `again` seconds if it still waits then. `lease` and `wait` are the
        longest lease and the longest wait of an operation, in seconds: if Redis's clock was set back, times further
        ahead are shortened to them. Suspects older than `suspects` seconds are discarded, 100 at most.
        """
        now = self.now()
        event = compact(Event(now, 0.0, to.provider, EventType.RETURNED, counted=False).to_dict())
        expired = compact(discarded(now, f"nobody released it within {suspects / 86400:g} days"))
        arguments = {
            "again": again, "lease": lease, "wait": wait, "limit": limit, "batch": RETURN_BATCH,
            "suspect_age": suspects, "suspect_event": expired, "suspect_receipt": keys.DROPPED_SECONDS,
        }  # fmt: skip
        woken, returned, probe, announcement = self.run("sweep", arguments, to=to, text=event)
        return Swept(woken, returned, bool(probe), recovered=bool(announcement))

    def record_probe(self, to: Recipient, *, began: float, ok: bool, refused: bool, used: int) -> Recorded:
        """Record a connection test that began at `began`, by this ledger's clock, and sent `used` requests."""
        arguments = {"began": began, "ok": ok, "refused": refused, "used": used}
        announcement, cause = (part.decode() for part in self.run("probed", arguments, to=to))
        return Recorded(announcement_of(announcement), cause_of(cause))

    def pause(self, to: Recipient, *, audit: Entry | None = None) -> Cause | None:
        """Send nothing to a provider until `resume`. Returns the cause for which its gate was shut before, or None."""
        return self._steer("pause", to, audit)

    def resume(self, to: Recipient, *, audit: Entry | None = None) -> Cause | None:
        """End a pause, or try the provider again at once. Returns the cause for which its gate was shut, or None."""
        return self._steer("resume", to, audit)

    def _steer(self, script: str, to: Recipient, audit: Entry | None) -> Cause | None:
        answer: bytes = self.run(script, for_scripts(audit), to=to)
        reported(True, audit)
        return cause_of(answer.decode())

    def gate(self, to: Recipient) -> Gate:
        """The gate of a provider: whether requests are sent to it, and why not."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hmget(keys.gate(to.provider), ["cause", "since", "until", "confirmed", "reason", "failures"])
            pipe.zcard(keys.held(to.provider))
            pipe.zcard(keys.tried(to.provider))
            pipe.zcard(keys.RETURNING)
            (cause, since, until, confirmed, reason, failures), held, tried, returning = pipe.execute()
        return Gate(
            cause_of((cause or b"").decode()), float(since or 0), float(until or 0), confirmed == b"1",
            (reason or b"").decode(), int(float(failures or 0)), held + tried, returning,
        )  # fmt: skip

    def get(self, operation_id: str) -> Operation | None:
        """The operation or its receipt; None if neither is kept. The id of a repetition leads to the first one."""
        with translated():
            fields: dict[bytes, bytes] = self._redis.hgetall(keys.op(operation_id))  # type: ignore[assignment]
            if not fields and (same := self._redis.get(keys.same(operation_id))):
                operation_id = same.decode()  # type: ignore[union-attr]
                fields = self._redis.hgetall(keys.op(operation_id))  # type: ignore[assignment]
        return to_operation(operation_id, fields, self.vault)

    def stats(self) -> dict[str, int]:
        """Counters (`accepted`, `delivered`, `dead`) and gauges (`waiting`, `dead_letters`, `suspects`, `queued`)."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hgetall(keys.STATS)
            pipe.zcard(keys.DUE)
            pipe.zcard(keys.DEAD)
            pipe.zcard(keys.SUSPECT)
            pipe.llen(keys.WAKE_LIST)
            pipe.smembers(keys.PROVIDERS)
            counters, due, dead, suspects, queued, providers = pipe.execute()
            names = [name.decode() for name in providers]
            held = sum(int(self._redis.zcard(queue(name))) for name in names for queue in (keys.held, keys.tried))
        numbers = {name.decode(): int(value) for name, value in counters.items()}
        return numbers | {"waiting": due + held, "dead_letters": dead, "suspects": suspects, "queued": queued}

    def count_click(self, activity: Activity, visit: str = "") -> None:
        """Count a click that makes no operation; `visit` is the digest of its session, empty if it has none."""
        of_it = {"labels": labels(Kind.CREATE_MINIMAL_LEAD, activity.to_dict()), "visit": visit}
        self.run("click", of_it | {"seconds": keys.SESSION_SECONDS})

    def refile(self, index: str, ids: Sequence[str]) -> None:
        """Enter dead letters into the index of the causes; with an `index`, remove from it what is no dead letter."""
        self.run("refile", {"index": index, "ids": list(ids)})

    def beat(self, worker: str) -> None:
        """Record that `worker` is alive."""
        now = self.now()
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zadd(keys.WORKERS, {worker: now})
            pipe.zremrangebyscore(keys.WORKERS, "-inf", now - HEARTBEAT_KEPT)
            pipe.execute()

    def leave(self, worker: str) -> None:
        """Record that `worker` has stopped in an orderly way."""
        with translated():
            self._redis.zrem(keys.WORKERS, worker)

    def workers_seen(self, within: float) -> int:
        """Number of workers that were alive in the last `within` seconds."""
        now = self.now()
        with translated():  # a heartbeat from the future is left from before Redis's clock was set back
            return int(self._redis.zcount(keys.WORKERS, now - within, now + within))

    def worker_seen_on(self, host: str, within: float) -> bool:
        """Whether a worker on the host with this name was alive in the last `within` seconds."""
        since = self.now() - within
        with translated():
            names: list[bytes] = self._redis.zrangebyscore(keys.WORKERS, since, "+inf")  # type: ignore[assignment]
        return any(name.decode().rpartition(":")[0] == host for name in names)

    def health(self) -> tuple[Check, ...]:
        """Check Redis. The first check says whether it accepts writes, the others find settings that may lose data."""
        return inspect(self._redis, keys.PROBE)
