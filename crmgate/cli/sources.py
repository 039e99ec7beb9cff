"""`crmgate sources`: the sources of `/in/<source>`, and what a payload of a form tool becomes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from crmgate import services
from crmgate.cli.output import as_json, clean, configuration, print_json, print_table
from crmgate.config import Settings
from crmgate.services import Services
from crmgate.sources.leads import ReceivedLead, lines
from crmgate.sources.model import Handshake, Source, SourceRequest
from crmgate.sources.tools import TOOLS, is_known, key, tool_of

SHORT = 16
"""A secret with fewer characters can be guessed."""


@click.group()
def sources() -> None:
    """List the sources, and show what a payload of a form tool becomes."""


@sources.command("list")
@click.option("--reveal", is_flag=True, help="Print the secrets in the addresses.")
@as_json
def list_(reveal: bool, as_json: bool) -> None:
    """List the sources: whether each is on, the address to paste into the tool, and what protects it.

    Exit status: 0 listed, 2 the configuration cannot work.
    """
    with configuration():
        settings = Settings.load()
    rows = [_row(settings, source, reveal) for source in sorted(settings.sources.values(), key=lambda one: one.name)]
    on = {key(source.tool or source.name) for source in settings.sources.values()}
    off = [name for name in TOOLS if name not in on]
    if as_json:
        print_json({"sources": rows, "off": off})
        return
    if rows:
        print_table(("SOURCE", "TOOL", "ADDRESS", "PROTECTED BY"), ([row[name] for name in row] for row in rows))
    else:
        click.echo("No source is on.")
    click.echo(f"Off: {', '.join(off)}, and any other name. SOURCE_<NAME>_SECRET switches one on.")


def _row(settings: Settings, source: Source, reveal: bool) -> dict[str, str]:
    domain = settings.environ.get("APP_DOMAIN") or "<your domain>"
    secret = source.secret if reveal else f"<SOURCE_{source.name.upper()}_SECRET>"
    tool = tool_of(source.tool or source.name)
    protection = "token, or signature" if tool.check else "token"
    weak = f"; the secret is shorter than {SHORT} characters" if len(source.secret) < SHORT else ""
    return {
        "source": source.name,
        "tool": tool.label,
        "address": f"https://{domain}/in/{source.name}?token={secret}",
        "protected_by": protection + weak,
    }


@sources.command()
@click.argument("source")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header, such as Content-Type.")
@as_json
def test(source: str, file: Path, headers: tuple[str, ...], as_json: bool) -> None:
    """Show what the body in FILE (- is standard input) becomes, without storing or sending it.

    SOURCE is a source that is on, or the name of a tool. Without a Content-Type, JSON, a multipart form and a form are
    recognised. A signature in the headers is verified.

    Exit status: 0 every submission becomes a lead, or it is a handshake, 1 one is incomplete or the signature is wrong,
    2 wrongly used.
    """
    with configuration():
        parts = services.start()
    known = _source(parts, source)
    body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    request = SourceRequest("POST", _headers(headers, body), body, form_charset=parts.settings.default_form_charset)
    found = _outcome(parts, known, request)
    if as_json:
        print_json(found)
    else:
        _show(found)
    bad = found["signature"] == "wrong" or not all(item["complete"] for item in found["items"])
    sys.exit(1 if bad else 0)


def _source(parts: Services, name: str) -> Source:
    found = parts.sources.get(name)
    if found is None and not is_known(name):
        message = f"it is no source: set SOURCE_{name.upper()}_SECRET, or name one of {', '.join(TOOLS)}."
        raise click.BadParameter(message, param_hint="SOURCE")
    return found or Source(name, "")


def _headers(given: tuple[str, ...], body: bytes) -> dict[str, str]:
    pairs = [text.partition(":") for text in given]
    if any(not colon for _, colon, _ in pairs):
        raise click.BadParameter("it takes NAME:VALUE, such as Content-Type: application/json.", param_hint="--header")
    return {"content-type": _media_type(body)} | {name.strip().lower(): value.strip() for name, _, value in pairs}


def _media_type(body: bytes) -> str:
    start = body.lstrip()
    if start[:1] in (b"{", b"["):
        return "application/json"
    if start.startswith(b"--"):
        boundary = start.partition(b"\n")[0].strip()[2:].decode("latin-1")
        return f'multipart/form-data; boundary="{boundary}"'
    return "application/x-www-form-urlencoded"


def _outcome(parts: Services, source: Source, request: SourceRequest) -> dict[str, Any]:
    check = tool_of(source.tool or source.name).check
    signed = check(source.secret, request, time.time()) if check else None
    signature = {True: "right", False: "wrong", None: ""}[signed]
    parsed = parts.sources.parse(source, request)
    if isinstance(parsed, Handshake):
        return {"handshake": parsed.text, "signature": signature, "items": []}
    readings = [parts.sources.read(source, received) for received in parsed]
    return {"handshake": None, "signature": signature, "items": [_item(reading) for reading in readings]}


def _item(reading: ReceivedLead) -> dict[str, Any]:
    return {
        "complete": reading.complete,
        "delivery_id": reading.delivery_id,
        "payload": reading.payload,
        "warnings": [{"field": each.field, "code": each.code, "message": each.message} for each in reading.warnings],
        "fields": dict(lines(reading)),
    }


def _show(found: dict[str, Any]) -> None:
    if found["signature"]:
        click.echo(f"The signature is {found['signature']}.")
    if found["handshake"] is not None:
        click.echo(f"It is a handshake: the answer is {clean(found['handshake'])!r}, and nothing is stored.")
    elif not found["items"]:
        click.echo("There is nothing to store.")
    for item in found["items"]:
        title = "A lead" if item["complete"] else "Kept for an operator, because it has no contact (cause: incomplete)"
        print_table(("FIELD", "VALUE"), item["fields"].items(), title)
        click.echo(f"Delivery id: {clean(item['delivery_id']) or 'none; the same content within 10 minutes is one'}")
        for warning in item["warnings"]:
            click.echo(f"{clean(warning['field'])}: {clean(warning['message'])}")
