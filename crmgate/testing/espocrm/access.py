"""Authentication and access control of the fake EspoCRM: logins, the lockout, roles."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

from crmgate.testing.espocrm.answers import HTML, EspoError
from crmgate.testing.espocrm.metadata import Record
from crmgate.testing.espocrm.store import Database
from crmgate.testing.server import Request

API = "/api/v1"
LEVELS = ("no", "own", "team", "all", "yes")
_ADMIN_ONLY = {"Role", "LeadCapture"}
_WITHOUT_ASSIGNEE = {"Note", "User"}
_WITHOUT_ROLE = {"Note": "all", "User": "own"}
"""Level of access to entity types that no role of a user mentions; there is no access to other such types."""


@dataclass
class Caller:
    """The user behind a request."""

    user: Record
    roles: list[Record] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.user["id"])

    @property
    def admin(self) -> bool:
        return self.user["type"] in ("admin", "system")

    def level(self, entity: str, action: str) -> str:
        """The widest level that a role grants for an action: `no`, `own`, `team`, `all` or `yes`."""
        if self.admin:
            return "all"
        if entity in _ADMIN_ONLY or (entity == "User" and action != "read"):
            return "no"
        granted = [_granted(role["data"][entity], action) for role in self.roles if entity in role["data"]]
        return max(granted, key=LEVELS.index, default=_WITHOUT_ROLE.get(entity, "no"))

    def may(self, entity: str, action: str, record: Record) -> bool:
        """Whether the caller may carry out `action` on this record."""
        match self.level(entity, action):
            case "own":
                return self._owns(entity, record)
            case "team":
                return self._owns(entity, record) or not self._teams.isdisjoint(record.get("teamsIds") or ())
            case level:
                return level != "no"

    def _owns(self, entity: str, record: Record) -> bool:
        """A record belongs to its assigned user; to its author only where no user can be assigned."""
        return self.id == record.get("createdById" if entity in _WITHOUT_ASSIGNEE else "assignedUserId")

    @property
    def _teams(self) -> set[str]:
        return set(self.user.get("teamsIds") or ())

    def may_assign(self) -> bool:
        """Whether records may be given to other users."""
        return self.admin or any(role["assignmentPermission"] == "all" for role in self.roles)

    def sees_activities(self) -> bool:
        return self.admin or any(role["data"].get("Activities") for role in self.roles)

    def field_table(self) -> dict[str, Any]:
        """The fields that roles limit, by entity type."""
        limited: dict[str, Any] = {}
        for role in self.roles:
            for entity, fields in role["fieldData"].items():
                limited.setdefault(entity, {}).update(fields)
        return limited

    def hidden(self, entity: str, action: str) -> set[str]:
        """The fields that the caller may not read or not edit. Attempts are dropped in silence."""
        rules = (role["fieldData"].get(entity, {}) for role in self.roles)
        return {name for fields in rules for name, rule in fields.items() if rule.get(action) == "no"}


def _granted(rule: Any, action: str) -> str:
    if not isinstance(rule, dict):
        return "all" if rule else "no"
    # A role that does not mention the stream lets it be read by those who read the record.
    return str(rule.get(action, rule.get("read", "no") if action == "stream" else "no"))


class AccessControl:
    """Authenticates the sender of a request, and locks an address out after too many refused logins."""

    def __init__(self, database: Database, admin: tuple[str, str]) -> None:
        """`admin`: name and password of the administrator."""
        self.database = database
        self.admin = admin
        self._refused: dict[str, list[float]] = {}

    def admit(self, request: Request, *, lockout_seconds: float, lockout_limit: int) -> Caller:
        """The caller, or the refusal: 401, or 403 to everybody from an address with too many refused logins."""
        method, secret = self._credentials(request)
        if not method:
            raise self._unauthorized(request)
        now = self.database.clock()
        recent = [at for at in self._refused.get(request.client, ()) if at > now - lockout_seconds]
        self._refused[request.client] = recent
        if len(recent) > lockout_limit:
            raise EspoError(403, content_type=HTML)
        user = self._login(method, secret, request)
        if user is None or not user["isActive"]:
            recent.append(now)
            raise EspoError(401, content_type=HTML)
        found = (self.database.table("Role").get(id_) for id_ in user.get("rolesIds", ()))
        return Caller(user, [role for role in found if role])

    def forgive(self) -> None:
        """End every lockout."""
        self._refused.clear()

    @staticmethod
    def _credentials(request: Request) -> tuple[str, str]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if "espo-authorization" in headers:
            return "basic", headers["espo-authorization"]
        if headers.get("authorization", "").startswith("Basic "):
            return "basic", headers["authorization"].removeprefix("Basic ")
        if "x-hmac-authorization" in headers:
            return "hmac", headers["x-hmac-authorization"]
        if "x-api-key" in headers:
            return "key", headers["x-api-key"]
        return "", ""

    @staticmethod
    def _unauthorized(request: Request) -> EspoError:
        """The answer to a request without credentials; it makes a browser ask for a password."""
        browser = request.method == "GET" and not request.header("X-Requested-With")
        return EspoError(401, content_type=HTML, headers={"WWW-Authenticate": 'Basic realm=""'} if browser else {})

    def _login(self, method: str, secret: str, request: Request) -> Record | None:
        match method:
            case "basic":
                return self._basic(secret)
            case "hmac":
                return self._hmac(secret, request)
        return self._api_user(secret, "ApiKey")

    def _basic(self, secret: str) -> Record | None:
        username, colon, password = _decode(secret).partition(b":")
        if not colon:
            raise EspoError(400, "Auth: Bad authorization string provided.", content_type=HTML)
        if (username.decode("latin-1"), password.decode("latin-1")) != self.admin:
            return None
        return next(user for user in self.database.table("User") if user["type"] == "admin")

    def _hmac(self, secret: str, request: Request) -> Record | None:
        key, _, signature = _decode(secret).partition(b":")
        user = self._api_user(key.decode("latin-1"), "Hmac")
        if user is None:
            return None
        signed = f"{request.method} {request.path.removeprefix(API)}"
        digest = hmac.new(user["secretKey"].encode(), signed.encode(), hashlib.sha256)
        # Before 8.4 the raw digest was sent, and it is still taken.
        return user if signature in (digest.hexdigest().encode(), digest.digest()) else None

    def _api_user(self, key: str, method: str) -> Record | None:
        users = self.database.table("User")
        return next((user for user in users if user.get("apiKey") == key and user.get("authMethod") == method), None)


def _decode(secret: str) -> bytes:
    try:
        return base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        return b""
