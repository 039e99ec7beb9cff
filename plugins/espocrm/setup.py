"""The setup of EspoCRM as an administrator: fields, a role, an API user."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from crmgate.errors import AuthFailed, Code, ConfigError, Duplicate, Forbidden, Unavailable
from crmgate.model import CrmField, Provision, Step
from crmgate.provider import FieldMap

from .answers import error_for, rows_with_id
from .api import EspoApi, equals
from .fields import described, lacking_options
from .lock import SetupLock
from .metadata import LeadDefinitions
from .required import NO_INDEX

GATEWAY = "crmgate"
"""Name of the role and of the API user that the setup creates."""
_RECORDS = {"create": "yes", "read": "all", "edit": "all", "delete": "no"}
RIGHTS: dict[str, Any] = {
    "Lead": {**_RECORDS, "stream": "all"},
    "Call": _RECORDS,
    "Activities": True,
    "User": {"read": "all", "edit": "no"},
}
NEW_FIELDS: dict[str, dict[str, Any]] = {
    "referral_code": {"type": "varchar", "maxLength": 64},
    "user_type": {"type": "enum", "default": ""},
    "language": {"type": "varchar", "maxLength": 16},
    "operation_id": {"type": "varchar", "maxLength": 64},
}
"""Fields that the setup creates, by fact. Other facts get a text field of `TEXT_LENGTH` characters."""
TEXT_LENGTH = 255
ADMIN_SETTINGS = ("ESPOCRM_ADMIN_USERNAME", "ESPOCRM_ADMIN_PASSWORD")
_NO_ADMIN = "EspoCRM refuses the administrator: check ESPOCRM_ADMIN_USERNAME and ESPOCRM_ADMIN_PASSWORD"
_INTERRUPTED = "end of a setup that was interrupted, or that is under way"


@dataclass(frozen=True)
class _Todo:
    """A step of the setup. `do` is None if the step is done, or if the gateway cannot do it."""

    what: str
    done: bool
    do: Callable[[], None] | None = None


@dataclass(frozen=True)
class _Plan:
    """Steps of the setup, and the API user with the attributes that an administrator sees."""

    fields: list[_Todo]
    access: list[_Todo]
    user: Mapping[str, Any]

    @property
    def todos(self) -> list[_Todo]:
        """All steps, in order."""
        return self.fields + self.access

    def keys(self) -> dict[str, str]:
        """Keys of the API user, by the names of the settings."""
        held = {"ESPOCRM_API_KEY": self.user.get("apiKey"), "ESPOCRM_SECRET_KEY": self.user.get("secretKey")}
        return {name: str(key) for name, key in held.items() if key}


class EspoSetup:
    """Creates what is missing in EspoCRM."""

    def __init__(self, api: EspoApi, field_map: FieldMap) -> None:
        self._api, self._field_map = api, field_map
        self._lock = SetupLock(self._admin)
        self._own: str | None = None

    def provision(self, apply: bool) -> Provision:
        """List the steps of the setup; with `apply`, carry them out. Nothing is changed or removed that exists.

        A setup at the same time is waited for. What an interrupted one left behind is repaired.

        Raises `ConfigError` without an administrator's settings, and `ProviderError`.
        """
        if missing := [name for name in ADMIN_SETTINGS if not self._api.settings.get(name)]:
            raise ConfigError([f"{name}: the setup of EspoCRM requires an administrator." for name in missing])
        self._own = None
        plan = self._plan()
        rest = [Step(_INTERRUPTED, False)] if self._lock.marks() else []
        if apply and (rest or any(todo.do for todo in plan.todos)):
            with self._lock.held():
                self._carry_out(self._plan())
            plan, rest = self._plan(), []
        return Provision((*rest, *(Step(todo.what, todo.done) for todo in plan.todos)), plan.keys())

    def _own_id(self) -> str:
        """Id of the API user of the key; empty without a key, and with a wrong one, which is tried only once."""
        if self._own is None:
            self._own = ""
            with suppress(AuthFailed):
                self._own = self._api.own_user_id()
        return self._own

    def _plan(self) -> _Plan:
        known = LeadDefinitions.of(self._admin("GET", "Metadata", key="entityDefs.Lead"))
        if not known.fields:
            raise Unavailable("EspoCRM does not return its fields", code=Code.INVALID_RESPONSE)
        fields = [self._field_todo(field, known) for field in described(known.fields, self._field_map)]
        user = self._gateway_user()
        return _Plan(fields, self._access_todos(user), user)

    def _carry_out(self, plan: _Plan) -> None:
        """Create fields under their literal names, then the role and the user."""
        if changes := [todo.do for todo in plan.fields if todo.do]:
            with self._lock.literal_names():
                for change in changes:
                    self._lock.step()
                    change()
            self._admin("POST", "Admin/rebuild", json={})
        for todo in plan.access:
            if todo.do:
                todo.do()

    def _field_todo(self, field: CrmField, known: LeadDefinitions) -> _Todo:
        """The step for one field. The setup creates missing fields, adds missing options, and changes nothing else."""
        what = f"field {field.name} of Lead" + (f": {field.problem}" if field.problem and field.type else "")
        if field.fact == "operation_id" and not known.is_unique(field.name):
            what += f"; {NO_INDEX}"
        lacking = lacking_options(field.type, field.options, self._field_map.values.get(field.fact, {}))
        if not field.problem:
            return _Todo(what, True)
        if not field.type and field.name.isalnum():
            return _Todo(what, False, lambda: self._make_field(field))
        return _Todo(what, False, (lambda: self._add_options(field, lacking)) if lacking else None)

    def _make_field(self, field: CrmField) -> None:
        definition = NEW_FIELDS.get(field.fact, {"type": "varchar", "maxLength": TEXT_LENGTH})
        label = field.fact.removeprefix("custom_").replace("_", " ").capitalize()
        made = {"name": field.name, "label": label, **definition}
        if made["type"] == "enum":
            made["options"] = ["", *dict.fromkeys(self._field_map.values.get(field.fact, {}).values())]
        with suppress(Duplicate):  # a person created it meanwhile: the next plan compares it
            self._admin("POST", "Admin/fieldManager/Lead", json=made)

    def _add_options(self, field: CrmField, lacking: list[str]) -> None:
        changed = {"type": field.type, "options": [*field.options, *lacking]}
        self._admin("PUT", f"Admin/fieldManager/Lead/{field.name}", json=changed)

    def _gateway_user(self) -> dict[str, Any]:
        """The API user of the key, else the one that an earlier setup created; empty: none."""
        found = self._own_id() or next((str(one["id"]) for one in self._named("User", "userName")), "")
        return self._admin("GET", f"User/{quote(found, safe='')}") if found else {}

    def _named(self, entity: str, attribute: str) -> list[dict[str, Any]]:
        found = self._admin("GET", entity, **equals("where[0]", attribute, GATEWAY), select=f"id,{attribute}")
        return rows_with_id(found.get("list"))

    def _access_todos(self, user: Mapping[str, Any]) -> list[_Todo]:
        if not user:
            role = bool(self._named("Role", "name"))
            made = _Todo(f"role {GATEWAY}", role, None if role else self._make_role)
            return [made, _Todo(f"API user {GATEWAY} with that role", False, self._make_user)]
        roles = [self._admin("GET", f"Role/{quote(str(role))}") for role in user.get("rolesIds") or ()]
        lacking = _lacking_rights(roles) if user.get("type") == "api" else []
        what = f"rights of the API user {user.get('userName')}"
        rights = f"{what}: its role lacks {', '.join(lacking)}" if lacking else what
        active = _Todo(f"API user {user.get('userName')} is active", bool(user.get("isActive")))
        return [_Todo(rights, not lacking), active]

    def _make_role(self) -> None:
        role = {"name": GATEWAY, "assignmentPermission": "all", "data": RIGHTS, "fieldData": {}}
        self._admin("POST", "Role", json=role)

    def _make_user(self) -> None:
        roles = [str(role["id"]) for role in self._named("Role", "name")[:1]]
        user = {"type": "api", "userName": GATEWAY, "authMethod": "ApiKey", "isActive": True, "rolesIds": roles}
        self._admin("POST", "User", json=user)

    def _admin(self, method: str, path: str, *, json: Any = None, **params: str) -> dict[str, Any]:
        """Send a request as the administrator; body of the answer, empty if it is no object. Raises `ProviderError`."""
        name, password = (self._api.settings[setting] for setting in ADMIN_SETTINGS)
        login = {"Espo-Authorization": base64.b64encode(f"{name}:{password}".encode()).decode()}
        answer = self._api.send(method, path, login=login, json=json, params=params)
        if answer.status == 200:
            body = answer.parsed
            return body if isinstance(body, dict) else {}
        error = error_for(answer, read=method == "GET")
        if isinstance(error, AuthFailed | Forbidden):
            raise AuthFailed(_NO_ADMIN, code=error.code, status=error.status)
        if isinstance(error, Duplicate):
            raise Duplicate(f"EspoCRM already has a record or a field of this name: {path}", status=error.status)
        raise error


def _lacking_rights(roles: list[dict[str, Any]]) -> list[str]:
    """Rights that the gateway needs and that none of the roles grants."""
    granted = [role["data"] for role in roles if isinstance(role.get("data"), dict)]
    return [
        f"{scope}: {action}: {level}"
        for scope, wanted in RIGHTS.items()
        for action, level in (wanted.items() if isinstance(wanted, dict) else ())
        if level != "no" and not any(_grants(data.get(scope), action, level) for data in granted)
    ]


def _grants(rule: Any, action: str, level: str) -> bool:
    return rule is True or (isinstance(rule, dict) and rule.get(action) == level)
