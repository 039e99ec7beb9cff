"""The durable record of every operation: Redis and Lua, one atomic step (and one round trip) each.

Keys share the hash tag `{crmgate}`, so that every script runs on one node of a Redis Cluster:

| key | what |
|---|---|
| `op:<id>` | hash: state, payload, attempts, lease; a receipt without personal data for 7 days after delivery |
| `due` | sorted set: id by the time at which somebody has to look at it again (retry, or lease running out) |
| `dead` | sorted set: dead letters by the time they became one |
| `pause:<provider>` | hash: when a provider that refused the credentials, or never yet took them, is asked again |
| `held:<provider>` | sorted set: the operations that such a pause holds back, by the time since when |
| `verified:<provider>` | a fingerprint of the credentials that worked last |
| `idem:<key>` | string: operation and digest of the submission that came with an idempotency key; 24 hours |
| `workers` | sorted set: worker by the time it was last seen |
| `stats` | hash of counters |

Only `delivered` and `discarded` end an operation; no key of one that has not ended carries an expiry. All times are
seconds since the epoch and come from the caller's clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as RedisRetry

from crmgate.errors import LedgerUnavailable
from crmgate.model import Attempt, Delivered, Operation, State

PREFIX = "{crmgate}:"
WAKE_LIST = f"{PREFIX}huey:queue"
WAKE_SCHEDULE = f"{PREFIX}huey:schedule"
RECEIPT_SECONDS = 7 * 24 * 3600
ALARM_GRACE = 3.0
"""Seconds between the time when Huey should have woken an operation and the alarm for the case that it forgot."""
SWEEP_LIMIT = 500
"""Wake-ups that may wait in Huey's queue before a sweep adds no more."""
ANY_ID = "@id@"
"""Stands for an operation's id in a wake-up that a script writes for several."""
HEARTBEAT_KEPT = 24 * 3600


@dataclass(frozen=True, slots=True)
class Recipient:
    """A provider and a fingerprint of the credentials in use: others have to prove themselves anew."""

    provider: str
    credentials: str = ""


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key (a digest of it), a digest of what came with it, and the seconds that both are remembered."""

    key: str
    digest: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The lease on an operation. `look_first` says that an earlier attempt may have reached the CRM."""

    operation: Operation
    lease: str
    look_first: bool
    counted: int


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Why an operation is not to be tried now: `leased`, `early`, `held`, `exhausted`, `unknown`, or its end."""

    reason: str


def connect(url: str, timeout: float = 1.0) -> redis.Redis:
    """A client for `url`. A command that met a broken connection is sent once more: every script can bear it."""
    return redis.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=RedisRetry(NoBackoff(), 1),
        retry_on_error=[redis.ConnectionError], health_check_interval=0,
    )  # fmt: skip


class Ledger:
    """Every method raises `LedgerUnavailable` when Redis does not answer, or refuses.

    `wake` makes the message that has a worker look at an operation; whoever loses it costs a delay, never an operation.
    """

    def __init__(self, client: redis.Redis, wake: Callable[[str], bytes]) -> None:
        self._redis, self._wake = client, wake
        names = ("accept", "claim", "record", "bury", "sweep")
        self._scripts = {name: partial(self._run, self._register(name)) for name in names}

    def accept(
        self, operation: Operation, to: Recipient, *, alarm: float, lease: str = "", until: float = 0.0,
        once: Once | None = None,
    ) -> tuple[str, str]:  # fmt: skip
        """Record a new operation; with `lease` it is the caller's if the answer is `leased`, else a worker's.

        Answers what became of it, and the id of the operation that stands for it. `accepted`: recorded. `held`:
        recorded, and nothing is sent to this provider for now. `exists`: it was there. For an idempotency key that was
        used before: `replay`, `running` while its first request still is, `conflict` if it came with something else.
        """
        keys = [
            _op(operation.id), _key("due"), _key("stats"), WAKE_LIST, _pause(to), _held(to), _verified(to),
            _key(f"idem:{once.key if once else ''}"),
        ]  # fmt: skip
        wake = b"" if lease else self._wake(operation.id)
        now = operation.accepted_at
        digest, seconds = (once.digest, once.seconds) if once else ("", 0)
        head = [operation.id, now, alarm, lease, until, wake, to.credentials, digest, seconds, _op("")]
        fields = ["kind", operation.kind, "payload", _json(operation.payload), "accepted_at", now]
        what, known = self._scripts["accept"](keys, head + fields)
        return what.decode(), known.decode()

    def claim(
        self, operation_id: str, to: Recipient, lease: str, *, now: float, seconds: float, probe: float
    ) -> Claim | NotClaimed:
        """Take the lease for `seconds`; `probe` is the wait after which a paused provider is asked again."""
        keys = [_op(operation_id), _key("due"), _pause(to), _held(to), _verified(to)]
        until = now + seconds
        arguments = [operation_id, now, lease, until, until + ALARM_GRACE, now + probe, to.credentials]
        answer = self._scripts["claim"](keys, arguments)
        reason = answer[0].decode()
        if reason != "claimed":
            return NotClaimed(reason)
        fields = _pairs(answer[2:])
        return Claim(_operation(operation_id, fields), lease, answer[1] == b"1", int(fields.get("counted", 0)))

    def record_delivered(self, claim: Claim, to: Recipient, attempt: Attempt, delivered: Delivered) -> str:
        """The CRM confirmed it: what stays is a receipt.

        `recorded`; `recovered` if that ended a pause of the provider; `ended` if it was known already.
        """
        return self._record(claim, to, State.DELIVERED, attempt, delivered=delivered)

    def record_waiting(
        self, claim: Claim, to: Recipient, attempt: Attempt, *,
        due: float, look: bool, paused: bool = False, wake: bool = False,
    ) -> str:  # fmt: skip
        """It is tried again at `due`; `paused` holds the whole provider back. With `wake` a worker is scheduled.

        `recorded`, or `paused` if the pause begins with it; `lost` or `ended` if it is no longer the caller's to say.
        """
        outcome = "paused" if paused else State.WAITING
        wake_at = due if wake else None
        return self._record(claim, to, outcome, attempt, due=due, alarm=due + ALARM_GRACE, look=look, wake_at=wake_at)

    def record_dead(
        self, claim: Claim, to: Recipient, attempt: Attempt, *, now: float, look: bool, wake: bool = False
    ) -> str:
        """No retry follows. It becomes a dead letter with `bury`; until then its alarm is set."""
        wake_at = 0.0 if wake else None
        return self._record(claim, to, State.DEAD, attempt, alarm=now + ALARM_GRACE, look=look, wake_at=wake_at)

    def _record(
        self, claim: Claim, to: Recipient, outcome: str, attempt: Attempt, *, due: float = 0.0, alarm: float = 0.0,
        look: bool = False, delivered: Delivered | None = None, wake_at: float | None = None,
    ) -> str:  # fmt: skip
        operation = claim.operation.id
        keys = [
            _op(operation), _key("due"), _pause(to), _key("stats"), WAKE_LIST, WAKE_SCHEDULE, _held(to), _verified(to),
        ]  # fmt: skip
        receipt = _json(delivered.to_dict()) if delivered else ""
        wake = b"" if wake_at is None else self._wake(operation)
        arguments = [
            operation, claim.lease, outcome, _json(attempt.to_dict()), int(attempt.counted), due, alarm, int(look),
            receipt, RECEIPT_SECONDS, wake, wake_at or 0, attempt.at + attempt.duration, to.credentials,
            self._wake(ANY_ID),
        ]  # fmt: skip
        answer: bytes = self._scripts["record"](keys, arguments)
        return answer.decode()

    def bury(self, operation_id: str, *, now: float) -> bool:
        """Make a dead letter of an operation recorded with `record_dead`; False if it is none, or one already."""
        keys = [_op(operation_id), _key("due"), _key("dead"), _key("stats")]
        return bool(self._scripts["bury"](keys, [operation_id, now]))

    def sweep(self, *, now: float, again: float, limit: int = SWEEP_LIMIT) -> int:
        """Wake the operations whose alarm has gone off, at most until `limit` wake-ups wait; how many were woken.

        Each of them is woken anew at the time `again` if it still waits then.
        """
        return int(self._scripts["sweep"]([_key("due"), WAKE_LIST], [now, again, limit, self._wake(ANY_ID)]))

    def get(self, operation_id: str) -> Operation | None:
        """The operation or its receipt; None if there is none (any more)."""
        with _translated():
            fields: dict[bytes, bytes] = self._redis.hgetall(_op(operation_id))  # type: ignore[assignment]
        return _operation(operation_id, {k.decode(): v for k, v in fields.items()}) if fields else None

    def dead_letters(self, limit: int = 100) -> list[Operation]:
        """The dead letters, oldest first."""
        with _translated():
            ids: list[bytes] = self._redis.zrange(_key("dead"), 0, limit - 1)  # type: ignore[assignment]
        return [operation for i in ids if (operation := self.get(i.decode()))]

    def stats(self) -> dict[str, int]:
        """Counters (`accepted`, `delivered`, `dead`) and gauges (`waiting`, `dead_letters`, `queued`)."""
        with _translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hgetall(_key("stats"))
            pipe.zcard(_key("due"))
            pipe.zcard(_key("dead"))
            pipe.llen(WAKE_LIST)
            counters, waiting, dead, queued = pipe.execute()
        counted = {name.decode(): int(value) for name, value in counters.items()}
        return counted | {"waiting": waiting, "dead_letters": dead, "queued": queued}

    def paused_until(self, provider: str) -> float:
        """When a provider that refused the credentials is asked again; 0 if it is not paused."""
        with _translated():
            refused, until = self._redis.hmget(_pause(Recipient(provider)), ["refused", "until"])
        return float(until or 0) if refused else 0.0

    def beat(self, worker: str, *, now: float) -> None:
        """Say that `worker` is alive."""
        with _translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zadd(_key("workers"), {worker: now})
            pipe.zremrangebyscore(_key("workers"), "-inf", now - HEARTBEAT_KEPT)
            pipe.execute()

    def leave(self, worker: str) -> None:
        """Say that `worker` has stopped in an orderly way."""
        with _translated():
            self._redis.zrem(_key("workers"), worker)

    def workers_seen(self, within: float, *, now: float | None = None) -> int:
        """How many workers were alive in the last `within` seconds before `now` (default: the time of day)."""
        since = (time.time() if now is None else now) - within
        with _translated():
            return int(self._redis.zcount(_key("workers"), since, "+inf"))

    def ping(self) -> None:
        """Ask Redis for a sign of life."""
        with _translated():
            self._redis.ping()

    def _register(self, name: str) -> Any:
        return self._redis.register_script(files("crmgate").joinpath("lua", f"{name}.lua").read_text())

    def _run(self, script: Callable[..., Any], keys: list[str], arguments: list[Any]) -> Any:
        with _translated():
            return script(keys=keys, args=arguments)


@contextmanager
def _translated() -> Iterator[None]:
    """Redis's errors as `LedgerUnavailable`, without their text: it may hold the command and so the payload."""
    try:
        yield
    except redis.RedisError as error:
        raise LedgerUnavailable(type(error).__name__) from None


def _key(name: str) -> str:
    return PREFIX + name


def _op(operation_id: str) -> str:
    return f"{PREFIX}op:{operation_id}"


def _pause(to: Recipient) -> str:
    return f"{PREFIX}pause:{to.provider}"


def _held(to: Recipient) -> str:
    return f"{PREFIX}held:{to.provider}"


def _verified(to: Recipient) -> str:
    return f"{PREFIX}verified:{to.provider}"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pairs(flat: list[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _operation(operation_id: str, fields: Mapping[str, bytes]) -> Operation:
    numbers = sorted(int(name[8:]) for name in fields if name.startswith("attempt:"))
    delivered = fields.get("delivered")
    return Operation(
        id=operation_id,
        kind=fields["kind"].decode(),
        payload=json.loads(fields.get("payload", b"{}")),
        accepted_at=float(fields["accepted_at"]),
        state=fields["state"].decode(),
        due_at=float(fields.get("due_at", 0)),
        attempts=tuple(Attempt.from_dict(json.loads(fields[f"attempt:{number}"])) for number in numbers),
        delivered=Delivered.from_dict(json.loads(delivered)) if delivered else None,
    )
