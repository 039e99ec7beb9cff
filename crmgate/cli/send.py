"""`crmgate send`: send a submission to a running gateway over HTTP, to test the whole path to the CRM."""

from __future__ import annotations

import sys
import time
import uuid
from typing import Any

import click
import requests

from crmgate.cli.output import as_json, clean, configuration, print_json, working
from crmgate.config import environment

TIMEOUT = 35.0
"""Seconds for one request: longer than the longest CRM_INLINE_BUDGET."""
POLL = 0.3
ENDED = ("delivered", "failed", "discarded", "counted")


def _gateway() -> str:
    """The address of the gateway on this machine: PORT is in the environment, or in `.env`."""
    with configuration():
        return f"http://127.0.0.1:{environment().get('PORT') or 8000}"


url = click.option("--url", default=_gateway, show_default="http://127.0.0.1:PORT", help="Address of the gateway.")
wait = click.option(
    "--wait", type=click.FloatRange(0, 3600), default=30.0, show_default=True, metavar="SECONDS",
    help="Longest wait for the delivery.",
)  # fmt: skip
more = click.option("--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Another field: city=Izmir ...")


@click.group()
def send() -> None:
    """Send a submission to a running gateway, as a website does. It reaches the CRM: delete it there afterwards."""


@send.command()
@url
@click.option("--first-name", default="Test", show_default=True)
@click.option("--last-name", default="crmgate", show_default=True)
@click.option("--email", default="crmgate-test@example.com", show_default=True)
@click.option("--phone")
@more
@wait
@as_json
def lead(url: str, fields: tuple[str, ...], wait: float, as_json: bool, **person: str | None) -> None:
    """Send an application, and wait until the CRM has it.

    Exit status: 0 the CRM has it, 1 not (yet), 2 an option was used wrongly.
    """
    body = {name: value for name, value in person.items() if value} | _fields(fields)
    _submit(url, "/api/v1/applications", body, wait, as_json)


@send.command("click")
@url
@click.option("--channel", default="telegram", show_default=True)
@click.option("--referral-code", default="TEST", show_default=True)
@more
@wait
@as_json
def click_(url: str, fields: tuple[str, ...], wait: float, as_json: bool, **event: str) -> None:
    """Send a click on a messenger link, and wait until the CRM has it.

    Exit status: 0 the CRM has it (or it was counted, with MINIMAL_LEADS=off), 1 not (yet), 2 wrongly used.
    """
    session = {"session": f"crmgate-test-{uuid.uuid4().hex[:12]}"}
    _submit(url, "/api/v1/messenger-events", session | event | _fields(fields), wait, as_json)


def _fields(fields: tuple[str, ...]) -> dict[str, str]:
    pairs = [field.partition("=") for field in fields]
    if any(not equals for _, equals, _ in pairs):
        raise click.BadParameter("it takes FIELD=VALUE, such as city=Izmir.", param_hint="--set")
    return {name: value for name, _, value in pairs}


def _submit(url: str, path: str, body: dict[str, str], wait: float, as_json: bool) -> None:
    begun, until = time.monotonic(), time.monotonic() + wait
    with working("Sending ...") as update, requests.Session() as session:
        headers = {"Idempotency-Key": str(uuid.uuid4())}  # each call is a separate submission
        answer = _ask(session, "POST", url.rstrip("/") + path, json=body, headers=headers)
        where = answer.pop("location", "")
        while where and answer["status"] not in ENDED and time.monotonic() < until:
            update("Waiting for its delivery ...")
            time.sleep(POLL)
            answer |= {"status": _ask(session, "GET", url.rstrip("/") + where)["status"]}
    seconds = round(time.monotonic() - begun, 3)
    if as_json:
        print_json(answer | {"seconds": seconds})
    else:
        _print_answer(answer, seconds)
    sys.exit(0 if answer["status"] in ("delivered", "counted") else 1)


def _print_answer(answer: dict[str, Any], seconds: float) -> None:
    after = {
        "delivered": f"The CRM has it, after {seconds:.1f} s.",
        "counted": "It was counted: MINIMAL_LEADS is off.",
        "waiting": f"It is recorded, but the CRM does not have it after {seconds:.0f} s:"
                   f" `crmgate ops show {answer.get('id')}` shows why.",
        "failed": f"It became a dead letter: `crmgate dlq show {answer.get('id')}` shows why.",
    }  # fmt: skip
    if answer.get("tracking_code"):
        click.echo(f"{clean(answer['tracking_code'])}  {clean(answer['id'])}")
    for warning in answer.get("warnings", []):
        click.echo(f"{clean(warning['field'])}: {clean(warning['message'])}")
    click.echo(after.get(answer["status"], f"It is {clean(answer['status'])}."))


def _ask(session: requests.Session, method: str, url: str, **options: Any) -> dict[str, Any]:
    """The body of the gateway's answer, with its Location. Raises `click.ClickException` without such an answer."""
    try:
        response = session.request(method, url, timeout=TIMEOUT, allow_redirects=False, **options)
    except requests.RequestException as error:
        message = f"no gateway answers at {url} ({type(error).__name__}): start it, or give its address with --url"
    else:
        body = _json(response)
        if response.ok and "status" in body:
            location = response.headers.get("Location", "")
            return body | ({"location": location} if location.startswith("/") else {})
        message = _refused(response, body, url)
    raise click.ClickException(message)


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except requests.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _refused(response: requests.Response, body: dict[str, Any], url: str) -> str:
    if "title" not in body:
        return f"the server at {url} is not a gateway (HTTP {response.status_code}): give its address with --url"
    faults = [f"\n- {clean(error['field'])}: {clean(error['message'])}" for error in body.get("errors", [])]
    detail = f"{clean(body['title'])} (HTTP {response.status_code}): {clean(str(body.get('detail', '')))}"
    return detail + "".join(faults)
