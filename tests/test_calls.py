"""The work of one accept, measured in function calls; `tests/delivery/test_calls.py` measures a delivery.

A duration depends on the machine and on its load; the number of calls is the same on every run. A change that exceeds a
limit either does less for each request, or raises the limit here and says why.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from flask import Flask

from crmgate import create_app
from crmgate.config import Settings
from crmgate.logs import StandardError
from tests.processes import RedisProcess

ACCEPT = 1_400
"""Most calls for one accept of `application`; limits, log and metrics are on. A Flask view that echoes it needs 400."""
WARM_UP = 10


def application(number: int) -> dict[str, Any]:
    """An application with every field. Each number is another person."""
    return {
        "personal_info": {
            "first_name": "Ayşe", "last_name": "Yılmaz", "email": f"ayse{number}@example.com",
            "phone": f"0532 123 {number:04d}", "country": "Türkiye", "city": "İzmir", "birth_date": "2001-12-10",
        },
        "education": {
            "level": "bachelor", "field": "Mathematics", "institution": "Ege University", "graduation_year": 2027,
            "gpa": "3.90",
        },
        "preferences": {
            "universities": ["Boğaziçi", "Hacettepe"], "programs": ["Medicine"], "budget": "10,000 EUR a year",
            "start_date": "Autumn 2027", "scholarship_needed": "yes", "language_preference": "English",
        },
        "user_preferences": {
            "user_type": "student", "language": "both", "scholarship": "yes", "university_chosen": "no",
        },
        "utm": {"source": "google", "medium": "cpc", "campaign": "autumn"},
        "consent": {"given": True, "text": "You may call me.", "at": "2026-11-23T04:59:00Z"},
        "referral_code": "REF1", "source": "website", "source_description": "Form at the end of /prices",
        "session": f"s-{number}", "additional_info": "Please call after five.", "custom": {"shoe_size": "38"},
    }  # fmt: skip


def environ(number: int) -> dict[str, Any]:
    """The WSGI environment of a script on an allowed origin that posts `application`, as gunicorn passes it."""
    body = json.dumps(application(number), ensure_ascii=False).encode()
    return {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": "/api/v1/applications", "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8000", "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": f"198.51.100.{number % 250}", "REMOTE_PORT": "50000",
        "HTTP_HOST": "127.0.0.1:8000", "HTTP_ORIGIN": "https://www.example.org", "HTTP_ACCEPT": "*/*",
        "HTTP_ACCEPT_ENCODING": "gzip, br", "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64)",
        "HTTP_IDEMPOTENCY_KEY": f"b0a3d0c4-6a3e-4c53-8f7e-{number:012d}",
        "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr,
        "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False, "wsgi.input_terminated": True,
    }  # fmt: skip


def send(app: Flask, number: int) -> str:
    """Post an application; the status of the answer."""
    statuses: list[str] = []
    list(app(environ(number), lambda status, *_: statuses.append(status)))  # type: ignore[arg-type]
    return statuses[0]


def calls(work: Callable[[], object]) -> int:
    """Number of calls of Python and C functions in this thread while `work` runs, as cProfile counts them."""
    number = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal number
        if event in ("call", "c_call"):
            number += 1

    with _own_log_only():
        sys.setprofile(count)
        try:
            work()
        finally:
            sys.setprofile(None)
    return number


@contextmanager
def _own_log_only() -> Iterator[None]:
    """Keep pytest's handlers from formatting each line of the log once more."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, [each for each in root.handlers if isinstance(each, StandardError)]
    try:
        yield
    finally:
        root.handlers = before


def fewest(work: Callable[[int], object]) -> int:
    """The fewest calls in three runs after a warm-up; more are the garbage collector's, or fill a cache."""
    for number in range(WARM_UP):
        work(number)
    return min(calls(lambda number=number: work(number)) for number in range(WARM_UP, WARM_UP + 3))  # type: ignore[misc]


@pytest.fixture(scope="module")
def app(redis_process: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    made = create_app(Settings.load(_settings(redis_process, tmp_path_factory.mktemp("calls"))))
    yield made
    made.extensions["crmgate.clicks"].stop()


def _settings(redis_process: RedisProcess, folder: Path) -> dict[str, str]:
    """Production defaults, and the address of a CRM."""
    return {
        "CRM_PROVIDER": "sandbox", "SANDBOX_URL": "http://127.0.0.1:9", "CRM_DELIVERY": "queued",
        "REDIS_URL": redis_process.url, "SPOOL_DIR": str(folder / "spool"),
        "ALLOWED_ORIGINS": "https://www.example.org",
    }  # fmt: skip


@pytest.mark.usefixtures("redis_client")
def test_calls_of_an_accept(app: Flask) -> None:
    statuses = set[str]()
    number = fewest(lambda number: statuses.add(send(app, number)))
    print(f"{number} calls for an accept")
    assert statuses == {"202 ACCEPTED"}
    assert number <= ACCEPT
