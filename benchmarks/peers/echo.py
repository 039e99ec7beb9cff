"""A minimal Flask application for the same request: what the server and the framework cost alone."""

from typing import Any

from flask import Flask, request

app = Flask(__name__)


@app.post("/api/v1/applications")
def echo() -> Any:
    """Answer with the JSON of the request."""
    return request.get_json()
