"""The web application of the peers that are written with Flask and marshmallow."""

import uuid
from collections.abc import Callable
from typing import Any

from flask import Flask

from benchmarks.peers import schema


def application(enqueue: Callable[[str, dict[str, Any]], None]) -> Flask:
    """Accepts applications and leaves each to `enqueue`, with an id of its own."""
    app = Flask("peer")

    @app.post("/api/v1/applications")
    def accept() -> Any:
        operation = str(uuid.uuid4())
        enqueue(operation, schema.read())
        return {"id": operation, "status": "accepted"}, 202

    return app
