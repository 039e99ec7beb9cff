"""The command line: `crmgate`."""

from __future__ import annotations

from contextlib import suppress

import click

from crmgate import __version__
from crmgate.cli import home
from crmgate.cli.audit import audit
from crmgate.cli.backup import backup, restore
from crmgate.cli.check import check
from crmgate.cli.crm import crm
from crmgate.cli.dev import dev
from crmgate.cli.dlq import dlq
from crmgate.cli.keys import keys
from crmgate.cli.ops import ops
from crmgate.cli.person import person
from crmgate.cli.plugins import plugins
from crmgate.cli.reconcile import reconcile
from crmgate.cli.send import send
from crmgate.cli.sources import sources
from crmgate.cli.stats import stats
from crmgate.cli.tokens import tokens
from crmgate.config import environment
from crmgate.errors import ConfigError


@click.group()
@click.version_option(__version__)
@click.pass_context
def main(context: click.Context) -> None:
    """A gateway between a website and its CRM."""
    if context.invoked_subcommand != dev.name:
        with suppress(ConfigError):  # the command itself reports it
            home.adopt(environment())


for command in (
    audit, backup, check, crm, dev, dlq, keys, ops, person, plugins, reconcile, restore, send, sources, stats, tokens,
):  # fmt: skip
    main.add_command(command)
