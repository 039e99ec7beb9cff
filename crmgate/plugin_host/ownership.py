"""Checks who can write a plugin: its author runs code with all rights of the gateway.

Trusted users are root, the user of the process, and the owner of crmgate's own code.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import stat
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

from crmgate.errors import PluginError

log = logging.getLogger(__name__)


def check(path: Path) -> None:
    """Raise `PluginError` if an untrusted user can write or replace the plugin at `path`.

    Checks all files in a folder at any depth, because they can be imported later, after this check.
    """
    try:
        for place in dict.fromkeys(place for part in _parts(path, set()) for place in _places(part)):
            _check_place(path, place)
    except OSError as error:
        reason = f"{error.filename} cannot be read: {error.strerror}."
        raise PluginError(str(path), reason, "Make it readable for the gateway, or remove it.") from None


def _check_place(path: Path, place: Path) -> None:
    state = place.stat()
    if state.st_uid not in _trusted():
        reason = f"{place} belongs to {_user(state.st_uid)}, and the gateway runs as {_user(os.geteuid())}."
        raise PluginError(str(path), reason, f"If you trust it: chown {os.geteuid()} {place}")
    if state.st_mode & stat.S_IWOTH:
        raise PluginError(str(path), f"every user can write {place}.", f"If you trust it: chmod o-w {place}")
    if state.st_mode & stat.S_IWGRP and not _is_private(state.st_gid, state.st_uid):
        log.warning("every member of the group %s can write %s: chmod g-w %s", state.st_gid, place, place)


def _parts(path: Path, seen: set[Path]) -> Iterator[Path]:
    """A file or a folder, and everything below it. Follows links, each folder once."""
    yield path
    if path.is_dir() and (real := path.resolve()) not in seen:
        seen.add(real)
        for inner in sorted(path.iterdir()):
            yield from _parts(inner, seen)


def _places(path: Path) -> Iterator[Path]:
    """The path, the compiled copy that Python may load instead, and the folders in which they can be replaced."""
    real = path.resolve()
    cached = Path(cache_from_source(str(path)))
    places = (path.parent, real.parent, real, cached.parent, cached)
    yield from (place for place in places if place.exists())


def _trusted() -> set[int]:
    return {0, os.geteuid(), Path(__file__).stat().st_uid}


def _is_private(group: int, user: int) -> bool:
    """Whether the group is the private group of the user, as with a git checkout and umask 002."""
    try:
        return grp.getgrgid(group).gr_name == pwd.getpwuid(user).pw_name
    except KeyError:
        return False


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
