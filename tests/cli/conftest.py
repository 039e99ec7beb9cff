"""The command line in an empty folder with its own settings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from crmgate.cli import main

Run = Callable[..., Result]
FOREIGN = ("ACME", "BITRIX", "CRM", "ESPO", "MINI", "PLUGINS", "REDIS", "SANDBOX", "SOURCE")
MINI = Path(__file__).parent / "mini.py"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    for name in os.environ:
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def _umask() -> Iterator[None]:
    """`crmgate dev` changes the umask of its process."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def run(folder: Path, _umask: None) -> Run:
    """Run `crmgate` with arguments and settings."""

    def run(*arguments: str, stdin: str | None = None, **settings: str) -> Result:
        result = CliRunner().invoke(main, arguments, env=settings, input=stdin)
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result

    return run


@pytest.fixture
def mini(folder: Path) -> dict[str, str]:
    """Settings that select a small CRM in a plugins folder; its state is in the file `crm.json`."""
    (folder / "plugins").mkdir()
    (folder / "plugins/mini.py").write_text(MINI.read_text())
    return {"CRM_PROVIDER": "mini", "MINI_TOKEN": "token-of-mini-4711"}


def output_of(result: Result) -> Any:
    """The JSON that a command printed."""
    return json.loads(result.stdout)
