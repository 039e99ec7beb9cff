"""`GET /api/v1/operations/{id}` without a token."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from crmgate.model import Delivered, Event, Kind, Operation, State, new_id
from crmgate.tracking import code as tracking_code

URL = "/api/v1/operations/"


@pytest.mark.parametrize("operation_id", ["x", "G" * 32, "A" * 32, "0" * 31, "0" * 33, "%00", "a\u0661" * 16])
def test_a_malformed_id_is_404_without_asking_the_ledger(client: FlaskClient, gateway: Any, operation_id: str) -> None:
    assert client.get(URL + operation_id).status_code == 404
    assert gateway.ledger.asked == []


def test_an_unknown_id_is_404(client: FlaskClient) -> None:
    answer = client.get(URL + new_id())
    assert (answer.status_code, answer.json["type"]) == (404, "/problems/not-found")


def test_a_silent_ledger_is_503(client: FlaskClient, gateway: Any) -> None:
    gateway.ledger.down = True
    answer = client.get(URL + new_id())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "redis.internal" not in answer.text


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.ACCEPTED, "waiting"),
        (State.DELIVERING, "waiting"),
        (State.WAITING, "waiting"),
        (State.DELIVERED, "delivered"),
        (State.DEAD, "failed"),
        (State.DISCARDED, "discarded"),
    ],
)
def test_the_holder_of_the_id_sees_the_status_and_no_more(
    client: FlaskClient, gateway: Any, state: State, status: str
) -> None:
    operation = Operation(
        new_id(), Kind.CREATE_LEAD, {"first_name": "Ayşe"}, 1_700_000_000.0, state,
        events=(Event(1.0, 2.0, "espocrm", "Rejected", detail="said no"),),
        delivered=Delivered("espocrm", "rec-1", "https://crm.example/#Lead/view/rec-1"),
    )  # fmt: skip
    gateway.ledger.operations[operation.id] = operation
    answer = client.get(URL + operation.id)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == {
        "id": operation.id,
        "status": status,
        "tracking_code": tracking_code(operation.id),
        "submitted_at": "2023-11-14T22:13:20.000Z",
    }
