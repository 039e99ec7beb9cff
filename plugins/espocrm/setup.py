"""Setting EspoCRM up, as an administrator: fields, a role, an API user."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from crmgate import hookimpl
from crmgate.errors import AuthFailed, Code, ConfigError, Unavailable
from crmgate.model import CrmField, Provision, Step

from .answers import rows_with_id
from .api import equals
from .fields import Fields, lacking_options

GATEWAY = "crmgate"
"""The role and the API user that `provision` makes."""
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
"""The fields that `provision` makes; any other fact gets a text of 150 characters."""
ADMIN_SETTINGS = ("ESPOCRM_ADMIN_USERNAME", "ESPOCRM_ADMIN_PASSWORD")
_NO_ADMIN = "EspoCRM refuses the administrator: check ESPOCRM_ADMIN_USERNAME and ESPOCRM_ADMIN_PASSWORD"
_UNIQUE = "REST cannot make a unique index on it: contrib/espocrm holds the metadata that do"


@dataclass(frozen=True)
class _Todo:
    """A step of the setup; without `do` there is nothing to do, or nothing that the gateway can do."""

    what: str
    done: bool
    do: Callable[[], None] | None = None


@dataclass(frozen=True)
class _Plan:
    """What the setup takes, and the API user as an administrator sees it."""

    fields: list[_Todo]
    access: list[_Todo]
    user: Mapping[str, Any]

    @property
    def todos(self) -> list[_Todo]:
        return self.fields + self.access

    def keys(self) -> dict[str, str]:
        """The user's keys as settings."""
        held = {"ESPOCRM_API_KEY": self.user.get("apiKey"), "ESPOCRM_SECRET_KEY": self.user.get("secretKey")}
        return {name: str(key) for name, key in held.items() if key}


class Setup(Fields):
    """Makes what is missing."""

    @hookimpl
    def provision(self, apply: bool) -> Provision:
        """Fields with their options, a role and an API user. What is there stays as it is; nothing is ever removed."""
        if missing := [name for name in ADMIN_SETTINGS if not self.settings.get(name)]:
            raise ConfigError([f"{name}: setting EspoCRM up takes an administrator." for name in missing])
        plan = self._plan()
        if apply and any(todo.do for todo in plan.todos):
            self._carry_out(plan)
            plan = self._plan()
        return Provision(tuple(Step(todo.what, todo.done) for todo in plan.todos), plan.keys())

    def _plan(self) -> _Plan:
        known = self._admin("GET", "Metadata", key="entityDefs.Lead.fields")
        if not known:
            raise Unavailable("EspoCRM does not tell which fields it has", code=Code.INVALID_RESPONSE)
        fields = [self._field_todo(field) for field in self._described(known)]
        user = self._gateway_user()
        return _Plan(fields, self._access_todos(user), user)

    def _carry_out(self, plan: _Plan) -> None:
        """The fields under their literal names, then the rest."""
        if changes := [todo.do for todo in plan.fields if todo.do]:
            with self._literal_names():
                for change in changes:
                    change()
            self._admin("POST", "Admin/rebuild", json={})
        for todo in plan.access:
            if todo.do:
                todo.do()

    def _field_todo(self, field: CrmField) -> _Todo:
        """A missing field is made, a missing option added; anything else is for a person to decide."""
        what = f"field {field.name} of Lead" + (f": {field.problem}" if field.problem and field.type else "")
        if field.fact == "operation_id":
            what += f" ({_UNIQUE})"
        lacking = lacking_options(field.type, field.options, self.field_map.values.get(field.fact, {}))
        if not field.problem:
            return _Todo(what, True)
        if not field.type and field.name.isalnum():
            return _Todo(what, False, lambda: self._make_field(field))
        return _Todo(what, False, (lambda: self._add_options(field, lacking)) if lacking else None)

    def _make_field(self, field: CrmField) -> None:
        definition = NEW_FIELDS.get(field.fact, {"type": "varchar", "maxLength": 150})
        label = field.fact.removeprefix("custom_").replace("_", " ").capitalize()
        made = {"name": field.name, "label": label, **definition}
        if made["type"] == "enum":
            made["options"] = ["", *dict.fromkeys(self.field_map.values.get(field.fact, {}).values())]
        self._admin("POST", "Admin/fieldManager/Lead", json=made)

    def _add_options(self, field: CrmField, lacking: list[str]) -> None:
        changed = {"type": field.type, "options": [*field.options, *lacking]}
        self._admin("PUT", f"Admin/fieldManager/Lead/{field.name}", json=changed)

    @contextmanager
    def _literal_names(self) -> Iterator[None]:
        """Fields get the names that they are given, without the prefix `c`; afterwards it is as it was before."""
        before = bool(self._admin("GET", "Settings").get("customPrefixDisabled"))
        try:
            if not before:
                self._admin("PUT", "Settings", json={"customPrefixDisabled": True})
            yield
        finally:
            if not before:
                self._admin("PUT", "Settings", json={"customPrefixDisabled": False})

    def _gateway_user(self) -> dict[str, Any]:
        """The API user behind the key, else the one that an earlier setup made; empty: there is none."""
        found = ""
        with suppress(AuthFailed):
            found = self._whoami()
        found = found or next((str(one["id"]) for one in self._named("User", "userName")), "")
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
        told = f"{what}: its role lacks {', '.join(lacking)}" if lacking else what
        active = _Todo(f"API user {user.get('userName')} is active", bool(user.get("isActive")))
        return [_Todo(told, not lacking), active]

    def _make_role(self) -> None:
        role = {"name": GATEWAY, "assignmentPermission": "all", "data": RIGHTS, "fieldData": {}}
        self._admin("POST", "Role", json=role)

    def _make_user(self) -> None:
        roles = [str(role["id"]) for role in self._named("Role", "name")[:1]]
        user = {"type": "api", "userName": GATEWAY, "authMethod": "ApiKey", "isActive": True, "rolesIds": roles}
        self._admin("POST", "User", json=user)

    def _admin(self, method: str, path: str, *, json: Any = None, **params: str) -> dict[str, Any]:
        """The body of an answer to an administrator; empty where it is no object."""
        name, password = (self.settings[setting] for setting in ADMIN_SETTINGS)
        login = {"Espo-Authorization": base64.b64encode(f"{name}:{password}".encode()).decode()}
        answer = self._send(method, path, login=login, json=json, params=params)
        if answer.status == 200:
            body = answer.parsed
            return body if isinstance(body, dict) else {}
        error = self._error(answer, read=method == "GET")
        if isinstance(error, AuthFailed) and error.code is not Code.LOCKED_OUT:
            raise AuthFailed(_NO_ADMIN, code=error.code, status=error.status)
        raise error


def _lacking_rights(roles: list[dict[str, Any]]) -> list[str]:
    """What none of the roles allows of that which the gateway needs."""
    granted = [role["data"] for role in roles if isinstance(role.get("data"), dict)]
    return [
        f"{scope}: {action}: {level}"
        for scope, wanted in RIGHTS.items()
        for action, level in (wanted.items() if isinstance(wanted, dict) else ())
        if level != "no" and not any(_grants(data.get(scope), action, level) for data in granted)
    ]


def _grants(rule: Any, action: str, level: str) -> bool:
    return rule is True or (isinstance(rule, dict) and rule.get(action) == level)
