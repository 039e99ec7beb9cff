"""The table of operation kinds: the one place that says what each kind carries and what it may become.

Python reads it through `traits`; the Lua scripts of the ledger get it through `for_scripts`. `tests/test_kinds.py`
proves that each kind has a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from crmgate.model import Activity, Kind, Lead


class Editor(StrEnum):
    """The schema with which an operator edits the payload of an operation."""

    APPLICATION = "application"
    CLICK = "click"


@dataclass(frozen=True, slots=True)
class Traits:
    """What crmgate knows of one kind.

    `needs_lead`: the operation is about a lead that exists in the CRM. `with_lead` is the kind it becomes when the
    session has a lead, `without_lead` the kind it becomes when the lead it needs was never made. `minimal`: the lead it
    makes is a stand-in, which an application of the same session updates.
    """

    payload: type[Lead] | type[Activity]
    editor: Editor
    needs_lead: bool
    with_lead: Kind
    without_lead: Kind
    minimal: bool = False


_TABLE = {
    Kind.CREATE_LEAD: Traits(
        Lead, Editor.APPLICATION, needs_lead=False, with_lead=Kind.UPDATE_LEAD, without_lead=Kind.CREATE_LEAD
    ),
    Kind.UPDATE_LEAD: Traits(
        Lead, Editor.APPLICATION, needs_lead=True, with_lead=Kind.UPDATE_LEAD, without_lead=Kind.CREATE_LEAD
    ),
    Kind.LOG_ACTIVITY: Traits(
        Activity, Editor.CLICK, needs_lead=True, with_lead=Kind.LOG_ACTIVITY, without_lead=Kind.CREATE_MINIMAL_LEAD
    ),
    Kind.CREATE_MINIMAL_LEAD: Traits(
        Activity, Editor.CLICK, needs_lead=False,
        with_lead=Kind.LOG_ACTIVITY, without_lead=Kind.CREATE_MINIMAL_LEAD, minimal=True,
    ),
}  # fmt: skip


def traits(kind: Kind) -> Traits:
    """The row of a kind. Raises `KeyError` for one that is not `known`."""
    return _TABLE[kind]


def payload_types() -> tuple[type[Lead] | type[Activity], ...]:
    """Each type of payload once, in the order of the table."""
    return tuple(dict.fromkeys(row.payload for row in _TABLE.values()))


def about_a_lead() -> tuple[Kind, ...]:
    """The kinds of operations on a lead that exists."""
    return tuple(kind for kind, row in _TABLE.items() if row.needs_lead)


def for_scripts() -> dict[str, dict[str, str | bool]]:
    """The table as the Lua scripts read it, in `kinds`: a kind's traits by the name of the kind."""
    return {
        kind: {
            "needs_lead": row.needs_lead, "with_lead": row.with_lead, "without_lead": row.without_lead,
            "minimal": row.minimal,
        }
        for kind, row in _TABLE.items()
    }  # fmt: skip
