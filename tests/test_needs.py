"""A program that a test needs is installed, or its absence is reported."""

from __future__ import annotations

import pytest

from tests import needs

LACKING = ("no-such-program", "no-such-package")


@pytest.fixture(autouse=True)
def _as_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setitem(needs.TOOLS, "lacking", LACKING)


def test_elsewhere_the_test_is_skipped_and_says_how_to_get_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no-such-program is missing.*apt-get install no-such-package"):
        needs.need("lacking")


def test_in_the_continuous_integration_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is missing"):
        needs.need("lacking")


def test_what_is_there_is_taken_from_where_servers_are_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(needs, "SYSTEM", "/bin:/usr/bin")
    monkeypatch.setitem(needs.TOOLS, "lacking", ("sh", "none"))
    assert needs.need("lacking").endswith("/sh")


def test_a_program_that_does_as_well_is_taken_where_the_better_one_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(needs.INSTEAD, "no-such-program", "sh")
    assert needs.need("lacking").endswith("/sh")
