"""What an update writes on a lead that has values already. Sends nothing itself.

An update fills what is empty. A value that differs from the CRM's becomes a further row if the field has rows (phones,
emails), else a line of the description. So neither an earlier submission nor a correction in the CRM is lost.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, assert_never

from crmgate.model import Operation
from crmgate.plugin_kit.mapping import COMPOSITES, SILENT, Mapped, label
from crmgate.plugin_kit.values import listed, text

PLACEHOLDER = "-"
"""Value of a field that only has to be filled, such as a missing last name. It counts as empty."""
FIRST_STAYS = ("referral_code",)
"""Facts whose first value stays, also with `CRM_ON_UPDATE=overwrite`."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class UpdateAction(Enum):
    """What an update does with one value."""

    KEEP = auto()
    """Nothing: the CRM has the value, or there is none."""
    FILL = auto()
    ADD = auto()
    """Add it as a further row."""
    DESCRIBE = auto()
    OVERWRITE = auto()
    """Write it, and describe the previous value."""


@dataclass(frozen=True)
class Update(Mapped):
    """A submission compared with the lead that it updates.

    `fields` are to be written, `rows` to be added as further rows of their fields. `rest` goes into the description.
    """

    rows: dict[str, Any] = field(default_factory=dict)


def merged(
    mapped: Mapped, current: Mapping[str, Any], defaults: Mapping[str, Any], *,
    rows: Collection[str], minimal: Mapping[str, str], keep: Collection[str] = (), overwrite: bool,
) -> Update:  # fmt: skip
    """Compare a mapped submission with the lead `current`; see `CRMProvider.plan_update`.

    `defaults` has the values of fields that a submission has without an answer of the visitor.
    """
    stand_ins = {name for name, value in minimal.items() if current.get(name) == value}
    named = len(stand_ins) == len(minimal) and any(not _blank(mapped.fields.get(name)) for name in minimal)
    update = Update(dict.fromkeys(minimal, "") if named else {}, [], mapped.facts, mapped.undescribed)
    for name, value in mapped.fields.items():
        fact, known = mapped.facts.get(name, name), current.get(name)
        replaces = overwrite and name not in keep
        if fact == "operation_id":
            continue
        action = decide(
            fact, value, None if name in stand_ins else known,
            default=defaults.get(name), has_rows=name in rows, overwrite=replaces,
        )  # fmt: skip
        _apply(action, update, name, value)
        # Half of a stand-in name can be a person's real name.
        half = name in stand_ins and action is UpdateAction.FILL and not named
        if half or action is UpdateAction.OVERWRITE or (action is UpdateAction.ADD and replaces):
            update.rest.append((label(fact), f"was: {_shown(known)}"))
    update.rest.extend(mapped.rest)
    return update


def _apply(action: UpdateAction, update: Update, name: str, value: Any) -> None:
    match action:
        case UpdateAction.KEEP:
            pass
        case UpdateAction.FILL | UpdateAction.OVERWRITE:
            update.fields[name] = value
        case UpdateAction.ADD:
            update.rows[name] = value
        case UpdateAction.DESCRIBE:
            fact = update.facts.get(name, name)
            words = update.undescribed.get(name, text(value))
            if words and fact not in SILENT:
                update.rest.append((label(fact), words))
        case _:
            assert_never(action)


def decide(
    fact: str, value: Any, known: Any, *, default: Any = None, has_rows: bool = False, overwrite: bool = False
) -> UpdateAction:
    """What an update does with a value of `fact` if the CRM has `known`, for a field with rows a list of all values.

    A `default`, such as the source that every form sends, says nothing if the CRM has a value.
    """
    if _blank(value) or has_value(fact, value, known):
        return UpdateAction.KEEP
    if _empty(known):
        return UpdateAction.FILL
    if value == default:
        return UpdateAction.KEEP
    if has_rows:
        return UpdateAction.ADD
    return UpdateAction.OVERWRITE if overwrite and fact not in FIRST_STAYS else UpdateAction.DESCRIBE


def has_value(fact: str, value: Any, known: Any) -> bool:
    """Whether the CRM has a value, or each value of a list.

    The case of an email does not count, nor does the punctuation of a phone. A composite fact is there if all its
    parts are: a first name alone says nothing about a full name. The CRM may store a number for a text or
    a text for a number, add a time to a date, and show a moment in another time zone.
    """
    return all(any(_same(fact, one, other) for other in listed(known)) for one in listed(value))


def update_heading(operation: Operation) -> str:
    """Heading of the description of an update: the time in UTC at which it was accepted."""
    return f"Update of {datetime.fromtimestamp(operation.accepted_at, UTC):%Y-%m-%d %H:%M:%S} UTC:"


def _same(fact: str, value: Any, known: Any) -> bool:
    ours, theirs = text(value).strip(), _shown(known).strip()
    match fact:
        case "email":
            return ours.casefold() == theirs.casefold()
        case "phone":
            return ours == theirs or (_digits(ours) == _digits(theirs) != "")
        case name if name in COMPOSITES:
            separator, _ = COMPOSITES[name]
            return {*ours.split(separator)} <= {*theirs.split(separator)}
    if ours == theirs or (_DATE.fullmatch(ours) and theirs.startswith(ours)):
        return True
    if _is_number(value) or _is_number(known):
        return _number(ours) == _number(theirs) is not None
    return _moment(ours) == _moment(theirs) is not None


def _digits(phone: str) -> str:
    return re.sub(r"\D", "", phone).lstrip("0")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(words: str) -> float | None:
    try:
        return float(words)
    except ValueError:
        return None


def _moment(words: str) -> datetime | None:
    """A moment with a time zone."""
    try:
        moment = datetime.fromisoformat(words)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _shown(known: Any) -> str:
    """A value of the CRM as text."""
    return ", ".join("" if one is None else text(one) for one in listed(known))


def _blank(value: Any) -> bool:
    return not isinstance(value, bool) and not _shown(value).strip()


def _empty(known: Any) -> bool:
    """Whether a field has no value. A boolean field is False before the visitor answers."""
    return known is False or _blank(known) or _shown(known).strip() == PLACEHOLDER
