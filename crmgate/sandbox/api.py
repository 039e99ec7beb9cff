"""The JSON API under `/api/`, and the failures that it simulates."""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Mapping
from typing import Any

import marshmallow
from flask import Blueprint, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from crmgate.sandbox.behaviour import Behaviour, BehaviourSchema, Mode
from crmgate.sandbox.context import sandbox
from crmgate.sandbox.silence import NoAnswer, wait_for_hangup
from crmgate.sandbox.store import MAX_NUMBER, MissingError, OperationTakenError, StoredActivity, StoredLead, row_number

LISTED = 100
MAX_FIELDS, MAX_NAME, MAX_TEXT = 200, 64, 100_000
LEAD = f"/leads/<int(max={MAX_NUMBER}):id>"

records = Blueprint("records", __name__, url_prefix="/api")
"""The routes of the CRM. They fail as the behaviour in force says."""
steering = Blueprint("steering", __name__, url_prefix="/api")
"""The routes that set the behaviour. They never fail on purpose."""


class RefusedError(Exception):
    """The request's data is not accepted; `fields` has a message by field name."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields
        super().__init__(f"refused: {', '.join(fields)}")


@records.before_request
@steering.before_request
def authenticate() -> ResponseReturnValue | None:
    """Refuse a request without the API key."""
    given = request.headers.get("X-Sandbox-Key", "").encode("latin-1")
    return None if hmac.compare_digest(given, sandbox().key.encode()) else _error(401, "unauthorized", "Wrong key.")


@records.before_request
def misbehave() -> ResponseReturnValue | None:
    """Apply the behaviour in force to the request."""
    write = request.method != "GET"
    sent = request.get_json(silent=True) if write else None
    names = list(sent) if isinstance(sent, dict) else []
    g.behaviour = behaviour = sandbox().control.strike(write, names)
    match behaviour.mode:
        case Mode.SLOW:
            time.sleep(behaviour.seconds)
        case Mode.FAIL:
            return _error(503, "unavailable", "Set to fail.")
        case Mode.UNAUTHORIZED:
            return _error(401, "unauthorized", "Set to refuse every key.")
        case Mode.REFUSE:
            raise RefusedError({behaviour.refused_field(names): "Set to refuse this value."})
        case Mode.HANG:
            wait_for_hangup(request.environ.get("werkzeug.socket"))
            return NoAnswer()
    return None


@records.after_request
def forget(response: Response) -> Response:
    """Drop the answer after the work is done, in the mode `forget`."""
    behaviour: Behaviour | None = g.get("behaviour")
    return NoAnswer() if behaviour and behaviour.mode is Mode.FORGET else response


@records.get("/ping")
def ping() -> ResponseReturnValue:
    """Confirm that the key is correct."""
    return jsonify(name="Sandbox CRM", leads=sandbox().store.counts()["leads"])


@records.post("/leads")
def create_lead() -> ResponseReturnValue:
    """Store a lead; `operation_id` is optional, and unique."""
    operation_id, fields = _operation_and_fields()
    return jsonify(id=sandbox().store.create(operation_id, fields)), 201


@records.get("/leads")
def list_leads() -> ResponseReturnValue:
    """Leads by `operation_id`, `ids` or `email`, or those changed after the revision `since`; else the newest."""
    store, asked = sandbox().store, request.args
    if "operation_id" in asked:
        found = store.by_operation(asked["operation_id"])
    elif "ids" in asked:
        found = store.by_numbers([row_number(number) for number in asked["ids"].split(",")][:LISTED])
    elif "email" in asked:
        found = store.by_email(asked["email"], LISTED)
    elif "since" in asked:
        found = store.changed_since(asked.get("since", 0, row_number), LISTED)
    else:
        found = store.newest(LISTED)
    return jsonify(leads=[_shown(lead) for lead in found])


@records.get(LEAD)
def get_lead(id: int) -> ResponseReturnValue:
    """One lead with its activities."""
    return jsonify(_shown(sandbox().store.get(id)))


@records.put(LEAD)
def update_lead(id: int) -> ResponseReturnValue:
    """Change the given fields and keep the others; null removes a field."""
    operation_id, fields = _operation_and_fields()
    lead = sandbox().store.get(id)
    if operation_id not in (None, lead.operation_id):
        raise RefusedError({"operation_id": "It cannot be changed."})
    sandbox().store.update(id, fields)
    return jsonify(id=id)


@records.post(f"{LEAD}/activities")
def add_activity(id: int) -> ResponseReturnValue:
    """Log an activity on a lead; `operation_id` is optional, and unique among activities."""
    operation_id, fields = _operation_and_fields()
    return jsonify(id=sandbox().store.add_activity(id, operation_id, fields)), 201


@steering.get("/behaviour")
def get_behaviour() -> ResponseReturnValue:
    """The behaviour in force."""
    return jsonify(sandbox().control.behaviour.to_dict())


@steering.put("/behaviour")
def put_behaviour() -> ResponseReturnValue:
    """Set the behaviour: `{mode, times, seconds, field}`; only `mode` is required."""
    try:
        sandbox().control.behaviour = BehaviourSchema().load(_body())
    except marshmallow.ValidationError as error:
        raise RefusedError({name: " ".join(messages) for name, messages in error.messages_dict.items()}) from None
    return get_behaviour()


@records.errorhandler(RefusedError)
@steering.errorhandler(RefusedError)
def refused(error: RefusedError) -> ResponseReturnValue:
    """422 with a message for each field."""
    return _error(422, "invalid", "Some values are not accepted.", fields=dict(error.fields))


@records.errorhandler(OperationTakenError)
def taken(error: OperationTakenError) -> ResponseReturnValue:
    """409 with the id of the record that the operation created before."""
    operation_id = _body()["operation_id"]
    return _error(409, "duplicate_operation", "This operation was done.", id=error.id, operation_id=operation_id)


@records.errorhandler(MissingError)
def missing(_: MissingError) -> ResponseReturnValue:
    """404 in JSON."""
    return _error(404, "not_found", "There is no such lead.")


@records.errorhandler(HTTPException)
@steering.errorhandler(HTTPException)
def http_error(error: HTTPException) -> ResponseReturnValue:
    """Flask's own errors (no JSON, too long) as JSON."""
    return _error(error.code or 500, error.name.lower().replace(" ", "_"), error.description or error.name)


def _error(status: int, error: str, message: str, **more: Any) -> ResponseReturnValue:
    return jsonify(error=error, message=message, **more), status


def _shown(lead: StoredLead) -> dict[str, Any]:
    """A lead as JSON: its fields, and those of the record, which take precedence."""
    own = {name: getattr(lead, name) for name in ("id", "operation_id", "created_at", "revision")}
    return lead.fields | own | {"activities": [_shown_activity(activity) for activity in lead.activities]}


def _shown_activity(activity: StoredActivity) -> dict[str, Any]:
    own = {name: getattr(activity, name) for name in ("id", "operation_id", "created_at")}
    return activity.fields | own


def _body() -> dict[str, Any]:
    body = request.get_json()
    if not isinstance(body, dict):
        raise RefusedError({"": "A JSON object is needed."})
    return body


def _operation_and_fields() -> tuple[str | None, dict[str, Any]]:
    """The validated operation id and fields of the request. Raises `RefusedError` with every error."""
    fields = dict(_body())
    wrong = {name[:MAX_NAME]: problem for name, value in fields.items() if (problem := _problem(name, value))}
    operation_id = fields.pop("operation_id", None)
    if not (operation_id is None or (isinstance(operation_id, str) and operation_id)):
        wrong["operation_id"] = "It must be a text."
    if len(fields) > MAX_FIELDS:
        wrong[""] = f"There are more than {MAX_FIELDS} fields."
    if wrong:
        raise RefusedError(wrong)
    return operation_id, fields


def _problem(name: str, value: Any) -> str:
    """The error of a field; empty if it has none."""
    if not name or len(name) > MAX_NAME or not _storable(name):
        return f"A field's name has 1 to {MAX_NAME} characters."
    if not isinstance(value, str | int | float | None):
        return "It must be a text, a number or a truth value."
    if isinstance(value, float) and not math.isfinite(value):
        return "It must be a finite number."
    if isinstance(value, str) and (len(value) > MAX_TEXT or not _storable(value)):
        return f"It must be a text of at most {MAX_TEXT} characters."
    return ""


def _storable(text: str) -> bool:
    """Whether the text has no lone surrogates: JSON can contain them, but files and pages cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
