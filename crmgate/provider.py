"""Base class of CRM plugins, and the helpers that a CRM plugin imports.

A plugin subclasses `CRMProvider`, sets `name` and `label`, declares its settings as a marshmallow schema and implements
hooks of `crmgate.hookspecs`. The base class handles timeouts, TLS, redirects (it follows none), the maximum size of an
answer and the masking of secrets.
"""

from __future__ import annotations

import hashlib
import json as jsonlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from marshmallow import fields, validate

from crmgate.errors import ConfigError, Forbidden, NotFound, ProviderError, Rejected
from crmgate.kinds import traits
from crmgate.model import Activity, Connection, Delivered, Kind, Lead, Operation, Preview, Rate
from crmgate.plugin_kit.bodies import Auth, Files, Form
from crmgate.plugin_kit.connection import Look, tested
from crmgate.plugin_kit.exchange import Translate, exchanged, no_translation
from crmgate.plugin_kit.mapping import FieldMap, Mapped, activity_facts, describe, lead_facts
from crmgate.plugin_kit.oauth import MemoryTokens, OAuth2, TokenStore
from crmgate.plugin_kit.records import MAX_MOVED, FieldMover, Known, move, no_stand_ins
from crmgate.plugin_kit.redaction import Redactor
from crmgate.plugin_kit.settings import LOCAL_HOSTS, ProviderSettings, load_settings, secret, secret_names, web_address
from crmgate.plugin_kit.transport import MAX_BODY, Answer, Transport, lost, redirected, time_budget, time_left, wait
from crmgate.plugin_kit.updates import Update, merged, update_heading
from crmgate.plugin_kit.values import FieldType, ValueForm
from crmgate.policy import SETTLE_SECONDS, DeliveryMode

__all__ = [
    "MAX_MOVED",
    "Answer",
    "CRMProvider",
    "FieldMap",
    "FieldType",
    "Known",
    "Look",
    "Mapped",
    "OAuth2",
    "ProviderSettings",
    "Rate",
    "TokenStore",
    "Update",
    "ValueForm",
    "fields",
    "lost",
    "redirected",
    "secret",
    "time_budget",
    "time_left",
    "validate",
    "wait",
    "web_address",
]

T = TypeVar("T")


class CRMProvider:
    """A CRM. Subclass it, set the class attributes and implement the hooks.

    `lead_fields` maps facts of a lead to fields of the CRM, `lead_values` maps values of a fact to the CRM's values.
    The settings `<NAME>_MAP_<FACT>` (empty: not sent) and `<NAME>_VALUES_<FACT>` (`a=A,b=B`; empty: values as they are)
    override single entries. `timeout` is the maximum for one request in seconds. Raises `ConfigError` with every
    problem of the settings.
    """

    name: ClassVar[str] = ""
    label: ClassVar[str] = ""
    capabilities: ClassVar[frozenset[str]] = frozenset()
    Settings: ClassVar[type[ProviderSettings]] = ProviderSettings
    delivery: ClassVar[str] = DeliveryMode.EXACTLY_ONCE
    """What follows a request of unknown outcome: `"exactly_once"`, `"idempotent"` or `"at_most_once"`.

    With `"exactly_once"` crmgate calls `find_lead`, and sends the operation again if it finds nothing. With
    `"idempotent"` it sends the operation again at once: the receiver recognizes the operation id. With
    `"at_most_once"` the operation is a dead letter, and only an operator can send it again."""
    settle_seconds: ClassVar[float] = SETTLE_SECONDS
    """Seconds after a request of unknown outcome during which the CRM may still store the record, or not find it yet.

    An attempt that does not find the record sends nothing during this time. A plugin for a CRM whose search lags longer
    sets a larger value, at least 0."""
    leads_at_once = 50
    """Largest number of leads that `create_leads` takes. A plugin may override it with a property; below 2: none."""
    MAX_BODY: ClassVar[int] = MAX_BODY
    """Maximum size of an answer in bytes (default: 1 MB). A longer answer is an error of `request`."""
    lead_fields: ClassVar[Mapping[str, str]] = {}
    lead_values: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    def __init__(
        self, environ: Mapping[str, str], *, timeout: float = 10.0, http_hosts: tuple[str, ...] = LOCAL_HOSTS,
        on_duplicate: str = "note", on_rejected_field: str = "describe", on_update: str = "describe",
    ) -> None:  # fmt: skip
        self.on_duplicate, self.on_rejected_field, self.on_update = on_duplicate, on_rejected_field, on_update
        trimmed = {name: value.strip() for name, value in environ.items()}
        problems: list[str] = []
        self.settings = load_settings(self.Settings(), trimmed, http_hosts, problems)
        self.field_map = FieldMap.configured(self.lead_fields, self.lead_values, self.name, trimmed, problems)
        if problems:
            raise ConfigError(problems)
        secrets = filter(None, (self.settings.get(name) for name in secret_names(self.Settings)))
        self._redactor = Redactor(map(str, secrets))
        self.tokens: TokenStore = MemoryTokens()
        """Where `OAuth2` keeps access tokens. crmgate replaces it with a store that all processes share."""
        self._transport = Transport(timeout, self.MAX_BODY)
        self._mover = FieldMover(moves_refused=on_rejected_field == "describe")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def rate(self) -> Rate | None:
        """Number of requests that the vendor allows; None: no limit. All processes of crmgate share it.

        A plugin overrides it with a class attribute, or with a property that reads a setting.
        """
        return None

    @property
    def merges_duplicates(self) -> bool:
        """Whether a known person gets no second lead (`CRM_ON_DUPLICATE` is not `create`)."""
        return self.on_duplicate != "create"

    def lead_url(self, lead_id: str) -> str:  # noqa: ARG002 - for those that override it
        """Address of the lead in the CRM's user interface. Plugins override it; empty: none."""
        return ""

    def fingerprint(self) -> str:
        """Short digest of the settings. It changes when a setting changes, and reveals none."""
        settings = jsonlib.dumps(self.settings, sort_keys=True, default=str)
        return hashlib.sha256(f"crmgate:{self.name}:{settings}".encode()).hexdigest()[:16]

    def redact(self, text: str) -> str:
        """`text` without secrets: those of the settings, parts of a secret address, tokens and passwords of headers."""
        return self._redactor.redact(text)

    def conceal(self, value: str) -> None:
        """Let `redact` mask a secret that is no setting, such as a session id. The last 20 of them count."""
        self._redactor.conceal(value)

    # Requests

    def request(
        self, method: str, url: str, *,
        json: Any = None, data: Form | None = None, content: str | bytes | None = None, files: Files | None = None,
        params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None,
        auth: Auth | None = None, safe: bool | None = None,
    ) -> Answer:  # fmt: skip
        """Send one request and return the complete answer, with any status.

        The body is `json`, or `content` as it is (a text in UTF-8), or a form with the fields `data` and the `files`.
        `auth` is (user, password) for Basic authentication, or a function that changes the prepared request.

        `safe` states that the request changes nothing in the CRM (RFC 9110, 9.2.1; default: GET and HEAD). Raises
        `Unavailable` if nothing was sent or if a safe request got no answer, `OutcomeUnknown` if another request got no
        answer, `Rejected` for content that cannot be sent, `OutOfTime` without time, and `TypeError` for two bodies.
        """
        read = method.upper() in ("GET", "HEAD") if safe is None else safe
        return self._transport.send(
            method, url, read=read, json=json, data=data, content=content, files=files, params=params,
            headers=headers, auth=auth,
        )  # fmt: skip

    def exchange(
        self, send: Callable[[float], T], *, safe: bool = False, errors: Translate = no_translation
    ) -> T:  # fmt: skip
        """Send one request with a transport of the plugin's own, such as a vendor's SDK, and return its result.

        `send` gets the seconds that the request may take. `errors` turns an exception of the vendor's client into an
        error of crmgate; None leaves it to this method. `safe`: the request changes nothing in the destination.

        Raises `OutOfTime` without time (`send` is not called), `Unavailable` if there is no connection or if a safe
        request got no answer, and `OutcomeUnknown` if another request got no answer (`TimeoutError`, another
        `OSError`, `EOFError`). Other exceptions pass, and count as a bug of the plugin.
        """
        return exchanged(send, self.begin_request(), read=safe, errors=errors)

    def begin_request(self) -> float:
        """Announce a request that the plugin sends without `request` and `exchange`; the seconds that it may take.

        crmgate counts it: only after a request was sent does it wait `settle_seconds` for a record. Raises `OutOfTime`
        if no time is left (see `time_left`).
        """
        return self._transport.begin() - time.monotonic()

    def used(self) -> int:
        """Number of requests that this thread sent since its previous call of `used`."""
        return self._transport.used()

    # Submissions as records

    def map_lead(self, lead: Lead, operation: Operation) -> Mapped:
        """The lead by names of CRM fields, and the facts without a field."""
        return self.field_map.apply(lead_facts(lead, operation))

    def map_activity(self, activity: Activity, operation: Operation) -> Mapped:
        """A messenger click by names of CRM fields, and the facts without a field."""
        return self.field_map.apply(activity_facts(activity, operation))

    def describe(self, mapped: Mapped, operation: Operation, free_text: str = "") -> str:
        """Description of a record: `free_text`, a labelled line for each fact without a field, the tracking code."""
        return describe(mapped.rest, operation, free_text)

    def describe_all(self, submission: Lead | Activity, operation: Operation) -> str:
        """Text with every fact of a submission, with or without a field: for a note on an existing lead."""
        if isinstance(submission, Lead):
            facts, free_text = lead_facts(submission, operation), submission.additional_info
        else:
            facts, free_text = activity_facts(submission, operation), ""
        return self.describe(FieldMap().apply(facts), operation, free_text)

    def map_again(self, operation: Operation, field_map: FieldMap) -> Mapped:
        """The submission of an operation by names of fields of `field_map`, for a preview."""
        return field_map.apply(_facts(operation))

    def text_of(self, mapped: Mapped, operation: Operation) -> str:
        """Description of the record of an operation, for a preview."""
        return self.describe(mapped, operation, "" if _is_click(operation) else operation.lead.additional_info)

    def previewed(
        self, method: str, path: str, body: Mapping[str, Any], mapped: Mapped, operation: Operation
    ) -> Preview:  # fmt: skip
        """A preview whose note explains an update: only the CRM shows which values it writes."""
        note = _OF_AN_UPDATE if operation.kind is Kind.UPDATE_LEAD else ""
        facts = {name: fact for name, fact in mapped.facts.items() if name in mapped.fields}
        return Preview(method, path, dict(body), facts, tuple(mapped.rest), note)

    def plan_update(
        self, lead: Lead, operation: Operation, current: Mapping[str, Any], *,
        rows: Collection[str] = (), minimal: Mapping[str, str] = MappingProxyType({}), keep: Collection[str] = (),
    ) -> Update:  # fmt: skip
        """Compare a submission with the lead `current`, as the CRM has it, by names of fields.

        An empty field is filled. A value that differs from the CRM's is a line of `Update.rest`, which `describe` turns
        into text. For a field in `rows`, of which `current` has a list of values, it is in `Update.rows`. With
        `CRM_ON_UPDATE=overwrite` the new value is in `Update.fields`, and the previous one in `rest`. The operation id
        and the first referral code stay, and so do the fields in `keep`. A default (source `website`, referral code
        `DIRECT`) replaces nothing.

        `minimal` has the names of a lead without a person, which a person's name replaces. The missing half of that
        name is then empty in `Update.fields`. A `-` counts as empty, too.
        """
        defaults = self.map_lead(Lead(), operation).fields
        overwrite = self.on_update == "overwrite"
        return merged(
            self.map_lead(lead, operation), current, defaults,
            rows=rows, minimal=minimal, keep=keep, overwrite=overwrite,
        )  # fmt: skip

    def update_heading(self, operation: Operation) -> str:
        """Heading of the text that an update adds to a description: `Update of <time> UTC:`."""
        return update_heading(operation)

    def move(
        self, record: Mapping[str, Any], names: Collection[str], text_field: str = "description"
    ) -> dict[str, Any]:
        """The record without the fields `names`. Their values become labelled lines above the text of `text_field`."""
        return move(record, names, text_field, self.field_map)

    def send_describing(
        self, send: Callable[[dict[str, Any]], Delivered], record: Mapping[str, Any], *,
        text_field: str = "description", keep: Collection[str] = (), silent: Collection[str] = (),
        stand_ins: Callable[[Rejected], Mapping[str, Any]] = no_stand_ins,
    ) -> Delivered:  # fmt: skip
        """Call `send` with a record. If the CRM refuses a value, move it into `text_field` and call `send` again.

        `send` raises `Rejected` with `fields` by their names in `record`. Fields in `keep` never move. Refused fields
        in `silent` are left out without a line in the text, because they hold nothing of the visitor. `stand_ins`
        returns the values to send in fields of a refusal that the CRM requires and that have no value, or no longer
        have one; it may send requests that read. After a refusal without `fields`, all optional facts move, once: the
        names, the email and the phone stay. The refusal is raised after `MAX_MOVED` corrections of single fields, and
        at once with `CRM_ON_REJECTED_FIELD=dead`. The result names both kinds of fields in `Delivered.moved`. Fields
        that the CRM dropped recently (`remember_dropped`) move before the first call, and are named in
        `Delivered.dropped`.
        """
        return self._mover.send(
            send, record, self.field_map, text_field=text_field, keep=keep, silent=silent, stand_ins=stand_ins
        )

    def remember_dropped(self, names: Iterable[str]) -> None:
        """Move the fields `names`, which the CRM ignores silently, into the description for the next five minutes."""
        self._mover.remember_dropped(names)

    # Results

    def delivered(self, lead_id: str, *, adopted: bool = False, dropped: tuple[str, ...] = ()) -> Delivered:
        """Result for a lead that the CRM confirmed."""
        return Delivered(self.name, lead_id, self.lead_url(lead_id), adopted, dropped)

    def resolve_duplicate(
        self, known: Iterable[Known], lead: Lead, operation: Operation, *,
        update: Callable[[str, Lead, Operation], Delivered], log: Callable[[str, Lead, Operation], Delivered],
        unless: tuple[type[ProviderError], ...] = (NotFound, Forbidden),
    ) -> Delivered | None:  # fmt: skip
        """Decide what to do when the CRM already has the leads `known`, oldest first, for this person.

        The operation's own lead is adopted. Otherwise the oldest lead is updated with `update`, or the submission is
        logged on it with `log` (`CRM_ON_DUPLICATE`). Returns None if a new lead has to be created: `known` is empty, or
        `update` or `log` raised one of `unless`, such as `Forbidden` for a lead that may not be changed.
        """
        leads = list(known)
        for one in leads:
            if one.own:
                return self.delivered(one.lead_id, adopted=True)
        if not leads:
            return None
        add = update if self.on_duplicate == "update" else log
        try:
            return replace(add(leads[0].lead_id, lead, operation), adopted=True)
        except unless:
            return None

    # Connection tests

    def test(self, *looks: Look, needs: Collection[str] = ()) -> Connection:
        """Run `looks` one after the other until a gate fails, and measure the time of the first.

        `needs` names the checks of rights without which no operation can be delivered, such as the right to create
        leads. The CRM is connected if all gates pass, and all checks of `needs`. It is `refused` if the CRM does not
        accept the credentials, or refuses a gate or one of `needs`. A narrower right, such as one for a single type of
        record, changes neither.
        """
        return tested(self.name, looks, needs, self.explain)

    def explain(self, error: ProviderError, hint: str) -> str:
        """Detail of a check after a failed request. Adds the hint of the `Look` if the CRM sent no answer."""
        return str(error) if error.status else f"{error} {hint}"


_OF_AN_UPDATE = (
    "An update fills only fields that are empty in the CRM. Another value than the CRM's goes into the description."
)


def _is_click(operation: Operation) -> bool:
    return traits(operation.kind).payload is Activity


def _facts(operation: Operation) -> dict[str, Any]:
    if _is_click(operation):
        return activity_facts(operation.activity, operation)
    return lead_facts(operation.lead, operation)
