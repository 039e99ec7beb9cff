"""Which headers of a request are trusted: addresses and schemes from own proxies, and known hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from crmgate.web.codes import ProblemCode
from crmgate.web.current import current
from crmgate.web.problems import Problem
from crmgate.web.services import services

SCHEMES = ("http", "https")
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Hosts that are always known: the name is only reachable on this machine."""
ANY_HOST = {"health.alive", "health.ready", "metrics.metrics"}
"""Endpoints for machines, which often use the address of a container. Their answers do not depend on the host."""
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


def trust_proxies(app: Flask, number: int) -> None:
    """Trust the last `number` entries of X-Forwarded-For, one for each proxy, and X-Forwarded-Proto. 0 trusts none.

    X-Forwarded-Proto usually has one entry, because proxies set it or pass it on. The host comes from the Host header,
    because few proxies overwrite X-Forwarded-Host.
    """
    if number:
        fixed = ProxyFix(app.wsgi_app, x_for=number, x_proto=1, x_host=0)
        app.wsgi_app = _known_scheme(fixed)  # type: ignore[method-assign,assignment]


def _known_scheme(app: App) -> App:
    """Wrap an application so that it ignores an X-Forwarded-Proto other than http and https."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
        environ.pop("HTTP_X_FORWARDED_PROTO", None)
        if scheme in SCHEMES:
            environ["HTTP_X_FORWARDED_PROTO"] = scheme
        return app(environ, start_response)

    return wrapped


def init_app(app: Flask) -> None:
    """Refuse requests of `app` for unknown hosts."""
    app.before_request(_check_host)


def _check_host() -> None:
    """Raise `Problem` (421) for a host that is not in ALLOWED_HOSTS: redirects and pages contain the host."""
    sent = current()
    if not _is_known(sent.environ.get("HTTP_HOST", "")) and sent.endpoint not in ANY_HOST:
        detail = "This gateway does not serve this host. Its operator can add the host to ALLOWED_HOSTS."
        raise Problem(ProblemCode.UNKNOWN_HOST, detail)


def _is_known(host: str) -> bool:
    parts = _HOST.fullmatch(host)
    if parts is None:
        return not host  # HTTP/1.0 has no host
    name, known = parts["name"].lower().rstrip("."), services().settings.allowed_hosts
    return not known or name in known or name in LOOPBACK
