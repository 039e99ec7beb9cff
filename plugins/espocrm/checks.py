"""The connection test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crmgate.model import Check
from crmgate.provider import Look

from .answers import unsearchable
from .api import EspoApi, rows_of
from .required import EspoRequired

CHECKED_RIGHTS = {
    "create leads": ("Lead: create",),
    "update leads": ("Lead: edit",),
    "log activities": ("Call: create", "Lead: stream"),
}
"""Rights by the name of their check. One of the rights is enough."""
_NO_LOOKUP = "an earlier attempt cannot be found: a lead whose answer was lost may be created twice"


class EspoChecks:
    """Steps of the connection test. `id_field` is the field of the operation id; empty: none."""

    def __init__(self, api: EspoApi, required: EspoRequired, id_field: str) -> None:
        self._api, self._required, self._id_field = api, required, id_field

    def looks(self) -> tuple[Look, ...]:
        """Address and key, rights, mapped and required fields, and the search for an operation id."""
        return (
            Look("connection", self._connection, "(ESPOCRM_URL)", gate=True),
            Look("rights", self._rights, "(ESPOCRM_URL)"),
            Look("fields", self._fields, "(ESPOCRM_URL)"),
            Look("operation id", self._lookup, "(ESPOCRM_URL)"),
        )

    def _connection(self) -> Iterator[Check]:
        rows_of(self._api.list_records("Lead", maxSize="1", select="id"))
        yield Check("connection", True)

    def _rights(self) -> Iterator[Check]:
        """A right fails its check only if EspoCRM denies it: for an administrator's key it may list no rights."""
        match self._api.read("App/user"):
            case {"acl": {"table": dict(table)}}:
                denied = {f"{scope}: {action}" for scope in ("Lead", "Call") for action in _denied(table.get(scope))}
            case _:
                denied = set()
        for name, rights in CHECKED_RIGHTS.items():
            lacks = denied.issuperset(rights)
            yield Check(name, not lacks, f"the role of the API user lacks {' and '.join(rights)}" if lacks else "")

    def _fields(self) -> Iterator[Check]:
        for field in self._required.compared():
            # `_lookup` checks whether the field of the operation id exists.
            if field.fact != "operation_id" or (field.type and field.problem):
                yield Check(f"field {field.name}", not field.problem, field.problem)

    def _lookup(self) -> Iterator[Check]:
        field, hint = self._id_field, ""
        if not field:
            hint = f"ESPOCRM_MAP_OPERATION_ID is empty: {_NO_LOOKUP}"
        elif unsearchable(answer := self._api.search_leads(field, "crmgate")):
            hint = f"Lead has no field {field}, or the role hides it: {_NO_LOOKUP}. See ESPOCRM_MAP_OPERATION_ID"
        else:
            rows_of(answer)
        yield Check("operation id", not hint, hint)


def _denied(rule: Any) -> list[str]:
    return [action for action, level in rule.items() if level == "no"] if isinstance(rule, dict) else []
