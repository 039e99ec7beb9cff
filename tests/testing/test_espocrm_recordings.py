"""The fake EspoCRM gives the answers that a real EspoCRM 9.2.7 gave, exchange by exchange.

All recordings are replayed once, in the order and at the (faked) times of the original, against one fake over
real HTTP; a test per recording then reports how its answer differed. Ids and keys are matched to those of the
fake as they appear.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import gzip
import hashlib
import hmac
import http.client
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crmgate.testing.espocrm import FakeEspoCRM
from tests.cases import all_cases

EXCHANGES = Path(__file__).parent.parent / "contracts" / "espocrm" / "exchanges"
FILES = (
    "provision-fields",
    "provision-role-and-user",
    "auth",
    "auth-permissions",
    "lead-create",
    "lead-create-odd",
    "duplicates",
    "update-and-related",
    "list-and-filters",
    "phones-activities-capture",
    "maintenance-and-assignment",
    "idempotency",
    "outages",
    "login-lockout",
    "timeouts-and-more",
    "final-checks",
)
"""In the order in which they were recorded: each goes on with the state of the ones before."""

Key = tuple[str, int]

NOT_REPLAYED: dict[Key, str] = {
    ("outages", 9): "no request: nothing listens; test_fake_espocrm stops the fake",
    ("maintenance-and-assignment", 16): "no request: a race without an index; test_fake_espocrm races threads",
    ("idempotency", 8): "no request: a race with a check on the key; test_fake_espocrm races threads",
    ("idempotency", 14): "no request: a race with a unique index; test_fake_espocrm races threads",
    ("idempotency", 16): "no request: a race with a unique index, unchecked; test_fake_espocrm races threads",
    ("timeouts-and-more", 1): "no request: a client that gave up; test_fake_espocrm has a lead without an answer",
}

NOT_COMPARED: dict[Key, tuple[set[str], str]] = {
    ("timeouts-and-more", 27): ({"total"}, "counts the notes of leads that a load test made"),
    ("final-checks", 3): ({"total"}, "counts leads that a load test made"),
    ("phones-activities-capture", 11): ({"exampleRequestUrl"}, "holds the address of the server"),
    ("phones-activities-capture", 40): ({"text"}, "a licence, in full"),
    ("final-checks", 10): ({"text"}, "a licence, in full"),
}
"""Attributes of the body that depend on what was not recorded."""

UNORDERED: set[Key] = {("phones-activities-capture", 10)}
"""Lists of records that are equal in what the real server sorts by."""

BODY_LOST: dict[Key, str] = {
    ("lead-create-odd", 4): "the recording says `...`",
    ("final-checks", 6): "cut before the part of the metadata that the fake has",
}
"""Answers of which only status and headers are compared."""

ADMINISTRATOR = "6b03aeebec98cae2f"
"""Made by the installation of the real server, before the first recording."""

SIGNED: dict[Key, tuple[str, str]] = {
    ("auth", 16): ("GET /Lead", "hex"),
    ("auth", 17): ("GET /Lead", "raw"),
    ("auth", 18): ("GET /api/v1/Lead", "hex"),
    ("auth", 19): ("GET /Lead?maxSize=1&select=id", "hex"),
    ("auth", 20): ("POST /Lead", "hex"),
    ("auth", 21): ("GET /Lead", "wrong secret"),
}
"""Text of the recorded signatures; their secret is replaced by another one."""

BODIES: dict[Key, bytes] = {
    ("lead-create-odd", 3): json.dumps({"lastName": "Misc004x311750", "description": "D" * 70_000}).encode(),
    ("lead-create-odd", 4): json.dumps({"lastName": "Misc005x204294", "description": "D" * 17_000_000}).encode(),
    ("lead-create-odd", 24): b'{"lastName":"\xff\xfe"}',
    ("timeouts-and-more", 23): gzip.compress(b'{"lastName": "Gz3073668"}'),
}
"""Bodies that do not fit into a text file."""

TELLING_HEADERS = (
    "Content-Type",
    "X-Status-Reason",
    "Allow",
    "WWW-Authenticate",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
)
TOLERANCE = datetime.timedelta(seconds=2)
_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{17})\b|KEY-[A-Z-]+|SECRET-[A-Z]+")
_MOMENT = re.compile(r"2026-11-23 03:\d\d:\d\d")


def racers(file: str, name: str, key: str, made: int) -> Callable[[FakeEspoCRM], None]:
    """The leads that a race left, of which only the outcome is recorded."""

    def seed(crm: FakeEspoCRM) -> None:
        gateway = next(user["id"] for user in crm.records()["User"] if user["userName"] == "gateway")
        for _ in range(made):
            crm.add_lead(firstName=name, lastName=f"{name}{key}", cExternalKey=key, createdById=gateway)

    return seed


def unique_index(crm: FakeEspoCRM) -> None:
    """The index was made after the keys in use had been made unique by hand."""
    for lead in crm.leads:
        if key := lead.get("cExternalKey"):
            crm.change_lead(lead["id"], cExternalKey=f"{key}-{lead['id']}")
    crm.unique_key("cExternalKey")


def database_down(down: bool) -> Callable[[FakeEspoCRM], None]:
    return lambda crm: setattr(crm, "database_down", down)


def php_down(down: bool) -> Callable[[FakeEspoCRM], None]:
    return lambda crm: setattr(crm, "php_down", down)


UNRECORDED: dict[Key, Callable[[FakeEspoCRM], None]] = {
    ("maintenance-and-assignment", 5): lambda crm: crm.add_field("departmentC", "varchar"),
    ("maintenance-and-assignment", 15): racers("maintenance-and-assignment", "Race", "race-8383755", 3),
    ("idempotency", 7): racers("idempotency", "I1", "rk-3899765", 1),
    ("idempotency", 9): unique_index,
    ("idempotency", 13): racers("idempotency", "I3", "ru-3899765", 1),
    ("idempotency", 15): racers("idempotency", "I4", "rus-3899765", 1),
    ("idempotency", 22): lambda crm: crm.unique_key("cExternalKey", on=False),
    ("outages", 0): database_down(True),
    ("outages", 6): database_down(False),
    ("outages", 7): php_down(True),
    ("outages", 8): php_down(False),
    ("timeouts-and-more", 0): racers("timeouts-and-more", "Timeout", "to-3073668", 1),
}
"""Changes to the real server that were not made by a recorded request, each before the request named."""


@dataclass(frozen=True)
class Recording:
    file: str
    index: int
    data: dict[str, Any]

    @property
    def key(self) -> Key:
        return self.file, self.index

    @property
    def loose(self) -> bool:
        """Whether the answer is so large that the fake has only a part of it."""
        return re.search(r"/(Settings|App/\w+|Metadata|Metadata\?key=entityDefs\.Lead\.fields)$", self.path) is not None

    @property
    def path(self) -> str:
        return str(self.data["request"]["path"])

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.data["response"]["headers"])

    @property
    def time(self) -> float:
        return email.utils.parsedate_to_datetime(self.headers["Date"]).timestamp()

    def __str__(self) -> str:
        return f"{self.file}-{self.index}-{re.sub(r'[^A-Za-z0-9]+', '_', self.data['name'])[:40]}"


def recordings() -> Iterator[Recording]:
    for file in FILES:
        for index, data in enumerate(json.loads((EXCHANGES / f"{file}.json").read_text())):
            yield Recording(file, index, data)


RECORDINGS = list(recordings())
REPLAYED = [recording for recording in RECORDINGS if recording.key not in NOT_REPLAYED]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


@dataclass
class Replay:
    """Sends recorded requests to a fake and compares the answers."""

    crm: FakeEspoCRM
    connection: http.client.HTTPConnection
    known: dict[str, str] = field(default_factory=dict)
    """Ids and keys of the recordings, each with its counterpart in the fake."""

    def play(self, recording: Recording) -> list[str]:
        """Differences between the fake's answer and the recorded one."""
        self.crm.clock = lambda: recording.time
        if recording.key in UNRECORDED:
            UNRECORDED[recording.key](self.crm)
        try:
            answer = self.send(recording)
        except http.client.HTTPException as error:
            self.connection.close()
            return [f"no answer: {error!r}"]
        return list(self.differences(recording, answer))

    def send(self, recording: Recording) -> Answer:
        request = recording.data["request"]
        body = BODIES.get(recording.key, self.translated(request["body"] or "").encode())
        headers = {name: self.translated(value) for name, value in request["headers"].items()}
        if recording.key in SIGNED:
            headers["X-Hmac-Authorization"] = self.signature(*SIGNED[recording.key])
        self.connection.request(request["method"], self.translated(recording.path), body or None, headers)
        response = self.connection.getresponse()
        return Answer(response.status, dict(response.headers.items()), response.read().decode())

    def signature(self, text: str, how: str) -> str:
        secret = "wrong" if how == "wrong secret" else self.known["SECRET-HMAC"]
        digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256)
        signed = digest.digest() if how == "raw" else digest.hexdigest().encode()
        return base64.b64encode(self.known["KEY-HMAC"].encode() + b":" + signed).decode()

    def translated(self, text: str) -> str:
        return _ID.sub(lambda found: self.known.get(found.group(), found.group()), text)

    def differences(self, recording: Recording, answer: Answer) -> Iterator[str]:
        expected = recording.data["response"]
        if answer.status != expected["status"]:
            yield f"status {answer.status} instead of {expected['status']}: {answer.headers} {answer.body[:300]}"
            return
        for name in TELLING_HEADERS:
            wanted, got = recording.headers.get(name), answer.headers.get(name)
            if got != (wanted and self.translated(wanted)):
                yield f"{name} {got!r} instead of {wanted!r}"
        if recording.key not in BODY_LOST:
            yield from self.body_differences(recording, expected["body"] or "", answer.body)

    def body_differences(self, recording: Recording, expected: str, actual: str) -> Iterator[str]:
        cut = "body_cut_from_chars" in recording.data["response"]
        if not recording.headers["Content-Type"].startswith("application/json") or not expected:
            if expected.split() != actual.split():
                yield f"body {actual!r} instead of {expected!r}"
            return
        wanted, got = json.loads(completed(expected) if cut else expected), json.loads(actual)
        left_out, _ = NOT_COMPARED.get(recording.key, (set(), ""))
        if left_out:
            wanted, got = ({k: v for k, v in one.items() if k not in left_out} for one in (wanted, got))
        if recording.key in UNORDERED:
            wanted["list"].sort(key=lambda row: self.known[row["id"]])
            got["list"].sort(key=lambda row: row["id"])
        if recording.loose:
            assert set(wanted) & set(got), "nothing to compare"
        yield from self.compare(wanted, got, "body", cut=cut, loose=recording.loose)

    def compare(self, wanted: Any, got: Any, where: str, *, cut: bool, loose: bool) -> Iterator[str]:
        """`cut`: the recording ends early; `loose`: only what both have counts."""
        match wanted, got:
            case dict(), dict():
                names = {self.translated(name): name for name in wanted}
                if not loose and (missing := set(names) - set(got)):
                    yield f"{where} lacks {sorted(missing)}"
                if not loose and not cut and (extra := set(got) - set(names)):
                    yield f"{where} has {sorted(extra)}"
                for name in set(names) & set(got):
                    yield from self.compare(wanted[names[name]], got[name], f"{where}.{name}", cut=cut, loose=loose)
            case list(), list():
                if len(wanted) != len(got) and not (cut and len(wanted) < len(got)):
                    yield f"{where} has {len(got)} items instead of {len(wanted)}"
                for index, (one, other) in enumerate(zip(wanted, got, strict=False)):
                    yield from self.compare(one, other, f"{where}[{index}]", cut=cut, loose=loose)
            case int(), int() if where.endswith(".number"):
                """Counts all notes, also those of what was not recorded."""
            case str(), str() if _ID.fullmatch(wanted):
                yield from self.compare_ids(wanted, got, where)
            case str(), str() if _MOMENT.fullmatch(wanted):
                if abs(datetime.datetime.fromisoformat(wanted) - datetime.datetime.fromisoformat(got)) > TOLERANCE:
                    yield f"{where} is {got} instead of {wanted}"
            case _:
                wanted = self.translated(wanted) if isinstance(wanted, str) else wanted
                if wanted != got or isinstance(wanted, bool) != isinstance(got, bool):
                    yield f"{where} is {got!r} instead of {wanted!r}"

    def compare_ids(self, wanted: str, got: str, where: str) -> Iterator[str]:
        if wanted not in self.known and got not in self.known.values():
            self.known[wanted] = got
        if self.known.get(wanted) != got:
            yield f"{where} is {got}, which does not stand for {wanted}"


def completed(text: str) -> str:
    """JSON that was cut off, without what is incomplete, with its brackets closed."""
    stack: list[str] = []
    inside = escaped = False
    best = ""
    for position, character in enumerate(text):
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside = True
        elif character in "{[":
            stack.append("}" if character == "{" else "]")
        elif character in "}]":
            stack.pop()
        elif character == ",":
            best = text[:position] + "".join(reversed(stack))
    return best


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[Key, list[str]]]:
    """The differences of every recording, all played against one fake as it is after an installation."""
    with (
        FakeEspoCRM(api_key=None, custom_fields=False) as crm,
        contextlib.closing(http.client.HTTPConnection(crm.host, crm.port)) as connection,
    ):
        replay = Replay(crm, connection)
        admin = next(user["id"] for user in crm.records()["User"] if user["userName"] == "admin")
        replay.known[ADMINISTRATOR] = admin
        yield {recording.key: replay.play(recording) for recording in REPLAYED}


@all_cases("recording", REPLAYED, ids=str)
def test_answer_is_the_recorded_one(recording: Recording, outcomes: dict[Key, list[str]]) -> None:
    assert outcomes[recording.key] == []


def test_every_recording_is_replayed_or_listed() -> None:
    assert {path.stem for path in EXCHANGES.glob("*.json")} == set(FILES)
    assert {recording.key for recording in RECORDINGS if "request" not in recording.data} == set(NOT_REPLAYED)
    assert len(RECORDINGS) == 495
