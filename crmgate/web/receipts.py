"""Operations as JSON: the public view for anybody with the id, and the view for callers with a token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, assert_never

from flask import Response

from crmgate.model import Delivered, Event, Operation, State, rfc3339
from crmgate.operators.export import described
from crmgate.operators.inventory import Cursor
from crmgate.operators.waiting import Wait
from crmgate.web.current import environ
from crmgate.web.services import services

OPERATIONS = "/api/v1/operations"
"""Path of the operations."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=asdict).encode


def status(operation: Operation) -> Literal["delivered", "failed", "discarded", "waiting"]:
    """The public status of an operation. `failed`: an operator has to look at it."""
    if not operation.state.known:
        return "waiting"
    match operation.state:
        case State.DELIVERED:
            return "delivered"
        case State.DEAD:
            return "failed"
        case State.DISCARDED:
            return "discarded"
        case State.ACCEPTED | State.DELIVERING | State.WAITING | State.SUSPECT:
            return "waiting"
        case _:
            assert_never(operation.state)


def receipt(operation: Operation) -> dict[str, str]:
    """The public view, without attempts, CRM and errors."""
    return {
        "id": operation.id,
        "status": status(operation),
        "tracking_code": operation.tracking_code,
        "submitted_at": rfc3339(operation.accepted_at),
    }


def address_of(operation_id: str) -> str:
    """The address of the status of an operation, on the host of the current request."""
    return f"{environ().get('SCRIPT_NAME', '').rstrip('/')}{OPERATIONS}/{operation_id}"


def details(operation: Operation) -> dict[str, Any]:
    """The additional members for an operator, without the payload (personal data). Raises `LedgerUnavailable`."""
    [wait] = services().desk.waiting.of([operation])
    delivered = operation.delivered
    more = {"adopted": delivered.adopted, "dropped": delivered.dropped, "moved": delivered.moved} if delivered else {}
    return {
        "kind": operation.kind,
        "state": operation.state,
        "due_at": rfc3339(operation.due_at) if operation.due_at else None,
        "waits": _wait(wait),
        "version": operation.version,
        "attempts": [_attempt(attempt) for attempt in operation.events],
        "crm": crm_record(delivered) | more if delivered else None,
    }


def summary(operation: Operation) -> dict[str, Any]:
    """An operation as an item of a list for operators. Raises `LedgerUnavailable`."""
    [item] = _summaries([operation])
    return item


def listed(operations: Sequence[Operation], following: Cursor | None = None) -> dict[str, Any]:
    """A page of a list; `next` is the cursor of the following page, or null. Raises `LedgerUnavailable`."""
    return {"items": _summaries(operations), "next": str(following) if following else None}


def _summaries(operations: Sequence[Operation]) -> list[dict[str, Any]]:
    waits = services().desk.waiting.of(operations)
    return [
        receipt(operation) | described(operation) | {"waits": _wait(wait)}
        for operation, wait in zip(operations, waits, strict=True)
    ]


def _wait(wait: Wait | None) -> dict[str, Any] | None:
    return wait.to_json() if wait else None


def encoded(body: Mapping[str, Any]) -> str:
    """The text of a JSON answer."""
    return f"{_encode(body)}\n"


def answer(body: dict[str, Any], status: int = 200) -> Response:
    """A JSON answer that no cache may store."""
    response = Response(encoded(body), status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def crm_record(delivered: Delivered) -> dict[str, str]:
    """The record in the CRM, for JSON."""
    return {"provider": delivered.provider, "lead_id": delivered.record_id, "url": delivered.url}


def _attempt(attempt: Event) -> dict[str, Any]:
    names = ("duration", "provider", "outcome", "code", "status", "vendor_code", "detail", "field", "counted")
    return {"at": rfc3339(attempt.at)} | {name: getattr(attempt, name) for name in names}
