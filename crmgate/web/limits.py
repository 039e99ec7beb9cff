"""Rate limits by network address, and by the email and phone of a submission.

A limit loses nothing: a refused request is not stored and does not use its Idempotency-Key. The replay of a stored
submission counts for its address only.
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
"""Prefix length that counts as one IPv6 address, because one customer gets at least a /64 (RFC 6177)."""
_warned: set[str] = set()


def admit(limit: Limit | None, people: tuple[str, ...] = (), known: str = "") -> None:
    """Count a request for its address (`limit`) and for each email and phone in `people`.

    `known` is the ledger's idempotency key; a submission stored under it is a replay. Requests with a valid API token
    are not counted. Raises `Problem` (429) if a limit is exceeded.
    """
    person = services().settings.limits.person
    uses = _by_address(limit)
    uses += [Use("person", who.lower(), person, replays=False) for who in people if who and person]
    if uses and not caller() and (wait := services().limiter.take(uses, known)):
        _refuse(wait)


def admit_click() -> bool:
    """Count a click for its address; returns whether it is within the limit.

    Counts in the memory of this process, so that a redirect does not wait for Redis.
    """
    uses = _by_address(services().settings.limits.address)
    return not uses or not services().limiter.take_here(uses)


def _by_address(limit: Limit | None) -> list[Use]:
    who = _address()
    return [Use(request.blueprint or "-", who, limit)] if limit and who else []


def _refuse(wait: float) -> None:
    seconds = math.ceil(wait)
    detail = f"There were too many requests. Nothing was stored; please try again in {_in_words(seconds)}."
    raise Problem(ProblemCode.RATE_LIMITED, detail, headers={"Retry-After": str(seconds)})


def _in_words(seconds: int) -> str:
    if seconds <= 90:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minutes" if minutes <= 90 else f"{math.ceil(minutes / 60)} hours"


def _address() -> str:
    """The client's IPv4 address or IPv6 network; empty if it is unknown.

    It is unknown behind a proxy on a private address that TRUSTED_PROXIES does not count: all visitors would share the
    proxy's address and its limit.
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
            "requests come through a proxy, but TRUSTED_PROXIES is 0: RATE_LIMIT_ADDRESS and RATE_LIMIT_LOOKUPS have no"
            " effect without the visitors' addresses. Set TRUSTED_PROXIES to the number of your proxies"
        )
