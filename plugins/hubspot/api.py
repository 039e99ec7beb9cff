"""The settings of HubSpot, and requests to its API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from crmgate.errors import AuthFailed, Code
from crmgate.provider import Answer, ProviderSettings, lost, secret, validate, web_address

from .answers import SETUP, error_for, made_id, rows_of
from .records import UNIQUE

CONTACTS, NOTES = "/crm/v3/objects/contacts", "/crm/v3/objects/notes"
PROPERTIES = "/crm/v3/properties/contacts"
ASSOCIATED = "/crm/v4/associations/contacts/notes/batch/read"
TOKEN_INFO = "/oauth/v2/private-apps/get/access-token-info"  # noqa: S105 - a path
BATCH = 100
"""Largest number of records in a batch."""
PAGES = 10
"""Largest number of pages of associations that are read."""


class HubSpotSettings(ProviderSettings):
    """The token of the private app, and addresses."""

    HUBSPOT_TOKEN = secret(
        required=True, validate=validate.Regexp(r"[!-~]+\Z", error="It holds a space or a letter that no token has."),
        metadata={"help": "Access token of the private app"},
    )  # fmt: skip
    HUBSPOT_URL = web_address(load_default="https://api.hubapi.com", metadata={"help": "Address of HubSpot's API"})
    HUBSPOT_APP_URL = web_address(
        metadata={"help": "Address of your account in the browser, for links to contacts; default: no links",
                  "takes": "an address such as https://app.hubspot.com/contacts/1234567"},
    )  # fmt: skip


class HubSpotApi:
    """Requests to HubSpot. `request` is `CRMProvider.request`."""

    def __init__(self, settings: Mapping[str, Any], request: Callable[..., Answer]) -> None:
        self.settings = settings
        self._request = request

    def send(self, method: str, path: str, **content: Any) -> Answer:
        """Send one request and return the answer, with any status."""
        address = self.settings["HUBSPOT_URL"].rstrip("/") + path
        headers = {"Authorization": f"Bearer {self.settings['HUBSPOT_TOKEN']}"}
        return self._request(method, address, headers=headers, **content)

    def read(
        self, path: str, values: Iterable[str], properties: Sequence[str], *, by: str = "", archived: bool = False
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The contacts or notes with these ids, or with these values of the unique property `by`.

        `archived`: only those that staff deleted. Raises `ProviderError`.
        """
        options = {"properties": [*properties], "propertiesWithHistory": []} | ({"idProperty": by} if by else {})
        params = {"archived": "true"} if archived else {}
        rows, wanted = list[dict[str, Any]](), [*dict.fromkeys(filter(None, values))]
        for start in range(0, len(wanted), BATCH):
            body = options | {"inputs": [{"id": value} for value in wanted[start : start + BATCH]]}
            answer = self.send("POST", f"{path}/batch/read", json=body, params=params, safe=True)
            if by in UNIQUE and answer.status == 400:  # it concerns every contact
                detail = f"HubSpot does not read contacts by {by}: {SETUP}"
                raise AuthFailed(detail, code=Code.NO_PERMISSION, status=answer.status)
            rows += rows_of(answer)
        return rows

    def listed(self, path: str, **params: str) -> list[dict[str, Any]]:
        """Rows of a list. Raises `ProviderError`."""
        return rows_of(self.send("GET", path, params=params))

    def notes_of(self, contact_ids: Iterable[str]) -> dict[str, list[str]]:
        """Ids of the notes on each of these contacts. Raises `ProviderError`."""
        notes = dict[str, list[str]]()
        pending = [{"id": one} for one in dict.fromkeys(contact_ids)]
        for _ in range(PAGES):
            if not pending:
                break
            rows = rows_of(self.send("POST", ASSOCIATED, json={"inputs": pending}, safe=True))
            for row in rows:
                notes.setdefault(_from(row), []).extend(_targets(row))
            pending = [{"id": _from(row), "after": after} for row in rows if (after := _next(row))]
        return notes

    def create(self, path: str, body: Mapping[str, Any]) -> str:
        """Create a note or a property; its id (empty for a property). Raises `ProviderError`."""
        answer = self.send("POST", path, json=body)
        made = made_id(answer)
        if made or (path == PROPERTIES and answer.status == 201):
            return made
        raise error_for(answer, read=False)

    def scopes(self) -> list[str] | None:
        """Scopes of the token; None if HubSpot does not tell them. Raises `ProviderError` without an answer."""
        answer = self.send("POST", TOKEN_INFO, json={"tokenKey": self.settings["HUBSPOT_TOKEN"]}, safe=True)
        match answer.status, answer.parsed:
            case 200, {"scopes": list(scopes)}:
                return [str(one) for one in scopes]
        if answer.status == 401:
            raise error_for(answer, read=True)
        return None


def confirmed(answer: Answer, contact_id: str) -> bool:
    """Whether the answer confirms the change of a contact. Raises `ProviderError` for an answer without an id."""
    match answer.status, answer.parsed:
        case 200, {"id": str(changed)} if changed == contact_id:
            return True
        case 200, {"id": str(_)}:
            raise lost(False, Code.INVALID_RESPONSE, "HubSpot changed another contact", answer.status)
    return False


def _from(row: Mapping[str, Any]) -> str:
    source = row.get("from")
    return str(source.get("id")) if isinstance(source, dict) else ""


def _targets(row: Mapping[str, Any]) -> Iterator[str]:
    targets = row.get("to")
    for one in targets if isinstance(targets, list) else ():
        if isinstance(one, dict) and str(one.get("toObjectId")).isdecimal():
            yield str(one["toObjectId"])


def _next(row: Mapping[str, Any]) -> str:
    match row.get("paging"):
        case {"next": {"after": after}}:
            return str(after)
    return ""
