"""Plugins that read a source: the first that answers counts, and a fault of one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crmgate.errors import PluginError
from crmgate.plugin_host.loader import discover
from crmgate.plugin_host.sources import SourcePlugins
from crmgate.sources import Handshake, Received, SourceRequest

REQUEST = SourceRequest("POST", {}, b"body")
START = """
import sys
from crmgate import hookimpl
from crmgate.sources import Received, Handshake

@hookimpl
def parse_source(source, request):
    if source == "acme":
        {}
"""


def asked(tmp_path: Path, source: str, **bodies: str) -> Any:
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(START.format(body))
    plugins = discover(tmp_path)
    assert not plugins.quarantined
    return SourcePlugins(plugins.manager)(source, REQUEST)


def test_the_first_plugin_that_reads_the_source(tmp_path: Path) -> None:
    assert asked(tmp_path, "acme", one="pass", two='return [Received({"a": request.body})]') == [
        Received({"a": b"body"})
    ]
    assert asked(tmp_path, "other") is None


def test_a_handshake_and_nothing(tmp_path: Path) -> None:
    assert asked(tmp_path, "acme", one='return Handshake("hello")') == Handshake("hello")
    assert asked(tmp_path, "acme", one="return []") == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("1 / 0", "parse_source failed: ZeroDivisionError in one.py:9"),
        ("sys.exit(3)", "parse_source failed: SystemExit in one.py:9"),
        ("return 'text'", "parse_source returned another type"),
        ("return [{}]", "parse_source returned another type"),
        ("return False", "parse_source returned another type"),
    ],
)
def test_a_fault_names_the_plugin(tmp_path: Path, body: str, reason: str) -> None:
    with pytest.raises(PluginError, match=r"one\.py") as failure:
        asked(tmp_path, "acme", one=body)
    assert reason in str(failure.value)
