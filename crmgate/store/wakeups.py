"""Wake-ups: Huey messages that make a worker attempt an operation. They hold its id and nothing else.

Messages are JSON, never pickle: write access to Redis must not allow running code here. The web processes write them
with the ledger's own scripts, in the same atomic step that records the operation, and so need no Huey.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from huey.registry import Message
from huey.serializer import Serializer

TASK_NAME = "crmgate.worker.deliver"
_TIMES = ("eta", "expires_resolved")
_NESTED = {"on_complete", "on_error", "chord_config"}


class JsonSerializer(Serializer):  # type: ignore[misc]
    """Huey messages and plain data as JSON. Raises `ValueError` for anything else.

    A dictionary with `id` and `name` is read as a message: crmgate keeps no results, so nothing else is stored.
    """

    def _serialize(self, data: Any) -> bytes:
        try:
            plain = _fields(data) if isinstance(data, Message) else data
            return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()
        except TypeError as error:
            raise ValueError(str(error)) from None

    def _deserialize(self, data: bytes) -> Any:
        fields = json.loads(data)
        if not isinstance(fields, dict) or not fields.keys() >= {"id", "name"}:
            return fields
        known = {name: fields[name] for name in Message._fields if name in fields}
        known |= {name: datetime.fromisoformat(fields[name]) for name in _TIMES if name in fields}
        return Message(**{"kwargs": {}, **known, "args": tuple(fields.get("args", ()))})


def _fields(message: Message) -> dict[str, Any]:
    fields = {name: value for name, value in message._asdict().items() if value not in (None, (), {})}
    if nested := fields.keys() & _NESTED:
        raise ValueError(f"a message inside a message is not supported: {', '.join(sorted(nested))}")
    return fields | {name: fields[name].isoformat() for name in _TIMES if name in fields}


_serializer = JsonSerializer()


def wake_message(operation_id: str) -> bytes:
    """The message that makes a worker attempt an operation.

    It is the same bytes each time, so that a second one on the schedule replaces the first.
    """
    message: bytes = _serializer.serialize(Message(id=operation_id, name=TASK_NAME, args=(operation_id,)))
    return message
