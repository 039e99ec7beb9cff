"""The page: shows leads as they arrive, and has buttons that set the behaviour."""

from __future__ import annotations

import hmac
import secrets
from typing import Any
from urllib.parse import urlsplit

import marshmallow
from flask import Blueprint, abort, jsonify, redirect, render_template, request, session
from flask.typing import ResponseReturnValue

from crmgate.plugin_kit.mapping import LABELS
from crmgate.sandbox.behaviour import Behaviour, BehaviourSchema, Mode
from crmgate.sandbox.context import sandbox
from crmgate.sandbox.store import StoredLead, row_number
from crmgate.tracking import code as tracking_code

SHOWN = 200
HEADLINE = ("first_name", "last_name", "email", "phone", "description")
"""Fields with their own place on the page; the others are listed."""

MODES = {
    Mode.WORK: ("Work", "Stores every lead and confirms it."),
    Mode.SLOW: ("Be slow", "Waits, then works."),
    Mode.FAIL: ("Fail", "503 before anything is stored."),
    Mode.UNAUTHORIZED: ("Refuse the key", "401, as after a changed password."),
    Mode.REFUSE: ("Refuse a field", "422: one value is not accepted."),
    Mode.HANG: ("Hang", "Stores nothing and stays silent."),
    Mode.FORGET: ("Forget to answer", "Stores the lead, then drops the line."),
}

page = Blueprint("page", __name__)


@page.get("/")
def show() -> ResponseReturnValue:
    """Leads, newest first; with `before`, those with a smaller number."""
    before = request.args.get("before", None, row_number)
    leads = sandbox().store.newest(SHOWN, before)
    return render_template(
        "page.html",
        leads=leads,
        older=leads[-1].id if len(leads) == SHOWN else None,
        live=before is None,
        status=_status(),
        behaviour=sandbox().control.behaviour,
        modes=MODES,
        token=session.setdefault("token", secrets.token_urlsafe()),
        gateway_url=sandbox().gateway_url,
    )


@page.get("/updates")
def updates() -> ResponseReturnValue:
    """The leads changed after the revision `since`, as HTML, so that only the template has to escape values."""
    # The counts are read first: a lead that arrives in between is then sent twice rather than never.
    status = _status()
    leads = sandbox().store.changed_since(request.args.get("since", 0, row_number), SHOWN)
    if leads:
        status["revision"] = leads[-1].revision
    rendered = [{"id": lead.id, "html": render_template("_lead.html", lead=lead)} for lead in leads]
    return jsonify(status | {"leads": rendered})


@page.post("/behaviour")
def behave() -> ResponseReturnValue:
    """Set the behaviour from the page's form."""
    _refuse_forgery()
    sent = {name: value for name, value in request.form.items() if name != "token" and value}
    try:
        sandbox().control.behaviour = BehaviourSchema().load(sent)
    except marshmallow.ValidationError as error:
        abort(422, f"The behaviour was not understood: {', '.join(error.messages_dict)}.")
    return redirect("/", 303)


@page.app_template_filter("name")
def full_name(lead: StoredLead) -> str:
    """First and last name."""
    names = (str(lead.fields.get(part, "")) for part in ("first_name", "last_name"))
    return " ".join(filter(None, names)) or "No name"


@page.app_template_filter("others")
def other_fields(lead: StoredLead) -> dict[str, Any]:
    """The fields outside `HEADLINE`, by their labels."""
    return {label(name): value for name, value in lead.fields.items() if name not in HEADLINE and value != ""}


@page.app_template_filter("tracking")
def short_code(operation_id: str) -> str:
    """The tracking code of an operation; an id that crmgate did not create is shortened."""
    try:
        return tracking_code(operation_id)
    except ValueError:
        return operation_id[:12]


@page.app_template_filter("label")
def label(name: str) -> str:
    """The label of a field."""
    return LABELS.get(name) or name.replace("_", " ").capitalize()


def _status() -> dict[str, Any]:
    """The counts and the sentence at the top of the page."""
    control = sandbox().control
    behaviour = control.behaviour
    counts = sandbox().store.counts()
    return {
        "revision": counts.pop("revision"),
        "counts": counts | {"struck": control.struck},
        "mode": behaviour.mode,
        "sentence": _sentence(behaviour),
    }


def _sentence(behaviour: Behaviour) -> str:
    title, what = MODES[behaviour.mode]
    if behaviour.mode is Mode.WORK:
        return what
    details = {Mode.SLOW: f"{behaviour.seconds:g} s", Mode.REFUSE: behaviour.field}.get(behaviour.mode)
    return f"{title}{f' ({details})' if details else ''}, {_reach(behaviour.times)}. {what}"


def _reach(times: int | None) -> str:
    if times is None:
        return "until you change it"
    return "the next write" if times == 1 else f"the next {times} writes"


def _refuse_forgery() -> None:
    """Accept the form only from our own page (CSRF protection)."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        abort(403, "This form was sent from another site.")
    expected, sent = session.get("token", ""), request.form.get("token", "")
    if not expected or not hmac.compare_digest(sent.encode(), expected.encode()):
        abort(403, "This page is older than the server. Go back, reload it and try again.")
