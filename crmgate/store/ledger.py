"""The durable record of every operation: each change is one Lua script, so one atomic step and one round trip.

An operation that has not ended is in `due`, in `held:<provider>`, a dead letter or a suspect (`crmgate.store.keys`).
Only `delivered` and `discarded` end one; no key of one that has not ended carries an expiry. All times are seconds
since the epoch and come from the caller's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import redis

from crmgate.model import Check, Delivered, Event, EventType, Kind, Operation, State
from crmgate.policy import SETTLE_SECONDS
from crmgate.store import keys
from crmgate.store.audit import Entry, for_scripts, report
from crmgate.store.checks import inspect
from crmgate.store.entries import (
    Acceptance,
    Accepted,
    Batch,
    Claim,
    NoClaim,
    NotClaimed,
    Once,
    Recorded,
    Result,
    Session,
    Swept,
)
from crmgate.store.figures import counted
from crmgate.store.gate import (
    FIRST_PROBE,
    PROBE_SECONDS,
    RETURN_BATCH,
    RETURN_WAITS,
    THRESHOLD,
    YOUNG,
    Cause,
    Gate,
    Recipient,
)
from crmgate.store.keys import RECEIPT_SECONDS, translated
from crmgate.store.records import from_pairs, to_operation
from crmgate.store.scripts import Scripts, compact

PATIENCE = 60.0
"""Seconds between two looks at an operation behind another one, which wakes it when it ends."""
SWEEP_LIMIT = 500
"""Wake-ups that may wait in Huey's queue before a sweep adds no more."""
HEARTBEAT_KEPT = 24 * 3600
"""Seconds for which the last heartbeat of a worker is kept."""


class Ledger:
    """The operations and what is known of the providers. Every method raises `LedgerUnavailable`.

    `wake` makes the message that has a worker look at an operation; a lost message costs a delay, never an operation.
    """

    def __init__(self, client: redis.Redis, wake: Callable[[str], bytes], *, replicas: int = 0, patience: float = 0.5):
        """A failover keeps what was accepted, and leases: `replicas` replicas have them within `patience` seconds.

        What follows may get lost with the master: a lease that was not ended makes the next attempt look in the CRM.
        """
        self._redis = client
        self._scripts = Scripts(client, wake, replicas=replicas, patience=patience)

    def accept(
        self, operation: Operation, to: Recipient, *, alarm: float, lease: str = "", until: float = 0.0,
        once: Once | None = None, session: Session | None = None, suspect: bool = False,
    ) -> Accepted:  # fmt: skip
        """Record a new operation; with `lease` it is the caller's if the answer is `LEASED`, else a worker's."""
        arguments: dict[str, Any] = {
            "now": operation.accepted_at, "alarm": alarm, "lease": lease, "lease_until": until, "kind": operation.kind,
            "key": "", "digest": "", "seconds": 0, "patience": PATIENCE, "suspect": suspect,
            "settle": SETTLE_SECONDS,
        }  # fmt: skip
        if once:
            arguments |= {"key": once.key, "digest": once.digest, "seconds": once.seconds}
        if session:
            arguments["session"] = {
                "key": session.key, "who": session.who, "follow": session.follow, "seconds": keys.SESSION_SECONDS,
            }  # fmt: skip
        answer = self._scripts.run(
            "accept", arguments, to=to, text=compact(operation.payload), operation=operation.id
        )  # fmt: skip
        what, identifier, *of_it = (part.decode() for part in answer)
        kind, lead_id = of_it or (operation.kind, "")
        return Accepted(Acceptance(what), identifier, Kind.read(kind), lead_id)

    def claim(self, operation_id: str, to: Recipient, lease: str, *, now: float, seconds: float) -> Claim | NotClaimed:
        """Take the lease on an operation for `seconds`, if it may be tried now."""
        arguments = {
            "now": now, "lease": lease, "lease_until": now + seconds, "patience": PATIENCE, "settle": SETTLE_SECONDS,
        }  # fmt: skip
        answer = self._scripts.run("claim", arguments, to=to, operation=operation_id)
        reason = answer[0].decode()
        if reason != "claimed":
            return NotClaimed(NoClaim(reason), answer[1].decode() if len(answer) > 1 else "")
        _, look, settles_at, *fields = answer
        operation, used_up = from_pairs(operation_id, fields)
        return Claim(operation, lease, look == b"1", used_up, float(settles_at))

    def record_delivered(self, claim: Claim, to: Recipient, result: Result, delivered: Delivered) -> Recorded:
        """Record that the CRM confirmed the operation: what stays is a receipt.

        `recorded`; `recovered` if that opened the provider's gate; `ended` if it was known already.
        """
        receipt = {"receipt": compact(delivered.to_dict()), "record": delivered.record_id}
        return self._record(claim, to, State.DELIVERED, result, receipt)

    def record_waiting(
        self, claim: Claim, to: Recipient, result: Result, *,
        due: float, look: bool, paused: bool = False, wake: bool = False,
    ) -> Recorded:  # fmt: skip
        """Record that the operation is tried again at `due`; `paused` holds the whole provider back.

        With `look` the CRM is searched before the next attempt; with `wake` a worker is scheduled. `recorded`; `paused`
        or `opened` if that shut the provider's gate; `lost` or `ended` if the caller no longer holds the lease.
        """
        outcome = "paused" if paused else State.WAITING
        following: dict[str, Any] = {"due_at": due, "look": _flag(look)}
        if wake:
            following["wake_at"] = due
        return self._record(claim, to, outcome, result, following)

    def record_dead(
        self, claim: Claim, to: Recipient, result: Result, *, now: float, look: bool, wake: bool = False
    ) -> Recorded:
        """Record that no retry follows. `bury` makes a dead letter of the operation; until then its alarm is set."""
        following: dict[str, Any] = {"due_at": now, "look": _flag(look)}
        if wake:
            following["wake_at"] = 0
        return self._record(claim, to, State.DEAD, result, following)

    def _record(
        self, claim: Claim, to: Recipient, outcome: str, result: Result, following: Mapping[str, Any]
    ) -> Recorded:
        attempt = result.attempt
        arguments = {
            "now": attempt.at + attempt.duration, "lease": claim.lease, "outcome": outcome, "counted": attempt.counted,
            "used": result.used, "outage": result.outage, "floor": result.floor, "limited": result.limited,
            "settles_at": result.settles_at, "figures": counted(claim.operation.kind, attempt),
            "threshold": THRESHOLD, "first_probe": FIRST_PROBE,
            "receipt_seconds": RECEIPT_SECONDS, "session_seconds": keys.SESSION_SECONDS, **following,
        }  # fmt: skip
        event = compact(attempt.to_dict())
        answer: bytes = self._scripts.run("record", arguments, to=to, text=event, operation=claim.operation.id)
        return Recorded(answer.decode())

    def bury(self, operation_id: str, *, now: float) -> bool:
        """Make a dead letter of an operation recorded with `record_dead`; False if it is none, or one already."""
        return bool(self._scripts.run("bury", {"now": now, "waits": RETURN_WAITS}, operation=operation_id))

    def release(self, operation_id: str, to: Recipient, *, now: float, audit: Entry | None = None) -> bool:
        """Let a dead letter, or a suspect, wait for its provider again, with all its retries; False if it is neither.

        `audit` is written in the same step.
        """
        event = compact(Event(now, 0.0, "", EventType.RELEASED, counted=False).to_dict())
        arguments = {"now": now, **for_scripts(audit)}
        done = bool(self._scripts.run("release", arguments, to=to, text=event, operation=operation_id))
        return _reported(done, audit)

    def discard(
        self, operation_id: str, *, now: float, reason: str, seconds: int = RECEIPT_SECONDS, audit: Entry | None = None
    ) -> bool:
        """End a dead letter, or a suspect, without a delivery; False if it is neither. Those behind it may go.

        The receipt stays for `seconds`. `audit` is written in the same step.
        """
        event = compact(Event(now, 0.0, "", EventType.DISCARDED, detail=reason, counted=False).to_dict())
        arguments = {"now": now, "seconds": seconds, **for_scripts(audit)}
        return _reported(bool(self._scripts.run("discard", arguments, text=event, operation=operation_id)), audit)

    def amend(self, operation: Operation, payload: Mapping[str, Any], event: Event, audit: Entry) -> str:
        """Replace the payload of a dead letter, or a suspect, as it was read; `audit` is written in the same step.

        `amended`; `changed` if something happened to it since it was read; else its state, empty if it does not exist.
        """
        arguments = {"version": operation.version, "event": compact(event.to_dict()), **for_scripts(audit)}
        answer: bytes = self._scripts.run("amend", arguments, text=compact(payload), operation=operation.id)
        _reported(answer == b"amended", audit)
        return answer.decode()

    def start_job(self, job: str, wanted: Mapping[str, Any], total: int, *, now: float, audit: Entry) -> str:
        """Start a job that retries the dead letters that `wanted` selects, of `total`; the id of the job that runs now.

        That is another job's id if one runs already. `audit` is written in the same step.
        """
        arguments = {"filter": compact(wanted), "who": audit.who, "total": total}
        running = self._job("start", job, arguments, now, audit)
        _reported(running == job, audit)
        return running

    def cancel_job(self, job: str, *, now: float, audit: Entry) -> str:
        """Cancel a job that runs and write `audit` in the same step; the state that it had, empty if there is none."""
        state = self._job("cancel", job, {"seconds": RECEIPT_SECONDS}, now, audit)
        _reported(state == "running", audit)
        return state

    def _job(self, what: str, job: str, arguments: Mapping[str, Any], now: float, audit: Entry) -> str:
        answer: bytes = self._scripts.run(
            "job", {"what": what, "job": job, "now": now, **arguments, **for_scripts(audit)}
        )
        return answer.decode()

    def release_batch(self, batch: Batch, to: Recipient, *, now: float) -> bool:
        """Release the dead letters of a batch and move its job on; False if the job no longer stands at its start."""
        event = compact(Event(now, 0.0, "", EventType.RELEASED, counted=False).to_dict())
        arguments = {**asdict(batch), "now": now, "seconds": RECEIPT_SECONDS}
        released: int = self._scripts.run("retries", arguments, to=to, text=event)
        return released >= 0

    def drop_suspects(self, keep: int, *, now: float) -> int:
        """Discard the oldest suspects beyond `keep`, a hundred at most; their number (a counter has it, too)."""
        with translated():
            number: int = self._redis.zcard(keys.SUSPECT)
            over: list[bytes] = []
            if number > keep:
                over = self._redis.zrange(keys.SUSPECT, 0, min(number - keep, 100) - 1)  # type: ignore[assignment]
        reason, seconds = "more suspects came than are kept", keys.DROPPED_SECONDS
        dropped = [self.discard(each.decode(), now=now, reason=reason, seconds=seconds) for each in over].count(True)
        if dropped:
            self.count("suspects_dropped", dropped)
        return dropped

    def sweep(self, to: Recipient, *, now: float, again: float, limit: int = SWEEP_LIMIT) -> Swept:
        """Wake what is due and what may go, until `limit` wake-ups wait; return dead letters of an outage.

        An operation that was due, and still waits then, is woken again at the time `again`.
        """
        arguments = {
            "now": now, "again": again, "limit": limit, "batch": RETURN_BATCH,
            "first_probe": FIRST_PROBE, "later_probe": PROBE_SECONDS, "young": YOUNG,
        }  # fmt: skip
        event = compact(Event(now, 0.0, to.provider, EventType.RETURNED, counted=False).to_dict())
        woken, returned, probe = self._scripts.run("sweep", arguments, to=to, text=event)
        return Swept(woken, returned, bool(probe))

    def record_probe(self, to: Recipient, *, now: float, ok: bool, refused: bool, pause: float, used: int) -> Recorded:
        """Record what a probe of the provider found: `recovered` or `paused` if its gate changed, else `recorded`.

        `pause` is the time until refused credentials are tried again, in seconds; `used` the number of requests sent.
        """
        arguments = {"now": now, "ok": ok, "refused": refused, "pause": pause, "used": used}
        answer: bytes = self._scripts.run("probed", arguments, to=to)
        return Recorded(answer.decode())

    def resume(self, to: Recipient, *, now: float) -> Cause | None:
        """Have a provider tried again at once; what its gate was shut by, empty if it was open."""
        answer: bytes = self._scripts.run("resume", {"now": now}, to=to)
        return Cause.read(answer.decode()) if answer else None

    def gate(self, to: Recipient) -> Gate:
        """Whether a provider takes requests."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hmget(keys.gate(to.provider), ["cause", "since", "until", "failures"])
            pipe.zcard(keys.held(to.provider))
            pipe.zcard(keys.RETURNING)
            (cause, since, until, failures), held, returning = pipe.execute()
        return Gate(
            Cause.read(cause.decode()) if cause else None,
            float(since or 0), float(until or 0), int(failures or 0), held, returning,
        )  # fmt: skip

    def get(self, operation_id: str) -> Operation | None:
        """The operation or its receipt; None if neither is kept."""
        with translated():
            fields: dict[bytes, bytes] = self._redis.hgetall(keys.op(operation_id))  # type: ignore[assignment]
        return to_operation(operation_id, fields)

    def stats(self) -> dict[str, int]:
        """Counters (`accepted`, `delivered`, `dead`) and gauges (`waiting`, `dead_letters`, `queued`)."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hgetall(keys.STATS)
            pipe.zcard(keys.DUE)
            pipe.zcard(keys.DEAD)
            pipe.llen(keys.WAKE_LIST)
            pipe.smembers(keys.PROVIDERS)
            counters, due, dead, queued, providers = pipe.execute()
            held = sum(int(self._redis.zcard(keys.held(name.decode()))) for name in providers)
        numbers = {name.decode(): int(value) for name, value in counters.items()}
        return numbers | {"waiting": due + held, "dead_letters": dead, "queued": queued}

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter of `stats`."""
        with translated():
            self._redis.hincrby(keys.STATS, name, number)

    def count_lost_clicks(self, reasons: Mapping[str, int]) -> None:
        """Add to the counter `clicks_lost`, and to the recent ones by reason (`lost_clicks`)."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hincrby(keys.STATS, "clicks_lost", sum(reasons.values()))
            for reason, number in reasons.items():
                pipe.hincrby(keys.CLICKS_LOST, reason, number)
            pipe.expire(keys.CLICKS_LOST, keys.LOST_CLICKS_SECONDS)
            pipe.execute()

    def lost_clicks(self) -> dict[str, int]:
        """Number of recently lost clicks by reason; empty `keys.LOST_CLICKS_SECONDS` after the last one."""
        with translated():
            counts: dict[bytes, bytes] = self._redis.hgetall(keys.CLICKS_LOST)  # type: ignore[assignment]
        return {reason.decode(): int(number) for reason, number in counts.items()}

    def beat(self, worker: str, *, now: float) -> None:
        """Record that `worker` is alive."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zadd(keys.WORKERS, {worker: now})
            pipe.zremrangebyscore(keys.WORKERS, "-inf", now - HEARTBEAT_KEPT)
            pipe.execute()

    def leave(self, worker: str) -> None:
        """Record that `worker` has stopped in an orderly way."""
        with translated():
            self._redis.zrem(keys.WORKERS, worker)

    def workers_seen(self, within: float, *, now: float | None = None) -> int:
        """Number of workers that were alive in the last `within` seconds before `now` (default: the time of day)."""
        since = (time.time() if now is None else now) - within
        with translated():
            return int(self._redis.zcount(keys.WORKERS, since, "+inf"))

    def health(self) -> tuple[Check, ...]:
        """Whether Redis takes what has to be kept (the first check), and what about it could lose data."""
        return inspect(self._redis, keys.PROBE)


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _reported(done: bool, audit: Entry | None) -> bool:
    """Log the audit entry of a change that was made; whether it was."""
    if done and audit:
        report(audit)
    return done
