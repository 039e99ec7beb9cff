"""`crmgate dlq edit` and `crmgate dlq discard`: of named operations, or with --all of all that match the filters."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from crmgate.channels import known_channels
from crmgate.cli import bulk, changes, editing
from crmgate.cli.output import as_json, clean, print_json
from crmgate.cli.parts import filters, opened, wanted
from crmgate.model import State
from crmgate.operators.discards import discard_batch
from crmgate.operators.edits import EditPreview, Edits, Effect
from crmgate.operators.inventory import Filter
from crmgate.services import Services
from crmgate.store.audit import command_line

Numbers = Mapping[str, int]


@click.command()
@click.argument("operation", metavar="[ID|CODE]", required=False)
@click.option("--all", "all_", is_flag=True, help="All dead letters that match the filters.")
@click.option("--set", "sets", multiple=True, metavar="FIELD=VALUE", help="Change a field: phone=..., custom.fax=...")
@click.option("--unset", "removals", multiple=True, metavar="FIELD", help="Remove a field.")
@filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def edit(
    operation: str | None, all_: bool, sets: tuple[str, ...], removals: tuple[str, ...], yes: bool, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Change the data that is sent to the CRM: of one operation, or with --all of all that match the filters.

    Without --set and --unset, opens your editor ($EDITOR) for one operation. The changed data is validated like a new
    submission; with --all, dead letters for which it would not be valid are not changed. Then retry them.

    With --all and --json it does not ask: it prints a preview, and makes the change if --yes is given.

    Exit status: 0 changed, 1 not or not all changed, 2 the configuration cannot work or an option was used wrongly.
    """
    _one_way(operation is not None, all_, options)
    patch = editing.patch(sets, removals)
    if operation is not None:
        changes.edit_one(operation, patch, as_json)
        return
    if not patch:
        raise click.UsageError("--all needs --set or --unset.")
    with opened() as parts:
        edits = Edits(
            parts.inventory, parts.desk, parts.payloads,
            default_region=parts.settings.default_phone_region, channels=known_channels(parts.settings.channels),
        )  # fmt: skip
        preview = edits.preview(wanted(State.DEAD, options), patch, command_line())
        if not (yes or _confirmed(preview, as_json)):
            return
        numbers = _edit(edits, preview, patch)
    _report(numbers, as_json)


@click.command()
@click.argument("operations", metavar="[ID|CODE]...", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All dead letters that match the filters.")
@click.option("--reason", "why", required=True, help="Reason; it is kept with the receipt, so write no personal data.")
@filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def discard(
    operations: tuple[str, ...], all_: bool, why: str, yes: bool, as_json: bool, **options: Any
) -> None:  # fmt: skip
    """End operations without a delivery. Their payload is deleted at once and cannot be restored.

    Takes their ids or tracking codes, or --all for all dead letters that match the filters.

    With --all and --json it does not ask: it prints their number, and discards them if --yes is given.

    Exit status: 0 all are discarded, 1 some are not or Redis does not answer, 2 the configuration cannot work.
    """
    _one_way(bool(operations), all_, options)
    if operations:
        changes.discard_named(operations, why, as_json)
        return
    reason = changes.checked_reason(why)
    with opened() as parts:
        count, fixed = parts.desk.retries.preview(wanted(State.DEAD, options))
        if as_json and not yes:
            print_json({"count": count.number, "exact": count.exact})
            return
        if not (yes or click.confirm(f"Discard {bulk.number_of(count)} and their data for ever?", err=True)):
            click.echo("Nothing was changed.")
            sys.exit(1)
        numbers = _discard(parts, fixed, reason, count.number if count.exact else None)
    _report(numbers, as_json)


def _one_way(named: bool, all_: bool, options: Mapping[str, Any]) -> None:
    """Raise `click.UsageError` unless either operations are named, or --all with or without filters is given."""
    if named == all_:
        raise click.UsageError("Name operations, or give --all.")
    if any(options.values()) and not all_:
        raise click.UsageError("The filters need --all.")


def _confirmed(preview: EditPreview, as_json: bool) -> bool:
    """Show the preview of an edit, and ask. Without an answer nothing is changed; exits with status 1 for "no"."""
    if as_json:
        example = asdict(preview.example) if preview.example else None
        errors = [asdict(error) for error in preview.errors]
        print_json({
            "count": preview.count.number, "exact": preview.count.exact, "example": example,
            "checked": preview.checked, "refused": preview.refused, "errors": errors,
        })  # fmt: skip
        return False
    for line in _preview(preview):
        click.echo(line)
    if not preview.count.number:
        return False
    if click.confirm(f"Edit {bulk.number_of(preview.count)}?", err=True):
        return True
    click.echo("Nothing was changed.")
    sys.exit(1)


def _preview(preview: EditPreview) -> list[str]:
    if not preview.count.number:
        return ["There is nothing to edit."]
    lines: list[str] = []
    if found := preview.example:
        lines.append(f"For example {found.id}:")
        lines += [
            f"  {clean(name)}: {_shown(found.before[name])} -> {_shown(found.after[name])}" for name in found.before
        ]
    if preview.refused:
        lines.append(f"{preview.refused} of the first {preview.checked} would not be valid and stay as they are:")
        lines += [f"  {error.field}: {error.message}" for error in preview.errors]
    return lines


def _shown(value: Any) -> str:
    return "(none)" if value in (None, "") else clean(str(value))


def _edit(edits: Edits, preview: EditPreview, patch: Mapping[str, Any]) -> Numbers:
    """Edit batch after batch, with a progress bar. Returns the numbers by their effect."""
    numbers, cursor = Counter[str](), None
    with bulk.progress("Editing dead letters", preview.count.number if preview.count.exact else None) as done:
        while True:
            batch = edits.batch(preview.filter, patch, command_line(), cursor)
            numbers.update({str(effect): number for effect, number in batch.numbers.items()})
            done(numbers.total())
            if (cursor := batch.next) is None:
                return numbers


def _discard(parts: Services, fixed: Filter, reason: str, total: int | None) -> Numbers:
    numbers, cursor = Counter({"discarded": 0, "skipped": 0}), None
    with bulk.progress("Discarding", total) as done:
        while True:
            batch = discard_batch(parts.inventory, parts.desk, fixed, reason, command_line(), cursor)
            numbers.update(discarded=batch.discarded, skipped=batch.skipped)
            done(numbers.total())
            if (cursor := batch.next) is None:
                return numbers


def _report(numbers: Numbers, as_json: bool) -> None:
    """Print the numbers by their effect; exits with status 1 if some dead letters stay as they are."""
    if as_json:
        print_json(dict(numbers))
    else:
        click.echo(", ".join(f"{number} {effect}" for effect, number in numbers.items() if number) or "0 changed")
    sys.exit(1 if numbers.get(Effect.REFUSED) or numbers.get(Effect.SKIPPED) else 0)
