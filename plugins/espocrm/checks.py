"""The connection test."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from crmgate.errors import AuthFailed, Code, Forbidden, NotFound
from crmgate.model import Check
from crmgate.provider import Look

from .answers import unsearchable
from .api import EspoApi, rows_of
from .required import EspoRequired
from .rights import EspoRights

_NO_LOOKUP = "an earlier attempt cannot be found: a lead whose answer was lost may be created twice"
_UNASSIGNED = "new leads have no assigned user. See ESPOCRM_ASSIGNED_USER_ID"


class EspoChecks:
    """Steps of the connection test. `id_field` is the field of the operation id; empty: none."""

    def __init__(self, api: EspoApi, required: EspoRequired, id_field: str) -> None:
        self._api, self._required, self._id_field = api, required, id_field

    def looks(self) -> tuple[Look, ...]:
        """Address and key, rights, the assigned user, mapped and required fields, the search for an operation id."""
        return (
            Look("connection", self._connection, "(ESPOCRM_URL)", gate=True),
            Look("rights", self._rights, "(ESPOCRM_URL)"),
            Look("assigned user", self._assignee, "(ESPOCRM_URL)"),
            Look("fields", self._fields, "(ESPOCRM_URL)"),
            Look("operation id", self._lookup, "(ESPOCRM_URL)"),
        )

    def _connection(self) -> Iterator[Check]:
        rows_of(self._api.list_records("Lead", maxSize="1", select="id"))
        yield Check("connection", True)

    def _rights(self) -> Iterator[Check]:
        yield from EspoRights.read(self._api).checks()

    def _assignee(self) -> Iterator[Check]:
        if assignee := self._api.settings.get("ESPOCRM_ASSIGNED_USER_ID"):
            problem = self._assignee_problem(assignee)
            yield Check("assigned user", not problem, f"{problem}: {_UNASSIGNED}" if problem else "")

    def _assignee_problem(self, assignee: str) -> str:
        """Why leads cannot be assigned to a user; empty if they can."""
        rights = EspoRights.listed(self._api)
        if assignee == rights.own_id:
            return ""
        try:
            self._api.read(f"User/{quote(assignee, safe='')}")
        except NotFound:
            return f"EspoCRM has no user {assignee}"
        except (Forbidden, AuthFailed) as error:
            if error.code is Code.BAD_CREDENTIALS:
                raise
            return f"the role of the API user lacks User: read: all, which user {assignee} requires"
        if rights.assignment in ("", "all"):
            return ""
        return f"the role of the API user has assignmentPermission: {rights.assignment}, but crmgate needs all"

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
