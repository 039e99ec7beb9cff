"""Commands that `crmgate ops` and `crmgate dlq` share: edit, retry and discard one or more operations.

They work on dead letters, suspects and waiting operations.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from crmgate.cli import bulk, editing
from crmgate.cli.output import as_json, print_json
from crmgate.cli.parts import UNCHANGEABLE, opened, reason, resolve, waits_json
from crmgate.model import Operation, State
from crmgate.operators.waiting import Wait, WaitsFor
from crmgate.services import Services
from crmgate.store.audit import command_line
from crmgate.store.tokens import Scope

REASON = 300
"""Largest number of characters in the reason for a discard."""


@click.command()
@click.argument("operation", metavar="ID|CODE")
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field: phone=..., custom.fax=..."
)
@click.option("--unset", "removals", multiple=True, metavar="FIELD", help="Remove a field.")
@as_json
def edit(operation: str, changes: tuple[str, ...], removals: tuple[str, ...], as_json: bool) -> None:
    """Change the data that is sent to the CRM. Without --set and --unset, opens your editor ($EDITOR).

    The changed data is validated like a new submission. It is sent when a dead letter is retried, or with the next
    attempt of a waiting operation.

    Exit status: 0 changed, 1 not changed, 2 the configuration cannot work or an option was used wrongly.
    """
    edit_one(operation, editing.patch(changes, removals), as_json)


def edit_one(operation: str, patch: Mapping[str, Any], as_json: bool) -> None:
    """Apply the merge patch to the operation with this id or tracking code, and print the result.

    An empty patch opens the editor.
    """
    with opened() as parts:
        found = parts.desk.get(resolve(parts, operation).id)
        after, warnings = editing.edit(parts, found, patch)
        [wait] = parts.desk.waiting.of([after])
        payload = parts.payloads.shown(after, Scope.OPERATE, command_line()) if as_json else {}
    if as_json:
        items = [{"field": warning.field, "code": warning.code, "message": warning.message} for warning in warnings]
        body = {"id": after.id, "version": after.version, "payload": payload, "warnings": items}
        print_json(body | waits_json(wait))
        return
    for warning in warnings:
        click.echo(f"{warning.field}: {warning.message}")
    click.echo(_changed(after, wait))


@click.command()
@click.argument("operations", metavar="ID|CODE...", nargs=-1, required=True)
@as_json
def retry(operations: tuple[str, ...], as_json: bool) -> None:
    """Retry operations now, each with its full number of attempts.

    While nothing is sent to the CRM, the operations wait.

    Exit status: 0 all are retried, 1 some are not or Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        done = retry_each(parts, operations, as_json)
    sys.exit(0 if done else 1)


@click.command()
@click.argument("operations", metavar="ID|CODE...", nargs=-1, required=True)
@click.option("--reason", "why", required=True, help="Reason; it is kept with the receipt, so write no personal data.")
@as_json
def discard(operations: tuple[str, ...], why: str, as_json: bool) -> None:
    """End operations without a delivery. Their payload is deleted at once and cannot be restored.

    Exit status: 0 all are discarded, 1 some are not or Redis does not answer, 2 the configuration cannot work.
    """
    discard_named(operations, why, as_json)


def discard_named(operations: tuple[str, ...], why: str, as_json: bool) -> None:
    """Discard the operations with these ids or tracking codes; exits with status 1 if some are not discarded."""
    reason = checked_reason(why)
    with opened() as parts:
        done = discard_each(parts, operations, reason, as_json)
    sys.exit(0 if done else 1)


def checked_reason(why: str) -> str:
    """The reason for a discard. Raises `click.BadParameter` if it is empty or too long."""
    if not why.strip() or len(why) > REASON:
        raise click.BadParameter(f"it takes 1 to {REASON} characters.", param_hint="--reason")
    return why.strip()


def retry_each(parts: Services, operations: tuple[str, ...], as_json: bool) -> bool:
    """Retry each operation and print the results. Returns whether all succeeded; a failure does not stop the rest."""
    return _each(parts, operations, "released", as_json, lambda found: parts.desk.retry(found.id, command_line()))


def discard_each(parts: Services, operations: tuple[str, ...], why: str, as_json: bool) -> bool:
    """Discard each operation and print the results. Returns whether all succeeded; a failure does not stop the rest."""
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
    """Apply `change` to one operation and return the result for JSON."""
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
    """Print each result, and each distinct reason for a wait once."""
    for result in results:
        click.echo(f"{result['id']}: {result['error'] or done}", err=bool(result["error"]))
    hints = {_hint(result["waits"]): None for result in results if result["waits"]}
    for hint in filter(None, hints):
        click.echo(hint, err=True)


def _hint(waits: dict[str, Any]) -> str:
    """Why a released operation is not sent yet; empty if it only waits for its turn."""
    if waits["reason"] == WaitsFor.TURN:
        return ""
    remedy = f" What to do: {waits['remedy']}." if waits["remedy"] else ""
    return f"Not sent yet: {waits['why']}.{remedy}"


def _changed(after: Operation, wait: Wait | None) -> str:
    """A sentence about when the edited data is sent."""
    if after.state in (State.DEAD, State.SUSPECT):
        return f"Changed. `crmgate ops retry {after.id}` sends it."
    return f"Changed. The next attempt sends it: {wait.why}." if wait else "Changed. The next attempt sends it."
