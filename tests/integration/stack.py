"""The whole gateway as running processes, with a fake CRM."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import requests

from crmgate.config import Settings
from crmgate.model import Operation
from crmgate.store.client import connect
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.espocrm import FakeEspoCRM
from tests.forked import Forked
from tests.processes import DEADLINE, Process, RedisProcess, gunicorn, huey_worker, wait_until

API_KEY = "KEY-GATEWAY"


class Stack:
    """Redis, gunicorn, a worker, a fake EspoCRM and a fake Bitrix24; each can be stopped and started."""

    web_kind: type[Process] = Forked
    """The class of gunicorn's process. `Process` starts it by its command, in a new interpreter.

    That proves what forks do not: gunicorn's hook `pre_fork`, imports in the order of the program, and a hash seed for
    each process. It takes about one CPU second more. A change of it takes effect at the next start.
    """
    worker_kind: type[Process] = Forked
    """The class of the worker's process, as with gunicorn's. A start by its command takes half a CPU second more."""

    def __init__(self, folder: Path, provider: str = "espocrm", web_workers: int = 1, **settings: str) -> None:
        self.folder, self.web_workers = folder, web_workers
        self.redis = RedisProcess(folder / "redis")
        self.espocrm, self.bitrix = FakeEspoCRM(api_key=API_KEY), FakeBitrix24()
        self.espocrm.start()
        self.bitrix.start()
        self.env = {
            "CRM_PROVIDER": provider,
            "REDIS_URL": self.redis.url,
            "ESPOCRM_URL": self.espocrm.url,
            "ESPOCRM_API_KEY": API_KEY,
            "BITRIX_WEBHOOK_URL": self.bitrix.webhook_url,
            "BITRIX_RATE": "0",
            "CRM_INLINE_BUDGET": "20",  # on a busy machine too the first attempt is over by then
            "CRM_TIMEOUT": "6",
            "REDIS_TIMEOUT": "10",
            "RATE_LIMIT_ADDRESS": "off",
            "RATE_LIMIT_PERSON": "off",
            "RATE_LIMIT_LOOKUPS": "off",
        } | settings
        self.client = connect(Settings.load(self.env).redis)
        self.ledger = Ledger(self.client, wake_message)
        self.web: Process = gunicorn(folder, self.env, web_workers, self.web_kind)
        self.worker: Process = huey_worker(folder, self.env, kind=self.worker_kind)

    def start(self) -> Stack:
        self.redis.start()
        self.start_web()
        self.start_worker()
        return self

    def start_web(self, **settings: str) -> None:
        """Start gunicorn, with changed settings if any are given, and wait until it answers."""
        self.web = gunicorn(self.folder, self.env | settings, self.web_workers, self.web_kind)
        self.web.start()
        wait_until("the web server answers", self._web_answers)

    def start_worker(self, **settings: str) -> None:
        """Start a worker and wait until it is ready to work."""
        self.worker = huey_worker(self.folder, self.env | settings, kind=self.worker_kind)
        self.worker.start()
        wait_until("the worker has begun", lambda: "Huey consumer started" in self.worker.output())

    def stop(self) -> None:
        for process in (self.web, self.worker, self.redis):
            process.kill()
        self.espocrm.stop()
        self.bitrix.stop()
        self.client.close()

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web.env['PORT']}"

    @property
    def recipient(self) -> Recipient:
        """The configured provider."""
        return Recipient(self.env["CRM_PROVIDER"])

    @property
    def fake(self) -> FakeEspoCRM | FakeBitrix24:
        """The fake CRM behind the configured provider."""
        return self.espocrm if self.env["CRM_PROVIDER"] == "espocrm" else self.bitrix

    @property
    def emails(self) -> list[str]:
        """The addresses of the leads in the fake CRM behind the configured provider, sorted, with duplicates."""
        if self.env["CRM_PROVIDER"] == "espocrm":
            return sorted(str(lead["emailAddress"]) for lead in self.espocrm.leads)
        return sorted(str(lead["fm"][0]["value"]) for lead in self.bitrix.records()["lead"])

    def post(self, body: Any, **options: Any) -> requests.Response:
        return requests.post(f"{self.url}/api/v1/applications", json=body, timeout=DEADLINE, **options)

    def submit(self, body: Any, expect: int = 201) -> str:
        """Post an application and return its operation id."""
        response = self.post(body)
        assert response.status_code == expect, response.text
        return str(response.json()["id"])

    def submit_queued(self, body: Any) -> str:
        """Leave the delivery to the worker."""
        response = self.post(body, headers={"Prefer": "respond-async"})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def operation(self, operation_id: str) -> Operation:
        operation = self.ledger.get(operation_id)
        assert operation is not None, f"operation {operation_id} is gone"
        return operation

    def wait_for(self, operation_id: str, state: str, within: float = DEADLINE) -> Operation:
        ends = {state, "dead"}
        wait_until(f"operation is {state}", lambda: self.operation(operation_id).state in ends, within)
        operation = self.operation(operation_id)
        assert operation.state == state, f"{operation.state}: {operation.events}"
        return operation

    def _web_answers(self) -> bool:
        assert self.web.running, self.web.output()[-3000:]
        try:
            return requests.get(f"{self.url}/healthz", timeout=DEADLINE).status_code == 200
        except requests.RequestException:
            return False


def emails(numbers: Iterable[int]) -> list[str]:
    """The addresses of these persons, sorted."""
    return sorted(f"test{number}@example.com" for number in numbers)


def person(number: int = 0, **more: Any) -> dict[str, Any]:
    """The body of an application; each number is another person."""
    info = {"first_name": f"Test{number}", "last_name": "Öğrenci", "email": f"test{number}@example.com"}
    return {"personal_info": info, "source": "website"} | more
