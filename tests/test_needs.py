"""A missing tool is told, and never hides a test where everything has to run."""

from __future__ import annotations

import os

import pytest

from tests.needs import need


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without the tools, whose user may not install any."""
    monkeypatch.setattr("tests.needs._find", lambda _executable: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("CI", raising=False)
    return monkeypatch


def test_a_missing_tool_is_told_with_the_way_to_get_it(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        need("chromium")


def test_a_missing_tool_is_a_failure_in_continuous_integration(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        need("chromium")
