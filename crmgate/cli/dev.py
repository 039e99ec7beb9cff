"""`crmgate dev`: the whole gateway on one machine; needs no other installation."""

from __future__ import annotations

import os
import secrets
import shlex
import stat
import sys
import threading
import time
from pathlib import Path

import click
import requests
from honcho.manager import Manager

from crmgate.cli.redis_server import free_port, prepare
from crmgate.config import environment
from crmgate.errors import ConfigError

PYTHON = sys.executable
KEEPER = [PYTHON, "-P", str(Path(__file__).with_name("keep.py"))]
"""The start of a keeper's command line. It runs as a file: as a module it would import the whole command line."""
MESSENGERS = {
    "TELEGRAM_URL": "https://t.me/example_bot",
    "WHATSAPP_URL": "https://wa.me/15555550100",
    "INSTAGRAM_URL": "https://ig.me/m/example?ref={ref}",
}
"""Targets of the demo's messenger links; they are not real accounts."""
KEPT = ("redis", "metrics", "sandbox.sqlite3*", "run.lock")
"""What `crmgate dev` keeps in CRMGATE_HOME."""


@click.command()
def dev() -> None:
    """Run web, worker, a private Redis and a sandbox CRM until Ctrl-C.

    Takes the whole configuration from the environment and .env; CRM_PROVIDER defaults to the sandbox and REDIS_URL to a
    private redis-server with its data in CRMGATE_HOME (.crmgate). PORT is the port of the web server (8000).
    """
    environ = environment()
    os.umask(0o077)  # submissions, leads and passwords are for this user only
    home = Path(environ.get("CRMGATE_HOME") or ".crmgate").resolve()
    home.mkdir(parents=True, exist_ok=True)
    close_to_others(home)
    commands = _commands(environ, home)
    _check(environ)
    threading.Thread(target=_announce_when_ready, args=(environ,), daemon=True).start()
    sys.exit(_supervise(commands, environ, home))


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
    if environ["CRM_PROVIDER"] == "sandbox" and not environ.get("SANDBOX_URL"):
        commands["sandbox"] = _sandbox(environ, home)
    commands["web"] = [
        PYTHON, "-m", "gunicorn", "crmgate:create_app(demo=True)", "--config", "python:crmgate.gunicorn",
        "--bind", f"127.0.0.1:{environ['PORT']}", "--graceful-timeout", "3",
        "--log-level", "warning",
    ]  # fmt: skip
    commands["worker"] = [
        PYTHON, "-m", "huey.bin.huey_consumer", "crmgate.worker.huey", "--workers", "8", "--worker-type", "thread",
        "--graceful-signal", "TERM", "--shutdown-timeout", "3", "--quiet",
    ]  # fmt: skip
    return commands


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


def _check(environ: dict[str, str]) -> None:
    """Check the configuration before any process starts. Raises `click.ClickException` if it cannot work."""
    from crmgate.services import start

    try:
        start(environ)
    except ConfigError as error:
        raise click.ClickException(
            "crmgate cannot start:\n" + "\n".join(f"- {line}" for line in error.problems)
        ) from None


def _announce_when_ready(environ: dict[str, str]) -> None:
    """Print the next steps once the gateway is ready; the printed curl command would fail earlier."""
    gateway = f"http://127.0.0.1:{environ['PORT']}"
    while not _ready(gateway):
        time.sleep(0.2)
    click.echo(_announcement(gateway, environ))


def _ready(gateway: str) -> bool:
    try:
        return requests.get(f"{gateway}/readyz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _announcement(gateway: str, environ: dict[str, str]) -> str:
    crm = environ["CRM_PROVIDER"]
    page = f"{environ['SANDBOX_URL']}   (a sandbox: open the page and watch leads arrive)" if crm == "sandbox" else crm
    body = '{"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com", "phone": "0532 123 45 67"}'
    return f"""
  crmgate is ready.

  Gateway   {gateway}
  CRM       {page}
  Demo      {gateway}/demo   (a form as a website has it, and messenger links)

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
