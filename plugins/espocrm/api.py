"""The API of EspoCRM: its settings, and a request to it with the error that its answer means."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from marshmallow import ValidationError, validates_schema

from crmgate.errors import AuthFailed, Code, ProviderError, Rejected, Unavailable
from crmgate.provider import Answer, CRMProvider, ProviderSettings, fields, lost, secret, validate, web_address

from .answers import LOCKOUT_SECONDS, RULES, flaws_in, reason_of

API = "/api/v1"


class Api(CRMProvider):
    """Requests to EspoCRM as its API user."""

    class Settings(ProviderSettings):
        """Where EspoCRM is, and as whom to talk to it."""

        _printable = validate.Regexp(r"[!-~]+\Z", error="It holds a space, a line break or a letter that no key has.")
        ESPOCRM_URL = web_address(required=True, metadata={"help": "Where EspoCRM is"})
        ESPOCRM_PUBLIC_URL = web_address(
            metadata={"help": "Where people open EspoCRM, for links to leads; default: ESPOCRM_URL"}
        )
        ESPOCRM_API_KEY = secret(
            validate=_printable,
            metadata={"help": "The key of the API user; required, but for the setup that makes one"},
        )
        ESPOCRM_SECRET_KEY = secret(
            validate=_printable, metadata={"help": "The secret key, if the API user has HMAC authentication"}
        )
        ESPOCRM_ASSIGNED_USER_ID = fields.String(
            validate=validate.Regexp(r"[\w-]+\Z"),
            metadata={"help": "Who gets the leads", "takes": "the id at the end of the address of a user's page"},
        )
        ESPOCRM_ADMIN_USERNAME = fields.String(
            metadata={"help": "An administrator, only to set EspoCRM up", "takes": "a user name"}
        )
        ESPOCRM_ADMIN_PASSWORD = secret(metadata={"help": "The administrator's password, only to set EspoCRM up"})

        @validates_schema(skip_on_field_errors=False)
        def _has_a_key(self, data: Mapping[str, Any], **_: Any) -> None:
            if not data.get("ESPOCRM_API_KEY") and not data.get("ESPOCRM_ADMIN_USERNAME"):
                raise ValidationError("Missing data for required field.", "ESPOCRM_API_KEY")

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        self._user_id = ""

    @property
    def _address(self) -> str:
        return _address(self.settings["ESPOCRM_URL"])

    @property
    def _id_field(self) -> str:
        return self.field_map.names.get("operation_id", "")

    def lead_url(self, lead_id: str) -> str:
        """The page of a lead."""
        public = self.settings.get("ESPOCRM_PUBLIC_URL") or self.settings["ESPOCRM_URL"]
        return f"{_address(public)}/#Lead/view/{lead_id}"

    def _send(
        self, method: str, path: str, *, login: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None, **options: Any,
    ) -> Answer:  # fmt: skip
        headers = {**(login or self._login(method, path)), **(headers or {})}
        return self.request(method, f"{self._address}{API}/{path}", headers=headers, **options)

    def _login(self, method: str, path: str) -> dict[str, str]:
        key, secret_key = self.settings.get("ESPOCRM_API_KEY"), self.settings.get("ESPOCRM_SECRET_KEY")
        if not key:
            raise AuthFailed("ESPOCRM_API_KEY is empty: set EspoCRM up first, which makes one")
        if not secret_key:
            return {"X-Api-Key": key}
        signature = hmac.new(secret_key.encode(), f"{method} /{path}".encode(), hashlib.sha256).hexdigest()
        return {"X-Hmac-Authorization": base64.b64encode(f"{key}:{signature}".encode()).decode()}

    def _error(self, answer: Answer, *, read: bool) -> ProviderError:
        """What an answer means that is not the one hoped for."""
        reason, filled = reason_of(answer), "filled" if answer.body else "empty"
        told = f"{answer.status} {answer.content_type} {filled}: {reason}"
        kind, code, detail = next(rule[1:] for rule in RULES if re.match(rule[0], told))
        if kind is None:
            return lost(read, code, detail, answer.status)
        if kind is Rejected:
            flaws = flaws_in(reason)
            named = ", ".join(f"{field} ({flaw})" for field, flaw in flaws.items())
            return Rejected(f"{detail}: {named}" if named else detail, fields=flaws, code=code, status=answer.status)
        wait = LOCKOUT_SECONDS if code is Code.LOCKED_OUT else answer.retry_after
        return kind(detail, code=code, status=answer.status, retry_after=wait)

    def _read(self, path: str, **params: str) -> dict[str, Any]:
        answer = self._send("GET", path, params=params)
        match answer.status, answer.parsed:
            case 200, dict(body):
                return body
        raise self._error(answer, read=True)

    def _list(self, path: str, **params: str) -> Answer:
        # Without the header EspoCRM counts all records for every list.
        return self._send("GET", path, params=params, headers={"X-No-Total": "true"})

    def _rows(self, answer: Answer) -> list[Any]:
        match answer.status, answer.parsed:
            case 200, {"list": list(rows)}:
                return rows
        raise self._error(answer, read=True)

    def _search(self, field: str, value: str) -> Answer:
        return self._list("Lead", **equals("where[0]", field, value), select=f"id,{field}", maxSize="20")

    def _whoami(self) -> str:
        match self._read("App/user"):
            case {"user": {"id": str(own)}}:
                return own
        raise Unavailable("EspoCRM does not tell who the API user is", code=Code.INVALID_RESPONSE)


def _address(url: str) -> str:
    """Without what people copy along: a slash, the API's path, the page that the browser showed."""
    return url.partition("#")[0].rstrip("/").removesuffix(API).rstrip("/")


def equals(prefix: str, attribute: str, value: str) -> dict[str, str]:
    return {f"{prefix}[type]": "equals", f"{prefix}[attribute]": attribute, f"{prefix}[value]": value}


def lead_path(lead_id: str) -> str:
    return f"Lead/{quote(lead_id, safe='')}"
