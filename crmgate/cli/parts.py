"""Shared by the commands about operations: opening the gateway's services, filters, the display of an operation."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, assert_never

import click
from rich.text import Text

from crmgate import logs, services
from crmgate.cli.output import clean, configuration, print_json, print_rows, print_table
from crmgate.errors import (
    AttemptUnderWay,
    ChangedMeanwhile,
    Code,
    JobRunning,
    LedgerUnavailable,
    NoSuchOperation,
    OperationEnded,
    SpoolUnavailable,
)
from crmgate.model import Kind, Operation, State, rfc3339
from crmgate.operators.export import described
from crmgate.operators.inventory import Filter
from crmgate.operators.waiting import Wait
from crmgate.services import Services

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
UNCHANGEABLE = (NoSuchOperation, OperationEnded, AttemptUnderWay)
"""Errors of an operation that an operator cannot change."""
SPARE = ("ID", "KIND", "CRM", "DETAIL")
"""Columns of a table of operations that a narrow terminal leaves out; the tracking code stands for the id."""
_ID = re.compile(r"[0-9a-f]{32}")

Command = TypeVar("Command", bound=Callable[..., Any])


@contextmanager
def opened() -> Iterator[Services]:
    """The services of the gateway. Turns their errors into a message and exit status 1; 2 for a `ConfigError`."""
    with configuration():
        parts = services.start()
    # A command writes its audit log to stderr, like its other messages.
    logs.configure(parts.settings.log_level, "console" if sys.stderr.isatty() else parts.settings.log_format)
    try:
        yield parts
    except LedgerUnavailable as error:
        message = f"Redis does not answer ({error}): start it, or correct REDIS_URL"
    except SpoolUnavailable as error:
        message = f"{error}; SPOOL_DIR needs the rights of the web process"
    except (*UNCHANGEABLE, ChangedMeanwhile, JobRunning) as error:
        message = reason(error)
    else:
        return
    raise click.ClickException(message)


def reason(error: Exception) -> str:
    """The message for an operator: the error and its remedy."""
    match error:
        case NoSuchOperation():
            return "no operation has this id or tracking code, or it is no longer kept: see `crmgate ops list`"
        case OperationEnded(state=state):
            return f"the operation has ended in the state {state}; see `crmgate ops show`"
        case AttemptUnderWay():
            return "an attempt to deliver the operation is under way; nothing was changed: try again in a moment"
        case ChangedMeanwhile():
            return "the operation has changed since you read it; nothing was changed: read it again"
        case JobRunning(job=job):
            return f"the job {job} is already running: `crmgate dlq retry --follow` shows it, --cancel ends it"
    return str(error)


def moment(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Parse the time of an option, in seconds since the epoch: RFC 3339, a date, or an age (`90s`, `30m`, `2h`, `7d`).

    A time without an offset is UTC. Raises `click.BadParameter`.
    """
    if value is None:
        return None
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", value):
        return time.time() - int(ago[1]) * UNITS[ago[2]]
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        expected = "it takes a time such as 2026-11-23T10:00:00Z, a date, or an age: 90s, 30m, 2h, 7d."
        raise click.BadParameter(expected) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def filters(command: Command) -> Command:
    """Add the filter options to a command; `wanted` makes a `Filter` of their values."""
    for option in (
        click.option("--until", callback=moment, metavar="TIME", help="Accepted before."),
        click.option("--since", callback=moment, metavar="TIME", help="Accepted since: a time, or 30m, 2h, 7d ago."),
        click.option("--detail", metavar="TEXT", help="A part of the message of the last failure, in any case."),
        click.option("--field", metavar="NAME", help="A CRM field that was refused in the last failure."),
        click.option("--code", type=click.Choice([code.value for code in Code]), help="Code of the last failure."),
        click.option("--provider", help="The CRM it was delivered to or tried with last."),
        click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="The kind of operation."),
    ):
        command = option(command)
    return command


def wanted(state: State | None, options: dict[str, Any]) -> Filter:
    """The `Filter` for the values of the options that `filters` adds."""
    kind = options["kind"]
    return Filter(
        state=state, kind=Kind(kind) if kind else None, provider=options["provider"] or "", code=options["code"] or "",
        accepted_from=options["since"], accepted_to=options["until"],
        field=options["field"] or "", detail=options["detail"] or "",
    )  # fmt: skip


def resolve(parts: Services, text: str) -> Operation:
    """The operation with this id or its beginning, or with this tracking code.

    Raises `NoSuchOperation`, `click.ClickException` if there are several, `LedgerUnavailable`.
    """
    if _ID.fullmatch(text):
        found = parts.ledger.get(text)
        if found is None:
            raise NoSuchOperation
        return found
    candidates = parts.inventory.find(text)
    if not candidates:
        raise NoSuchOperation
    if len(candidates) > 1:
        ids = ", ".join(candidate.id for candidate in candidates)
        raise click.ClickException(
            f"several operations have this tracking code or beginning of an id; use one of their ids: {ids}"
        )
    return candidates[0]


def show_list(operations: Iterable[Operation], title: str = "", *, spare: Sequence[str] = SPARE) -> None:
    """Print a table of operations with one line for each. A narrow terminal leaves out the columns in `spare`."""
    headings = ("TRACKING CODE", "ID", "ACCEPTED", "KIND", "STATE", "CRM", "ERROR", "DETAIL")
    print_rows(headings, (_row(operation) for operation in operations), title, spare=spare)


def _row(operation: Operation) -> tuple[str | Text, ...]:
    about = described(operation)
    state = Text(operation.state, _color(operation.state))
    code = about["code"] or (about["cause"] if operation.state == State.SUSPECT else "")
    error = ("", "") if operation.state == State.DELIVERED else (code or "", about["detail"])
    return (operation.tracking_code, operation.id, brief(operation.accepted_at), operation.kind, state,
            about["provider"], *error)  # fmt: skip


def _color(state: State) -> str:
    """The style of a state in a table; empty for none."""
    if not state.known:
        return ""
    match state:
        case State.DELIVERED:
            return "green"
        case State.DEAD:
            return "bold red"
        case State.SUSPECT | State.WAITING:
            return "yellow"
        case State.DISCARDED:
            return "dim"
        case State.ACCEPTED | State.DELIVERING:
            return ""
        case _:
            assert_never(state)


def brief(timestamp: float) -> str:
    """A time (seconds since the epoch) in UTC to the second; empty for 0."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if timestamp else ""


def whole(operation: Operation, wait: Wait | None, *, payload: bool) -> dict[str, Any]:
    """Everything about an operation for JSON; the personal data only with `payload`."""
    delivered = operation.delivered
    about = (
        described(operation)
        | {
            "version": operation.version,
            "due_at": rfc3339(operation.due_at) if operation.due_at else None,
            "attempts": [attempt.to_dict() | {"at": rfc3339(attempt.at)} for attempt in operation.events],
            "crm": delivered.to_dict() if delivered else None,
        }
        | waits_json(wait)
    )
    return about | ({"payload": dict(operation.payload)} if payload else {})


def waits_json(wait: Wait | None) -> dict[str, Any]:
    """The member `waits` of an operation's JSON; its value is null if the operation does not wait."""
    return {"waits": wait.to_json() if wait else None}


def show_whole(operation: Operation, wait: Wait | None, *, payload: bool, as_json: bool) -> None:
    """Print everything about an operation; the personal data only with `payload`."""
    if as_json:
        print_json(whole(operation, wait, payload=payload))
        return
    facts = [*_facts(operation), ("waits, because", wait.why if wait else "")]
    print_table(("", ""), ((name, text) for name, text in facts if text), f"Operation {operation.id}")
    if operation.events:
        click.echo("\nHistory")
        rows = ((brief(a.at), f"{a.duration:.3f} s", a.provider, a.outcome, a.code,
                 str(a.status or ""), a.vendor_code, a.detail) for a in operation.events)  # fmt: skip
        print_table(("AT", "TOOK", "CRM", "OUTCOME", "CODE", "HTTP", "CRM'S CODE", "DETAIL"), rows)
    if payload and operation.payload:
        click.echo("\nPayload")
        print_table(("FIELD", "VALUE"), ((name, _value_text(value)) for name, value in operation.payload.items()))


def _facts(operation: Operation) -> Iterator[tuple[str, str]]:
    yield "tracking code", operation.tracking_code
    yield "kind", operation.kind
    yield "state", operation.state
    yield "suspect because of", operation.suspicion or ""
    yield "accepted", brief(operation.accepted_at)
    yield "payload", operation.unreadable
    yield "next attempt", brief(operation.due_at)
    yield "waits for", operation.behind
    yield "held up by it", operation.ahead_of
    if delivered := operation.delivered:
        yield "CRM", delivered.provider
        yield "record", f"{delivered.record_id}{' (found, not made)' if delivered.adopted else ''}"
        yield "address", delivered.url
        yield "not kept by the CRM", ", ".join(delivered.dropped)
        yield "refused: moved into the description, or filled with a stand-in", ", ".join(delivered.moved)


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_value_text(inner)}" for name, inner in value.items())
    return ", ".join(map(_value_text, value)) if isinstance(value, list | tuple) else clean(str(value))
