"""`crmgate reconcile`: whether the CRM has everything that was delivered; `--repair` sends again what it has lost."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import click

from crmgate.cli import bulk
from crmgate.cli.output import as_json, print_json, print_rows
from crmgate.cli.parts import brief, moment, opened
from crmgate.errors import ProviderError
from crmgate.operators.comparison import CrmShut
from crmgate.operators.reconcile import Gap, Report
from crmgate.services import Services
from crmgate.store.audit import command_line

WORDS = {
    "in_crm": "in the CRM",
    "missing": "missing in the CRM",
    "unsettled": "delivered just now, and not found yet",
    "other_crm": "in another CRM, which is not configured",
    "not_comparable": "delivered to a destination that cannot be searched",
    "waiting": "waiting",
    "dead_letters": "dead letters",
    "suspects": "suspects",
    "discarded": "discarded",
}
"""The result of the comparison for an operation, in words."""
CAVEAT = (
    "Staff may have deleted a record, or merged it into another one: then there is nothing to repair. "
    "A record can also belong to a user whose records the API user may not read."
)


@click.command()
@click.option(
    "--since", default="7d", show_default=True, callback=moment, metavar="TIME",
    help="Compare what was accepted since: a time, or 30m, 2h, 7d ago. Receipts are kept for 7 days.",
)  # fmt: skip
@click.option("--repair", is_flag=True, help="Send again what is missing, as far as its data are kept (PAYLOAD_KEEP).")
@click.option("--only", multiple=True, metavar="ID|CODE", help="Repair only this operation; can be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def reconcile(since: float, repair: bool, only: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Look every delivered operation up in the CRM, and name those that it lacks.

    With --repair and --json it does not ask: it prints the result, and repairs if --yes is given.

    Exit status: 0 nothing is missing, or all of it was repaired; 1 something is missing, or the comparison was not
    completed; 2 the configuration cannot work or an option was used wrongly.
    """
    if (only or yes) and not repair:
        raise click.UsageError("--only and --yes need --repair.")
    with opened() as parts, _explained():
        report = _compare(parts, since)
        if not as_json:
            _show(report)
        left = _repair(parts, report, only, yes=yes, as_json=as_json) if repair else report
    repaired = report.missing - left.missing
    if as_json:
        print_json(left.to_json() | {"repaired": repaired})
    elif repaired:
        click.echo(f"{repaired} operations wait for the CRM again.")
    sys.exit(1 if left.missing else 0)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors of a comparison into a message and exit status 1."""
    try:
        yield
    except CrmShut as error:
        message = f"{error}: see `crmgate crm test`, and compare again when it works"
    except ProviderError as error:
        message = f"the CRM could not be searched ({error}): see `crmgate crm test`, and compare again"
    else:
        return
    raise click.ClickException(message)


def _compare(parts: Services, since: float) -> Report:
    with bulk.progress("Comparing with the CRM", parts.reconcile.total(since)) as done:
        return parts.reconcile.compare(since, done)


def _show(report: Report) -> None:
    counts = report.counts()
    shown = [f"{counts[name]} {words}" for name, words in WORDS.items() if counts[name] or name == "in_crm"]
    click.echo(f"{report.accepted} accepted since {brief(report.since)} = {' + '.join(shown)}")
    if report.gaps:
        headings = ("TRACKING CODE", "ID", "ACCEPTED", "KIND", "CRM", "RECORD", "DATA KEPT", "ADDRESS")
        print_rows(headings, map(_row, report.gaps), f"\n{CAVEAT}\n", spare=("ID", "KIND", "CRM"))


def _row(gap: Gap) -> tuple[str, ...]:
    facts = gap.to_json()
    kept = "yes" if gap.repairable else "no: not repairable"
    return (facts["tracking_code"], facts["id"], brief(gap.operation.accepted_at), facts["kind"], facts["provider"],
            facts["lead_id"], kept, facts["url"])  # fmt: skip


def _repair(parts: Services, report: Report, only: Collection[str], *, yes: bool, as_json: bool) -> Report:
    """Repair the gaps, or those that `only` names, after a question. Returns the report with what is left."""
    gaps = _named(report, only) if only else report.gaps
    ids = {gap.operation.id for gap in gaps if gap.repairable}
    if len(ids) < len(gaps) and not as_json:
        click.echo(
            f"{len(gaps) - len(ids)} cannot be repaired: their data are no longer kept (PAYLOAD_KEEP).", err=True
        )
    if not ids or not (yes or (not as_json and click.confirm(f"Send {len(ids)} operations again?", err=True))):
        return report
    with bulk.progress("Repairing", len(ids)) as done:
        return parts.reconcile.repair(report, ids, command_line(), done)


def _named(report: Report, only: Collection[str]) -> tuple[Gap, ...]:
    """The gaps with these ids or tracking codes. Raises `click.UsageError` for one that is no gap."""
    wanted = {name.upper() for name in only}
    named = [gap for gap in report.gaps if wanted & _names(gap)]
    unknown = wanted - {name for gap in named for name in _names(gap)}
    if unknown:
        raise click.UsageError(f"These are not missing in the CRM: {', '.join(sorted(unknown))}.")
    return tuple(named)


def _names(gap: Gap) -> set[str]:
    return {gap.operation.id.upper(), gap.operation.tracking_code}
