"""Puts the parts together, once for each process: settings, ledger, plugins, gateway."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from crmgate.config import Settings
from crmgate.gateway import Gateway, Plan
from crmgate.ledger import Ledger, connect
from crmgate.plugins import Crm, Plugins, discover, notify
from crmgate.wakeups import wake_message


@dataclass(frozen=True)
class Services:
    """What the doors (web, worker, command line) work with."""

    settings: Settings
    plugins: Plugins
    crm: Crm
    ledger: Ledger
    gateway: Gateway


def build(settings: Settings) -> Services:
    """Load the plugins, choose the provider and connect the parts. Raises `ConfigError`. Redis is not asked yet."""
    plugins = discover(settings.plugins_dir, settings.plugins_allowed)
    crm = plugins.choose(settings.provider, settings.environ, settings.timeout, settings.http_hosts)
    ledger = Ledger(connect(settings.redis_url, settings.redis_timeout))
    plan = Plan(settings.inline_budget, worker_budget(settings), settings.retry_delays)
    gateway = Gateway(ledger, crm, plan, wake=wake_message, tell=partial(notify, plugins.manager))
    return Services(settings, plugins, crm, ledger, gateway)


def worker_budget(settings: Settings) -> float:
    """Seconds for all requests of one attempt in the worker: looking first, then sending."""
    return settings.timeout * 1.5
