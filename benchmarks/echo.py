"""A minimal Flask application for the same request: the baseline of the throughput benchmark."""

from typing import Any

from flask import Flask, request

app = Flask(__name__)


@app.post("/api/v1/applications")
def echo() -> Any:
    return request.get_json()
