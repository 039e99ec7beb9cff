"""`crmgate tokens`: the API tokens of operators and of programs."""

from __future__ import annotations

import sys

import click

from crmgate.cli.output import as_json, print_json, print_table
from crmgate.cli.parts import opened
from crmgate.store.audit import command_line
from crmgate.store.tokens import NAME, Scope, digest, generate


@click.group()
def tokens() -> None:
    """Create, list and revoke the API tokens of operators and of programs."""


def _named(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not NAME.fullmatch(value):
        raise click.BadParameter("it takes 1 to 64 letters, digits, dots, hyphens and underscores.")
    return value


@tokens.command()
@click.option("--name", required=True, callback=_named, help="Name of its holder; the audit log shows it.")
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in Scope]),
    required=True,
    help="read: read only; operate: read and change.",
)
@click.option("--env", is_flag=True, help="Store nothing: also show the entry for API_TOKENS.")
@as_json
def new(name: str, scope: str, env: bool, as_json: bool) -> None:
    """Create a token and show it once.

    Exit status: 0 created, 1 Redis does not answer, 2 the configuration cannot work.
    """
    if env:
        token_id, text = generate()
        created = {"id": token_id, "name": name, "scope": scope, "token": text}
        created["entry"] = f"{name}:{scope}:{digest(text)}"
    else:
        with opened() as parts:
            token, text = parts.tokens.new(name, scope, command_line())
        created = {"id": token.id, "name": name, "scope": scope, "token": text}
    if as_json:
        print_json(created)
        return
    click.echo(text)
    click.echo("Keep it: it is shown only now.", err=True)
    if env:
        click.echo("It is valid once this entry is in API_TOKENS and the web processes are restarted:", err=True)
        click.echo(created["entry"])


@tokens.command("list")
@as_json
def show(as_json: bool) -> None:
    """List the tokens without their secret texts.

    Exit status: 0 listed, 1 Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        found = parts.tokens.all()
    listed = [token.to_json() for token in found]
    if as_json:
        print_json({"tokens": listed})
        return
    columns = ("id", "name", "scope", "created_at", "last_used", "kept_in")
    print_table([name.replace("_", " ").upper() for name in columns],
                ([line[name] or "-" for name in columns] for line in listed))  # fmt: skip


@tokens.command()
@click.argument("token_id", metavar="ID")
@as_json
def revoke(token_id: str, as_json: bool) -> None:
    """Revoke a token. It is refused after five seconds at most.

    Exit status: 0 revoked, 1 no token has this id or Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        token = parts.tokens.revoke(token_id, command_line())
    if as_json:
        print_json({"revoked": token is not None, "id": token_id, "name": token.name if token else None})
    elif token:
        click.echo(f"{token.name} ({token_id}) is revoked.")
    else:
        raise click.ClickException(
            "Redis has no token with this id; `crmgate tokens list` shows them. To revoke a token of API_TOKENS, remove"
            " its entry and restart the web processes"
        )
    sys.exit(0 if token else 1)
