"""The portal: its settings, and a request to it with the error that its answer means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode, urlsplit

from marshmallow import ValidationError

from crmgate.errors import AuthFailed, Code, OutcomeUnknown, ProviderError, Rejected, Unavailable
from crmgate.provider import (
    Answer,
    CRMProvider,
    ProviderSettings,
    Rate,
    fields,
    lost,
    redirected,
    validate,
    web_address,
)

from .answers import ERRORS, description, named_fields, patience, quoted, renamed, unlisted
from .values import LEAD, MULTIFIELDS, Row, php, spelt_old

REDIRECTS = (301, 302, 307, 308)
LANGUAGES = ("en", "tr", "ru", "de", "fr", "es", "it", "pl", "ua", "br")
"""In which the labels of fields are asked for when an error names one."""
WEBHOOK = r"https?://[^/?#@\s]+/rest/[0-9]+/[A-Za-z0-9_-]+/?\Z"
REQUESTS = 10
"""The most that one operation needs, with values that are refused and moved."""


class RateField(fields.Field[Rate | None]):
    """`2/50`: so many requests a second, and so many at once after a rest."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Rate | None:
        if str(value).strip() == "0":
            return None
        found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)/([0-9]{1,4})", str(value).strip())
        if not found or float(found[1]) == 0 or int(found[2]) < REQUESTS:
            raise ValidationError("Not a rate.")
        return Rate(float(found[1]), int(found[2]), REQUESTS)


class Portal(CRMProvider):
    """Requests to the portal, in either of its APIs."""

    class Settings(ProviderSettings):
        """The webhook, the id of the user who gets the leads (default: the webhook's own), and the API to use."""

        BITRIX_WEBHOOK_URL = web_address(
            secret=True, required=True,
            validate=validate.Regexp(WEBHOOK, error="Not the address of an inbound webhook."),
            metadata={"help": "The inbound webhook, which is a credential",
                      "takes": "https://<portal>/rest/<user id>/<secret>/, without a method at its end"},
        )  # fmt: skip
        BITRIX_ASSIGNED_BY_ID = fields.Integer(
            load_default=None, validate=validate.Range(min=1),
            metadata={"help": "Who gets the leads; default: the webhook's own user",
                      "takes": "the id of a Bitrix24 user"},
        )  # fmt: skip
        BITRIX_API = fields.String(
            load_default="item", validate=validate.OneOf(("item", "lead")),
            metadata={"help": "The methods for leads: crm.item.* or, for old self-hosted portals, crm.lead.*",
                      "takes": "item or lead"},
        )  # fmt: skip
        BITRIX_RATE = RateField(
            load_default=Rate(2, 50, REQUESTS),
            metadata={"help": "How many requests the portal allows; Enterprise: 5/250; your own server: 0",
                      "takes": "requests a second and at once, such as 2/50, or 0 for no limit"},
        )  # fmt: skip

    @property
    def rate(self) -> Rate | None:
        """https://apidocs.bitrix24.com/limits.html: a leaky bucket for each portal and address."""
        limit: Rate | None = self.settings["BITRIX_RATE"]
        return limit

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        self._old = self.settings["BITRIX_API"] == "lead"
        self._wanted = self.field_map
        """The mapping as configured; `field_map` is what of it the portal can take."""
        self._remembered: tuple[float, dict[str, Row] | None] = (float("-inf"), None)
        self._labels: dict[str, str] | None = None
        self._moved = ""

    @property
    def _webhook(self) -> str:
        return str(self.settings["BITRIX_WEBHOOK_URL"]).rstrip("/")

    @property
    def _api(self) -> str:
        return str(self.settings["BITRIX_API"])

    @property
    def _entity(self) -> Row:
        """What tells `crm.item.*` that it is about leads."""
        return {} if self._old else {**LEAD, "useOriginalUfNames": "Y"}

    def _spelt(self, name: str) -> str:
        """The name of a field in the API that is used."""
        return spelt_old(name) if self._old else name

    def _targets(self, prefix: str = "") -> list[tuple[str, str]]:
        """Facts and their fields, as configured."""
        return [(fact, name) for fact, name in self._wanted.names.items() if name and name.startswith(prefix)]

    def _call(self, method: str, params: Mapping[str, Any], *, safe: bool) -> dict[str, Any]:
        """Call a REST method; the answer, which has a `result`. Raises `ProviderError`."""
        url = f"{self._webhook}/{method}.json"
        answer = self.request("POST", url, json=params, safe=safe)
        if answer.status in REDIRECTS:
            answer = self.request("POST", self._new_address(url, answer), json=params, safe=safe)
        parsed = answer.parsed
        body = parsed if isinstance(parsed, dict) else {}
        if "error" in body:
            raise self._error(body, params, answer.status, safe)
        if "result" not in body:
            code = Code.SERVER_ERROR if answer.status >= 500 else Code.INVALID_RESPONSE
            raise lost(safe, code, "the answer is not Bitrix24's", answer.status)
        return body

    def _new_address(self, url: str, answer: Answer) -> str:
        """Where a renamed portal takes the request. A redirect has carried nothing out, so this outcome is known."""
        target = redirected(url, answer.headers.get("Location", ""), renamed)
        if not target:
            words = "the portal redirects to where the secret must not go: correct BITRIX_WEBHOOK_URL"
            raise AuthFailed(words, status=answer.status)
        self._moved = urlsplit(target).netloc
        return target

    def _batch(self, commands: Mapping[str, tuple[str, Any]]) -> tuple[Row, dict[str, ProviderError]]:
        """Several reads in one request: the results, and what was refused."""
        cmd = {key: f"{method}?{urlencode([*php(params)])}" for key, (method, params) in commands.items()}
        match self._call("batch", {"halt": 0, "cmd": cmd}, safe=True)["result"]:
            case {"result": dict() | [] as results, "result_error": dict() | [] as refused}:  # empty ones are lists
                bodies = {key: body for key, body in dict(refused).items() if isinstance(body, dict)}
                errors = {key: self._error({"error": "", **body}, {}, 200, True) for key, body in bodies.items()}
                if commands.keys() <= {*results, *errors}:
                    return dict(results), errors
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no batch")

    def _rows(self, method: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Every row of a list method, page by page."""
        start: int | None = 0
        while start is not None:
            body = self._call(method, {**params, "start": start}, safe=True)
            if not isinstance(body["result"], list):
                raise lost(True, Code.INVALID_RESPONSE, "the answer is no list")
            yield from (row for row in body["result"] if isinstance(row, dict))
            following = body.get("next")
            start = following if isinstance(following, int) and following > start else None

    def _error(self, body: dict[str, Any], params: Mapping[str, Any], status: int, safe: bool) -> ProviderError:
        code = "" if body["error"] in (0, "0", None) else str(body["error"])
        key = code.lower() or description(body).strip(" .\n").lower()
        kind, ours, words = ERRORS.get(key) or unlisted(status)
        # A code that is not listed may be any text, even one that the visitor typed.
        shown = code if code.lower() in ERRORS or re.fullmatch(r"[A-Z0-9_]{1,64}", code) else ""
        if kind is Rejected:
            named = dict.fromkeys(self._named(body, params), words)
            detail = "; ".join((words, *map(self._field_hint, named)))
            return Rejected(detail, fields=named, code=ours, vendor_code=shown, status=status)
        kind = Unavailable if safe and kind is OutcomeUnknown else kind
        wait = patience(body) if code.lower() == "operation_time_limit" else None
        return kind(words, code=ours, vendor_code=shown, status=status, retry_after=wait)

    def _named(self, body: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
        """The fields that an error names, by their labels if need be. `fm` is what of it was sent."""
        named = named_fields(body, params)
        if not named and "fields" in params and quoted(body):
            with suppress(ProviderError):
                named = [self._labelled()[label] for label in quoted(body) if label in self._labelled()]
        return [*MULTIFIELDS] if "fm" in named else named

    def _labelled(self) -> dict[str, str]:
        """The user fields by their labels in every language; asked for once."""
        if self._labels is None:
            commands = {language: ("crm.lead.userfield.list", {"filter": {"LANG": language}}) for language in LANGUAGES}
            results, _ = self._batch(commands)
            rows = [row for page in results.values() if isinstance(page, list) for row in page if isinstance(row, dict)]
            names = ("EDIT_FORM_LABEL", "LIST_COLUMN_LABEL", "LIST_FILTER_LABEL")
            self._labels = {
                str(row[name]): str(row.get("FIELD_NAME")) for row in rows for name in names if row.get(name)
            }
        return self._labels

    def _field_hint(self, field: str) -> str:
        """A field with the settings that decide what goes into it."""
        facts = (fact.upper() for fact, name in self._targets() if self._spelt(name) == field)
        return field + "".join(f" (BITRIX_MAP_{fact}, BITRIX_VALUES_{fact})" for fact in facts)
