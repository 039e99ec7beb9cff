"""`crmgate check`: checks everything the gateway needs; each check has a result (ok, warn, fail) and a remedy."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

import click
from rich.text import Text

from crmgate import services
from crmgate.cli.output import as_json, print_json, print_table, working
from crmgate.config import Settings, environment
from crmgate.errors import ConfigError, LedgerUnavailable
from crmgate.operators.waiting import advice
from crmgate.plugin_host.loader import discover, shipped_folder
from crmgate.policy import WORKER_SILENCE
from crmgate.services import Services
from crmgate.store import clock
from crmgate.store.checks import undetermined
from crmgate.store.client import connect
from crmgate.store.clock import Clocks
from crmgate.store.ledger import Ledger
from crmgate.store.rewrite import Rewriter
from crmgate.store.wakeups import wake_message

BUDGET = 30.0
"""Seconds for the connection test."""
START_WORKER = "start one with `huey_consumer crmgate.worker.huey`"


class Mark(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    """It works, and something should be done."""
    FAIL = "fail"
    """It does not work."""


COLORS = {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Line:
    """One check with its result; `detail` explains the result and names the remedy."""

    check: str
    result: Mark
    detail: str = ""


@click.command()
@click.option(
    "--worker", is_flag=True, help="Check only whether a worker runs on this host, as a container's health check."
)
@as_json
def check(worker: bool, as_json: bool) -> None:
    """Check the configuration, Redis, the worker, the CRM and the plugins. Changes nothing.

    Runs as many checks as the configuration allows, even if parts of it are wrong. Logs in to the CRM once.

    With --worker a Redis that does not accept writes is a warning: a restart of the worker would not help.

    Exit status: 0 no check failed (there may be warnings), 1 a check failed, 2 the configuration cannot work.
    """
    logging.getLogger("crmgate").addHandler(logging.NullHandler())  # this command reports broken plugins itself
    with working("Checking ..."):
        lines = list(_of_this_host() if worker else _lines())
    failed = {line.check for line in lines if line.result == Mark.FAIL}
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(line) for line in lines]})
    else:
        rows = ((line.check, Text(line.result, COLORS[line.result]), line.detail) for line in lines)
        print_table(("CHECK", "RESULT", "DETAIL"), rows)
    if "configuration" in failed:
        sys.exit(2)
    sys.exit(1 if failed else 0)


def _lines() -> Iterator[Line]:
    try:
        environ: Mapping[str, str] = environment()
    except ConfigError as error:
        yield from (Line("configuration", Mark.FAIL, problem) for problem in error.problems)
        return
    parts: Services | None = None
    try:
        parts = services.start(environ)
        yield Line("configuration", Mark.OK, f"The CRM is {parts.crm.label} ({parts.crm.name}).")
    except ConfigError as error:
        yield from (Line("configuration", Mark.FAIL, problem) for problem in error.problems)
    yield from _redis(_settings(environ, "REDIS_"))
    if parts:
        yield from _crm(parts)
        yield from _deliveries(parts)
    yield from _plugins(_settings(environ, "PLUGINS_"))


def _of_this_host() -> Iterator[Line]:
    """Whether a worker runs on this host: its heartbeats in Redis have the name of the host."""
    try:
        settings = Settings.load({"CRM_PROVIDER": "none"} | _chosen(environment(), "REDIS_"))
    except ConfigError as error:
        yield from (Line("configuration", Mark.FAIL, problem) for problem in error.problems)
        return
    ledger, host = Ledger(connect(settings.redis), wake_message), socket.gethostname()
    try:
        redis, seen = ledger.health()[0], ledger.worker_seen_on(host, WORKER_SILENCE)
    except LedgerUnavailable as error:
        yield Line("worker", Mark.WARN, f"Cannot be checked: Redis does not answer ({error}).")
        return
    if seen:
        yield Line("worker", Mark.OK, f"Seen on {host} within {WORKER_SILENCE:.0f} s.")
    elif redis.ok:
        yield Line("worker", Mark.FAIL, f"None seen on {host} for {WORKER_SILENCE:.0f} s: {START_WORKER}.")
    else:
        yield Line("worker", Mark.WARN, f"Cannot be checked: {redis.detail}")


def _settings(environ: Mapping[str, str], prefix: str) -> Settings | None:
    """The settings with this prefix, and defaults for the others; None if one of these settings is wrong."""
    try:
        return Settings.load({"CRM_PROVIDER": "none"} | _chosen(environ, prefix))
    except ConfigError:
        return None


def _chosen(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(prefix)}


def _redis(settings: Settings | None) -> Iterator[Line]:
    if settings is None:
        return  # the line "configuration" says why
    client = connect(settings.redis)
    ledger = Ledger(client, wake_message)
    first, *dangers = ledger.health()
    yield Line(first.name, Mark.OK if first.ok else Mark.FAIL, first.detail)
    for danger in dangers:
        well = danger.ok and not undetermined(danger)
        yield Line(danger.name, Mark.OK if well else Mark.WARN, danger.detail)
    if first.ok:
        try:
            yield from _state(ledger)
            yield _clocks(Clocks(client))
            yield _rewrite(Rewriter(client))
        except LedgerUnavailable as error:
            yield Line("worker", Mark.FAIL, f"Redis stopped answering ({error}).")


def _state(ledger: Ledger) -> Iterator[Line]:
    workers, stats = ledger.workers_seen(WORKER_SILENCE), ledger.stats()
    if workers:
        yield Line("worker", Mark.OK, f"{workers} seen within {WORKER_SILENCE:.0f} s.")
    else:
        yield Line("worker", Mark.FAIL, f"None seen for {WORKER_SILENCE:.0f} s: {START_WORKER}.")
    dead = stats["dead_letters"]
    detail = f"{stats['waiting']} operations wait."
    if dead:
        detail += f" {dead} dead letters need a person: `crmgate dlq list` shows them."
    yield Line("operations", Mark.WARN if dead else Mark.OK, detail)


def _clocks(clocks: Clocks) -> Line:
    """The clocks of all hosts that run crmgate, and of this one."""
    here, known = clocks.measure(), clocks.offsets()
    found = clock.check(known if here is None else {**known, clocks.host: here})
    return Line(found.name, Mark.OK if found.ok else Mark.WARN, found.detail)


def _rewrite(rewriter: Rewriter) -> Line:
    """The daily rewrite of the append-only file."""
    found = rewriter.check()
    return Line(found.name, Mark.OK if found.ok else Mark.WARN, found.detail)


def _crm(parts: Services) -> Iterator[Line]:
    connection = parts.crm.test_connection(BUDGET)
    if connection.connected:
        yield Line("crm", Mark.OK, f"Connected ({connection.latency_ms:.0f} ms).")
    else:
        yield Line("crm", Mark.FAIL, "Not connected; `crmgate crm test` tries it again.")
    for found in connection.checks:
        bad = Mark.WARN if connection.connected else Mark.FAIL
        yield Line(f"crm {found.name}", Mark.OK if found.ok else bad, found.detail)


def _deliveries(parts: Services) -> Iterator[Line]:
    """Whether operations are sent to the CRM. No line while Redis does not answer: the line "redis" says so."""
    try:
        stopped = advice(parts.desk.waiting.gate())
    except LedgerUnavailable:
        return
    yield Line("deliveries", Mark.WARN if stopped else Mark.OK, stopped or "The CRM takes requests.")


def _plugins(settings: Settings | None) -> Iterator[Line]:
    if settings is None:
        return
    found = discover(settings.plugins_dir, settings.plugins_allowed, shipped=shipped_folder())
    names = ", ".join(sorted(found.providers)) or "none"
    yield Line("plugins", Mark.OK, f"CRMs: {names}.")
    for broken in found.quarantined:
        yield Line(f"plugin {broken.file}", Mark.WARN, f"{broken.reason} {broken.remedy}")
