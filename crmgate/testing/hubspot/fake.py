"""A fake HubSpot: a real HTTP server that answers as the vendor's documentation says.

It holds the contacts, notes and contact properties of one account, reached with the token of a private app. Plain
attributes set scopes, limits and delays; the faults of `FakeCRM` are broken connections, delays and foreign bodies.

    python -m crmgate.testing.hubspot --port 8092

Sources of the behaviour, by page (D: https://developers.hubspot.com/docs/):

- Error envelope, 401, 403, 423, 477, 502 and 504, all keys optional: D api-reference/error-handling.
- Paths, `idProperty`, `archived`, 201, 207, `errors[].category`, properties as texts: the OpenAPI descriptions of
  contacts (424/v3), notes (424/v3), properties (145899/v3) and associations (130902/v4) in
  github.com/HubSpot/HubSpot-public-api-spec-collection.
- One contact for each email, one of email, firstname and lastname required: D api-reference/crm-contacts-v3/guide.
  Text of the 409, with `Existing ID`: github.com/HubSpot/hubspot-api-nodejs/issues/545, hubspot-api-python/issues/51.
- `hasUniqueValue` for contacts, at most 10: developers.hubspot.com/changelog/unique-properties-for-contacts.
  Its conflict is not documented. Integrations on GitHub report a 400 with `CONFLICTING_UNIQUE_VALUE` and the words
  "already has that value"; `conflict_status` makes it a 409.
- `Property values were not valid: [{...}]`, a list in the text:
  developers.hubspot.com/changelog/upcoming-property-validations-rules-will-be-enforced-for-apis-and-integrations.
  The codes PROPERTY_DOESNT_EXIST and INVALID_EMAIL are as integrations report them.
- 429 with `policyName`, no `Retry-After`, a daily limit until midnight of the account: D
  developer-tooling/platform/usage-guidelines.
- Missing scopes: github.com/HubSpot/hubspot-api-nodejs/issues/50.
- A batch without some records: 207 with OBJECT_NOT_FOUND. Recorded answers of integrations on GitHub show it, and
  `crm.associations.NO_ASSOCIATIONS_FOUND` for a contact without notes.
- Notes: `hs_timestamp` required, association type 202, 65,536 characters: D api-reference/crm-notes-v3/guide.
- Search: 4 (later 5) requests a second, and an index that lags: developers.hubspot.com/changelog/crm-search-api-rate-
  limit-increase, github.com/HubSpot/hubspot-api-php/issues/59 (no duration is documented).

No page says that reads by id or by unique property show a record at once. `read_lag` delays the latter.
Where the documentation leaves a behaviour open, a comment names the interpretation of the fake.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from hmac import compare_digest
from typing import Any
from urllib.parse import parse_qs

from crmgate.testing.hubspot.store import HubSpotRecords, Item, definition
from crmgate.testing.hubspot.wire import (
    Body,
    HubSpotError,
    answer,
    batch,
    content,
    limited,
    missing,
    not_found,
)
from crmgate.testing.server import FakeCRM, Request, Response

READ, WRITE = "crm.objects.contacts.read", "crm.objects.contacts.write"
SCHEMAS_READ, SCHEMAS_WRITE = "crm.schemas.contacts.read", "crm.schemas.contacts.write"
LARGEST = 100
"""Largest number of records in a batch."""
PAGE = 500
"""Number of notes in a page of associations."""
KINDS = {"contacts": "CONTACT", "notes": "NOTE"}


class FakeHubSpot(HubSpotRecords, FakeCRM):
    """A fake HubSpot account. `ready=False` leaves out the properties that crmgate's setup creates."""

    server_header = "cloudflare"

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, ready: bool = True) -> None:
        FakeCRM.__init__(self, host, port)
        HubSpotRecords.__init__(self, ready)
        self.token = "pat-eu1-fake-0123456789"  # noqa: S105 - opens nothing but this fake
        self.scopes = [READ, WRITE, SCHEMAS_READ, SCHEMAS_WRITE]
        self.policy = ""
        """The policy whose limit is reached, such as `DAILY`: every request gets a 429. Empty: none."""
        self.search_lag = 0.0
        """Seconds after which the search shows a record."""
        self.read_lag = 0.0
        """Seconds after which a read by a unique property shows a record."""
        self.searches_a_second = 5
        self.has_token_info = True
        """Whether the account tells the scopes of a token."""
        self._searched = list[float]()

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Contacts and notes that are not deleted."""
        with self.lock:
            return {"contacts": list(_stored(self.contacts)), "notes": list(_stored(self.notes))}

    def delete_contact(self, contact_id: str) -> None:
        """Let staff delete a contact. It can be restored for 90 days."""
        with self.lock:
            self.contacts[contact_id].archived = True

    def add_property(self, name: str, kind: str = "string", options: Iterable[str] = ()) -> None:
        """Let staff create a property."""
        rows = [{"label": one, "value": one} for one in options]
        self.definitions[name] = definition(name, "enumeration" if rows else kind, options=rows)

    def answer(self, request: Request) -> Response:
        """The answer of HubSpot."""
        with self.lock:
            try:
                self._admit(request)
                if self.policy:
                    return limited(self.policy)
                return self._route(request)
            except HubSpotError as error:
                return error.response()

    def _admit(self, request: Request) -> None:
        given = request.header("Authorization")
        if not compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            message = (
                "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find "
                "more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
            )
            raise HubSpotError(401, "INVALID_AUTHENTICATION", message)

    def _needs(self, scope: str) -> None:
        if scope not in self.scopes:
            message = (
                "This app hasn't been granted all required scopes to make this call. Read more about required scopes"
                " here: https://developers.hubspot.com/scopes."
            )
            detail = "One or more of the following scopes are required."
            errors = [{"message": detail, "context": {"requiredGranularScopes": [scope]}}]
            raise HubSpotError(403, "MISSING_SCOPES", message, errors=errors)

    def _route(self, request: Request) -> Response:
        for method, path, scope, handler in self._routes():
            found = re.fullmatch(path, request.path)
            if found and method == request.method:
                if scope:
                    self._needs(scope)
                return handler(request, *found.groups())
        raise not_found()

    def _routes(self) -> tuple[tuple[str, str, str, Callable[..., Response]], ...]:
        objects, properties = "/crm/v3/objects", "/crm/v3/properties/contacts"
        return (
            ("GET", rf"{objects}/(contacts|notes)", READ, self._list),
            ("POST", rf"{objects}/contacts", WRITE, self._create_contact),
            ("PATCH", rf"{objects}/contacts/([^/]+)", WRITE, self._change_contact),
            ("POST", rf"{objects}/notes", WRITE, self._create_note),
            ("POST", rf"{objects}/(contacts|notes)/batch/read", READ, self._read_batch),
            ("POST", rf"{objects}/(contacts|notes)/search", READ, self._search),
            ("POST", r"/crm/v4/associations/contacts/notes/batch/read", READ, self._associations),
            ("GET", properties, SCHEMAS_READ, self._list_properties),
            ("POST", properties, SCHEMAS_WRITE, self._create_property),
            ("POST", r"/oauth/v2/private-apps/get/access-token-info", "", self._token_info),
        )

    def _items(self, kind: str) -> dict[str, Item]:
        return self.contacts if kind == "contacts" else self.notes

    def _list(self, request: Request, kind: str) -> Response:
        limit = int(parse_qs(request.query).get("limit", ["10"])[0])
        live = [one for one in self._items(kind).values() if not one.archived]
        return answer(200, {"results": [one.shown(()) for one in live[:limit]]})

    def _create_contact(self, request: Request) -> Response:
        made = self.add_contact(content(request).get("properties") or {})
        return answer(201, made.shown(made.properties))

    def _change_contact(self, request: Request, contact_id: str) -> Response:
        changed = self.change_contact(contact_id, content(request).get("properties") or {})
        return answer(200, changed.shown(changed.properties))

    def _create_note(self, request: Request) -> Response:
        body = content(request)
        made = self.add_note(body.get("properties") or {}, body.get("associations"))
        return answer(201, made.shown(made.properties))

    def _read_batch(self, request: Request, kind: str) -> Response:
        body = content(request)
        ids = [str(one.get("id")) for one in body.get("inputs") or ()]
        if not 0 < len(ids) <= LARGEST:
            raise HubSpotError(400, "VALIDATION_ERROR", f"A batch has 1 to {LARGEST} inputs")
        archived = parse_qs(request.query).get("archived") == ["true"]
        by, names = body.get("idProperty"), body.get("properties") or ()
        found = {one: [item for item in self._found(kind, by, one) if item.archived == archived] for one in ids}
        results = [item.shown(names) for items in found.values() for item in items]
        return batch(results, missing(KINDS[kind], [one for one, items in found.items() if not items]))

    def _found(self, kind: str, by: str | None, wanted: str) -> list[Item]:
        if not by:
            if not wanted.isdecimal():
                raise HubSpotError(400, "VALIDATION_ERROR", "An object id is a number")
            return [one for one in (self._items(kind).get(wanted),) if one]
        return [one for one in self.having(by, wanted) if time.monotonic() - one.at >= self.read_lag]

    def _search(self, request: Request, kind: str) -> Response:
        moment = time.monotonic()
        self._searched = [*(one for one in self._searched if moment - one < 1.0), moment]
        if len(self._searched) > self.searches_a_second:
            return limited("SECONDLY")
        groups = content(request).get("filterGroups") or ()
        seen = [one for one in self._items(kind).values() if moment - one.at >= self.search_lag and not one.archived]
        found = [one.shown(one.properties) for one in seen if _matches(one, groups)]
        return answer(200, {"total": len(found), "results": found})

    def _associations(self, request: Request) -> Response:
        results, errors = list[Body](), list[Body]()
        for one in content(request).get("inputs") or ():
            contact, start = self.contacts.get(str(one.get("id"))), int(one.get("after") or 0)
            if contact is None or contact.archived or not contact.notes:
                errors.append(_nothing_associated(str(one.get("id"))))
                continue
            some = contact.notes[start : start + PAGE]
            more = {"paging": {"next": {"after": str(start + PAGE)}}} if contact.notes[start + PAGE :] else {}
            results.append({"from": {"id": contact.id}, "to": [{"toObjectId": int(note)} for note in some], **more})
        return batch(results, errors)

    def _list_properties(self, _request: Request) -> Response:
        return answer(200, {"results": [*self.definitions.values()]})

    def _create_property(self, request: Request) -> Response:
        body = content(request)
        name = str(body.get("name"))
        if name in self.definitions:
            message = f'A property named "{name}" already exists.'
            raise HubSpotError(409, "OBJECT_ALREADY_EXISTS", message)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or body.get("groupName") != "contactinformation":
            raise HubSpotError(400, "VALIDATION_ERROR", "The property is not valid")
        unique = body.get("hasUniqueValue") is True
        self.definitions[name] = definition(
            name, body["type"], unique=unique, label=body["label"], fieldType=body["fieldType"]
        )
        return answer(201, self.definitions[name])

    def _token_info(self, request: Request) -> Response:
        if not self.has_token_info or content(request).get("tokenKey") != self.token:
            raise not_found()
        return answer(200, {"hubId": 1234567, "appId": 1, "userId": 2, "scopes": self.scopes})


def _stored(items: dict[str, Item]) -> Iterable[dict[str, Any]]:
    return ({"id": one.id, **one.properties, "notes": [*one.notes]} for one in items.values() if not one.archived)


def _matches(item: Item, groups: Iterable[Any]) -> bool:
    """Whether all filters of a group hold. The fake knows the operator EQ."""
    return any(
        all(item.properties.get(one["propertyName"]) == one["value"] for one in group["filters"]) for group in groups
    )


def _nothing_associated(contact_id: str) -> Body:
    return {
        "status": "error", "category": "OBJECT_NOT_FOUND", "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
        "message": f"No note is associated with contact {contact_id}.", "context": {"fromObjectId": [contact_id]},
    }  # fmt: skip
