"""Puts the parts together, once for each process: settings, ledger, plugins, gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from crmgate.config import Settings, environment
from crmgate.delivery.attempt import Delivery, Plan
from crmgate.delivery.gateway import Gateway
from crmgate.errors import ConfigError
from crmgate.operators.connection_test import ConnectionTest
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Inventory
from crmgate.operators.retries import Retries
from crmgate.operators.watch import Watch
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.listeners import Listeners
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.store.audit import Audit
from crmgate.store.client import connect
from crmgate.store.figures import Figures
from crmgate.store.ledger import Ledger
from crmgate.store.limits import Limiter
from crmgate.store.tokens import Tokens
from crmgate.store.wakeups import wake_message
from crmgate.store.watch import Watchbook

NEEDED_BY_PLUGINS = ("CRM_PROVIDER", "CRM_HTTP_HOSTS", "PLUGINS_DIR", "PLUGINS_ALLOWED")


@dataclass(frozen=True)
class Services:
    """What the doors (web, worker, command line) work with."""

    settings: Settings
    plugins: Plugins
    crm: HookCaller
    ledger: Ledger
    delivery: Delivery
    gateway: Gateway
    audit: Audit
    tokens: Tokens
    connection: ConnectionTest
    figures: Figures
    inventory: Inventory
    desk: Desk
    limiter: Limiter
    watch: Watch


def start(environ: Mapping[str, str] | None = None) -> Services:
    """Read the configuration and put the parts together. Raises `ConfigError` with every problem: the plugin's too."""
    try:
        return build(Settings.load(environ))
    except ConfigError as error:
        problems = error.problems
    source = environment() if environ is None else environ
    raise ConfigError([*problems, *(problem for problem in _plugin_problems(source) if problem not in problems)])


def _plugin_problems(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What the chosen plugin and the listeners have against their settings, as far as that can be told."""
    chosen = {name: environ[name] for name in NEEDED_BY_PLUGINS if environ.get(name, "").strip()}
    settings = replace(Settings.load({"CRM_PROVIDER": "none"} | chosen), environ=environ)
    plugins = discover(settings.plugins_dir, settings.plugins_allowed)
    try:
        if "CRM_PROVIDER" in chosen:
            _start_plugins(plugins, settings)
        else:
            plugins.listen(environ, settings.http_hosts)
    except ConfigError as error:
        return error.problems
    return ()


def _start_plugins(plugins: Plugins, settings: Settings) -> HookCaller:
    """The chosen provider, with the listeners at work. Raises `ConfigError` with the problems of them all."""
    problems: list[str] = []
    try:
        crm = _choose(plugins, settings, settings.provider)
    except ConfigError as error:
        problems += error.problems
    try:
        plugins.listen(settings.environ, settings.http_hosts)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return crm


def _choose(plugins: Plugins, settings: Settings, name: str) -> HookCaller:
    return plugins.choose(
        name, settings.environ, settings.timeout, settings.http_hosts,
        on_duplicate=settings.on_duplicate, on_rejected_field=settings.on_rejected_field,
    )  # fmt: skip


def build(settings: Settings) -> Services:
    """Load the plugins, choose the provider and connect the parts. Raises `ConfigError`. Redis is not asked yet."""
    plugins = discover(settings.plugins_dir, settings.plugins_allowed)
    crm = _start_plugins(plugins, settings)
    at = settings.redis
    client = connect(at)
    ledger = Ledger(client, wake_message, replicas=at.replicas, patience=at.timeout / 2)
    audit, figures = Audit(client), Figures(client)
    plan = Plan(
        settings.inline_budget, worker_budget(settings), settings.retry_delays,
        settings.max_concurrency, settings.epidemic_after,
    )  # fmt: skip
    others = partial(_other, plugins, settings)
    tell = Listeners(plugins.manager).notify
    delivery = Delivery(ledger, crm, plan, others=others, tell=tell)
    gateway = Gateway(ledger, delivery, tell=tell)
    tokens = Tokens(client, settings.api_tokens, audit)
    connection = ConnectionTest(client, crm, settings.timeout)
    inventory, limiter = Inventory(client), Limiter(client)
    desk = Desk(ledger, gateway, delivery, Retries(client, ledger, inventory, delivery.recipient))
    watch = Watch(Watchbook(client), ledger, figures, tell, settings.alert_waiting_minutes * 60)
    return Services(
        settings, plugins, crm, ledger, delivery, gateway, audit, tokens, connection, figures, inventory, desk, limiter,
        watch,
    )  # fmt: skip


def _other(plugins: Plugins, settings: Settings, name: str) -> HookCaller | None:
    """A provider that is not the active one, if its settings are still there."""
    try:
        return _choose(plugins, settings, name)
    except ConfigError:
        return None


def worker_budget(settings: Settings) -> float:
    """Seconds for all requests of one attempt in the worker: looking first, then sending."""
    return settings.timeout * 1.5
