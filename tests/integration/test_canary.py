"""No log of any process holds what a visitor typed, nor a secret: every door is used, with failures of every kind.

After an erasure and a rewrite of the append-only file no file of the gateway and of Redis holds the person.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from crmgate.store import keys
from crmgate.store.tokens import digest, generate
from crmgate.testing.espocrm import FakeEspoCRM
from tests.forked import crmgate
from tests.integration.stack import Stack
from tests.processes import DEADLINE, wait_until

CANARY = "Kanarya"
PHONE = "+905327654321"
KEY = f"Key-{CANARY}-4711"

TEXTS = (
    "first_name", "last_name", "country", "city", "institution", "field", "budget", "source_description",
    "additional_info", "unknown_field", "start_date", "language_preference", "education_level", "gpa", "utm_source",
    "utm_medium", "utm_campaign", "utm_content", "utm_term", "referral_code",
)  # fmt: skip


def person(number: int) -> dict[str, Any]:
    """An application with a canary in every field."""
    return {name: f"{CANARY}-{name}" for name in TEXTS} | {
        "email": f"{CANARY}{number}@example.com", "phone": PHONE[:-2] + f"{number:02}", "birth_date": "1999-09-09",
        "session": f"{CANARY}-{number}", "universities": [f"{CANARY} Üniversitesi"], "custom": {CANARY: CANARY},
        "consent": {"given": True, "text": CANARY, "at": "2026-01-01T00:00:00Z"},
    }  # fmt: skip


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A gateway whose secrets are canaries too; it logs at DEBUG."""
    with Stack(tmp_path, ESPOCRM_API_KEY=KEY, LOG_LEVEL="DEBUG", CRM_RETRY_DELAYS="0.2,0.2") as stack:
        stack.espocrm.stop()
        stack.espocrm = FakeEspoCRM(api_key=KEY)
        stack.espocrm.start()
        stack.env["ESPOCRM_URL"] = stack.espocrm.url
        yield stack


class Visit:
    """Uses every way into the gateway, and keeps its answers and the output of commands."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.said, self.number = stack, "", 0
        self.token = generate()[1]
        stack.env["API_TOKENS"] = f"ops:operate:{digest(self.token)}"

    def get(self, path: str, token: str = "", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", "Referer": f"https://x.example/?email={CANARY}"}
        return requests.get(self.stack.url + path, headers=headers, timeout=DEADLINE, **options)

    def send(self, **options: Any) -> requests.Response:
        self.number += 1
        body = person(self.number)
        return requests.post(f"{self.stack.url}/api/v1/applications", **({"json": body} | options), timeout=DEADLINE)

    def command(self, *arguments: str) -> None:
        done = crmgate(os.environ | self.stack.env, *arguments)
        self.said += done.stderr if arguments[:2] == ("tokens", "new") else done.stdout + done.stderr

    def send_every_request(self) -> None:
        form = {name: value for name, value in person(90 + self.number % 10).items() if isinstance(value, str)}
        answers = [
            self.send(),
            self.send(headers={"Prefer": "respond-async", "Idempotency-Key": CANARY}),
            self.send(json=None, data=form | {"_next": f"https://{CANARY}.example/"}),
            self.send(json=None, data=form | {"_hp": CANARY}, headers={"Accept": "text/html"}),
            self.send(json={"first_name": CANARY, "email": CANARY, "phone": CANARY}),
            self.send(json=None, data=f'{{"first_name": "{CANARY}",', headers={"Content-Type": "application/json"}),
            self.send(json=None, data=CANARY, headers={"Content-Type": f"text/{CANARY}"}),
            self.send(json=None, files={"file": (CANARY, CANARY)}, data=form),
            self.get(f"/{CANARY}/{quote(person(0)['email'])}?phone={quote(PHONE)}"),
            self.get(f"/go/telegram?ref={CANARY}&utm_source={CANARY}&session={CANARY}", allow_redirects=False),
            self.get(f"/api/v1/operations/{CANARY}"),
            self.get("/api/v1/crm/test", generate()[1][:12] + "_" + CANARY * 6 + "x"),
            self.get("/api/v1/crm/test", self.token),
            self.get("/healthz"),
            self.get("/readyz"),
        ]
        for answer in answers[:2]:
            self.get(answer.headers.get("Location", "/"), self.token)
        self.said += "".join(answer.text for answer in answers[-2:])


def test_no_log_holds_a_person_or_a_secret(stack: Stack) -> None:
    visit = Visit(stack)
    stack.start()
    visit.send_every_request()
    contact = person(1)["email"]
    for arguments in (
        ("crm", "test"), ("crm", "fields"), ("tokens", "new", "--name", "x", "--scope", "read"),
        ("person", "show", contact), ("person", "erase", contact, "--yes"),
    ):  # fmt: skip
        visit.command(*arguments)
    assert "Erased" in visit.said

    crm: FakeEspoCRM = stack.espocrm
    for fault in (
        {"kind": "answer", "status": 500, "body": f"SQLSTATE {CANARY}", "times": 1},
        {"kind": "answer", "status": 400, "body": json.dumps({"message": CANARY, "email": PHONE}), "times": 1},
        {"kind": "answer", "status": 200, "body": f"<html>{CANARY}", "times": 1},
    ):
        crm.fail(fault.pop("kind"), method="POST", path="/Lead", **fault)  # type: ignore[arg-type]
        visit.send()
    crm.fail("answer", status=401, body=CANARY)
    refused = visit.send().json()["id"]
    wait_until("the refusal is logged", lambda: "is paused" in stack.web.output() + stack.worker.output())
    visit.command("crm", "test")
    crm.stop()
    visit.send_every_request()
    visit.get(f"/api/v1/operations/{refused}", visit.token)
    stack.redis.stop()
    visit.send_every_request()
    visit.command("tokens", "list")
    stack.web.stop()
    stack.worker.stop()

    log = stack.web.output() + stack.worker.output()
    assert "the ledger is unavailable" in log
    assert "Traceback" not in log
    assert len([line for line in log.splitlines() if "/api/v1/applications" in line]) >= 25, "one line a request"
    password = stack.redis.url.split(":")[2].split("@")[0]
    forms = {CANARY, "example.com", PHONE[3:11], "1999-09-09", "niversitesi", KEY, password, visit.token[12:]}
    forms |= {quote(form) for form in forms}
    for text in (log, visit.said):
        found = [form for form in forms if form.lower() in text.lower()]
        assert not found, [line[:300] for line in text.splitlines() if any(f.lower() in line.lower() for f in found)]
    for line in log.splitlines():
        assert json.loads(line)["timestamp"], "every line is JSON"


BIRD = {
    "first_name": "Papağan", "last_name": "Kanaryaoğlu", "email": "papagan.kanarya@example.com",
    "phone": "+905329998877", "additional_info": "Beni “akşam” arayın: çığlık-4711", "city": "Kuşadası-4711",
}  # fmt: skip


def spellings(text: str) -> set[bytes]:
    """The text as bytes, with JSON's escapes, percent-encoded, and in Base64 at each of its three alignments."""
    raw = text.encode()
    encoded = {base64.b64encode(b"x" * shift + raw)[(shift * 8 + 5) // 6 : -4] for shift in range(3)}
    return {raw, json.dumps(text)[1:-1].encode(), quote(text).encode(), raw.hex().encode()} | encoded


def traces(folder: Path) -> set[str]:
    """Files in the folder that hold something of the person, each with the name of the field."""
    forms = {name: spellings(value) for name, value in BIRD.items()}
    forms["phone"] |= {BIRD["phone"][3:].encode()}
    texts = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {f"{file}: {name}" for file, text in texts.items() for name in forms if any(f in text for f in forms[name])}


def rewritten(stack: Stack) -> bool:
    """Whether a worker has rewritten the append-only file, and the rewrite has ended."""
    return stack.client.get(keys.REWRITE) == b"done" and not rewrites(stack)


def rewrites(stack: Stack) -> bool:
    return bool(stack.client.info("persistence")["aof_rewrite_in_progress"])  # type: ignore[index]


def test_after_an_erasure_and_a_rewrite_no_file_holds_the_person(tmp_path: Path) -> None:
    """One each: delivered and kept, dead, suspect, waiting, and in the spool while Redis was away.

    They are in the append-only file, in a snapshot and in the spool.
    """
    settings = {"LOG_LEVEL": "DEBUG", "CRM_RETRY_DELAYS": "0.2", "CRM_ON_DUPLICATE": "create", "PAYLOAD_KEEP": "7d",
                "SPOOL_DIR": str(tmp_path / "spool"), "REDIS_TIMEOUT": "1"}  # fmt: skip
    with Stack(tmp_path, **settings).start() as stack:
        stack.client.config_set("rdbcompression", "no")  # grep reads no compressed text
        kept = stack.submit(BIRD | {"session": "one"})
        assert stack.client.exists(keys.kept(kept))
        stack.espocrm.fail("answer", method="POST", path="/Lead", status=400, body=json.dumps(BIRD))
        died = stack.submit_queued(BIRD | {"session": "two", "city": BIRD["city"] + "."})
        wait_until("a dead letter", lambda: stack.operation(died).state == "dead")
        stack.ledger.pause(stack.recipient)
        stack.submit_queued(BIRD | {"city": BIRD["city"] + ".."})
        form = {"json": None, "data": BIRD | {"_hp": "bot"}}
        assert requests.post(f"{stack.url}/api/v1/applications", timeout=DEADLINE, **form).status_code == 202
        wait_until("the first rewrite has ended", lambda: rewritten(stack))  # a kill would leave its temporary file
        stack.redis.kill()
        stack.submit_queued(BIRD | {"city": BIRD["city"] + "..."})
        assert any("spool.sqlite3" in trace for trace in traces(stack.folder))
        stack.redis.start()
        wait_until("Redis has it", lambda: stack.ledger.stats()["waiting"] == 2)
        stack.client.config_set("rdbcompression", "no")
        stack.client.save()
        in_clear = {trace for trace in traces(stack.folder) if ".aof" in trace or ".rdb" in trace}
        assert {trace.split(": ")[1] for trace in in_clear} == {*BIRD}, "otherwise this test cannot fail"

        for contact in (BIRD["email"], BIRD["phone"]):
            done = crmgate(os.environ | stack.env, "person", "erase", contact, "--yes")
            assert done.returncode == 0, done.stderr
        assert stack.operation(died).state == "discarded"
        assert not stack.client.exists(keys.kept(kept))
        stack.client.delete(keys.REWRITE)  # a day is over
        wait_until("the file is rewritten", lambda: rewritten(stack))
        stack.client.save()
        stack.web.stop()
        stack.worker.stop()
        assert traces(stack.folder) == set()
        assert len(stack.espocrm.leads) == 1, "what is in the CRM is erased there"
