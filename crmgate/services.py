"""Composition root: builds settings, plugins, ledger and gateway once for each process and connects them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from crmgate.config import Settings, environment
from crmgate.delivery.attempt import Delivery
from crmgate.delivery.drain import Drain
from crmgate.delivery.gateway import Gateway
from crmgate.delivery.plan import Plan
from crmgate.errors import ConfigError
from crmgate.operators.backups import Backups
from crmgate.operators.connection_test import ConnectionTest
from crmgate.operators.crm_setup import CrmSetup
from crmgate.operators.desk import Desk
from crmgate.operators.expiry import Expiry
from crmgate.operators.inventory import Inventory
from crmgate.operators.numbers import Numbers
from crmgate.operators.payloads import Payloads
from crmgate.operators.persons import Persons
from crmgate.operators.reconcile import Reconcile
from crmgate.operators.retries import Retries
from crmgate.operators.rotation import Rotation
from crmgate.operators.spooled import SpooledPersons
from crmgate.operators.watch import Watch
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.listeners import Listeners
from crmgate.plugin_host.loader import Plugins, discover, shipped_folder
from crmgate.plugin_host.sources import SourcePlugins
from crmgate.provider import TokenStore
from crmgate.sources.reader import Sources
from crmgate.store.access_tokens import AccessTokens
from crmgate.store.audit import Audit
from crmgate.store.backup import BackupStore
from crmgate.store.causes import Causes
from crmgate.store.client import connect
from crmgate.store.clock import Clocks
from crmgate.store.figures import Figures
from crmgate.store.ledger import Ledger
from crmgate.store.limits import Limiter
from crmgate.store.persons import PersonIndex
from crmgate.store.reconciled import KeptPayloads, ReconcileBook
from crmgate.store.rewrite import Rewriter
from crmgate.store.sessions import Sessions
from crmgate.store.spool import Spool
from crmgate.store.stored import StoredPayloads
from crmgate.store.tokens import Tokens
from crmgate.store.vault import Vault
from crmgate.store.wakeups import wake_message
from crmgate.store.watch import Watchbook

log = logging.getLogger(__name__)

NEEDED_BY_PLUGINS = ("CRM_PROVIDER", "CRM_HTTP_HOSTS", "PLUGINS_DIR", "PLUGINS_ALLOWED")
"""Settings with which plugins can be loaded and checked although another setting is wrong."""


@dataclass(frozen=True)
class Services:
    """Parts of a running process, for the web application, the worker and the command line."""

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
    clocks: Clocks
    numbers: Numbers
    causes: Causes
    index: PersonIndex
    persons: Persons
    payloads: Payloads
    crm_setup: CrmSetup
    sessions: Sessions
    sources: Sources
    backups: Backups
    reconcile: Reconcile
    vault: Vault
    rotation: Rotation
    expiry: Expiry
    rewriter: Rewriter
    spool: Spool | None = None
    drain: Drain | None = None

    def open_spool(self) -> None:
        """Open the spool of this host, for the web application. The worker does not use it."""
        if self.spool:
            self.spool.prepare()
            if self.spool.problem:
                log.error(
                    "%s: without a spool, a submission may be refused while Redis is unavailable", self.spool.problem
                )

    def start_threads(self) -> None:
        """Start the threads of a web process: the watch, and the one that drains the spool."""
        self.watch.start()
        if self.drain:
            self.drain.start()


def start(environ: Mapping[str, str] | None = None) -> Services:
    """Read the configuration and build the parts. Raises `ConfigError` with every problem, also those of plugins."""
    try:
        return build(Settings.load(environ))
    except ConfigError as error:
        problems = error.problems
    source = environment() if environ is None else environ
    raise ConfigError([*problems, *(problem for problem in _plugin_problems(source) if problem not in problems)])


def _plugin_problems(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Problems with the settings of the chosen plugin and of the listeners, as far as they can be found."""
    chosen = {name: environ[name] for name in NEEDED_BY_PLUGINS if environ.get(name, "").strip()}
    settings = replace(Settings.load({"CRM_PROVIDER": "none"} | chosen), environ=environ)
    plugins = discover(settings.plugins_dir, settings.plugins_allowed, shipped=shipped_folder())
    try:
        if "CRM_PROVIDER" in chosen:
            _start_plugins(plugins, settings)
        else:
            plugins.listen(environ, settings.http_hosts)
    except ConfigError as error:
        return error.problems
    return ()


def _start_plugins(plugins: Plugins, settings: Settings, tokens: TokenStore | None = None) -> HookCaller:
    """Start the chosen provider and the listeners. Raises `ConfigError` with the problems of all of them."""
    problems: list[str] = []
    try:
        crm = _choose(plugins, settings, tokens, settings.provider)
    except ConfigError as error:
        problems += error.problems
    try:
        plugins.listen(settings.environ, settings.http_hosts)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return crm


def _choose(plugins: Plugins, settings: Settings, tokens: TokenStore | None, name: str) -> HookCaller:
    return plugins.choose(
        name, settings.environ, settings.timeout, settings.http_hosts, tokens,
        on_duplicate=settings.on_duplicate, on_update=settings.on_update,
        on_rejected_field=settings.on_rejected_field,
    )  # fmt: skip


def build(settings: Settings) -> Services:
    """Load the plugins, choose the provider and build the parts. Does not connect to Redis. Raises `ConfigError`."""
    plugins = discover(settings.plugins_dir, settings.plugins_allowed, shipped=shipped_folder())
    at = settings.redis
    client, vault = connect(at), Vault(settings.payload_keys)
    access = AccessTokens(client, vault)
    crm = _start_plugins(plugins, settings, access)
    ledger = Ledger(
        client, wake_message, vault, replicas=at.replicas, patience=at.timeout / 2, keep=settings.payload_keep
    )
    audit, figures = Audit(client), Figures(client)
    plan = Plan(
        settings.inline_budget, worker_budget(settings), settings.retry_delays,
        settings.max_concurrency, settings.epidemic_after, settings.suspect_days * 86400,
    )  # fmt: skip
    others = partial(_other, plugins, settings, access)
    notify = Listeners(plugins.manager).notify
    delivery = Delivery(ledger, crm, plan, others=others, notify=notify)
    spool = Spool(settings.spool_dir, settings.spool_max * 1e6, vault) if settings.spool_dir else None
    gateway = Gateway(ledger, delivery, notify=notify, spool=spool)
    drain = _drain(spool, gateway, ledger, notify)
    tokens = Tokens(client, settings.api_tokens, audit)
    connection = ConnectionTest(client, crm, settings.timeout)
    inventory, limiter = Inventory(client, vault), Limiter(client)
    desk = Desk(ledger, gateway, delivery, Retries(client, ledger, inventory, delivery.recipient))
    clocks = Clocks(client)
    plugged = SourcePlugins(plugins.manager)
    sources = Sources(settings.sources, settings.default_phone_region, plugged, settings.field_aliases)
    watch = Watch(Watchbook(client), ledger, figures, clocks, notify, settings.alert_waiting_minutes * 60, spool)
    index = PersonIndex(client, ledger)
    kept = KeptPayloads(client, vault)
    spooled = SpooledPersons(spool)
    persons = Persons(index, ledger, inventory, gateway, audit, settings.default_phone_region, kept, spooled)
    reconcile = Reconcile(
        ledger, inventory, ReconcileBook(client, ledger), kept, crm, delivery.recipient,
        others=others, budget=settings.timeout * 3, notify=notify,
    )  # fmt: skip
    return Services(
        settings, plugins, crm, ledger, delivery, gateway, audit, tokens, connection, figures, inventory, desk, limiter,
        watch, clocks, Numbers(client, ledger.now), Causes(client), index, persons, Payloads(audit),
        CrmSetup(crm, audit, settings.environ), Sessions(client, tokens, audit), sources,
        Backups(BackupStore(client, ledger, delivery.recipient), inventory, ledger, audit), reconcile,
        vault, Rotation(StoredPayloads(client, ledger), inventory, vault, audit),
        Expiry(ledger, inventory, delivery.recipient, settings.dead_days), Rewriter(client), spool, drain,
    )  # fmt: skip


def _drain(spool: Spool | None, gateway: Gateway, ledger: Ledger, notify: Callable[..., None]) -> Drain | None:
    if spool is None:
        return None
    drain = Drain(spool, gateway, ledger, notify)
    gateway.on_spooled = drain.start
    return drain


def _other(plugins: Plugins, settings: Settings, tokens: TokenStore, name: str) -> HookCaller | None:
    """A provider that is not the active one; None if its settings are missing or wrong."""
    try:
        return _choose(plugins, settings, tokens, name)
    except ConfigError:
        return None


def worker_budget(settings: Settings) -> float:
    """Seconds for all requests of one attempt in the worker: the look-up and then the write."""
    return settings.timeout * 1.5
