"""Sends valid and invalid requests that schemathesis generates from the API description, and checks each answer.

`python -m tests.fuzz_schema --requests 5000` starts a gateway of its own; each run is another one unless `--seed` says.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from crmgate.store.tokens import Scope, digest, generate
from tests.integration.stack import Stack

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance,
]  # fmt: skip
BY_THE_SERVER = (400, 414, 431)
"""Statuses with which gunicorn refuses a request before the application: a line or header too long, or invalid."""
MAY_BE_503 = ("/readyz", "/api/v1/crm/test")
"""Paths that may answer 503 when a service is unavailable, as their description says."""


def fuzz(url: str, requests: int, headers: Mapping[str, str], number: int) -> int:
    """Send about `requests` requests to the gateway at `url`; return their number. Raises on a wrong answer."""
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    each = max(requests // len(operations) // 2, 1)
    return sum(
        _send(operation, mode, each, dict(headers), number)
        for operation in operations for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )  # fmt: skip


def _send(operation: Any, mode: GenerationMode, number: int, headers: dict[str, str], start: int) -> int:
    sent = 0
    checks = CHECKS[1:] if operation.path in MAY_BE_503 else CHECKS

    @seed(start)
    @settings(
        max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        nonlocal sent
        sent += 1
        response = case.call(headers=headers, allow_redirects=False)
        if response.status_code not in BY_THE_SERVER or "<html>" not in response.text:
            case.validate_response(response, checks=checks)

    one()
    return sent


def gateway(folder: Path) -> tuple[Stack, str]:
    """A gateway that is not started yet, and a token that may do everything there."""
    token = generate()[1]
    links = {"TELEGRAM_URL": "https://t.me/example_bot", "WHATSAPP_URL": "https://wa.me/905321234567"}
    tokens = f"fuzz:{Scope.OPERATE}:{digest(token)}"
    return Stack(folder, API_TOKENS=tokens, MAX_CONCURRENCY="20", **links), token


def main() -> None:
    """`python -m tests.fuzz_schema`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    asked = parser.parse_args()
    sys.stdout.write(f"seed {asked.seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        stack, token = gateway(Path(folder))
        with stack:
            stack.start()
            for headers in ({"Authorization": f"Bearer {token}"}, {}):
                sent = fuzz(stack.url, asked.requests // 2, headers, asked.seed)
                sys.stdout.write(f"{sent} requests {'with' if headers else 'without'} a token: as described\n")
            assert "Traceback" not in stack.web.output(), stack.web.output()[-3000:]


if __name__ == "__main__":
    main()
