"""Words and forms for the templates: times, durations, states, kinds and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from crmgate import tracking
from crmgate.model import rfc3339
from crmgate.plugin_kit.mapping import LABELS, label

ACTIONS = {
    "dead_letters.retry": "Retried an operation",
    "dead_letters.discard": "Discarded an operation",
    "dead_letters.edit": "Edited an operation",
    "dead_letters.export": "Exported operations",
    "dead_letters.retries.start": "Started a job of retries",
    "dead_letters.retries.cancel": "Cancelled a job of retries",
    "crm.pause": "Paused deliveries",
    "crm.resume": "Resumed deliveries",
    "crm.setup": "Set the CRM up",
    "persons.show": "Searched for a person",
    "persons.export": "Exported a person",
    "persons.erase": "Erased a person",
    "operations.repair": "Sent an operation again that the CRM had lost",
    "keys.rotate": "Started to encrypt all payloads with the first key",
    "backups.make": "Made a backup",
    "backups.restore": "Started to restore a backup",
    "tokens.new": "Created a token",
    "tokens.revoke": "Revoked a token",
    "operations.view": "Viewed personal data",
    "ops.login": "Logged in",
    "ops.logout": "Logged out",
    "ops.login_link": "Made a log-in link",
}
"""Actions in the audit log, in words."""
KINDS = {
    "create_lead": "New lead",
    "update_lead": "Update of a lead",
    "log_activity": "Messenger click",
    "create_minimal_lead": "Click of an unknown visitor",
}
"""What an operation is, in words."""
STATES = {
    "accepted": "Accepted",
    "delivering": "Being sent",
    "waiting": "Waiting",
    "delivered": "Delivered",
    "dead": "Dead letter",
    "discarded": "Discarded",
    "suspect": "Suspect",
}
"""States, in words."""
TABS = STATES | {"dead": "Dead letters", "suspect": "Suspects"}
"""Lists of operations in a state, in words."""
OUTCOMES = {
    "accepted": "Accepted",
    "delivered": "Delivered",
    "failed": "Failed",
    "edited": "Edited",
    "released": "Released for another attempt",
    "returned": "Returned by itself",
    "discarded": "Discarded",
}
"""What happened to an operation, in words."""

HAPPENINGS = {
    "delivered": "Delivered",
    "dead": "Dead letter",
    "shut": "Nothing is sent from now on to",
    "opened": "Sent again from now on to",
}
"""The latest events, in words."""


def moment(timestamp: float) -> Markup | str:
    """A time element with a time in UTC; a dash for 0."""
    if not timestamp:
        return "–"
    shown = datetime.fromtimestamp(timestamp, UTC)
    text = f"{shown:%Y-%m-%d %H:%M:%S}"
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(timestamp), text)


def span(seconds: float) -> str:
    """A duration in its two largest units: `4 min 10 s`, `2 h 5 min`, `0.12 s`."""
    if seconds < 10:
        return f"{max(seconds, 0):.2g} s" if 0 < seconds < 1 else f"{seconds:.0f} s"
    whole = round(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {name}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 dead letter`, `1,214 dead letters`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _word(table: Mapping[str, str]) -> Callable[[object], str]:
    return lambda word: table.get(str(word), str(word).replace("_", " ").capitalize())


def rich(text: str) -> Markup:
    """A sentence whose parts between backticks are code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def fact(name: str) -> str:
    """The label of a fact or of a field of a payload."""
    return LABELS.get(name, label(name).replace("_", " ").capitalize() if label(name) == name else label(name))


def plain(value: Any) -> str:
    """A value of a payload as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plain(inner)}" for name, inner in value.items())
    return ", ".join(map(plain, value)) if isinstance(value, list | tuple) else str(value)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "action": _word(ACTIONS),
    "moment": moment, "span": span, "counted": counted, "kind": _word(KINDS), "state": _word(STATES),
    "tab": _word(TABS), "outcome": _word(OUTCOMES),
    "happened": _word(HAPPENINGS), "tracking_code": tracking.code, "plain": plain, "label": fact, "rich": rich,
}  # fmt: skip
"""Filters for the templates."""
