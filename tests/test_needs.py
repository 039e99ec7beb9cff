"""A program that a test needs is installed, or its absence is reported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs
from tests.processes import DEADLINE, ROOT

LACKING = ("no-such-program", "no-such-package")


@pytest.fixture(autouse=True)
def _as_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setitem(needs.TOOLS, "lacking", LACKING)


def test_the_test_of_a_missing_program_is_skipped_and_says_how_to_get_it() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"no-such-program is missing.*apt-get install no-such-package"):
        needs.need("lacking")


SKIPPING = {
    "test_module.py": "import pytest\npytest.skip('no chalk', allow_module_level=True)",
    "test_mark.py": "import pytest\n@pytest.mark.skip(reason='no board')\ndef test_one(): pass",
    "test_exception.py": "import unittest\ndef test_one(): raise unittest.SkipTest('no desk')",
}


def test_in_the_continuous_integration_each_skipped_test_fails(tmp_path: Path) -> None:
    for name, text in SKIPPING.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:xdist", "-p", "no:cacheprovider"]
    environ = os.environ | {"CI": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--continue-on-collection-errors", "--rootdir", str(tmp_path), str(tmp_path)],
        env=environ, cwd=tmp_path, timeout=DEADLINE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    reasons = set(re.findall(r"A test is skipped, which CI=true does not allow: (?:Skipped: )?(.*)", done.stdout))
    assert reasons == {"no chalk", "no board", "no desk"}


def test_elsewhere_a_skipped_test_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    report = pytest.TestReport("test", ("test.py", 1, "test"), {}, "skipped", ("test.py", 1, "no desk"), "call")
    assert needs.refuse_skip(report).outcome == "skipped"


def test_what_is_there_is_taken_from_where_servers_are_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(needs, "SYSTEM", "/bin:/usr/bin")
    monkeypatch.setitem(needs.TOOLS, "lacking", ("sh", "none"))
    assert needs.need("lacking").endswith("/sh")


def test_a_program_that_does_as_well_is_taken_where_the_better_one_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(needs.INSTEAD, "no-such-program", "sh")
    assert needs.need("lacking").endswith("/sh")
