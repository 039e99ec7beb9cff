"""Edit the payload of an operation with options or in the operator's editor."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from crmgate.channels import known_channels
from crmgate.model import Operation
from crmgate.services import Services
from crmgate.store.audit import command_line
from crmgate.store.tokens import Scope

if TYPE_CHECKING:
    from crmgate.schemas import FieldWarning

Edited = tuple[Operation, tuple["FieldWarning", ...]]


class NotValid(click.ClickException):
    """The edited payload has faults; the message lists them, one per line."""

    def __init__(self, faults: Iterable[str]) -> None:
        super().__init__("nothing was changed:\n" + "\n".join(f"- {fault}" for fault in faults))


def patch(changes: Iterable[str], removals: Iterable[str]) -> dict[str, Any]:
    """The options `--set` and `--unset` as a merge patch (RFC 7396); `group.field` names a field of a group.

    Raises `click.BadParameter` for a `--set` without an equals sign.
    """
    result: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise click.BadParameter("it takes FIELD=VALUE, such as phone=+905321234567.", param_hint="--set")
        _put(result, name, value)
    for name in removals:
        _put(result, name, None)
    return result


def _put(result: dict[str, Any], name: str, value: str | None) -> None:
    group, _, leaf = name.strip().partition(".")
    if leaf:
        result.setdefault(group, {})[leaf] = value
    else:
        result[group] = value


def edit(parts: Services, operation: Operation, changes: Mapping[str, Any]) -> Edited:
    """Apply `changes` to `operation`; without changes, open the editor.

    Raises `click.ClickException` if nothing was changed, `NotValid` for an invalid payload, `ChangedMeanwhile`,
    `OperationEnded`, `AttemptUnderWay` or `NoSuchOperation` if the operation cannot be changed now, and
    `LedgerUnavailable`.
    """
    if changes:
        return _apply(parts, operation, changes)
    shown = parts.payloads.shown(operation, Scope.OPERATE, command_line())
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    while True:
        typed = click.edit(text, extension=".json")
        if typed is None or typed.strip() == text.strip():
            raise click.ClickException("nothing was changed")
        text = typed
        try:
            return _apply(parts, operation, _difference(operation.payload, text))
        except NotValid as error:
            error.show()
            if not (sys.stdin.isatty() and click.confirm("Edit it again?", err=True)):
                raise click.ClickException("nothing was changed") from None


def _difference(before: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The difference between the payload and the edited text as a merge patch. Raises `NotValid`."""
    try:
        after = json.loads(text)
    except json.JSONDecodeError as error:
        raise NotValid([f"it is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"]) from None
    if not isinstance(after, dict):
        raise NotValid(["it takes a JSON object: {...}"])
    return _patch(before, after)


def _patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch (RFC 7396): a removed member is null, an unchanged one is absent."""
    changed: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        known = before.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            if inner := _patch(known, value):
                changed[name] = inner
        elif value != known or name not in before:
            changed[name] = value
    return changed


def _apply(parts: Services, operation: Operation, changes: Mapping[str, Any]) -> Edited:
    # Imported here because the import is slow and the other commands do not need it.
    from crmgate.schemas.edit import edited
    from crmgate.schemas.faults import InvalidFields

    try:
        payload, warnings = edited(
            operation, changes,
            default_region=parts.settings.default_phone_region, channels=known_channels(parts.settings.channels),
        )  # fmt: skip
    except InvalidFields as invalid:
        faults = [f"{error.field}: {error.message}" for error in invalid.errors]
    else:
        return parts.desk.amend(operation, payload, command_line()), warnings
    raise NotValid(faults)
