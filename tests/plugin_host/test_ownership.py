"""A plugin file that somebody else could have written is not loaded: it would run with the gateway's rights."""

from __future__ import annotations

import logging
import os
import py_compile
from pathlib import Path

import pytest

from crmgate.errors import ConfigError
from crmgate.plugin_host import ownership
from crmgate.plugin_host.loader import Plugins, discover

SOURCE = """
from pathlib import Path
from crmgate import hookimpl
Path(__file__).with_name("ran").touch()

@hookimpl
def operation_dead(operation):
    pass
"""
STRANGER = 54321


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    (folder / "planted.py").write_text(SOURCE)
    (folder / "planted.py").chmod(0o644)
    return folder


def refused(folder: Path) -> str:
    """The reason why the file was set aside. Checks that it did not run."""
    plugins = discover(folder)
    assert not (folder / "ran").exists()
    [error] = plugins.quarantined
    assert error.file == str(folder / "planted.py")
    return f"{error.reason} {error.remedy}"


def loaded(folder: Path) -> Plugins:
    plugins = discover(folder)
    assert (folder / "ran").exists()
    return plugins


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `path` somebody else's: really, or by running as somebody else."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, -1)
    else:
        monkeypatch.setattr(ownership, "_trusted", lambda: {0, STRANGER})


def test_ones_own_file_is_loaded(folder: Path) -> None:
    assert not loaded(folder).quarantined


@pytest.mark.parametrize("name", ["planted.py", "."])
def test_a_strangers_file_or_folder_is_refused(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give_away(folder / name, monkeypatch)
    assert "belongs to" in (shown := refused(folder))
    assert f"chown {os.geteuid()} {folder}" in shown


@pytest.mark.parametrize("name", ["planted.py", "."])
def test_what_every_user_can_write_is_refused(folder: Path, name: str) -> None:
    (folder / name).chmod(0o777)
    shown = refused(folder)
    assert "every user can write" in shown
    assert f"chmod o-w {folder}" in shown
    (folder / name).chmod(0o755)
    loaded(folder)


def test_a_link_is_followed(folder: Path, tmp_path: Path) -> None:
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    (folder / "planted.py").rename(open_folder / "target.py")
    (folder / "planted.py").symlink_to(open_folder / "target.py")
    open_folder.chmod(0o777)
    assert f"every user can write {open_folder}" in refused(folder)


def test_compiled_code_that_python_would_load_in_its_stead_counts_too(folder: Path) -> None:
    cached = Path(py_compile.compile(str(folder / "planted.py"), doraise=True) or "")
    cached.chmod(0o666)
    assert str(cached) in refused(folder)
    cached.chmod(0o644)
    cached.parent.chmod(0o777)
    assert str(cached.parent) in refused(folder)


def test_a_file_that_a_group_can_write_is_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "planted.py").chmod(0o664)
    with caplog.at_level(logging.WARNING):
        loaded(folder)
    assert ("chmod g-w" in caplog.text) is not ownership._is_private(os.getegid(), os.geteuid())


def test_the_owner_of_the_code_is_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout of the deploying user, run by a user of its own."""
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    loaded(folder)


def test_the_chosen_plugin_of_a_stranger_stops_the_start(folder: Path) -> None:
    (folder / "planted.py").chmod(0o666)
    with pytest.raises(ConfigError, match="every user can write"):
        discover(folder).choose("planted", {}, 1.0, ())


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A plugin that is a folder with a folder in it."""
    package = tmp_path / "plugins" / "planted"
    (package / "deep").mkdir(parents=True)
    for path, text in {"__init__.py": SOURCE, "part.py": "", "deep/far.py": ""}.items():
        (package / path).write_text(text)
    for path in [package.parent, package, *package.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return package


def refused_package(package: Path) -> str:
    """The reason why the folder was set aside. Checks that no file of it ran."""
    [error] = discover(package.parent).quarantined
    assert not (package / "ran").exists()
    assert error.file == str(package)
    return f"{error.reason} {error.remedy}"


def test_ones_own_folder_is_loaded(package: Path) -> None:
    assert not discover(package.parent).quarantined
    assert (package / "ran").exists()


@pytest.mark.parametrize("name", ["..", ".", "__init__.py", "part.py", "deep", "deep/far.py"])
def test_every_file_and_folder_of_a_plugin_counts(package: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = (package / name).resolve()
    mode = place.stat().st_mode
    place.chmod(0o777)
    assert f"every user can write {place}." in refused_package(package)
    place.chmod(mode)
    give_away(place, monkeypatch)
    assert "belongs to" in refused_package(package)


def test_compiled_code_of_a_folder_counts_too(package: Path) -> None:
    cached = Path(py_compile.compile(str(package / "deep/far.py"), doraise=True) or "")
    cached.chmod(0o666)
    assert str(cached) in refused_package(package)


def test_links_in_a_folder_are_followed(package: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/far.py").touch(0o666)
    (tmp_path / "elsewhere/far.py").chmod(0o666)
    (package / "linked").symlink_to(tmp_path / "elsewhere")
    for name in ("circle", "another"):
        (package / "deep" / name).symlink_to(package)
    assert "every user can write" in refused_package(package)
    (tmp_path / "elsewhere/far.py").chmod(0o644)
    assert not discover(package.parent).quarantined


def test_a_folder_that_cannot_be_looked_at_is_set_aside(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", closed)
    assert f"{package} cannot be read: Permission denied." in refused_package(package)
