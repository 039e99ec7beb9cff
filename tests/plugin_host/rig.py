"""The source of a small plugin, variants of it, and the errors of calls to it."""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from crmgate.errors import (
    ProviderError,
)
from crmgate.model import Activity, Kind, Lead, Operation
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.plugin_kit.settings import LOCAL_HOSTS

CANARY = "c4n4ry"
PERSON = Lead(first_name=CANARY, email=f"{CANARY}@example.com", phone="+905321234567")
LEAD = Operation("8b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4", Kind.CREATE_LEAD, PERSON.to_dict(), 0.0)
CLICK = Operation("9b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4", Kind.CREATE_MINIMAL_LEAD, Activity("telegram").to_dict(), 0.0)

PROVIDER = """
from crmgate import hookimpl
from crmgate.errors import *
from crmgate.model import Check, Connection, Delivered, Rate
from crmgate.provider import CRMProvider, ProviderSettings, secret, web_address


class Acme(CRMProvider):
    name = "acme"
    label = "Acme CRM"

    class Settings(ProviderSettings):
        ACME_KEY = secret(load_default="acme-secret")

    @hookimpl
    def create_lead(self, lead, operation):
        return Delivered(self.name, lead.first_name)

    @hookimpl
    def create_minimal_lead(self, activity, operation):
        return Delivered(self.name, activity.channel)

    @hookimpl
    def find_lead(self, operation):
        return None

    @hookimpl
    def test_connection(self):
        return Connection(self.name, True, 1.0, (Check("ping", True),))
"""
LISTENER = """
from crmgate import hookimpl

heard = []

@hookimpl
def operation_dead(operation):
    heard.append(operation.id)
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


def variant(*changes: tuple[str, str], source: str = PROVIDER) -> str:
    """`source` with some of its text replaced."""
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return source


def choose(plugins: Plugins, name: str = "acme", **environ: str) -> HookCaller:
    return plugins.choose(name, environ, 1.0, LOCAL_HOSTS)


def acme(folder: Path, body: str = "", hook: str = "create_lead") -> HookCaller:
    """The provider of `PROVIDER`, with `body` in place of what one of its hooks does."""
    head, _, rest = PROVIDER.partition(f"def {hook}(")
    signature, _, rest = rest.partition("\n")
    tail = rest.partition("\n\n")[2]
    text = f"{head}def {hook}({signature}\n{textwrap.indent(textwrap.dedent(body).strip(), ' ' * 8)}\n\n{tail}"
    plugins = discover(write(folder, acme=text))
    assert plugins.quarantined == []
    return choose(plugins)


def failing(call: Callable[[], object]) -> ProviderError:
    """The error of a call, signed by the provider; it and its traceback show nothing of a visitor and no secret."""
    with pytest.raises(ProviderError) as caught:
        call()
    error = caught.value
    assert (error.provider, error.operation) in {("acme", LEAD.id), ("acme", CLICK.id)}
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = f"{error}{error!r}{error.args}{vars(error)}" + "".join(traceback.format_exception_only(error))
    assert CANARY not in shown
    assert "acme-secret" not in shown
    return error
