"""The settings of EspoCRM, and requests to its API."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from marshmallow import ValidationError, validates_schema

from crmgate.errors import AuthFailed, Code, Unavailable
from crmgate.provider import Answer, ProviderSettings, fields, secret, validate, web_address

from .answers import error_for

API = "/api/v1"


class EspoSettings(ProviderSettings):
    """The address of EspoCRM, and the credentials."""

    _printable = validate.Regexp(r"[!-~]+\Z", error="It holds a space, a line break or a letter that no key has.")
    ESPOCRM_URL = web_address(required=True, metadata={"help": "Address of EspoCRM"})
    ESPOCRM_PUBLIC_URL = web_address(
        metadata={"help": "Address at which people open EspoCRM, for links to leads; default: ESPOCRM_URL"}
    )
    ESPOCRM_API_KEY = secret(
        validate=_printable,
        metadata={"help": "API key of the API user; required, except for the setup, which creates one"},
    )
    ESPOCRM_SECRET_KEY = secret(
        validate=_printable, metadata={"help": "Secret key, if the API user has HMAC authentication"}
    )
    ESPOCRM_ASSIGNED_USER_ID = fields.String(
        validate=validate.Regexp(r"[\w-]+\Z"),
        metadata={
            "help": "User to whom new leads are assigned", "takes": "the id at the end of the address of a user's page"
        },
    )  # fmt: skip
    ESPOCRM_ADMIN_USERNAME = fields.String(
        metadata={"help": "Administrator, for the setup only", "takes": "a user name"}
    )
    ESPOCRM_ADMIN_PASSWORD = secret(metadata={"help": "The administrator's password, for the setup only"})

    @validates_schema(skip_on_field_errors=False)
    def _has_a_key(self, data: Mapping[str, Any], **_: Any) -> None:
        if not data.get("ESPOCRM_API_KEY") and not data.get("ESPOCRM_ADMIN_USERNAME"):
            raise ValidationError("Missing data for required field.", "ESPOCRM_API_KEY")


class EspoApi:
    """Requests to EspoCRM, as the API user unless a `login` is given. `request` is `CRMProvider.request`."""

    def __init__(self, settings: Mapping[str, Any], request: Callable[..., Answer]) -> None:
        self.settings = settings
        self._request = request
        self._address = _address(settings["ESPOCRM_URL"])

    def lead_url(self, lead_id: str) -> str:
        """Address of a lead's page."""
        public = self.settings.get("ESPOCRM_PUBLIC_URL") or self.settings["ESPOCRM_URL"]
        return f"{_address(public)}/#Lead/view/{lead_id}"

    def send(
        self, method: str, path: str, *, login: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None, **options: Any,
    ) -> Answer:  # fmt: skip
        """Send one request to a path below `/api/v1` and return the answer, with any status."""
        headers = {**(login or self._login(method, path)), **(headers or {})}
        return self._request(method, f"{self._address}{API}/{path}", headers=headers, **options)

    def read(self, path: str, **params: str) -> dict[str, Any]:
        """Read one object. Raises `ProviderError`."""
        answer = self.send("GET", path, params=params)
        match answer.status, answer.parsed:
            case 200, dict(body):
                return body
        raise error_for(answer, read=True)

    def list_records(self, path: str, **params: str) -> Answer:
        """Ask for a list of records and return the answer, with any status."""
        # Without the header EspoCRM counts all records for every list.
        return self.send("GET", path, params=params, headers={"X-No-Total": "true"})

    def search_leads(self, field: str, value: str) -> Answer:
        """Ask for leads with a value in a field and return the answer, with any status."""
        return self.list_records("Lead", **equals("where[0]", field, value), select=f"id,{field}", maxSize="20")

    def own_user_id(self) -> str:
        """Id of the API user. Raises `ProviderError`."""
        match self.read("App/user"):
            case {"user": {"id": str(own)}}:
                return own
        raise Unavailable("EspoCRM does not return the id of the API user", code=Code.INVALID_RESPONSE)

    def _login(self, method: str, path: str) -> dict[str, str]:
        key, secret_key = self.settings.get("ESPOCRM_API_KEY"), self.settings.get("ESPOCRM_SECRET_KEY")
        if not key:
            raise AuthFailed("ESPOCRM_API_KEY is empty: set EspoCRM up first, which creates a key")
        if not secret_key:
            return {"X-Api-Key": key}
        signature = hmac.new(secret_key.encode(), f"{method} /{path}".encode(), hashlib.sha256).hexdigest()
        return {"X-Hmac-Authorization": base64.b64encode(f"{key}:{signature}".encode()).decode()}


def rows_of(answer: Answer) -> list[Any]:
    """Rows of a list. Raises `ProviderError` if the answer is no list."""
    match answer.status, answer.parsed:
        case 200, {"list": list(rows)}:
            return rows
    raise error_for(answer, read=True)


def _address(url: str) -> str:
    """The address without what people copy with it: a slash, the path of the API, the page in the browser."""
    return url.partition("#")[0].rstrip("/").removesuffix(API).rstrip("/")


def equals(prefix: str, attribute: str, value: str) -> dict[str, str]:
    """Parameters of a filter: the attribute has this value."""
    return {f"{prefix}[type]": "equals", f"{prefix}[attribute]": attribute, f"{prefix}[value]": value}


def any_of(attribute: str, values: Iterable[str]) -> dict[str, str]:
    """Parameters of a filter: the attribute has one of these values."""
    listed = {f"where[0][value][{number}]": value for number, value in enumerate(values)}
    return {"where[0][type]": "in", "where[0][attribute]": attribute, **listed}


def lead_path(lead_id: str) -> str:
    """Path of a lead in the API."""
    return f"Lead/{quote(lead_id, safe='')}"
