"""A running sandbox CRM, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from crmgate.sandbox import create_app, running
from tests.processes import DEADLINE

KEY = "a key with ümlauts"


@dataclass
class Client:
    """A client of a sandbox's API with its key."""

    url: str
    key: str = KEY

    def headers(self, **more: str) -> dict[str, str | bytes]:
        return {"X-Sandbox-Key": self.key.encode(), **more}

    def send(
        self, method: str, path: str, json: Any = None, timeout: float = DEADLINE, **options: Any
    ) -> requests.Response:
        url = f"{self.url}{path}"
        return requests.request(method, url, json=json, timeout=timeout, headers=self.headers(), **options)

    def create(self, **fields: Any) -> requests.Response:
        return self.send("POST", "/api/leads", fields)

    def behave(self, mode: str, **options: Any) -> None:
        self.send("PUT", "/api/behaviour", {"mode": mode} | options).raise_for_status()

    def behaviour(self) -> dict[str, Any]:
        return dict(self.send("GET", "/api/behaviour").json())

    def leads(self, **asked: Any) -> list[dict[str, Any]]:
        return list(self.send("GET", "/api/leads", params=asked).json()["leads"])


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    app = create_app(tmp_path / "leads.db", key=KEY, gateway_url="https://gate.example/", allowed_hosts=["crm.example"])
    with running(app) as url:
        yield Client(url)
