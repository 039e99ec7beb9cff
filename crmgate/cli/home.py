"""The folder of `crmgate dev` (CRMGATE_HOME): who runs in it, and the settings with which other commands reach it.

One gateway at a time runs in a folder: it holds a lock on the file `lock`. Its settings, with the address and the
password of its private Redis, are in the file `env`, which only its user can read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from dotenv import dotenv_values

LOCK, ENV = "lock", "env"
REDIS = ("REDIS_URL", "REDIS_URL_FILE", "REDIS_HOST", "REDIS_SENTINELS")
"""Settings that name a Redis: who sets one of them means another gateway than the one of `crmgate dev`."""


def home_of(environ: Mapping[str, str]) -> Path:
    """The folder that CRMGATE_HOME names; it need not exist."""
    return Path(environ.get("CRMGATE_HOME") or ".crmgate").resolve()


def created(home: Path) -> Path:
    """`home`, created if it does not exist. Raises `click.ClickException` if it cannot be used."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / LOCK).touch(mode=0o600)
    except OSError as error:
        problem = f"CRMGATE_HOME, got '{home}': it cannot be written ({error.strerror})"
    else:
        return home
    raise click.ClickException(f"{problem}. It takes a folder of this user.")


@contextmanager
def claimed(home: Path) -> Iterator[None]:
    """Hold the lock on `home`. Raises `click.ClickException` if another gateway runs there.

    The supervisor's processes inherit the lock. If `crmgate dev` is killed, the folder is free when they have ended. On
    Linux the gateway's processes end with them (`keep.py`).
    """
    with (home / LOCK).open("w") as lock:
        if not _locked(lock.fileno(), fcntl.LOCK_EX):
            port = _read(home).get("PORT", "unknown")
            raise click.ClickException(
                f"crmgate is already running in {home} on port {port}: stop it, or set CRMGATE_HOME to another folder."
            )
        yield


def write(home: Path, settings: Mapping[str, str]) -> None:
    """Write the settings of the gateway that runs in `home`."""
    lines = (f"{name}='{_quoted(value)}'\n" for name, value in sorted(settings.items()))
    path = home / ENV
    path.unlink(missing_ok=True)  # a file of another version may have other rights
    with open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.writelines(lines)


def adopt(environ: Mapping[str, str]) -> None:
    """Add the settings of a running `crmgate dev` to the environment of this process.

    `environ` has the explicit settings, which take precedence. If they name another Redis, nothing is added. Prints a
    note to standard error if the gateway has stopped and nothing names a Redis.
    """
    home = home_of(environ)
    found = _read(home)
    if not found or _names_another_redis(environ, found):
        return
    if not running(home):
        if not environ.get("CRM_PROVIDER"):
            click.echo(f"The gateway of `crmgate dev` in {home} has stopped: its settings are not used.", err=True)
        return
    os.environ.update({name: value for name, value in found.items() if not environ.get(name)})


def running(home: Path) -> bool:
    """Whether a gateway runs in `home`."""
    try:
        with (home / LOCK).open() as lock:
            return not _locked(lock.fileno(), fcntl.LOCK_SH)
    except OSError:
        return False


def _names_another_redis(environ: Mapping[str, str], found: Mapping[str, str]) -> bool:
    return any(environ.get(name, "") not in ("", found.get(name)) for name in REDIS)


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(home: Path) -> dict[str, str]:
    """The settings in `home`; empty if it has none, or if they belong to another user."""
    path = home / ENV
    try:
        if path.stat().st_uid != os.getuid():
            return {}
        found = dotenv_values(path, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: value for name, value in found.items() if value is not None}


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
