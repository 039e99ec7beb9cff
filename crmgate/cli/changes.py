"""Commands that `crmgate ops` and `crmgate dlq` share: edit, retry and discard one operation, or a few.

They take dead letters, suspects and operations that wait.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from crmgate.cli import bulk, editing
from crmgate.cli.output import as_json, print_json
from crmgate.cli.parts import UNCHANGEABLE, opened, reason, resolve, waits_json
from crmgate.model import Operation, State
from crmgate.operators.waiting import Wait, WaitsFor
from crmgate.services import Services
from crmgate.store.audit import command_line

REASON = 300
"""Characters of the reason for which something is discarded."""


@click.command()
@click.argument("operation", metavar="ID|CODE")
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field: phone=..., custom.fax=..."
)
@click.option("--unset", "removals", multiple=True, metavar="FIELD", help="Take a field away.")
@as_json
def edit(operation: str, changes: tuple[str, ...], removals: tuple[str, ...], as_json: bool) -> None:
    """Change what is sent to the CRM; without --set and --unset in your editor ($EDITOR).

    It is checked like a new submission. A dead letter is sent when it is retried, an operation that waits with its next
    attempt.

    Exit status: 0 changed, 1 it is not, 2 the configuration cannot work or an option was used wrongly.
    """
    with opened() as parts:
        found = parts.desk.get(resolve(parts, operation).id)
        after, warnings = editing.edit(parts, found, editing.patch(changes, removals))
        [wait] = parts.desk.waiting.of([after])
    if as_json:
        items = [{"field": warning.field, "code": warning.code, "message": warning.message} for warning in warnings]
        body = {"id": after.id, "version": after.version, "payload": dict(after.payload), "warnings": items}
        print_json(body | waits_json(wait))
        return
    for warning in warnings:
        click.echo(f"{warning.field}: {warning.message}")
    click.echo(_changed(after, wait))


@click.command()
@click.argument("operations", metavar="ID|CODE...", nargs=-1, required=True)
@as_json
def retry(operations: tuple[str, ...], as_json: bool) -> None:
    """Try operations now, with all their retries. While nothing is sent to the CRM they wait until that ends.

    Exit status: 0 they are tried, 1 not all of them or Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        done = retry_each(parts, operations, as_json)
    sys.exit(0 if done else 1)


@click.command()
@click.argument("operations", metavar="ID|CODE...", nargs=-1, required=True)
@click.option("--reason", "why", required=True, help="Why; it is kept with the receipt, so leave out whom it is about.")
@as_json
def discard(operations: tuple[str, ...], why: str, as_json: bool) -> None:
    """End operations without a delivery. Their payload is gone at once, for good.

    Exit status: 0 discarded, 1 not all of them or Redis does not answer, 2 the configuration cannot work.
    """
    if not why.strip() or len(why) > REASON:
        raise click.BadParameter(f"it takes 1 to {REASON} characters.", param_hint="--reason")
    with opened() as parts:
        done = discard_each(parts, operations, why.strip(), as_json)
    sys.exit(0 if done else 1)


def retry_each(parts: Services, operations: tuple[str, ...], as_json: bool) -> bool:
    """Retry one operation after the other; whether all could be. A failure is reported, and the rest goes on."""
    return _each(parts, operations, "released", as_json, lambda found: parts.desk.retry(found.id, command_line()))


def discard_each(parts: Services, operations: tuple[str, ...], why: str, as_json: bool) -> bool:
    """Discard one operation after the other; whether all could be. A failure is reported, and the rest goes on."""
    return _each(
        parts, operations, "discarded", as_json, lambda found: parts.desk.discard(found.id, why, command_line())
    )


def _each(
    parts: Services, operations: tuple[str, ...], done: str, as_json: bool, change: Callable[[Operation], Operation]
) -> bool:
    progress = bulk.counted(operations, done.capitalize(), len(operations))
    results = [_result(parts, text, change) for text in progress]
    if as_json:
        print_json({"items": results})
    else:
        _show(results, done)
    return not any(result["error"] for result in results)


def _result(parts: Services, text: str, change: Callable[[Operation], Operation]) -> dict[str, Any]:
    """What became of one operation, for JSON."""
    try:
        after = change(resolve(parts, text))
    except UNCHANGEABLE as error:
        message = reason(error)
    except click.ClickException as error:
        message = error.message
    else:
        [wait] = parts.desk.waiting.of([after])
        return {"id": after.id, "state": after.state, "error": None} | waits_json(wait)
    return {"id": text, "state": None, "error": message, "waits": None}


def _show(results: list[dict[str, Any]], done: str) -> None:
    """Report each result, and each reason for a wait once."""
    for result in results:
        click.echo(f"{result['id']}: {result['error'] or done}", err=bool(result["error"]))
    hints = {_hint(result["waits"]): None for result in results if result["waits"]}
    for hint in filter(None, hints):
        click.echo(hint, err=True)


def _hint(waits: dict[str, Any]) -> str:
    """Why a released operation is not sent yet; empty if only its turn has to come."""
    if waits["reason"] == WaitsFor.TURN:
        return ""
    remedy = f" What to do: {waits['remedy']}." if waits["remedy"] else ""
    return f"Not sent yet: {waits['why']}.{remedy}"


def _changed(after: Operation, wait: Wait | None) -> str:
    """What an edit leads to, in words."""
    if after.state in (State.DEAD, State.SUSPECT):
        return f"Changed. `crmgate ops retry {after.id}` sends it."
    return f"Changed. The next attempt sends it: {wait.why}." if wait else "Changed. The next attempt sends it."
