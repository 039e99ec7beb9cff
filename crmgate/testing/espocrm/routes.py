"""Dispatches a request by method and path: the framework's routes, then the login, then the controllers."""

from __future__ import annotations

import urllib.parse

from crmgate.testing.espocrm.access import API, AccessControl, Caller
from crmgate.testing.espocrm.admin import Administration
from crmgate.testing.espocrm.answers import HTML, EspoError, nginx_page, no_method, no_route, success
from crmgate.testing.espocrm.metadata import VERSION, EntityType
from crmgate.testing.espocrm.records import Draft, RecordService, body_of
from crmgate.testing.espocrm.related import Related
from crmgate.testing.espocrm.search import parse_query
from crmgate.testing.server import Request, Response

LONGEST_ROUTE = 4
_OWN_ROUTES = {
    *("Activities", "Admin", "App", "EntityManager", "FieldManager", "LeadCapture", "Metadata", "Settings"),
    "UserSecurity",
}
"""Controllers that are not entity types, or that have more routes than those."""
_METHODS = {1: ("GET", "POST"), 2: ("GET", "DELETE", "PUT", "PATCH")}
_ACTIONS = {"HEAD": "list", "GET": "list", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_ABOUT = "## EspoCRM – Open Source CRM application\r\n\r\nwww.espocrm.com\r\n"


class Router:
    """Answers one request, or returns a draft that the caller has to store."""

    def __init__(self, gate: AccessControl, records: RecordService) -> None:
        self.gate = gate
        self.records = records
        self.database = records.database
        self.administration = Administration(self.database, records)
        self.related = Related(records)

    def answer(self, request: Request, lockout_seconds: float, lockout_limit: int) -> Response | Draft:
        """Answer a request, or return a draft. Raises `EspoError` for an answer that is an error of EspoCRM."""
        inside, parts = _split(request.path)
        if not inside:
            return nginx_page(404, "Not Found")
        if (page := _framework_answer(request.method, parts)) is not None:
            return page
        if parts[0] == "LeadCapture" and len(parts) > 1 and request.method in ("POST", "OPTIONS"):
            return self.related.capture(parts[1], request)
        caller = self.gate.admit(request, lockout_seconds=lockout_seconds, lockout_limit=lockout_limit)
        if self.database.settings["maintenanceMode"] and not caller.admin:
            raise EspoError(
                503,
                "Application is in maintenance mode.",
                {"message": "The application currently is in maintenance mode."},
                content_type=HTML,
            )
        return self._control(request, caller, parts)

    def _control(self, request: Request, caller: Caller, parts: list[str]) -> Response | Draft:
        match (request.method, *parts):
            case ("GET", ""):
                return success("EspoCRM REST API")
            case ("GET", "App", "user"):
                return self.administration.app_user(caller, request.client)
            case ("GET", "App", "about"):
                return success({"text": _ABOUT, "version": VERSION})
            case ("GET", "Metadata"):
                return self.administration.metadata(parse_query(request.query).get("key"))
            case ("GET", "Settings"):
                return self.administration.settings(caller)
            case ("GET", "Activities", "Lead", id_, "activities" | "history" as panel):
                return self.related.activities(caller, id_, panel)
            case ("POST", "Lead", "action", "convert"):
                return self._convert(request, caller)
            case (_, "Admin" | "FieldManager" | "EntityManager" | "UserSecurity", *_) | ("PUT", "Settings"):
                return self._administer(request, caller, parts)
            case (method, controller) if controller in _OWN_ROUTES - {"LeadCapture"} or method == "HEAD":
                raise _no_action(method, controller)
        return self._record(request, caller, parts)

    def _record(self, request: Request, caller: Caller, parts: list[str]) -> Response | Draft:
        """Answer a request to a route that every entity type has."""
        kind = self._kind(parts[0])
        match (request.method, *parts[1:]):
            case ("GET",):
                return self.records.find(kind, caller, request)
            case ("POST",):
                return self.records.prepare(kind, caller, request)
            case ("GET", id_):
                return self.records.read(kind, caller, id_)
            case ("PUT" | "PATCH", id_):
                return self.records.update(kind, caller, id_, request)
            case ("DELETE", id_):
                return self.records.delete(kind, caller, id_)
            case ("GET", id_, link):
                return self.related.link(kind, caller, id_, link, request)
        raise _no_action(request.method, parts[0])

    def _administer(self, request: Request, caller: Caller, parts: list[str]) -> Response:
        if not caller.admin:
            raise EspoError(403, "")
        administration, data = self.administration, body_of(request)
        match (request.method, *parts):
            case ("POST", "Admin", "rebuild" | "clearCache"):
                return success(True)
            case ("POST", "Admin", "fieldManager", scope):
                return administration.create_field(scope, data)
            case ("GET", "Admin", "fieldManager", scope, name):
                return administration.read_field(scope, name)
            case ("PUT", "Admin", "fieldManager", scope, name):
                return administration.change_field(scope, name, data)
            case ("DELETE", "Admin", "fieldManager", scope, name):
                return administration.delete_field(scope, name)
            case ("POST", "FieldManager", "action", "resetToDefault"):
                return administration.reset_field(data)
            case ("POST", "EntityManager", "action", "createEntity"):
                return administration.create_entity(data)
            case ("POST", "EntityManager", "action", "updateEntity"):
                return administration.update_entity(data)
            case ("POST", "UserSecurity", "apiKey", "generate"):
                return administration.generate_api_key(caller, data)
            case ("PUT", "Settings"):
                return administration.change_settings(caller, data)
        raise _no_action(request.method, parts[0])

    def _convert(self, request: Request, caller: Caller) -> Response:
        """Mark a lead as converted. Unlike EspoCRM, this creates no other records."""
        kind = self.database.types["Lead"]
        lead = self.database.table("Lead").get(body_of(request).get("id"))
        if lead is None:
            raise EspoError(404)
        if not caller.may("Lead", "edit", lead):
            raise EspoError(403, "No edit access.")
        return success(self.records.apply(kind, caller, lead, {"status": "Converted"}))

    def _kind(self, name: str) -> EntityType:
        kind = self.database.types.get(name[:1].upper() + name[1:])
        if kind is None:
            raise EspoError(404, f"Controller '{name}' does not exist.")
        return kind


def _split(path: str) -> tuple[bool, list[str]]:
    """Whether a path belongs to the API, and its parts below that."""
    inside = path == API or path.startswith(f"{API}/")
    return inside, [urllib.parse.unquote(part) for part in path.removeprefix(API).removeprefix("/").split("/")]


def _framework_answer(method: str, parts: list[str]) -> Response | None:
    """The framework's own answer, before the login, to an unknown route or method; None for any other request."""
    if "" in parts[1:] or len(parts) > LONGEST_ROUTE:
        return no_route()
    allowed = _METHODS.get(len(parts), ())
    if not allowed or parts[0] in _OWN_ROUTES or parts == [""] or method in (*allowed, "HEAD"):
        return None
    return no_method(", ".join(allowed), asked=method == "OPTIONS")


def _no_action(method: str, controller: str) -> EspoError:
    action = _ACTIONS.get(method, method.lower())
    return EspoError(404, f"Action {method} '{action}' does not exist in controller '{controller}'.")
