"""`crmgate ops`: list, show, follow and change operations."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import click

from crmgate.cli import changes
from crmgate.cli.output import as_json, print_json
from crmgate.cli.parts import brief, filters, opened, resolve, show_list, show_whole, waits_json, wanted
from crmgate.cli.send import url
from crmgate.cli.tail import Tail
from crmgate.model import Operation, State
from crmgate.operators.export import described
from crmgate.store.audit import command_line
from crmgate.store.keys import LOGIN_CODE_SECONDS
from crmgate.store.tokens import Scope, Token

POLL = 1.0
"""Seconds between two queries of `crmgate ops tail`."""


@click.group()
def ops() -> None:
    """List and follow operations, and show, edit, retry or discard one."""


ops.add_command(changes.edit)
ops.add_command(changes.retry)
ops.add_command(changes.discard)


@ops.command("login-link")
@click.option("--token", "name", help="Name or id of the token to log in with; needed if there are several.")
@url
@as_json
def login_link(name: str | None, url: str, as_json: bool) -> None:
    """Print a link that logs a browser in to the operator's pages once, within 10 minutes.

    The session is that of a token: it has the token's rights and name, and ends when the token is revoked.

    Exit status: 0 printed, 1 no such token or Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        token = _chosen(parts.tokens.all(), name)
        code = parts.sessions.new_code(token, command_line())
    link = f"{url.rstrip('/')}/ops/login#once={code}"
    if as_json:
        print_json({"link": link, "token": token.name, "scope": token.scope, "seconds": LOGIN_CODE_SECONDS})
    else:
        click.echo(link)


def _chosen(tokens: list[Token], name: str | None) -> Token:
    """The token with this name or id; without one, the only token that may operate."""
    found = [one for one in tokens if (name in (one.name, one.id) if name else one.allows(Scope.OPERATE))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise click.ClickException("there is no such token: `crmgate tokens new --name you --scope operate` makes one")
    names = ", ".join(one.id or one.name for one in found)
    raise click.ClickException(f"several tokens could be meant ({names}): choose one with --token")


@ops.command("list")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Their state.")
@filters
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Operations at most.")
@as_json
def list_(state: str | None, limit: int, as_json: bool, **options: Any) -> None:
    """List operations, newest first. Delivered and discarded ones are kept for 7 days.

    Exit status: 0 listed, 1 Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        found = list(itertools.islice(parts.inventory.all(wanted(State(state) if state else None, options)), limit))
        waits = parts.desk.waiting.of(found)
    if as_json:
        print_json({"items": [described(one) | waits_json(wait) for one, wait in zip(found, waits, strict=True)]})
    elif found:
        show_list(found)
    else:
        click.echo("There are no operations.")


@ops.command()
@click.argument("operation", metavar="ID|CODE")
@click.option("--payload", is_flag=True, help="Also show the visitor's data: personal data.")
@as_json
def show(operation: str, payload: bool, as_json: bool) -> None:
    """Show one operation with its history, by its id or tracking code.

    Exit status: 0 shown, 1 no such operation or Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        found = resolve(parts, operation)
        [wait] = parts.desk.waiting.of([found])
        if payload:
            parts.payloads.shown(found, Scope.OPERATE, command_line())
    show_whole(found, wait, payload=payload, as_json=as_json)


@ops.command()
@click.option(
    "--last", type=click.IntRange(0, 100), default=10, show_default=True, metavar="N", help="Show the last N first."
)
@as_json
def tail(last: int, as_json: bool) -> None:
    """Follow new operations and changes of state until Ctrl-C. With --json each line is one object.

    Exit status: 0 ended by Ctrl-C, 1 Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        follower = Tail(parts.inventory)
        try:
            for operation in follower.begin(last):
                _print_line(operation, as_json)
            while True:
                for operation in follower.changes():
                    _print_line(operation, as_json)
                time.sleep(POLL)
        except KeyboardInterrupt:
            click.echo(err=True)


def _print_line(operation: Operation, as_json: bool) -> None:
    about = described(operation)
    if as_json:
        click.echo(json.dumps(about, ensure_ascii=False))
        return
    at = max(operation.accepted_at, *(attempt.at for attempt in operation.events), 0.0)
    error = "" if operation.state == State.DELIVERED else f" {about['code']}"
    line = f"{brief(at)}  {operation.tracking_code}  {operation.id}  {operation.kind:<20} {operation.state:<10}"
    click.echo(f"{line} {about['provider']}{error}".rstrip())
