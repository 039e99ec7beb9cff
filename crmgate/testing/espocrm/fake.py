"""A fake EspoCRM 9.2.7: a real HTTP server that answers as the recordings in `tests/contracts/espocrm` do.

In a test:

    with FakeEspoCRM(api_key="KEY-GATEWAY") as crm:
        ...  # talk to crm.url with the header X-Api-Key: KEY-GATEWAY
        assert [lead["lastName"] for lead in crm.leads] == ["Yılmaz"]

As a process: `python -m crmgate.testing.espocrm --port 8091`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from crmgate.testing.espocrm import cost
from crmgate.testing.espocrm.access import AccessControl, Caller
from crmgate.testing.espocrm.answers import HTML, EspoError, nginx_page
from crmgate.testing.espocrm.metadata import TYPE_DEFAULTS, FieldDef, Record
from crmgate.testing.espocrm.records import RecordService
from crmgate.testing.espocrm.routes import Router
from crmgate.testing.espocrm.staff import Staff
from crmgate.testing.espocrm.store import Database
from crmgate.testing.server import FakeCRM, Request, Response

OPERATION_FIELD = "crmgateOperationIdC"
CUSTOM_FIELDS: dict[str, dict[str, Any]] = {
    "referralCodeC": {"type": "varchar", "maxLength": 64},
    "userTypeC": {"type": "enum", "options": ["", "student", "parent"], "default": ""},
    "languageC": {"type": "varchar", "maxLength": 16},
    "fieldOfStudyC": {"type": "varchar", "maxLength": 255},
    "universityC": {"type": "varchar", "maxLength": 255},
    OPERATION_FIELD: {"type": "varchar", "maxLength": 64},
}
"""Fields to which crmgate's plugin maps facts, as `crmgate crm setup` or a metadata file creates them."""

_RECORDS = {"create": "yes", "read": "all", "edit": "all", "delete": "no"}
GATEWAY_ROLE: dict[str, Any] = {
    "Lead": {**_RECORDS, "stream": "all"},
    "Call": _RECORDS,
    "Activities": True,
    "User": {"read": "all", "edit": "no"},
}
"""Rights of the gateway's role, without the permission to assign records. Notes need only the stream."""


def _custom(definition: FieldDef) -> FieldDef:
    return {**TYPE_DEFAULTS.get(definition["type"], {}), **definition, "isCustom": True}


class FakeEspoCRM(Staff, FakeCRM):
    """A fake EspoCRM. Its options are plain attributes, which `/__fake__/configure` can set, too."""

    def __init__(
        self,
        *,
        api_key: str | None = "KEY-GATEWAY",
        custom_fields: bool = True,
        unique_operation_id: bool = True,
        admin: tuple[str, str] = ("admin", "Admin-Fake-1"),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(host, port)
        self.database = Database()
        self.gate = AccessControl(self.database, admin)
        self.service = RecordService(self.database)
        self.router = Router(self.gate, self.service)
        self.database_down = False
        self.php_down = False
        self.lockout_seconds = 60.0
        self.lockout_limit = 10
        """Number of refused logins within `lockout_seconds` after which an address is locked out."""
        self.race_window = 0.0
        """Seconds between the check for duplicates and the write, in which another create can pass the check."""
        self.limited_until = 0.0
        """Time (seconds since the epoch) until which a proxy answers 429 with `Retry-After`; EspoCRM has no limit."""
        self.limit_form = "seconds"
        """Form of that header: `seconds`, `fraction` (as in 1.5) or `date`."""
        self.virtual_leads = 0
        """Number of leads for which the response times of look-ups and duplicate checks are simulated (see `cost`)."""
        self._added: dict[str, dict[str, Any]] = {}
        self._install_users(api_key)
        if custom_fields:
            self._install_custom_fields(unique=unique_operation_id)

    @property
    def leads(self) -> list[Record]:
        """Stored leads without deleted ones, oldest first, each with the attributes that were set."""
        return self._stored("Lead")

    @property
    def calls(self) -> list[Record]:
        return self._stored("Call")

    @property
    def notes(self) -> list[Record]:
        """Posts in streams, without the notes of EspoCRM itself (`Create`, ...)."""
        return [note for note in self._stored("Note") if note["type"] == "Post"]

    @property
    def maintenance(self) -> bool:
        """Maintenance mode: 503 for all users except administrators."""
        return bool(self.database.settings["maintenanceMode"])

    @maintenance.setter
    def maintenance(self, on: bool) -> None:
        self.database.settings["maintenanceMode"] = on

    @property
    def clock(self) -> Callable[[], float]:
        """The time in seconds since 1970, for stamps, ids and the lockout."""
        return self.database.clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self.database.clock = clock

    @property
    def search_lag(self) -> float:
        """Seconds for which lists do not show a record that was just created; it can be read by its id."""
        return self.service.search_lag

    @search_lag.setter
    def search_lag(self, seconds: float) -> None:
        self.service.search_lag = seconds

    @property
    def forbidden(self) -> dict[str, str]:
        """A script before saving refuses leads with 403: part of an email address -> the reason that it gives."""
        return self.service.hooks.forbidden

    @forbidden.setter
    def forbidden(self, reasons: dict[str, str]) -> None:
        self.service.hooks.forbidden = reasons

    @property
    def added_fields(self) -> dict[str, dict[str, Any]]:
        """Further fields of Lead by name, each with its `type` and options such as `required`. Set: replaces all."""
        return self._added

    @added_fields.setter
    def added_fields(self, fields: dict[str, dict[str, Any]]) -> None:
        for name in self._added:
            self.remove_field(name)
        self._added = fields
        self.database.types["Lead"].fields |= {name: _custom(definition) for name, definition in fields.items()}

    @property
    def role(self) -> dict[str, Any]:
        """Rights of the role of the gateway's user, in EspoCRM's format (see `GATEWAY_ROLE`)."""
        return dict(self._role["data"])

    @role.setter
    def role(self, data: dict[str, Any]) -> None:
        self.set_role(data)

    @property
    def api_key(self) -> str:
        """The key of the gateway's user; any other is refused."""
        return str(self._gateway["apiKey"])

    @api_key.setter
    def api_key(self, key: str) -> None:
        self._gateway["apiKey"] = key

    def records(self) -> dict[str, list[dict[str, Any]]]:
        with self.lock:
            return {name: copy.deepcopy(list(table)) for name, table in self.database.tables().items()}

    def clear(self) -> None:
        """Delete all leads, calls, notes and other records, and end all lockouts; keep users, roles and fields."""
        with self.lock:
            self.database.clear(keep={"User", "Role"})
            self.gate.forgive()

    def add_lead(self, **attributes: Any) -> Record:
        """Store a lead of the administrator without checks."""
        return self.add_record("Lead", **attributes)

    def change_lead(self, id_: str, **attributes: Any) -> None:
        """Change a stored lead without checks."""
        with self.lock:
            table = self.database.table("Lead")
            table.change(table.records[id_], attributes)

    def add_record(self, entity: str, **attributes: Any) -> Record:
        """Store a record of any entity type without checks."""
        with self.lock:
            draft = self.service.trusted(self.database.types[entity], Caller(self._admin), attributes)
            self.service.store(draft)
            return copy.deepcopy(draft.record)

    def add_field(self, name: str, type: str, *, entity: str = "Lead", **options: Any) -> None:
        """Add a field with exactly this name, like a metadata file."""
        with self.lock:
            self.database.types[entity].fields[name] = _custom({"type": type, **options})

    def remove_field(self, name: str, *, entity: str = "Lead") -> None:
        with self.lock:
            self.database.types[entity].fields.pop(name)

    def set_options(self, name: str, options: list[str], *, entity: str = "Lead") -> None:
        """Set the options of an enum."""
        with self.lock:
            self.database.types[entity].fields[name]["options"] = list(options)

    def unique_key(self, name: str, on: bool = True, *, entity: str = "Lead") -> None:
        """Add or remove a unique index on an attribute. Existing duplicates stay."""
        with self.lock:
            indexed = self.database.unique.setdefault(entity, set())
            if on:
                indexed.add(name)
            else:
                indexed.discard(name)

    def set_role(self, data: dict[str, Any], **permissions: Any) -> None:
        """Set the rights of the gateway's role, in EspoCRM's format."""
        with self.lock:
            self._role.update({"data": data, **permissions})

    def _retry_after(self, left: float) -> str:
        if self.limit_form == "date":
            return formatdate(math.ceil(self.clock() + left), usegmt=True)
        return f"{left:.3f}" if self.limit_form == "fraction" else str(math.ceil(left))

    def answer(self, request: Request) -> Response:
        if self.php_down:
            return nginx_page(502, "Bad Gateway")
        if self.database_down:
            return Response(500, content_type=HTML)
        if (left := self.limited_until - self.clock()) > 0:
            return nginx_page(429, "Too Many Requests", {"Retry-After": self._retry_after(left)})
        self._stopping.wait(cost.seconds(request, self.virtual_leads))
        try:
            with self.lock:
                outcome = self.router.answer(request, self.lockout_seconds, self.lockout_limit)
            if isinstance(outcome, Response):
                return outcome
            self._stopping.wait(self.race_window)
            with self.lock:
                return self.service.store(outcome)
        except EspoError as refusal:
            return refusal.response

    def add_user(self, user_name: str, **attributes: Any) -> Record:
        """A user; for one of the API: `type="api", authMethod="ApiKey", apiKey=..., rolesIds=[...]`."""
        with self.lock:
            kind, system = self.database.types["User"], Caller({"id": "system", "type": "system"})
            draft = self.service.trusted(kind, system, {"userName": user_name, **attributes})
            self.service.store(draft)
            return draft.record

    def _stored(self, entity: str) -> list[Record]:
        with self.lock:
            return copy.deepcopy(list(self.database.table(entity)))

    def _install_users(self, api_key: str | None) -> None:
        system = self.add_user("system", id="system", type="system", lastName="System")
        # The system user is shown nowhere but as the author of what it made.
        system["deleted"] = True
        self._admin = self.add_user("admin", type="admin", lastName="Admin")
        role = self.add_record("Role", name="Gateway", data=copy.deepcopy(GATEWAY_ROLE), assignmentPermission="all")
        self._role = self.database.table("Role").records[role["id"]]
        if api_key is not None:
            user = {"type": "api", "authMethod": "ApiKey", "apiKey": api_key, "rolesIds": [role["id"]]}
            self._gateway = self.add_user("gateway", **user)

    def _install_custom_fields(self, *, unique: bool) -> None:
        for name, definition in CUSTOM_FIELDS.items():
            self.add_field(name, **copy.deepcopy(definition))
        if unique:
            self.unique_key(OPERATION_FIELD)
