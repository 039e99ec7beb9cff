"""How a worker is told to look at an operation: a Huey message that holds its id and nothing else.

Messages are JSON, never pickle: whoever can write to Redis must not be able to run code here. The web processes write
them with the ledger's own scripts, in the same atomic step that records the operation, and so need no Huey.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from huey.registry import Message
from huey.serializer import Serializer

TASK_NAME = "crmgate.worker.deliver"
_TIMES = ("eta", "expires_resolved")


class JsonSerializer(Serializer):  # type: ignore[misc]
    """Huey messages and plain data as JSON. Raises `ValueError` on anything else."""

    def _serialize(self, data: Any) -> bytes:
        if isinstance(data, Message):
            data = {name: value for name, value in data._asdict().items() if value not in (None, (), {})}
            data |= {name: data[name].isoformat() for name in _TIMES if name in data}
        return json.dumps(data, separators=(",", ":")).encode()

    def _deserialize(self, data: bytes) -> Any:
        fields = json.loads(data)
        if not isinstance(fields, dict) or "name" not in fields:
            return fields
        fields |= {name: datetime.fromisoformat(fields[name]) for name in _TIMES if name in fields}
        return Message(**{"args": (), "kwargs": {}, **fields})


_serializer = JsonSerializer()


def wake_message(operation_id: str) -> bytes:
    """The message that makes a worker look at an operation.

    The same bytes each time: a second one for the same schedule replaces the first.
    """
    message: bytes = _serializer.serialize(Message(id=operation_id, name=TASK_NAME, args=(operation_id,)))
    return message
