"""The settings of Bitrix24, and requests to the portal."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode, urlsplit

from marshmallow import ValidationError, validates_schema

from crmgate.errors import AuthFailed, Code, ProviderError, Rejected
from crmgate.provider import (
    Answer,
    FieldMap,
    ProviderSettings,
    Rate,
    fields,
    lost,
    redirected,
    validate,
    web_address,
)

from .answers import OPERATING_WINDOW, failure_in, named_fields, operating_reset, quoted, renamed
from .values import DEALS, LEADS, MULTIFIELDS, PEOPLE, RecordType, Row, php, spelt_old, targets

REDIRECTS = (301, 302, 307, 308)
LANGUAGES = ("en", "tr", "ru", "de", "fr", "es", "it", "pl", "ua", "br")
"""Languages in which the labels of fields are read when an error names one."""
WEBHOOK = r"https?://[^/?#@\s]+/rest/[0-9]+/[A-Za-z0-9_-]+/?\Z"
REQUESTS = 10
"""Maximum number of requests for one operation, with values that are refused and moved."""


class PortalRateField(fields.Field[Rate | None]):
    """A rate such as `2/50`: requests a second, and the size of a burst. `0`: no limit."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Rate | None:
        if str(value).strip() == "0":
            return None
        found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)/([0-9]{1,4})", str(value).strip())
        if not found or float(found[1]) == 0 or int(found[2]) < REQUESTS:
            raise ValidationError("Not a rate.")
        return Rate(float(found[1]), int(found[2]), REQUESTS)


class BitrixSettings(ProviderSettings):
    """The webhook, the records that submissions become, the user who gets them, the API and the rate."""

    BITRIX_WEBHOOK_URL = web_address(
        secret=True, required=True,
        validate=validate.Regexp(WEBHOOK, error="Not the address of an inbound webhook."),
        metadata={"help": "Address of the inbound webhook, which is a credential",
                  "takes": "https://<portal>/rest/<user id>/<secret>/, without a method at its end"},
    )  # fmt: skip
    BITRIX_TARGET = fields.String(
        load_default="lead", validate=validate.OneOf(("lead", "deal")),
        metadata={"help": "What a submission becomes: a lead, or a deal with a contact (for portals without leads)",
                  "takes": "lead or deal"},
    )  # fmt: skip
    BITRIX_DEAL_CATEGORY = fields.Integer(
        load_default=None, validate=validate.Range(min=0),
        metadata={"help": "Pipeline of new deals; default: the portal's own",
                  "takes": "the id of a pipeline of deals, 0 for the general one"},
    )  # fmt: skip
    BITRIX_DEAL_STAGE = fields.String(
        load_default=None, validate=validate.Regexp(r"[A-Za-z0-9_:]{1,50}\Z", error="Not the id of a stage."),
        metadata={"help": "Stage of new deals; default: the first one of the pipeline",
                  "takes": "the id of a stage of the pipeline, such as C3:NEW"},
    )  # fmt: skip
    BITRIX_ASSIGNED_BY_ID = fields.Integer(
        load_default=None, validate=validate.Range(min=1),
        metadata={"help": "User to whom new records are assigned; default: the webhook's own user",
                  "takes": "the id of a Bitrix24 user"},
    )  # fmt: skip
    BITRIX_API = fields.String(
        load_default="item", validate=validate.OneOf(("item", "lead")),
        metadata={"help": "Methods for leads: crm.item.*, or crm.lead.* for old self-hosted portals (not for deals)",
                  "takes": "item or lead"},
    )  # fmt: skip
    BITRIX_RATE = PortalRateField(
        load_default=Rate(2, 50, REQUESTS),
        metadata={"help": "Number of requests that the portal allows; Enterprise: 5/250; your own server: 0",
                  "takes": "requests a second and at once, such as 2/50, or 0 for no limit"},
    )  # fmt: skip

    @validates_schema
    def _deals_need_items(self, data: Mapping[str, Any], **_options: Any) -> None:
        if data["BITRIX_TARGET"] == "deal" and data["BITRIX_API"] == "lead":
            raise ValidationError("BITRIX_TARGET=deal needs BITRIX_API=item.", "BITRIX_API")


class BitrixApi:
    """Requests to the portal, by `crm.item.*` or by the old `crm.lead.*`.

    `request` is `CRMProvider.request`, `wanted` the configured mapping.
    """

    def __init__(self, settings: Mapping[str, Any], request: Callable[..., Answer], wanted: FieldMap) -> None:
        self._request, self._wanted = request, wanted
        self._webhook = str(settings["BITRIX_WEBHOOK_URL"]).rstrip("/")
        self.kind = str(settings["BITRIX_API"])
        """Middle part of the methods for records: `item` or `lead`."""
        self.old = self.kind == "lead"
        self.target = DEALS if settings["BITRIX_TARGET"] == "deal" else LEADS
        """The type of the records that submissions become."""
        self.people = PEOPLE[self.target]
        """The type of the records that have the phones and emails."""
        self.moved_to = ""
        """Host of a renamed portal that redirected a request; empty: none."""
        self._labels: dict[str, str] | None = None
        self._resets: dict[str, float] = {}
        """By method: the time (`time.monotonic`) at which operating time comes back, from its last good answer."""

    def entity(self, records: RecordType) -> Row:
        """Parameters that select a type of records in `crm.item.*`."""
        return {} if self.old else {"entityTypeId": records.type_id, "useOriginalUfNames": "Y"}

    def record_url(self, ref: str) -> str:
        """Address of the page of a lead or deal."""
        number = ref.removeprefix(self.target.prefix)
        return f"{self._webhook.partition('/rest/')[0]}/crm/{self.target.name}/details/{number}/"

    def spelt(self, name: str) -> str:
        """Name of a field in the API that is used."""
        return spelt_old(name) if self.old else name

    def call(self, method: str, params: Mapping[str, Any], *, safe: bool) -> dict[str, Any]:
        """Call a REST method and return the answer, which has a `result`. Raises `ProviderError`.

        `safe` states that the method changes nothing.
        """
        url = f"{self._webhook}/{method}.json"
        answer = self._request("POST", url, json=params, safe=safe)
        if answer.status in REDIRECTS:
            answer = self._request("POST", self._new_address(url, answer), json=params, safe=safe)
        parsed = answer.parsed
        body = parsed if isinstance(parsed, dict) else {}
        if "error" in body or answer.status == 429:
            error = self._error({"error": "", **body}, params, answer.status, safe, method)
            error.retry_after = answer.retry_after if error.retry_after is None else error.retry_after
            raise error
        if "result" not in body:
            code = Code.SERVER_ERROR if answer.status >= 500 else Code.INVALID_RESPONSE
            raise lost(safe, code, "the answer is not Bitrix24's", answer.status)
        self._remember_reset(method, body.get("time"))
        return body

    def _remember_reset(self, method: str, times: Any) -> None:
        if (wait := operating_reset(times)) is not None:
            self._resets[method] = time.monotonic() + wait

    def _operating_wait(self, method: str, times: Any) -> float | None:
        """Seconds to wait after OPERATION_TIME_LIMIT. None: the last good answer names a time that is over."""
        wait = operating_reset(times)
        if wait is not None:
            return wait
        left = self._resets.get(method, time.monotonic() + OPERATING_WINDOW) - time.monotonic()
        return min(left, OPERATING_WINDOW) if left > 0 else None

    def _new_address(self, url: str, answer: Answer) -> str:
        """Address at which a renamed portal takes the request. The portal that redirects carries nothing out."""
        target = redirected(url, answer.headers.get("Location", ""), renamed)
        if not target:
            words = "the portal redirects to where the secret must not go: correct BITRIX_WEBHOOK_URL"
            raise AuthFailed(words, status=answer.status)
        self.moved_to = urlsplit(target).netloc
        return target

    def batch(
        self, commands: Mapping[str, tuple[str, Any]], *, safe: bool = True
    ) -> tuple[Row, dict[str, ProviderError]]:
        """Up to 50 commands in one request: results and errors by the keys of `commands`. Raises `ProviderError`.

        `safe` states that they change nothing. Else a command without an answer has the error `OutcomeUnknown`.
        """
        cmd = {key: f"{method}?{urlencode([*php(params)])}" for key, (method, params) in commands.items()}
        match self.call("batch", {"halt": 0, "cmd": cmd}, safe=safe)["result"]:
            case {"result": dict() | [] as results, "result_error": dict() | [] as refused, **rest}:  # empty: lists
                times = rest.get("result_time")
                for key, spent in times.items() if isinstance(times, dict) else ():
                    self._remember_reset(commands[key][0] if key in commands else "batch", spent)
                bodies = {key: body for key, body in dict(refused).items() if isinstance(body, dict)}
                errors = {
                    key: self._error({"error": "", **body}, {}, 200, safe, commands[key][0])
                    for key, body in bodies.items() if key in commands
                }  # fmt: skip
                missing = commands.keys() - {*results, *errors}
                if not missing:
                    return dict(results), errors
                if not safe:
                    silent = lost(False, Code.INVALID_RESPONSE, "the batch has no answer to this command")
                    return dict(results), errors | dict.fromkeys(missing, silent)
        raise lost(safe, Code.INVALID_RESPONSE, "the answer is no batch")

    def rows(self, method: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Rows of a list method, read page by page. Raises `ProviderError`."""
        start: int | None = 0
        while start is not None:
            body = self.call(method, {**params, "start": start}, safe=True)
            if not isinstance(body["result"], list):
                raise lost(True, Code.INVALID_RESPONSE, "the answer is no list")
            yield from (row for row in body["result"] if isinstance(row, dict))
            following = body.get("next")
            start = following if isinstance(following, int) and following > start else None

    def _error(
        self, body: dict[str, Any], params: Mapping[str, Any], status: int, safe: bool, method: str
    ) -> ProviderError:  # fmt: skip
        found = failure_in(body, status, read=safe, method=method)
        named = self._named(body, params) if found.kind is Rejected or found.doubtful else []
        if named and (found.doubtful or not found.vendor_code):
            return self._refusal(named, "the portal refuses a value", Code.INVALID_VALUE, found.vendor_code, status)
        if found.kind is Rejected:
            return self._refusal(named, found.words, found.code, found.vendor_code, status)
        limited = found.vendor_code.lower() == "operation_time_limit"
        wait = self._operating_wait(method, body.get("time")) if limited else None
        return found.kind(found.words, code=found.code, vendor_code=found.vendor_code, status=status, retry_after=wait)

    def _refusal(self, named: list[str], words: str, code: Code, vendor_code: str, status: int) -> Rejected:
        """The refusal of the fields `named`."""
        detail = "; ".join((words, *map(self._field_hint, dict.fromkeys(named))))
        fields = dict.fromkeys(named, words)
        return Rejected(detail, fields=fields, code=code, vendor_code=vendor_code, status=status)

    def _named(self, body: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
        """Fields that an error names, also by their labels. `fm` stands for the phone and the email."""
        named = named_fields(body, params)
        if not named and "fields" in params and quoted(body):
            with suppress(ProviderError):
                named = [self._labelled()[label] for label in quoted(body) if label in self._labelled()]
        return [*MULTIFIELDS] if "fm" in named else named

    def _labelled(self) -> dict[str, str]:
        """Names of fields by their labels, read once: user fields in every language, PHONE and EMAIL in one."""
        if self._labels is None:
            commands: dict[str, tuple[str, Any]] = {
                language: (f"crm.{self.target.name}.userfield.list", {"filter": {"LANG": language}})
                for language in LANGUAGES
            }
            results, _ = self.batch(commands | {"standard": (f"crm.{self.people.name}.fields", {})})
            self._labels = dict([*_titles(results.pop("standard", None)), *_user_labels(results.values())])
        return self._labels

    def _field_hint(self, field: str) -> str:
        """A field with the names of the settings that map it."""
        facts = (fact.upper() for fact, name in targets(self._wanted) if self.spelt(name) == field)
        return field + "".join(f" (BITRIX_MAP_{fact}, BITRIX_VALUES_{fact})" for fact in facts)


def _titles(standard: Any) -> Iterator[tuple[str, str]]:
    """Labels and names of PHONE and EMAIL, from the standard fields of a lead or contact."""
    for kind in MULTIFIELDS:
        field = standard.get(kind) if isinstance(standard, dict) else None
        if isinstance(field, dict):
            yield str(field.get("title")), kind


def _user_labels(pages: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Labels and names of user fields, from their lists."""
    for row in (row for page in pages if isinstance(page, list) for row in page if isinstance(row, dict)):
        for name in ("EDIT_FORM_LABEL", "LIST_COLUMN_LABEL", "LIST_FILTER_LABEL"):
            if row.get(name):
                yield str(row[name]), str(row.get("FIELD_NAME"))
