"""Rate limits by network address, and by the email and phone of a submission.

Only the limit of an address refuses a request. It loses nothing: a refused request is not stored and does not use its
Idempotency-Key. The limit of a person never refuses, because anyone can send submissions about anybody: submissions
above it are kept for review.

A submission is counted in Redis by the script that records it: one round trip for both. Its address is also counted in
the memory of this process before the body is read, so that a flood is refused before it occupies the threads.
"""

from __future__ import annotations

import ipaddress
import logging
import math
from collections.abc import Iterable, Sequence
from typing import NoReturn

from flask import request

from crmgate.store.limits import Limit, Use, by_address
from crmgate.store.tokens import Scope
from crmgate.web.auth import caller
from crmgate.web.codes import ProblemCode
from crmgate.web.current import current
from crmgate.web.problems import Problem
from crmgate.web.services import services

log = logging.getLogger(__name__)

_warned: set[str] = set()


def admit(limit: Limit | None, unlimited: Scope) -> None:
    """Count a request for its address. Call it before the body is read: a slow sender must not occupy a thread.

    Requests with a valid API token of the scope `unlimited` are not counted. Raises `Problem` (429) if the limit is
    exceeded.
    """
    uses = _uses(limit)
    if uses and not lifted(unlimited) and (wait := services().limiter.take(uses)):
        refuse(wait)


def admit_source(source: str) -> None:
    """Count a request of a source, whatever address it comes from. Raises `Problem` (429) if its limit is exceeded."""
    limit = services().settings.limits.source
    if limit and (wait := services().limiter.take([Use("source", source, limit)])):
        refuse(wait)


def count_failure() -> None:
    """Count a request with a wrong secret for its address. Raises `Problem` (429) if the limit is exceeded."""
    uses = _uses(services().settings.limits.address)
    if uses and (wait := services().limiter.take(uses)):
        refuse(wait)


def admit_here(unlimited: bool) -> list[Use]:
    """Count a submission for its address in the memory of this process. Call it before the body is read.

    Returns the uses that Redis has to count: the ledger does so in the step that records the submission. If this
    process alone has counted too many, Redis decides at once. Nothing is counted for an `unlimited` caller (`lifted`).
    Raises `Problem` (429).
    """
    parts = services()
    uses = [] if unlimited else _uses(parts.settings.limits.address)
    if not uses or not parts.limiter.take_here(uses):
        return uses
    if wait := parts.limiter.take(uses):
        refuse(wait)
    return []


def count(uses: Sequence[Use]) -> None:
    """Count a submission in Redis that is not recorded. Raises `Problem` (429) if the limit is exceeded."""
    if uses and (wait := services().limiter.take_shared(uses)):
        refuse(wait)


def of_people(people: Iterable[str]) -> list[Use]:
    """The uses of a submission by each email and phone in `people`.

    The submission counts once, however often it is repeated.
    """
    limit = services().settings.limits.person
    return [Use("person", who.lower(), limit, replays=False) for who in people if who] if limit else []


def admit_click() -> list[Use] | None:
    """Count a click in the memory of this process, so that a redirect does not wait for Redis; None above the limit.

    Returns the uses that the background thread counts in Redis.
    """
    uses = _uses(services().settings.limits.address)
    return None if uses and services().limiter.take_here(uses) else uses


def refuse(wait: float) -> NoReturn:
    """Raise `Problem` (429) for a limit that allows the next submission in `wait` seconds."""
    seconds = math.ceil(wait)
    detail = f"There were too many requests. Nothing was stored; please try again in {_in_words(seconds)}."
    raise Problem(ProblemCode.RATE_LIMITED, detail, headers={"Retry-After": str(seconds)})


def _uses(limit: Limit | None) -> list[Use]:
    sent = current()
    if "HTTP_X_FORWARDED_FOR" in sent.environ:
        _warn_of_proxy()
    blueprint = sent.url_rule.endpoint.rpartition(".")[0] if sent.url_rule else ""
    return by_address(blueprint or "-", sent.remote_addr or "", limit) if limit else []


def lifted(scope: Scope) -> bool:
    """Whether the request has a valid API token of this scope, to which limits do not apply."""
    token = caller()
    return token is not None and token.allows(scope)


def _in_words(seconds: int) -> str:
    if seconds <= 90:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minutes" if minutes <= 90 else f"{math.ceil(minutes / 60)} hours"


def _warn_of_proxy() -> None:
    """Warn once if requests seem to come through a proxy that TRUSTED_PROXIES does not count."""
    if "proxy" not in _warned and _is_own_proxy():
        _warned.add("proxy")
        log.warning(
            "requests come through a proxy, but TRUSTED_PROXIES is 0: all visitors share the limits of the proxy's"
            " address. Set TRUSTED_PROXIES to the number of your proxies"
        )


def _is_own_proxy() -> bool:
    """Whether the other end of the connection has a private address and no proxy is trusted."""
    try:
        peer = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return False
    return peer.is_private and "werkzeug.proxy_fix.orig" not in request.environ
