"""The command line: `crmgate`."""

from __future__ import annotations

import click

from crmgate import __version__
from crmgate.cli.crm import crm
from crmgate.cli.dev import dev
from crmgate.cli.plugins import plugins
from crmgate.cli.tokens import tokens


@click.group()
@click.version_option(__version__)
def main() -> None:
    """A gateway between a website and its CRM."""


main.add_command(crm)
main.add_command(dev)
main.add_command(plugins)
main.add_command(tokens)
