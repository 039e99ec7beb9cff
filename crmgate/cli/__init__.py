"""The command line: `crmgate`."""

from __future__ import annotations

import click

from crmgate import __version__
from crmgate.cli.audit import audit
from crmgate.cli.check import check
from crmgate.cli.crm import crm
from crmgate.cli.dev import dev
from crmgate.cli.dlq import dlq
from crmgate.cli.ops import ops
from crmgate.cli.plugins import plugins
from crmgate.cli.send import send
from crmgate.cli.sources import sources
from crmgate.cli.tokens import tokens


@click.group()
@click.version_option(__version__)
def main() -> None:
    """A gateway between a website and its CRM."""


for command in (audit, check, crm, dev, dlq, ops, plugins, send, sources, tokens):
    main.add_command(command)
