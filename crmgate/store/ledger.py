"""The durable record of every operation: Redis and Lua, one atomic step (and one round trip) each.

Keys share the hash tag `{crmgate}`, so that every script runs on one node of a Redis Cluster:

| key | what |
|---|---|
| `op:<id>` | hash: state, payload, attempts, lease; a receipt without personal data for 7 days after delivery |
| `due` | sorted set: id by the time at which somebody has to look at it again (retry, or lease running out) |
| `held:<provider>` | sorted set: the operations that only wait for their provider, by the time they were accepted |
| `later:<provider>` | sorted set: those of `due` that wait only because the CRM was away |
| `dead` | sorted set: dead letters by the time they became one |
| `returning` | sorted set: those of them that go back by themselves, by the time from which they may |
| `suspect` | sorted set: what looks like the work of a bot and waits for a person, by the time it was accepted |
| `session:<digest>` | hash: the lead of a session and the operation accepted last; 30 days |
| `gate:<provider>` | hash: whether a provider takes requests (`crmgate.store.gate`) |
| `slots:<provider>` | sorted set: the attempts under way by the end of their leases |
| `providers` | set: the providers for which operations were held |
| `job`, `job:<id>` | string: the last job that retries dead letters; hash: its state (`crmgate.operators.retries`) |
| `idem:<key>` | string: operation and digest of the submission that came with an idempotency key; 24 hours |
| `ops` | sorted set: every operation by the time it was accepted, until its receipt is gone (`operators.inventory`) |
| `ids` | sorted set: the same, all with the score 0, so that an id can be found by its beginning |
| `limit:<what>:<digest>` | string: the time at which a meter is empty again (`crmgate.store.limits`); until then |
| `workers` | sorted set: worker by the time it was last seen |
| `stats` | hash of counters |
| `probe` | string: written to see whether Redis takes anything; a second |
| `clicks_lost` | hash: the clicks lost lately, by reason; expires |

An operation that has not ended is in `due`, in `held:<provider>`, a dead letter or a suspect. Only `delivered` and
`discarded` end one; no key of one that has not ended carries an expiry. All times are seconds since the epoch and come
from the caller's clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Literal

import redis

from crmgate.model import Check, Delivered, Event, EventType, Kind, Operation, State
from crmgate.policy import SETTLE_SECONDS
from crmgate.store import client as redis_client
from crmgate.store.checks import inspect
from crmgate.store.entries import (
    Acceptance,
    Accepted,
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
from crmgate.store.keys import PREFIX, key, translated

WAKE_LIST = f"{PREFIX}huey:queue"
WAKE_SCHEDULE = f"{PREFIX}huey:schedule"
RECEIPT_SECONDS = 7 * 24 * 3600
DROPPED_SECONDS = 3600
SESSION_SECONDS = 30 * 24 * 3600
ALARM_GRACE = 3.0
"""Seconds after which a wake-up counts as lost."""
PATIENCE = 60.0
"""Seconds between two looks at an operation behind another one, which wakes it when it ends."""
SWEEP_LIMIT = 500
"""Wake-ups that may wait in Huey's queue before a sweep adds no more."""
ANY_ID = "@id@"
"""Stands for an operation's id in a wake-up that a script writes."""
HEARTBEAT_KEPT = 24 * 3600
LOST_CLICKS_SECONDS = 15 * 60


class Ledger:
    """Every method raises `LedgerUnavailable` when Redis does not answer, or refuses.

    `wake` makes the message that has a worker look at an operation; whoever loses it costs a delay, never an operation.
    """

    def __init__(self, client: redis.Redis, wake: Callable[[str], bytes], *, replicas: int = 0, patience: float = 0.5):
        """`replicas` have to hold an accepted operation and a lease, within `patience` seconds: a failover keeps both.

        What follows may get lost with the master: a lease that was not ended makes the next attempt look in the CRM.
        """
        self._redis, self._wake, self._replicas, self._patience = client, wake, replicas, patience
        names = ("accept", "claim", "record", "bury", "sweep", "probed", "resume", "release", "discard",
                 "amend", "job", "retries")  # fmt: skip
        self._scripts = {name: self._register(name) for name in names}

    def accept(
        self, operation: Operation, to: Recipient, *, alarm: float, lease: str = "", until: float = 0.0,
        once: Once | None = None, session: Session | None = None, suspect: bool = False,
    ) -> Accepted:  # fmt: skip
        """Record a new operation; with `lease` it is the caller's if the answer is `LEASED`, else a worker's."""
        arguments = {
            "now": operation.accepted_at, "alarm": alarm, "lease": lease, "lease_until": until, "kind": operation.kind,
            "key": "", "digest": "", "seconds": 0, "patience": PATIENCE, "suspect": suspect,
            "settle": SETTLE_SECONDS,
        }  # fmt: skip
        if once:
            arguments |= {"key": once.key, "digest": once.digest, "seconds": once.seconds}
        if session:
            arguments["session"] = {
                "key": session.key, "who": session.who, "follow": session.follow, "seconds": SESSION_SECONDS,
            }  # fmt: skip
        answer = self._run("accept", to, arguments, _json(operation.payload), operation.id)
        what, identifier, *more = (part.decode() for part in answer)
        kind, lead_id = more or (operation.kind, "")
        return Accepted(Acceptance(what), identifier, Kind.read(kind), lead_id)

    def claim(
        self, operation_id: str, to: Recipient, lease: str, *, now: float, seconds: float, pause: float
    ) -> Claim | NotClaimed:
        """Take the lease for `seconds`; `pause` is the wait after which a provider that refused is asked again."""
        arguments = {
            "now": now,
            "lease": lease,
            "lease_until": now + seconds,
            "pause": pause,
            "patience": PATIENCE,
            "settle": SETTLE_SECONDS,
        }
        answer = self._run("claim", to, arguments, "", operation_id)
        reason = answer[0].decode()
        if reason != "claimed":
            return NotClaimed(NoClaim(reason), answer[1].decode() if len(answer) > 1 else "")
        fields = _pairs(answer[3:])
        return Claim(
            _operation(operation_id, fields), lease, answer[1] == b"1", int(fields.get("counted", 0)),
            float(answer[2]),
        )  # fmt: skip

    def record_delivered(self, claim: Claim, to: Recipient, result: Result, delivered: Delivered) -> Recorded:
        """The CRM confirmed it: what stays is a receipt. `ENDED`: that was known already."""
        receipt = {"receipt": _json(delivered.to_dict()), "record": delivered.record_id}
        return self._record(claim, to, State.DELIVERED, result, receipt)

    def record_waiting(
        self, claim: Claim, to: Recipient, result: Result, *,
        due: float, look: bool, paused: bool = False, wake: bool = False,
    ) -> Recorded:  # fmt: skip
        """It is tried again at `due`; `paused` holds the whole provider back. With `wake` a worker is scheduled."""
        outcome: Literal["paused"] | State = "paused" if paused else State.WAITING
        told = {"due_at": due, "look": "01"[look]} | ({"wake_at": due} if wake else {})
        return self._record(claim, to, outcome, result, told)

    def record_dead(
        self, claim: Claim, to: Recipient, result: Result, *, now: float, look: bool, wake: bool = False
    ) -> Recorded:
        """No retry follows. It becomes a dead letter with `bury`; until then its alarm is set."""
        told = {"due_at": now, "look": "01"[look]} | ({"wake_at": 0} if wake else {})
        return self._record(claim, to, State.DEAD, result, told)

    def _record(
        self, claim: Claim, to: Recipient, outcome: Literal["paused"] | State, result: Result, told: dict[str, Any]
    ) -> Recorded:  # fmt: skip
        attempt = result.attempt
        arguments = told | {
            "now": attempt.at + attempt.duration, "lease": claim.lease, "outcome": outcome, "counted": attempt.counted,
            "used": result.used, "outage": result.outage, "floor": result.floor, "limited": result.limited,
            "settles_at": result.settles_at, "figures": counted(claim.operation.kind, attempt),
            "threshold": THRESHOLD, "probe": FIRST_PROBE,
            "receipt_seconds": RECEIPT_SECONDS, "session_seconds": SESSION_SECONDS,
        }  # fmt: skip
        answer: bytes = self._run("record", to, arguments, _json(attempt.to_dict()), claim.operation.id)
        return Recorded(answer.decode())

    def bury(self, operation_id: str, *, now: float) -> bool:
        """Make a dead letter of an operation recorded with `record_dead`; False if it is none, or one already."""
        return bool(self._run("bury", None, {"now": now, "waits": RETURN_WAITS}, "", operation_id))

    def release(self, operation_id: str, to: Recipient, *, now: float) -> bool:
        """Let a dead letter, or a suspect, go to those that wait, with all its retries; False if it is neither."""
        event = _json(Event(now, 0.0, "", EventType.RELEASED, counted=False).to_dict())
        return bool(self._run("release", to, {"now": now}, event, operation_id))

    def discard(self, operation_id: str, *, now: float, reason: str, seconds: int = RECEIPT_SECONDS) -> bool:
        """End a dead letter, or a suspect, without a delivery; False if it is neither. Those behind it may go.

        The receipt stays for so many seconds.
        """
        event = _json(Event(now, 0.0, "", EventType.DISCARDED, detail=reason, counted=False).to_dict())
        return bool(self._run("discard", None, {"now": now, "seconds": seconds}, event, operation_id))

    def drop_suspects(self, keep: int, *, now: float) -> int:
        """Discard the oldest suspects beyond `keep`, a hundred at most; how many (counted as `suspects_dropped`)."""
        with translated():
            number: int = self._redis.zcard(key("suspect"))
            over: list[bytes] = []
            if number > keep:
                over = self._redis.zrange(key("suspect"), 0, min(number - keep, 100) - 1)  # type: ignore[assignment]
        reason, seconds = "more suspects came than are kept", DROPPED_SECONDS
        dropped = [self.discard(each.decode(), now=now, reason=reason, seconds=seconds) for each in over].count(True)
        if dropped:
            self.count("suspects_dropped", dropped)
        return dropped

    def sweep(self, to: Recipient, *, now: float, again: float, limit: int = SWEEP_LIMIT) -> Swept:
        """Wake what is due and what may go, at most until `limit` wake-ups wait; return dead letters of an outage.

        What was due is woken anew at the time `again` if it still waits then.
        """
        arguments = {
            "now": now, "again": again, "limit": limit, "batch": RETURN_BATCH,
            "probe": PROBE_SECONDS, "first": FIRST_PROBE, "young": YOUNG,
        }  # fmt: skip
        event = _json(Event(now, 0.0, to.provider, EventType.RETURNED, counted=False).to_dict())
        woken, returned, probe = self._run("sweep", to, arguments, event)
        return Swept(woken, returned, bool(probe))

    def record_probe(self, to: Recipient, *, now: float, ok: bool, refused: bool, pause: float, used: int) -> Recorded:
        """What a probe of the provider found: `RECOVERED` or `PAUSED` if that changed its state, else `RECORDED`."""
        arguments = {"now": now, "ok": ok, "refused": refused, "pause": pause, "used": used}
        answer: bytes = self._run("probed", to, arguments, "")
        return Recorded(answer.decode())

    def resume(self, to: Recipient, *, now: float) -> Cause | None:
        """Have a provider asked again at once; what its gate was shut by, None if it was open."""
        answer: bytes = self._run("resume", to, {"now": now}, "")
        return Cause.read(answer.decode()) if answer else None

    def gate(self, to: Recipient) -> Gate:
        """Whether a provider takes requests."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hmget(key(f"gate:{to.provider}"), ["cause", "since", "until", "failures"])
            pipe.zcard(key(f"held:{to.provider}"))
            pipe.zcard(key("returning"))
            (cause, since, until, failures), held, returning = pipe.execute()
        return Gate(
            Cause.read(cause.decode()) if cause else None,
            float(since or 0), float(until or 0), int(failures or 0), held, returning,
        )  # fmt: skip

    def get(self, operation_id: str) -> Operation | None:
        """The operation or its receipt; None if there is none (any more)."""
        with translated():
            fields: dict[bytes, bytes] = self._redis.hgetall(_op(operation_id))  # type: ignore[assignment]
        return to_operation(operation_id, fields)

    def stats(self) -> dict[str, int]:
        """Counters (`accepted`, `delivered`, `dead`) and gauges (`waiting`, `dead_letters`, `queued`)."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hgetall(key("stats"))
            pipe.zcard(key("due"))
            pipe.zcard(key("dead"))
            pipe.llen(WAKE_LIST)
            pipe.smembers(key("providers"))
            counters, due, dead, queued, providers = pipe.execute()
            held = sum(int(self._redis.zcard(key(f"held:{name.decode()}"))) for name in providers)
        counted = {name.decode(): int(value) for name, value in counters.items()}
        return counted | {"waiting": due + held, "dead_letters": dead, "queued": queued}

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter of `stats`."""
        with translated():
            self._redis.hincrby(key("stats"), name, number)

    def count_lost_clicks(self, reasons: Mapping[str, int]) -> None:
        """Add to the counter `clicks_lost`, and to the recent ones by reason (`lost_clicks`)."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hincrby(key("stats"), "clicks_lost", sum(reasons.values()))
            for reason, number in reasons.items():
                pipe.hincrby(key("clicks_lost"), reason, number)
            pipe.expire(key("clicks_lost"), LOST_CLICKS_SECONDS)
            pipe.execute()

    def lost_clicks(self) -> dict[str, int]:
        """How many were lost for which reason; empty once none was for `LOST_CLICKS_SECONDS`."""
        with translated():
            counted: dict[bytes, bytes] = self._redis.hgetall(key("clicks_lost"))  # type: ignore[assignment]
        return {reason.decode(): int(number) for reason, number in counted.items()}

    def beat(self, worker: str, *, now: float) -> None:
        """Say that `worker` is alive."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zadd(key("workers"), {worker: now})
            pipe.zremrangebyscore(key("workers"), "-inf", now - HEARTBEAT_KEPT)
            pipe.execute()

    def leave(self, worker: str) -> None:
        """Say that `worker` has stopped in an orderly way."""
        with translated():
            self._redis.zrem(key("workers"), worker)

    def workers_seen(self, within: float, *, now: float | None = None) -> int:
        """How many workers were alive in the last `within` seconds before `now` (default: the time of day)."""
        since = (time.time() if now is None else now) - within
        with translated():
            return int(self._redis.zcount(key("workers"), since, "+inf"))

    def health(self) -> tuple[Check, ...]:
        """Whether Redis takes what has to be kept (the first check), and what about it could lose data."""
        return inspect(self._redis, key("probe"))

    def run(self, name: str, to: Recipient | None, arguments: dict[str, Any], text: str, operation: str = "") -> Any:
        """Run one of the scripts that are about more than one operation's life."""
        return self._run(name, to, arguments, text, operation)

    def _register(self, name: str) -> Any:
        text = (files("crmgate.store").joinpath("lua", f"{part}.lua").read_text() for part in ("common", name))
        return self._redis.register_script("\n".join(text))

    def _run(self, name: str, to: Recipient | None, arguments: dict[str, Any], text: str, operation: str = "") -> Any:
        told = arguments | {"wake": self._wake(ANY_ID).decode(), "grace": ALARM_GRACE}
        if to:
            told["to"] = to.told()
        if operation:
            told["id"] = operation
        place = _op(operation) if operation else key("due")
        sent = [_json(told), text]
        with translated():
            if not self._replicas or name not in _KEPT:
                return self._scripts[name](keys=[place], args=sent)
            return redis_client.run_replicated(
                self._redis, self._scripts[name], [place], sent,
                replicas=self._replicas, seconds=self._patience, mark=key("probe"),
            )  # fmt: skip


_KEPT = {"accept", "claim"}
"""What must outlive a failover: else an operation could be lost, or sent twice."""


def idempotency_key(digest: str) -> str:
    """The key that remembers the submission of an idempotency key, by its digest."""
    return key(f"idem:{digest}")


def _op(operation_id: str) -> str:
    return f"{PREFIX}op:{operation_id}"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pairs(flat: list[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def to_operation(operation_id: str, fields: Mapping[bytes, bytes]) -> Operation | None:
    """What a hash of the ledger holds; None if it holds nothing."""
    return _operation(operation_id, {k.decode(): v for k, v in fields.items()}) if fields else None


def _operation(operation_id: str, fields: Mapping[str, bytes]) -> Operation:
    numbers = sorted(int(name[8:]) for name in fields if name.startswith("attempt:"))
    delivered = fields.get("delivered")
    return Operation(
        id=operation_id,
        kind=Kind.read(fields["kind"].decode()),
        payload=json.loads(fields.get("payload", b"{}")),
        accepted_at=float(fields["accepted_at"]),
        state=State.read(fields["state"].decode()),
        due_at=float(fields.get("due_at", 0)),
        events=tuple(Event.from_dict(json.loads(fields[f"attempt:{number}"])) for number in numbers),
        delivered=Delivered.from_dict(json.loads(delivered)) if delivered else None,
        lead_id=fields.get("lead_id", b"").decode(),
        provider=fields.get("provider", b"").decode(),
        behind=fields.get("after", b"").decode(),
        ahead_of=fields.get("next", b"").decode(),
        returns=int(fields.get("returns", 0)),
        dead_at=float(fields.get("dead_at", 0)),
        version=int(fields.get("tries", 0)),
    )
