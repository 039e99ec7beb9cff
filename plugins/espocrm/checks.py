"""The connection test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crmgate import hookimpl
from crmgate.model import Check, Connection
from crmgate.provider import Look

from .answers import unsearchable
from .setup import Setup

CHECKED_RIGHTS = {
    "create leads": ("Lead: create",),
    "update leads": ("Lead: edit",),
    "log activities": ("Call: create", "Lead: stream"),
}
"""The checks of a connection test, each with the rights one of which it takes."""
_NO_LOOKUP = "an earlier attempt cannot be found: a lead whose answer was lost may be created twice"


class Checks(Setup):
    """Whether EspoCRM lets the gateway do its work."""

    @hookimpl
    def test_connection(self) -> Connection:
        """Address, key, rights, fields with their options, and whether an operation id can be looked up."""
        return self.test(
            Look("connection", self._check_connection, "(ESPOCRM_URL)", gate=True),
            Look("rights", self._check_rights, "(ESPOCRM_URL)"),
            Look("fields", self._check_fields, "(ESPOCRM_URL)"),
            Look("operation id", self._check_lookup, "(ESPOCRM_URL)"),
            # Leads can be delivered without a field, or where nobody may ask for the rights.
            needs=("create leads",),
        )

    def _check_connection(self) -> Iterator[Check]:
        self._rows(self._list("Lead", maxSize="1", select="id"))
        yield Check("connection", True)

    def _check_rights(self) -> Iterator[Check]:
        """Only what EspoCRM says outright is a failure: of an administrator's key it may tell no rights."""
        match self._read("App/user"):
            case {"acl": {"table": dict(table)}}:
                denied = {f"{scope}: {action}" for scope in ("Lead", "Call") for action in _denied(table.get(scope))}
            case _:
                denied = set()
        for name, rights in CHECKED_RIGHTS.items():
            lacks = denied.issuperset(rights)
            yield Check(name, not lacks, f"the role of the API user lacks {' and '.join(rights)}" if lacks else "")

    def _check_fields(self) -> Iterator[Check]:
        for field in self.describe_fields():
            if field.fact != "operation_id" or (field.type and field.problem):  # whether it is there: `_check_lookup`
                yield Check(f"field {field.name}", not field.problem, field.problem)

    def _check_lookup(self) -> Iterator[Check]:
        field, hint = self._id_field, ""
        if not field:
            hint = f"ESPOCRM_MAP_OPERATION_ID is empty: {_NO_LOOKUP}"
        elif unsearchable(answer := self._search(field, "crmgate")):
            hint = f"Lead has no field {field}, or the role hides it: {_NO_LOOKUP}. See ESPOCRM_MAP_OPERATION_ID"
        else:
            self._rows(answer)
        yield Check("operation id", not hint, hint)


def _denied(rule: Any) -> list[str]:
    return [action for action, level in rule.items() if level == "no"] if isinstance(rule, dict) else []
