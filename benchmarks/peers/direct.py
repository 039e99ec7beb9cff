"""Flask with the call of the CRM in the request: what a form does that has no gateway."""

import os
import uuid
from typing import Any

from flask import Flask, redirect, request

from benchmarks.peers import post

app = Flask(__name__)


@app.post("/api/v1/applications")
def accept() -> Any:
    """Create the lead and answer with its id."""
    return {"id": post.post(str(uuid.uuid4()), request.get_json())}, 201


@app.get("/go/telegram")
def go() -> Any:
    """Record the click in the CRM, then redirect."""
    post.post(str(uuid.uuid4()), dict(request.args))
    return redirect(os.environ["TELEGRAM_URL"])
