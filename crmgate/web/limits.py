"""Who may ask how often: by network address, and by the email and phone of a submission.

Nothing that was accepted is lost by a limit: a refused request was not stored and has not used up its Idempotency-Key,
and the replay of a submission that was stored counts for its address only.
"""

from __future__ import annotations

import ipaddress
import logging
import math

from flask import request

from crmgate.store.limits import Limit, Use
from crmgate.web.auth import caller
from crmgate.web.codes import ProblemCode
from crmgate.web.problems import Problem
from crmgate.web.services import services

log = logging.getLogger(__name__)

IPV6_NETWORK = 64
"""Bits of an IPv6 address that one customer shares (RFC 6177): whoever has one address of them has them all."""
_warned: set[str] = set()


def admit(limit: Limit | None, people: tuple[str, ...] = (), known: str = "") -> None:
    """Count a request by its address and by the `people` it is about. Raises `Problem` (429) if it is one too many.

    `known` is the ledger's key of a submission that may have come before. Whoever has an API token is not counted.
    """
    person = services().settings.limits.person
    uses = _by_address(limit)
    uses += [Use("person", who.lower(), person, replays=False) for who in people if who and person]
    if uses and not caller() and (wait := services().limiter.take(uses, known)):
        _refuse(wait)


def admit_click() -> bool:
    """Whether a click on a link still counts. The meters are this process's own: a redirect waits for nobody."""
    uses = _by_address(services().settings.limits.address)
    return not uses or not services().limiter.take_here(uses)


def _by_address(limit: Limit | None) -> list[Use]:
    who = _address()
    return [Use(request.blueprint or "-", who, limit)] if limit and who else []


def _refuse(wait: float) -> None:
    seconds = math.ceil(wait)
    detail = f"Too many came in a short time. Nothing was stored; please try again in {_in_words(seconds)}."
    raise Problem(ProblemCode.RATE_LIMITED, detail, headers={"Retry-After": str(seconds)})


def _in_words(seconds: int) -> str:
    if seconds <= 90:
        return f"{seconds} second{'s' * (seconds != 1)}"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minutes" if minutes <= 90 else f"{math.ceil(minutes / 60)} hours"


def _address() -> str:
    """The sender's address, of IPv6 the network; empty where it is not known.

    It is not known behind a proxy of one's own that is not in TRUSTED_PROXIES: all visitors would share the proxy's
    address, and its limit.
    """
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:  # a Unix socket has none
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_private and "werkzeug.proxy_fix.orig" not in request.environ and "X-Forwarded-For" in request.headers:
        _warn_of_proxy()
        return ""
    bits = IPV6_NETWORK if address.version == 6 else 32
    return str(ipaddress.ip_network((address, bits), strict=False).network_address)


def _warn_of_proxy() -> None:
    if "proxy" not in _warned:
        _warned.add("proxy")
        log.warning(
            "requests come through a proxy, but TRUSTED_PROXIES is 0: RATE_LIMIT_ADDRESS and RATE_LIMIT_LOOKUPS do not"
            " hold without the visitors' addresses. Set TRUSTED_PROXIES to the number of your proxies"
        )
