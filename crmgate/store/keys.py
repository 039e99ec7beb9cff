"""What everything that keeps something in Redis has in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crmgate.store import client as redis_client

PREFIX = "{crmgate}:"


def key(name: str) -> str:
    """The full name of a key: all of them carry one hash tag and so live on one node of a Redis Cluster."""
    return PREFIX + name


@contextmanager
def translated() -> Iterator[None]:
    """Redis's errors as `LedgerUnavailable`, without their text: it may hold the command and so what was stored."""
    try:
        yield
    except redis_client.ERRORS as error:
        raise redis_client.unavailable(error) from None
