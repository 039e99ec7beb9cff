"""HTTP format of HubSpot: errors, pages and batches."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from crmgate.testing.server import Request, Response

Body = dict[str, Any]
JSON = "application/json;charset=utf-8"
INTERVAL = {"X-HubSpot-RateLimit-Interval-Milliseconds": "10000"}


class HubSpotError(Exception):
    """An error answer: its status, its `category`, its message, and further keys of the body."""

    def __init__(self, status: int, category: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.category, self.message, self.more = status, category, message, more

    def response(self) -> Response:
        """The answer."""
        envelope = {"status": "error", "message": self.message, "correlationId": str(uuid.uuid4())}
        return answer(self.status, envelope | {"category": self.category} | self.more)


def answer(status: int, body: Mapping[str, Any]) -> Response:
    """An answer in JSON."""
    return Response(status, json.dumps(body, ensure_ascii=False), content_type=JSON)


def limited(policy: str) -> Response:
    """The 429 of a policy: `DAILY`, `TEN_SECONDLY_ROLLING` or `SECONDLY`. It has no `category`."""
    message = f"You have reached your {policy.lower()} limit."
    ids = {"correlationId": str(uuid.uuid4()), "requestId": uuid.uuid4().hex}
    body = {"status": "error", "message": message, "errorType": "RATE_LIMIT", "policyName": policy} | ids
    headers = INTERVAL if policy == "TEN_SECONDLY_ROLLING" else {}
    return Response(429, json.dumps(body), headers, JSON)


def invalid(flaws: Sequence[Mapping[str, Any]]) -> HubSpotError:
    """The 400 for refused properties: each flaw has `name`, `error` and `message`."""
    listed = [{"isValid": False, **flaw} for flaw in flaws]
    errors = [
        {"message": one["message"], "code": one["error"], "context": {"propertyName": [one["name"]]}} for one in listed
    ]
    message = f"Property values were not valid: {json.dumps(listed, ensure_ascii=False)}"
    return HubSpotError(400, "VALIDATION_ERROR", message, errors=errors)


def not_found(message: str = "resource not found") -> HubSpotError:
    """The 404 for one record."""
    return HubSpotError(404, "OBJECT_NOT_FOUND", message)


def batch(results: Sequence[Any], errors: Sequence[Mapping[str, Any]]) -> Response:
    """The answer of a batch: 207 if a part of it failed."""
    times = {"startedAt": now(), "completedAt": now()}
    body: Body = {"status": "COMPLETE", "results": [*results], **times}
    if not errors:
        return answer(200, body)
    return answer(207, body | {"numErrors": len(errors), "errors": [*errors]})


def missing(kind: str, ids: Sequence[str]) -> list[Body]:
    """The error of a batch for records that do not exist."""
    if not ids:
        return []
    message = f"Could not get some {kind.upper()} objects, they may be deleted or not exist. Check that ids are valid."
    error = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": {"ids": [*ids]}}
    return [error]


def content(request: Request) -> Body:
    """The body of a request, which has to be a JSON object."""
    try:
        body = json.loads(request.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise HubSpotError(400, "VALIDATION_ERROR", "Invalid input JSON on line 1, column 1")
    return body


def now() -> str:
    """The time as HubSpot writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
