"""Every key that crmgate keeps in Redis: its name, its type, its expiry and what it holds.

All names carry the hash tag `{crmgate}`, so that every key is on the same node of a Redis Cluster and a Lua script may
touch any of them. No other file spells a name: Python imports it from here, and the scripts get the names of
`for_scripts` in their table `key`. Times in Redis are seconds since the epoch, by Redis's clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from crmgate.policy import REFUSED_PROBE
from crmgate.store import client as redis_client

PREFIX = "{crmgate}:"

RECEIPT_SECONDS = 7 * 24 * 3600
"""Expiry of the receipt of an operation, and of a job that has ended, in seconds."""
DROPPED_SECONDS = 3600
"""Expiry of a suspect that was removed for its age or made room for newer ones, in seconds."""
SUSPECT_SECONDS = 30 * 24 * 3600
"""Age at which a suspect is discarded, in seconds, unless `SUSPECT_DAYS` says otherwise."""
SESSION_SECONDS = 30 * 24 * 3600
"""Expiry of a session, in seconds; each submission starts it again."""
IDEMPOTENCY_SECONDS = 24 * 3600
"""Expiry of an idempotency key, in seconds."""
LOST_CLICKS_SECONDS = 15 * 60
"""Seconds after the last lost click at which the recent ones are forgotten."""
MARK_SECONDS = 1
"""Expiry of a test write, in seconds."""
WATCH_SECONDS = 30
"""Expiry of the watch, in seconds: another web process takes it over that long after its holder has ended."""
HOUR_SECONDS = 49 * 3600
"""Expiry of the figures of an hour, in seconds."""
DAY_SECONDS = 400 * 24 * 3600
"""Expiry of the figures of a day, in seconds."""
OPS_SESSION_SECONDS = 8 * 3600
"""Expiry of a session of the operator's pages, in seconds after the log-in; use does not extend it."""
LOGIN_CODE_SECONDS = 600
"""Expiry of a one-time log-in code, in seconds."""
RECONCILING_SECONDS = 600
"""Expiry of the mark of a daily comparison with the CRM, in seconds after its last batch: then it is tried again."""
REWRITE_SECONDS = 24 * 3600
"""Seconds between two rewrites of the append-only file."""
ACCESS_TOKEN_SECONDS = 400 * 24 * 3600
"""Longest expiry of an access token for the CRM, in seconds: that of an unused refresh token."""
ACCESS_TOKEN_LOCK_SECONDS = 60
"""Expiry of the right to renew an access token, in seconds."""
_METER_SECONDS = 2 * 24 * 3600  # the slowest limit is one use a day


@dataclass(frozen=True, slots=True)
class Key:
    """A row of the table. A part of the name in angle brackets varies.

    `type` is the answer of Redis's command TYPE. `seconds` is the longest expiry that the key may have, 0 if it has
    none; with `after_end` it has none before the operation, or the job, has ended. `personal`: it can hold personal
    data, or a digest of them, so docs/data-protection.md has it.
    """

    name: str
    type: str
    meaning: str
    seconds: int = 0
    after_end: bool = False
    personal: bool = False


TABLE: list[Key] = []
"""Every key, or family of keys. `tests/store/test_keys.py` compares it with a Redis that a whole gateway has used."""


def _key(name: str, type_: str, meaning: str, seconds: int = 0, *, personal: bool = False) -> str:
    """Add a key to the table; its full name."""
    TABLE.append(Key(name, type_, meaning, seconds, personal=personal))
    return PREFIX + name


def _family(
    name: str, type_: str, meaning: str, seconds: int = 0, *, after_end: bool = False, personal: bool = False
) -> Callable[..., str]:
    """Add a family of keys to the table; a function from the varying parts of the name to the full name."""
    TABLE.append(Key(name, type_, meaning, seconds, after_end, personal))
    start = PREFIX + name.partition("<")[0]

    def full_name(first: object, *parts: object) -> str:
        return start + ":".join([str(first), *map(str, parts)]) if parts else f"{start}{first}"

    return full_name


op = _family(
    "op:<operation>", "hash", "State, payload, history and lease of an operation; after its end a receipt.",
    RECEIPT_SECONDS, after_end=True, personal=True,
)  # fmt: skip
DUE = _key("due", "zset", "Operations by the time of their alarm: a retry is due, or a lease runs out.")
held = _family("held:<provider>", "zset", "Operations that only wait for their provider, by the time of acceptance.")
tried = _family("tried:<provider>", "zset", "Held operations sent while the gate was shut; tried after `held`.")
later = _family(
    "later:<provider>", "zset", "Operations in `due` whose retry waits only because the CRM was unavailable."
)
DEAD = _key("dead", "zset", "Dead letters by the time at which they became dead letters.")
CAUSES = _key("causes", "hash", "Causes of the dead letters, by digest: provider, code and field as JSON.")
cause = _family("cause:<digest>", "zset", "Dead letters of one cause by the same time.")
RETURNING = _key("returning", "zset", "Dead letters that return by themselves, by the time from which they may.")
SUSPECT = _key("suspect", "zset", "Suspects, which are kept for review, by the time of acceptance.")
session = _family(
    "session:<digest>", "hash", "Lead of a session, and the operation that was accepted last.", SESSION_SECONDS,
    personal=True,
)  # fmt: skip
PERSON_KEY = _key("person_key", "string", "Secret key of the digests in the names of `person:<digest>`.")
person = _family(
    "person:<digest>", "zset", "Operations and sessions of an email or phone, by the time at which they are forgotten.",
    SESSION_SECONDS, after_end=True, personal=True,
)  # fmt: skip
line = _family(
    "line:<digest>", "zset", "Operations under way with one session, email or phone, in their order.", personal=True
)
gate = _family("gate:<provider>", "hash", "Whether a provider takes requests, and how many (crmgate.store.gate).")
slots = _family("slots:<provider>", "zset", "Leases of the attempts under way, by the time of their end.")
PROVIDERS = _key("providers", "set", "Providers for which operations were held.")
CURRENT_JOB = _key("job", "string", "Id of the job that was started last (crmgate.operators.retries).")
job = _family(
    "job:<job>", "hash", "State of a job that retries dead letters.", RECEIPT_SECONDS, after_end=True, personal=True
)
idem = _family(
    "idem:<digest>", "string", "Operation and digest of the submission that came with an idempotency key.",
    IDEMPOTENCY_SECONDS, personal=True,
)  # fmt: skip
same = _family(
    "same:<operation>", "string", "Operation that a submission from the spool repeats, by the id of that submission.",
    RECEIPT_SECONDS,
)  # fmt: skip
kept = _family(
    "kept:<operation>", "string", "Payload of a delivered operation, for `PAYLOAD_KEEP` after its delivery.",
    RECEIPT_SECONDS, personal=True,
)  # fmt: skip
RECONCILED = _key("reconciled", "string", "Result of the last comparison with the CRM, as JSON.")
RECONCILING = _key(
    "reconciling", "string", "Worker whose daily comparison with the CRM is under way.", RECONCILING_SECONDS
)
OPS = _key("ops", "zset", "Operations by the time of acceptance, until their receipt has expired.")
IDS = _key("ids", "zset", "The same operations with the score 0, to find an id by its beginning.")
limit = _family(
    "limit:<what>:<digest>", "string", "Time at which a meter is empty (crmgate.store.limits).", _METER_SECONDS,
    personal=True,
)  # fmt: skip
WORKERS = _key("workers", "zset", "Workers by the time of their last heartbeat.")
CLOCKS = _key("clocks", "hash", "Offset of the clock of each host in seconds, and the time of its measurement.")
WATCH = _key("watch", "string", "Web process that has the watch (crmgate.store.watch).", WATCH_SECONDS)
ANNOUNCED = _key("announced", "hash", "Time at which an incident was announced, by its name (crmgate.store.watch).")
STATS = _key("stats", "hash", "Counters of the ledger.")
hour = _family(
    "hour:<number>",
    "hash",
    "Operations that were accepted, were delivered or became dead letters in one hour.",
    HOUR_SECONDS,
)
day = _family(
    "day:<number>:<dimension>", "hash", "Figures of one day by source, referral, channel or campaign.", DAY_SECONDS,
    personal=True,
)  # fmt: skip
EVENTS = _key("events", "stream", "Latest deliveries, dead letters, changes of gates and ended jobs.")
ATTEMPTS = _key("attempts", "hash", "Counters of attempts and their durations (crmgate.store.figures).")
CLICKS_LOST = _key("clicks_lost", "hash", "Recently lost clicks by reason.", LOST_CLICKS_SECONDS)
AUDIT = _key("audit", "stream", "Changes that operators made (crmgate.store.audit).", personal=True)
TOKENS = _key("tokens", "hash", "API tokens by id: name, scope and hash (crmgate.store.tokens).", personal=True)
TOKENS_USED = _key("tokens:used", "hash", "Time of the last use of a token, by its id.")
ops_session = _family(
    "ops_session:<digest>", "string", "Session of the operator's pages: its token, without the secret.",
    OPS_SESSION_SECONDS, personal=True,
)  # fmt: skip
login_code = _family(
    "login_code:<digest>", "string", "Token that a one-time log-in code stands for.", LOGIN_CODE_SECONDS, personal=True
)
access_token = _family(
    "access_token:<digest>", "string", "Access token for the CRM and its refresh token, as JSON, or encrypted.",
    ACCESS_TOKEN_SECONDS,
)  # fmt: skip
access_token_lock = _family(
    "access_token_lock:<digest>", "string", "A process renews this access token.", ACCESS_TOKEN_LOCK_SECONDS
)
tested = _family(
    "tested:<provider>:<credentials>", "string", "Result of the last connection test.", round(REFUSED_PROBE)
)
REWRITE = _key(
    "rewrite", "string", "Result of the last rewrite of the append-only file (crmgate.store.rewrite).", REWRITE_SECONDS
)
PROBE = _key("probe", "string", "Test write: whether Redis, and enough replicas of it, accept writes.", MARK_SECONDS)
WAKE_LIST = _key("huey:queue", "list", "Wake-ups for the workers: Huey's queue.")
WAKE_SCHEDULE = _key("huey:schedule", "zset", "Wake-ups by the time at which they move to the queue: Huey's schedule.")


def for_scripts() -> dict[str, str]:
    """Names of the keys for the Lua scripts; for a family its prefix, to which a script appends the rest."""
    return {
        "op": op(""), "due": DUE, "held": held(""), "tried": tried(""), "later": later(""), "dead": DEAD,
        "returning": RETURNING, "suspect": SUSPECT, "session": session(""), "line": line(""), "gate": gate(""),
        "slots": slots(""), "providers": PROVIDERS, "current_job": CURRENT_JOB, "job": job(""), "idem": idem(""),
        "same": same(""), "kept": kept(""), "ops": OPS, "ids": IDS, "causes": CAUSES, "cause": cause(""),
        "hour": hour(""), "day": day(""), "events": EVENTS,
        "person": person(""), "person_key": PERSON_KEY,
        "stats": STATS, "attempts": ATTEMPTS, "audit": AUDIT, "wake_list": WAKE_LIST, "wake_schedule": WAKE_SCHEDULE,
    }  # fmt: skip


def digest(text: str) -> str:
    """Digest for the name of a key, which must contain no personal data. `text` begins with what it is about."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def translated() -> Iterator[None]:
    """Turn Redis's errors into `LedgerUnavailable`, without their text: it may hold the command and so the payload."""
    try:
        yield
    except redis_client.ERRORS as error:
        raise redis_client.unavailable(error) from None
