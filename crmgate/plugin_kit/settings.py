"""Settings of plugins: how they are declared, read from the environment and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import marshmallow
from marshmallow import fields

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class ProviderSettings(marshmallow.Schema):
    """Base class of a plugin's settings. Field names are names of environment variables. Mark secrets with `secret()`.

    Environment variables that the schema does not declare are ignored.
    """

    class Meta:
        unknown = marshmallow.EXCLUDE


def secret(**options: Any) -> fields.String:
    """A text setting that is never shown. `options` are those of `marshmallow.fields.String`."""
    return fields.String(metadata={"takes": "text"} | options.pop("metadata", {}) | {"secret": True}, **options)


def web_address(*, secret: bool = False, **options: Any) -> fields.Url:
    """An http or https address as a setting. The host must be in `CRM_HTTP_HOSTS` if the scheme is http.

    Pass `secret=True` if the address itself is a credential. `options` are those of `marshmallow.fields.Url`.
    """
    takes = {"takes": "an address such as https://crm.example.com"}
    metadata = takes | options.pop("metadata", {}) | {"address": True, "secret": secret}
    return fields.Url(schemes={"http", "https"}, require_tld=False, metadata=metadata, **options)


def secret_names(schema: type[marshmallow.Schema]) -> list[str]:
    """Names of the secret settings of a schema."""
    return [name for name, declared in schema().fields.items() if declared.metadata.get("secret")]


def setting_problems(
    schema: marshmallow.Schema, error: marshmallow.ValidationError, environ: Mapping[str, str]
) -> Iterator[str]:
    """One sentence for each invalid setting: its name, its value (never a secret) and what it takes."""
    for name, messages in error.messages_dict.items():
        declared, value = schema.fields.get(name), environ.get(name, "")
        hidden = declared is None or declared.metadata.get("secret")
        problem = _CREDENTIALS.sub("//***@", " ".join(messages) if isinstance(messages, list) else str(messages))
        if hidden and value:
            problem = problem.replace(value, "***")  # a plugin's own validator may quote it
        shown = "a value that is not shown" if hidden else repr(_CREDENTIALS.sub("//***@", value))
        takes = declared.metadata.get("takes") if declared else None
        yield f"{name}{f', got {shown}' if value else ''}: {problem}{f' It takes {takes}.' if takes else ''}"


_CREDENTIALS = re.compile(r"//\S*@")


def given(schema: marshmallow.Schema, environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Settings of a schema that have a value. Appends one sentence to `problems` for each unusable secret file.

    A secret can be in a file that `<NAME>_FILE` names. The setting itself takes precedence.
    """
    values = {name: environ[name] for name in schema.fields if environ.get(name)}
    for name in secret_names(type(schema)):
        if name not in values and (path := environ.get(f"{name}_FILE")):
            values[name], problem = _read_secret(path)
            if problem:
                problems.append(f"{name}_FILE, got {path!r}: {problem} It takes a file with the secret in it.")
    return values


def _read_secret(path: str) -> tuple[str, str]:
    """Content of a secret file, and its problem as a sentence (empty: none)."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        return "", f"The file cannot be read ({type(error).__name__})."
    return text, "" if text else "The file is empty."


def load_settings(
    schema: ProviderSettings, environ: Mapping[str, str], http_hosts: tuple[str, ...], problems: list[str]
) -> dict[str, Any]:
    """Settings of a plugin. Appends one sentence to `problems` for each invalid setting."""
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
