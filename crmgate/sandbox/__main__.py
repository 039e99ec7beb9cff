"""`python -m crmgate.sandbox`: run the sandbox CRM until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from crmgate.sandbox.app import DEFAULT_GATEWAY, DEFAULT_KEY, create_app
from crmgate.sandbox.server import address, listen


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and serve requests."""
    options = _parser().parse_args(argv)
    app = create_app(
        options.database, key=options.key, gateway_url=options.gateway_url, allowed_hosts=options.allow_host
    )
    server = listen(app, options.host, options.port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    print(f"Sandbox CRM on {address(server)}, leads in {options.database}", flush=True)  # noqa: T201
    server.serve_forever()


def _stop(*_: object) -> NoReturn:
    sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m crmgate.sandbox", description="A local CRM to try crmgate with.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; the page has no login")
    parser.add_argument("--port", type=int, default=8081, help="0 takes any free port")
    parser.add_argument(
        "--database", type=Path, required=True, metavar="FILE", help="the SQLite file, created if absent"
    )
    parser.add_argument(
        "--key",
        default=os.environ.get("SANDBOX_KEY") or DEFAULT_KEY,
        help="the API key (default: $SANDBOX_KEY, else sandbox)",
    )
    parser.add_argument("--gateway-url", default=DEFAULT_GATEWAY, metavar="URL", help="for the example on the page")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a domain name of the page")
    return parser


if __name__ == "__main__":
    main()
