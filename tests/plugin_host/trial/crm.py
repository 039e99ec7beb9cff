"""Fakes of Acme with data of the account in their answers, and plugins that are wrong in one way."""

from __future__ import annotations

import json
import threading
from typing import Any

from crmgate import hookimpl
from crmgate.model import Activity, Connection, Delivered, Lead, Operation
from crmgate.provider import CRMProvider
from crmgate.testing import Request, Response
from tests.testing.contract.acme import Acme, FakeAcme

KEY = "acme-key-4711"
OWNER = {
    "ownerName": "Ottilie Wimmelbach", "owner": {"name": "Egon Quarz", "email": "egon.quarz@firm.example"},
    "mobile": "0532 123 45 67", "comment": "call Egon Quarz at +49 (30) 9012-3456 or write to info@quarz-firma.de",
    "session_token": "tok-4f8a9c", "signed": "eyJhbGciOi.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "hash": "9f86d081884c7d659a2feaa0c55ad015",
}  # fmt: skip
"""What an account adds to an answer: persons, contacts, tokens."""
CANARIES = (
    KEY, "Ottilie", "Wimmelbach", "Egon", "Quarz", "quarz", "532", "9012", "firm.example", "tok-4f8a9c", "eyJ",
    "9f86d081",
)  # fmt: skip


class LivelyAcme(FakeAcme):
    """Adds data of the account to every list and every new record."""

    def answer(self, request: Request) -> Response:
        """Acme's answer with `OWNER`."""
        response = super().answer(request)
        data = json.loads(response.body)
        if response.status in (200, 201):
            data |= {"meta": OWNER | {"url": f"{self.url}/leads", "echo": request.header("X-Acme-Key")}}
        return Response(response.status, json.dumps(data), response.headers)


class SlowSearch(FakeAcme):
    """Shows a new record only in the `lag`-th search for it."""

    lag = 3

    def __init__(self) -> None:
        super().__init__()
        self.tables["fields"] = [{"name": name, "id": "F"} for name in Acme.lead_fields.values()]
        self.searches = 0

    def answer(self, request: Request) -> Response:
        """Acme's answer; no rows in the first searches for an operation that is stored."""
        response = super().answer(request)
        if request.query.startswith("operation=") and json.loads(response.body).get("rows"):
            self.searches += 1
            if self.searches < self.lag:
                return Response(200, '{"rows": []}')
        return response


class Hanging(Acme):
    """Its log_activity waits for a lock that nothing releases."""

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        threading.Event().wait()
        raise AssertionError


class FindsNothing(Acme):
    """Its find_lead finds nothing."""

    @hookimpl
    def find_lead(self, operation: Operation) -> None:
        return None


class Crashing(Acme):
    """Its create_lead has a bug."""

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        raise KeyError(lead.email)


class Deleting(Acme):
    """Can delete the records of a trial."""

    deleted: list[str]

    def delete_test_record(self, record_id: str) -> None:
        """Remember the id."""
        self.deleted = [*getattr(self, "deleted", []), record_id]


class InMemory(CRMProvider):
    """Sends no request."""

    name, label = "memory", "Memory"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stored = list[str]()

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        self.stored.append(operation.id)
        return self.delivered(str(len(self.stored)))

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        self.stored.append(operation.id)
        return self.delivered(str(len(self.stored)))

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        found = [number for number, stored in enumerate(self.stored, 1) if stored == operation.id]
        return self.delivered(str(found[0]), adopted=True) if found else None

    @hookimpl
    def test_connection(self) -> Connection:
        return Connection(self.name, True, 0.0, ())
