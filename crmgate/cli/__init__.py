"""The command line: `crmgate`."""

from __future__ import annotations

import click

from crmgate import __version__
from crmgate.cli.dev import dev


@click.group()
@click.version_option(__version__)
def main() -> None:
    """A gateway between a website and its CRM."""


main.add_command(dev)
