"""Base class of CRM plugins: settings, HTTP, connection tests. Records are in `crmgate.plugin_kit.records`.

A plugin subclasses `CRMProvider`, names itself, declares its settings as a marshmallow schema and implements the
hooks of `crmgate.hookspecs`. Timeouts, TLS, redirects (never followed), the size of answers and the masking of
secrets are settled here.
"""

from __future__ import annotations

import hashlib
import json as jsonlib
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import marshmallow
from marshmallow import fields, validate

from crmgate.errors import AuthFailed, ConfigError, ProviderError
from crmgate.model import Check, Connection, Rate
from crmgate.plugin_kit.mapping import FieldMap
from crmgate.plugin_kit.records import MAX_MOVED, Known, Records
from crmgate.plugin_kit.transport import Answer, Transport, lost, redirected, time_budget

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class ProviderSettings(marshmallow.Schema):
    """Base of a plugin's settings; the field names are the environment's. Mark secrets with `secret()`."""

    class Meta:
        unknown = marshmallow.EXCLUDE


def secret(**options: Any) -> fields.String:
    """A text setting that is never shown."""
    return fields.String(metadata={"takes": "text"} | options.pop("metadata", {}) | {"secret": True}, **options)


def web_address(*, secret: bool = False, **options: Any) -> fields.Url:
    """A setting that holds an http or https address. Whether http is allowed is checked by `CRMProvider`.

    `secret` is for addresses that are credentials themselves.
    """
    takes = {"takes": "an address such as https://crm.example.com"}
    metadata = takes | options.pop("metadata", {}) | {"address": True, "secret": secret}
    return fields.Url(schemes={"http", "https"}, require_tld=False, metadata=metadata, **options)


@dataclass(frozen=True)
class Look:
    """A part of a connection test: its name, what makes the checks, and a hint for when a request of it fails.

    Where a gate fails, the looks behind it are left out.
    """

    name: str
    checks: Callable[[], Iterable[Check]]
    hint: str = ""
    gate: bool = False


class CRMProvider(Records):
    """A CRM. Subclass it, set the class attributes and implement the hooks.

    `lead_fields` says which fact of a lead goes to which CRM field, `lead_values` what its values are called there;
    each entry can be changed with `<NAME>_MAP_<FACT>` (empty: not sent) and `<NAME>_VALUES_<FACT>` (`a=A,b=B`; empty:
    values as they are). Raises `ConfigError` with every problem of the settings.
    """

    label: ClassVar[str] = ""
    capabilities: ClassVar[frozenset[str]] = frozenset()
    Settings: ClassVar[type[ProviderSettings]] = ProviderSettings
    lead_fields: ClassVar[Mapping[str, str]] = {}
    lead_values: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    def __init__(
        self, environ: Mapping[str, str], *, timeout: float = 10.0, http_hosts: tuple[str, ...] = LOCAL_HOSTS,
        on_duplicate: str = "note", on_rejected_field: str = "describe",
    ) -> None:  # fmt: skip
        self.on_duplicate, self.on_rejected_field = on_duplicate, on_rejected_field
        self._dropped_until = {}
        trimmed = {name: value.strip() for name, value in environ.items()}
        problems: list[str] = []
        self.settings = load_settings(self.Settings(), trimmed, http_hosts, problems)
        self.field_map = FieldMap.configured(self.lead_fields, self.lead_values, self.name, trimmed, problems)
        if problems:
            raise ConfigError(problems)
        secrets = filter(None, (self.settings.get(name) for name in secret_names(self.Settings)))
        self._secrets = sorted({form for value in secrets for form in _forms(str(value))}, key=len, reverse=True)
        self._transport = Transport(timeout)

    @property
    def rate(self) -> Rate | None:
        """How many requests the vendor allows; crmgate keeps to it with all its processes together.

        A plugin sets it as an attribute of the class, or reads it from its settings.
        """
        return None

    def fingerprint(self) -> str:
        """A short digest of the settings: whether credentials that worked are still the same, without keeping them."""
        told = jsonlib.dumps(self.settings, sort_keys=True, default=str)
        return hashlib.sha256(f"crmgate:{self.name}:{told}".encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def test(self, *looks: Look, needs: Collection[str] = ()) -> Connection:
        """The checks of `looks`, one after the other; the first is timed, and after a gate that fails none follows.

        Connected is a CRM whose gates hold, and every check that is named in `needs`.
        """
        checks, connected, refused, begun, latency = list[Check](), True, False, time.monotonic(), 0.0
        for look in looks:
            try:
                found = list(look.checks())
            except ProviderError as error:
                found = [Check(look.name, False, self.explain(error, look.hint))]
                refused |= isinstance(error, AuthFailed)
            latency = latency or round((time.monotonic() - begun) * 1000, 1)
            checks += found
            connected &= all(check.ok for check in found if look.gate or check.name in needs)
            if look.gate and not connected:
                break
        return Connection(self.name, connected, latency, tuple(checks), refused)

    def explain(self, error: ProviderError, hint: str) -> str:
        """The detail of a check whose request failed; the hint of a `Look` stands behind it where nothing answered."""
        return str(error) if error.status else f"{error} {hint}"

    def used(self) -> int:
        """The requests that this thread sent since it asked last."""
        return self._transport.used()

    def redact(self, text: str) -> str:
        """`text` with every secret of the settings replaced, and with the parts of an address that is one."""
        for value in self._secrets:
            text = text.replace(value, "***")
        return text

    def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        safe: bool | None = None,
    ) -> Answer:
        """Send one request and return the whole answer, whatever its status.

        `safe` says that it changes nothing in the CRM (RFC 9110, 9.2.1; default: GET and HEAD), so that a lost answer
        is no `OutcomeUnknown`. Raises `Unavailable` when nothing was sent, `OutcomeUnknown` when it may have been, and
        `Rejected` for what cannot be written as a request.
        """
        read = method.upper() in ("GET", "HEAD") if safe is None else safe
        return self._transport.send(method, url, read=read, json=json, params=params, headers=headers)


def secret_names(schema: type[marshmallow.Schema]) -> list[str]:
    """The names of a schema's secret settings."""
    return [name for name, declared in schema().fields.items() if declared.metadata.get("secret")]


def setting_problems(
    schema: marshmallow.Schema, error: marshmallow.ValidationError, environ: Mapping[str, str]
) -> Iterator[str]:
    """One sentence a problem: the setting's name, what it got (secrets never) and what it takes."""
    for name, messages in error.messages_dict.items():
        declared, value = schema.fields.get(name), environ.get(name, "")
        hidden = declared is None or declared.metadata.get("secret")
        told = _CREDENTIALS.sub("//***@", " ".join(messages) if isinstance(messages, list) else str(messages))
        if hidden and value:
            told = told.replace(value, "***")  # a plugin's own validator may quote it
        shown = "a value that is not shown" if hidden else repr(_CREDENTIALS.sub("//***@", value))
        takes = declared.metadata.get("takes") if declared else None
        yield f"{name}{f', got {shown}' if value else ''}: {told}{f' It takes {takes}.' if takes else ''}"


_CREDENTIALS = re.compile(r"//\S*@")


def given(schema: marshmallow.Schema, environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The settings of a schema that have a value; what is wrong with a file is added to `problems`.

    A secret may stand in a file of its own, which `<NAME>_FILE` names. The setting itself comes first.
    """
    values = {name: environ[name] for name in schema.fields if environ.get(name)}
    for name in secret_names(type(schema)):
        if name not in values and (path := environ.get(f"{name}_FILE")):
            values[name], problem = _written(path)
            problems += [f"{name}_FILE, got {path!r}: {problem} It takes a file with the secret in it."] * bool(problem)
    return values


def _written(path: str) -> tuple[str, str]:
    """What a file of one secret holds, and what is wrong with it."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        return "", f"The file cannot be read ({type(error).__name__})."
    return text, "" if text else "The file is empty."


def load_settings(
    schema: ProviderSettings, environ: Mapping[str, str], http_hosts: tuple[str, ...], problems: list[str]
) -> dict[str, Any]:
    """The settings of a plugin; what is wrong with them is added to `problems`."""
    values = given(schema, environ, problems)
    try:
        settings: dict[str, Any] = schema.load({name: value for name, value in values.items() if value})
    except marshmallow.ValidationError as error:
        problems += setting_problems(schema, error, values)
        return {}
    for name, declared in schema.fields.items():
        if declared.metadata.get("address") and settings.get(name):
            problems += _address_problems(name, settings[name], http_hosts)
    return settings


def _address_problems(name: str, address: str, http_hosts: tuple[str, ...]) -> Iterator[str]:
    parts = urlsplit(address)
    if parts.username or parts.password:
        yield f"{name}: an address with a user name or a password would send them along. Leave the part before @ out."
    if parts.scheme == "http" and (parts.hostname or "") not in [host.lower() for host in http_hosts]:
        yield (
            f"{name}: http would send credentials and personal data in the clear. "
            f"Use https, or name the host in CRM_HTTP_HOSTS when the network between is yours."
        )


def _forms(value: str) -> Iterator[str]:
    """How a secret may turn up in a text: whole, percent-encoded, and for an address its path and the long parts."""
    yield value
    yield quote(value, safe="")
    if "://" in value:
        path = urlsplit(value).path.strip("/")
        yield from (part for part in (path, *path.split("/")) if len(part) >= 8)


__all__ = [
    "MAX_MOVED",
    "Answer",
    "CRMProvider",
    "Known",
    "Look",
    "ProviderSettings",
    "Rate",
    "fields",
    "lost",
    "redirected",
    "secret",
    "time_budget",
    "validate",
    "web_address",
]
