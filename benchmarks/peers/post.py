"""The request to the CRM: a POST as most programs make it, or with `KEEP_CONNECTION=on` over a kept connection."""

import os
import threading
from typing import Any

import requests

RETRY_DELAYS = (1, 5, 25)
"""Seconds between attempts, as crmgate's default."""
TIMEOUT = 10.0
_local = threading.local()


def _session() -> requests.Session:
    """The session of this thread."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    return _local.session  # type: ignore[no-any-return]


def post(operation: str, payload: dict[str, Any]) -> str:
    """Create the lead; its id. Raises if the CRM did not confirm it."""
    send = _session().post if os.environ.get("KEEP_CONNECTION") == "on" else requests.post
    answer = send(f"{os.environ['SINK_URL']}/leads", json={"operation": operation, **payload}, timeout=TIMEOUT)
    answer.raise_for_status()
    return str(answer.json()["id"])


def applications(count: int) -> Any:
    """As many different applications."""
    for number in range(count):
        info = {"first_name": f"Test{number}", "last_name": "Öğrenci", "email": f"test{number}@example.com"}
        yield f"operation-{number}", {"personal_info": info, "source": "website"}
