"""The auditor: compares the answers that clients got, the operations in Redis and the leads in the CRM.

It shares no code with the gateway: it reads the CRM's database and Redis with plain commands, by the names that
`docs/architecture.md` gives them.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

ACCEPTED = (201, 202)
CLOSED, REASON = "@closed.example", "We serve another region."
"""The CRM refuses every lead with this in its email address, and the reason that it gives."""
HELD_LIMIT = 15.0
"""Seconds within which a lead is in the CRM while the trouble is another record's."""
BURIED_LIMIT = 5
"""Dead letters that a trouble of everybody may make before it is known to be one."""
WORDS = {
    "lost": "got the answer 201 or 202, the CRM has no lead, and no operation for it waits",
    "duplicated": "has more than one lead",
    "early": "got the answer 201 before the CRM had the lead",
    "unrecorded": "got the answer 201 or 202, and Redis has no such operation",
    "unfinished": "an operation is not delivered",
    "stranger": "is in the CRM, and nobody sent it",
    "unanswered": "never got an answer, long after everything worked again",
    "refused": "got an answer that nothing in the run can excuse",
    "unexplained": "is refused by the CRM, and its dead letter does not give the CRM's reason",
    "held": f"waited more than {HELD_LIMIT:.0f} s while the CRM refused other records only",
    "buried": "became a dead letter, although the trouble was everybody's",
    "many": f"made more than {BURIED_LIMIT} dead letters at a time, although the trouble was everybody's",
}
"""Complaints of the auditor, in words."""
EXCUSED = (0, 201, 202, 409, 502, 503)
"""Answers that a client may get while processes die; 0: none."""


@dataclass(frozen=True)
class Note:
    """The fate of one submission, as its client saw it. Times are seconds since the epoch."""

    email: str
    persistent: bool
    """Whether the client sends the same again, with the same key, until it is accepted."""
    sent_at: float
    answered_at: float
    operation: str = ""
    statuses: tuple[int, ...] = ()
    """Every answer in its order; 0 where none came."""

    @property
    def accepted(self) -> bool:
        return self.statuses[-1:] in [(status,) for status in ACCEPTED]


@dataclass(frozen=True)
class Lead:
    """A lead in the CRM's database: whose it is, and when it was stored."""

    email: str
    stored_at: float


@dataclass(frozen=True)
class Letter:
    """A dead letter: the email address in it, and what is recorded of its last attempt."""

    email: str
    reason: str

    @property
    def refused(self) -> bool:
        """Whether it is one of those that the CRM refuses for good."""
        return CLOSED in self.email


@dataclass(frozen=True)
class Trial:
    """One trouble that occurred alone. Times are seconds since the epoch, `recovery` and its `limit` are seconds.

    `law`: `record` where it is one record's, `everybody` where it is everybody's. `made`: the dead letters that were
    there when all had settled and not before; `most`: the most that were there at a time.
    """

    name: str
    law: str
    began: float
    ended: float
    recovery: float
    limit: float
    made: frozenset[str] = frozenset()
    most: int = 0
    ready: bool = True
    """Whether `readyz` said so once all had settled."""


@dataclass(frozen=True)
class Evidence:
    """The data that the auditor checks. `operations`: the state of each by its id; `letters`: the dead ones."""

    notes: tuple[Note, ...]
    leads: tuple[Lead, ...]
    operations: Mapping[str, str]
    letters: Mapping[str, Letter] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Complaint:
    """Something that is wrong. `what` is a key of `WORDS`."""

    what: str
    who: str

    def __str__(self) -> str:
        return f"{self.what}: {self.who} {WORDS[self.what]}"


def audit(evidence: Evidence) -> list[Complaint]:
    """Everything that is wrong after all operations have ended."""
    leads = defaultdict[str, list[float]](list)
    for lead in evidence.leads:
        leads[lead.email].append(lead.stored_at)
    found = [complaint for note in evidence.notes for complaint in _of_note(note, leads, evidence.operations)]
    strangers = leads.keys() - {note.email for note in evidence.notes}
    found += [Complaint("stranger", email) for email in sorted(strangers)]
    found += _open_ends(evidence)
    return found + [complaint for trial in evidence.trials for complaint in _of_trial(trial, leads, evidence)]


def _open_ends(evidence: Evidence) -> Iterator[Complaint]:
    for name, state in sorted(evidence.operations.items()):
        letter = evidence.letters.get(name)
        if letter and letter.refused:
            if REASON not in letter.reason:
                yield Complaint("unexplained", f"{letter.email} {name}")
        elif state != "delivered":
            yield Complaint("unfinished", f"{name} ({state})")


def _of_trial(trial: Trial, leads: Mapping[str, list[float]], evidence: Evidence) -> Iterator[Complaint]:
    if trial.law == "record":
        for note in (note for note in evidence.notes if note.accepted and trial.began <= note.sent_at <= trial.ended):
            if note.email in leads and min(leads[note.email]) > note.sent_at + HELD_LIMIT:
                yield Complaint("held", f"{trial.name}: {note.email}")
    if trial.law == "everybody":
        for name in sorted(trial.made):
            yield Complaint("buried", f"{trial.name}: {name}")
        if trial.most > BURIED_LIMIT:
            yield Complaint("many", f"{trial.name} ({trial.most})")


def _of_note(note: Note, leads: Mapping[str, list[float]], operations: Mapping[str, str]) -> Iterator[Complaint]:
    stored, who = leads.get(note.email, []), f"{note.email} {note.statuses} {note.operation}"
    if len(stored) > 1:
        yield Complaint("duplicated", who)
    if not set(note.statuses) <= set(EXCUSED):
        yield Complaint("refused", who)
    if not note.accepted:
        if note.persistent:
            yield Complaint("unanswered", who)
        return
    if not stored and operations.get(note.operation, "delivered") == "delivered":
        yield Complaint("lost", who)  # one that still waits is unfinished
    elif note.statuses[-1] == 201 and (not stored or min(stored) > note.answered_at):
        yield Complaint("early", who)
    if note.operation not in operations:
        yield Complaint("unrecorded", who)


def last_arrival(evidence: Evidence, since: float, until: float) -> float:
    """When the last of the submissions that were under way between two times was in the CRM; 0 without any."""
    first = {lead.email: lead.stored_at for lead in sorted(evidence.leads, key=lambda lead: -lead.stored_at)}
    concerned = (n for n in evidence.notes if n.accepted and n.sent_at < until and n.answered_at > since)
    return max((first[note.email] for note in concerned if note.email in first), default=0.0)


def statuses(notes: Iterable[Note]) -> Counter[int]:
    """Number of times that each answer was given."""
    return Counter(status for note in notes for status in note.statuses)


def _espocrm_emails(lead: Mapping[str, Any]) -> list[str]:
    return [] if lead.get("deleted") else [lead["emailAddress"]]


def _bitrix_emails(lead: Mapping[str, Any]) -> list[str]:
    if not lead.get("originId"):
        return []  # staff made it
    return [row["value"] for row in lead["fm"] if row["typeId"] == "EMAIL"]


_EMAILS: dict[str, tuple[str, Callable[[Mapping[str, Any]], list[str]]]] = {
    "espocrm": ("Lead", _espocrm_emails), "bitrix": ("lead", _bitrix_emails),
}  # fmt: skip


def read_leads(provider: str, database: Path) -> tuple[Lead, ...]:
    """The leads in the CRM's own database."""
    entity, emails = _EMAILS[provider]
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        rows = db.execute("select data, at from records where entity = ?", (entity,)).fetchall()
    return tuple(Lead(email, at) for data, at in rows for email in emails(json.loads(data)))


def read_operations(url: str) -> dict[str, str]:
    """The state of every operation in Redis; that of a repetition, which was in the spool, is the first one's."""
    prefix, same = "{crmgate}:op:", "{crmgate}:same:"
    with redis.Redis.from_url(url, decode_responses=True) as client:
        keys = [str(key) for key in client.scan_iter(f"{prefix}*", count=1000)]
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.hget(key, "state")
        states = {key.removeprefix(prefix): str(state) for key, state in zip(keys, pipe.execute(), strict=True)}
        repeated = {str(key).removeprefix(same): str(client.get(str(key))) for key in client.scan_iter(f"{same}*")}
        return states | {name: states[first] for name, first in repeated.items() if first in states}


def read_spool(folder: Path) -> int:
    """The number of submissions in the spool of a host."""
    with closing(sqlite3.connect(f"file:{folder / 'spool.sqlite3'}?mode=ro", uri=True)) as db:
        return int(db.execute("select count(*) from spool").fetchone()[0])


def dead_letters(url: str) -> frozenset[str]:
    """The ids of the dead letters in Redis."""
    with redis.Redis.from_url(url, decode_responses=True, socket_timeout=2) as client:
        return frozenset(map(str, client.zrange("{crmgate}:dead", 0, -1)))


def read_letters(url: str) -> dict[str, Letter]:
    """Every dead letter in Redis."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return {name: _letter(client.hgetall(f"{{crmgate}}:op:{name}")) for name in dead_letters(url)}  # type: ignore[arg-type]


def _letter(fields: Mapping[str, str]) -> Letter:
    numbers = [int(name.removeprefix("event:")) for name in fields if name.startswith("event:")]
    reason = fields[f"event:{max(numbers)}"] if numbers else ""
    return Letter(str(json.loads(fields.get("payload", "{}")).get("email")), reason)
