"""The request to the CRM: a POST over a connection that each thread keeps."""

import os
import threading
from typing import Any

import requests

RETRY_DELAYS = (1, 5, 25)
"""Seconds between attempts, as crmgate's default."""
TIMEOUT = 10.0
_local = threading.local()


def post(operation: str, payload: dict[str, Any]) -> str:
    """Create the lead; its id. Raises if the CRM did not confirm it."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    body = {"operation": operation, **payload}
    answer = _local.session.post(f"{os.environ['SINK_URL']}/leads", json=body, timeout=TIMEOUT)
    answer.raise_for_status()
    return str(answer.json()["id"])


def applications(count: int) -> Any:
    """As many different applications."""
    for number in range(count):
        info = {"first_name": f"Test{number}", "last_name": "Öğrenci", "email": f"test{number}@example.com"}
        yield f"operation-{number}", {"personal_info": info, "source": "website"}
