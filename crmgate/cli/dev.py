"""`crmgate dev`: the whole gateway on one machine; needs no other installation."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import requests
from honcho.manager import Manager

from crmgate.cli import home as homes
from crmgate.cli.output import configuration
from crmgate.cli.redis_server import free_port, prepare
from crmgate.config import CoreSettings, environment
from crmgate.errors import ConfigError, LedgerUnavailable
from crmgate.plugin_kit.settings import given
from crmgate.store.audit import command_line
from crmgate.store.tokens import Scope, digest, generate

if TYPE_CHECKING:
    from crmgate.listener import Listener
    from crmgate.provider import CRMProvider
    from crmgate.services import Services

PYTHON = sys.executable
KEEPER = [PYTHON, "-P", str(Path(__file__).with_name("keep.py"))]
"""The start of a keeper's command line. It runs as a file: as a module it would import the whole command line."""
MESSENGERS = {
    "TELEGRAM_URL": "https://t.me/example_bot",
    "WHATSAPP_URL": "https://wa.me/15555550100",
    "INSTAGRAM_URL": "https://ig.me/m/example?ref={ref}",
}
"""Targets of the demo's messenger links; they are not real accounts."""
MOST_WORKERS = 32
"""Largest number of worker processes of one `crmgate dev`."""
KEPT = ("redis", "metrics", "spool", "sandbox.sqlite3*", "run.lock", homes.LOCK, homes.ENV)
"""What `crmgate dev` keeps in CRMGATE_HOME."""


@click.command()
def dev() -> None:
    """Run web, worker, a private Redis and a sandbox CRM until Ctrl-C.

    Takes the whole configuration from the environment and .env; CRM_PROVIDER defaults to the sandbox and REDIS_URL to a
    private redis-server with its data in CRMGATE_HOME (.crmgate). PORT is the port of the web server (8000),
    WORKER_PROCESSES the number of workers (1).

    Other commands find the running gateway by CRMGATE_HOME and need no settings.
    """
    with configuration():
        environ = environment()
    port = _port(environ)
    os.umask(0o077)  # submissions, leads and passwords are for this user only
    home = homes.created(homes.home_of(environ))
    with homes.claimed(home), _held(port):
        close_to_others(home)
        commands = _commands(environ, home)
        token = _add_token(environ)
        parts = _checked(environ)
        homes.write(home, _settings(parts, environ))
        threading.Thread(target=_announce_when_ready, args=(environ, token, parts), daemon=True).start()
        status = _supervise(commands, environ, home)
        homes.write(home, {"PORT": environ["PORT"]})  # no password stays; commands see that it has stopped
    sys.exit(status)


def _port(environ: Mapping[str, str]) -> int:
    """PORT. Raises `click.ClickException` if it is no port."""
    text = environ.get("PORT") or "8000"
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise click.ClickException(f"PORT, got {text!r}: it takes a port, 1 to 65535.")
    return int(text)


@contextmanager
def _held(port: int) -> Iterator[None]:
    """Keep other programs from the port; gunicorn shares it (`--reuse-port`).

    So it is this gateway that answers there. Raises `click.ClickException` if a program has the port.
    """
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):  # a program that shares the port is found without sharing
        with socket.socket() as held:
            held.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                held.bind(("127.0.0.1", port))
            except OSError as error:
                raise click.ClickException(
                    f"port {port} is taken by another program ({error.strerror}): stop it, or set PORT."
                ) from None
            if option == socket.SO_REUSEPORT:
                yield


def _add_token(environ: dict[str, str]) -> str:
    """Let a new token operate this run of the gateway; returns the token. It is stored nowhere but as a hash."""
    _id, token = generate()
    problems: list[str] = []
    own = given(CoreSettings(), environ, problems).get("API_TOKENS", "")  # also those of API_TOKENS_FILE
    if not problems:  # an unusable file ends the start: `_checked` names it
        environ["API_TOKENS"] = ",".join(filter(None, (own, f"dev:{Scope.OPERATE}:{digest(token)}")))
    return token


def _settings(parts: Services, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environ` that are settings of crmgate or of a plugin."""
    plugins = parts.plugins
    plugged: list[type[CRMProvider] | type[Listener]] = [*plugins.providers.values(), *plugins.listeners.values()]
    names = {"PORT", *CoreSettings().fields, *(name for plugin in plugged for name in plugin.Settings().fields)}
    own = tuple(f"{provider.upper()}_" for provider in plugins.providers)  # such as ACME_MAP_EMAIL
    return {
        name: value for name, value in environ.items() if name.removesuffix("_FILE") in names or name.startswith(own)
    }  # fmt: skip


def close_to_others(home: Path) -> None:
    """Take the rights of other users from `home` and from what `crmgate dev` keeps in it.

    An earlier version left it readable for everybody. A folder in which others may write too, such as /tmp, stays as
    it is. Raises `click.ClickException` if the files belong to another user.
    """
    shared = home.stat().st_mode & stat.S_ISVTX
    own = [] if shared else [home]
    own += [path for name in KEPT for top in home.glob(name) for path in (top, *top.rglob("*"))]
    open_ones = [path for path in own if not path.is_symlink() and path.stat().st_mode & 0o077]
    try:
        for path in open_ones:
            path.chmod(path.stat().st_mode & 0o700)
    except OSError as error:
        problem = f"{error.filename} stays readable for other users ({type(error).__name__})"
        raise click.ClickException(f"{problem}. Use another folder: CRMGATE_HOME.") from None
    if open_ones:
        click.echo(f"Other users could read {len(open_ones)} files and folders of {home}: they no longer can.")


def _commands(environ: dict[str, str], home: Path) -> dict[str, list[str]]:
    """The command line of each process by its name. Adds missing settings to `environ`."""
    commands = {}
    if not environ.get("REDIS_URL") and not environ.get("REDIS_HOST"):
        server = prepare(home / "redis")
        environ["REDIS_URL"] = server.url
        commands["redis"] = server.command
    environ["PORT"] = environ.get("PORT") or "8000"
    environ["CRM_PROVIDER"] = environ.get("CRM_PROVIDER") or "sandbox"
    environ["LOG_FORMAT"] = environ.get("LOG_FORMAT") or "console"
    environ["PROMETHEUS_MULTIPROC_DIR"] = environ.get("PROMETHEUS_MULTIPROC_DIR") or str(home / "metrics")
    environ["SPOOL_DIR"] = environ.get("SPOOL_DIR") or str(home / "spool")
    if environ["CRM_PROVIDER"] == "sandbox" and not environ.get("SANDBOX_URL"):
        commands["sandbox"] = _sandbox(environ, home)
    commands["web"] = [
        PYTHON, "-m", "gunicorn", "crmgate:create_app(demo=True)", "--config", "python:crmgate.gunicorn",
        "--bind", f"127.0.0.1:{environ['PORT']}", "--reuse-port", "--graceful-timeout", "3",
        "--log-level", "warning",
    ]  # fmt: skip
    worker = [
        PYTHON, "-m", "huey.bin.huey_consumer", "crmgate.worker.huey", "--worker-type", "thread",
        "--graceful-signal", "TERM", "--shutdown-timeout", "3", "--quiet",
    ]  # fmt: skip
    return commands | dict.fromkeys(_worker_names(environ), worker)


def _worker_names(environ: Mapping[str, str]) -> list[str]:
    """Names of the worker processes: `worker`, and `worker2` ... for WORKER_PROCESSES above 1."""
    text = environ.get("WORKER_PROCESSES") or "1"
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MOST_WORKERS):
        raise click.ClickException(f"WORKER_PROCESSES, got {text!r}: it takes a number, 1 to {MOST_WORKERS}.")
    return ["worker", *(f"worker{number}" for number in range(2, int(text) + 1))]


def _sandbox(environ: dict[str, str], home: Path) -> list[str]:
    port = free_port(prefer=int(environ["PORT"]) + 1)  # so that the page keeps its address
    environ |= MESSENGERS | environ
    environ["SANDBOX_URL"] = f"http://127.0.0.1:{port}"
    environ["SANDBOX_KEY"] = environ.get("SANDBOX_KEY") or secrets.token_urlsafe(16)
    database = str(home / "sandbox.sqlite3")
    gateway = f"http://127.0.0.1:{environ['PORT']}"
    return [
        PYTHON, "-m", "crmgate.sandbox", "--port", str(port), "--database", database, "--gateway-url", gateway,
    ]  # fmt: skip


def _checked(environ: dict[str, str]) -> Services:
    """Check the configuration before any process starts. Raises `click.ClickException` if it cannot work."""
    from crmgate.services import start

    try:
        return start(environ)
    except ConfigError as error:
        raise click.ClickException(
            "crmgate cannot start:\n" + "\n".join(f"- {line}" for line in error.problems)
        ) from None


def _announce_when_ready(environ: dict[str, str], token: str, parts: Services) -> None:
    """Print the next steps once the gateway is ready; the printed curl command would fail earlier."""
    gateway = f"http://127.0.0.1:{environ['PORT']}"
    while not _ready(gateway):
        time.sleep(0.2)
    click.echo(_announcement(gateway, environ, token, _login_link(gateway, parts, token)))


def _ready(gateway: str) -> bool:
    try:
        answer = requests.get(f"{gateway}/readyz", timeout=2)
        return answer.status_code == 200 and not answer.json()["degraded"]
    except requests.RequestException:
        return False


def _login_link(gateway: str, parts: Services, token: str) -> str:
    """A link that logs a browser in to the operator's pages once, as the token of this run.

    Without a Redis that keeps its code it is the page on which the token logs in.
    """
    known = parts.tokens.verify(token)
    assert known is not None
    try:
        code = parts.sessions.new_code(known, command_line())
    except LedgerUnavailable:
        return f"{gateway}/ops/login"
    return f"{gateway}/ops/login#once={code}"


def _announced(gateway: str, environ: dict[str, str], token: str, link: str) -> Iterator[tuple[str, str, str]]:
    """What the user can open or run next: its name, the address or command, and what it shows."""
    crm = environ["CRM_PROVIDER"]
    yield "Gateway", gateway, ""
    if crm == "sandbox":
        yield "CRM", environ["SANDBOX_URL"], "a sandbox: open the page and watch leads arrive"
    else:
        yield "CRM", crm, ""
    yield "Demo", f"{gateway}/demo", "a form as a website has it, and messenger links"
    yield "API", f"{gateway}/docs", "every request, with examples"
    yield "Operate", link, "what happens, why, and what to do; the link works once, for 10 minutes"
    yield "Token", token, "operates this run over HTTP, as `Authorization: Bearer ...`"
    yield "Watch", f"{_program()} ops tail", "in another terminal, in this folder"


def _program() -> str:
    """How another terminal in this folder calls `crmgate`."""
    if shutil.which("crmgate"):
        return "crmgate"
    return os.path.relpath(Path(sys.executable).parent / "crmgate")


def _announcement(gateway: str, environ: dict[str, str], token: str, link: str) -> str:
    lines = "\n".join(
        f"  {name:<9} {what}{f'   ({about})' if about else ''}"
        for name, what, about in _announced(gateway, environ, token, link)
    )
    body = '{"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com", "phone": "0532 123 45 67"}'
    return f"""
  crmgate is ready.

{lines}

  Send a lead:

  curl -i {gateway}/api/v1/applications -H 'Content-Type: application/json' \\
    -d '{body}'

  Ctrl-C stops everything.
"""


def _supervise(commands: dict[str, list[str]], environ: dict[str, str], home: Path) -> int:
    manager = Manager()
    for name, command in commands.items():
        last = ["--last"] if name == "redis" else []
        keeper = [*KEEPER, *last, str(home / "run.lock"), *command]
        manager.add_process(name, shlex.join(["exec", *keeper]), env=environ)
    manager.loop()
    return 0 if manager.returncode in (130, 143) else int(manager.returncode or 0)
