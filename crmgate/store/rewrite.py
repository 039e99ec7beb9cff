"""Rewrites Redis's append-only file once a day, so that what was deleted and erased leaves it.

Redis appends each change to the file, and removes old ones only by a rewrite: by itself when the file has doubled.
"""

from __future__ import annotations

import logging

import redis
from redis.exceptions import ResponseError

from crmgate.model import Check
from crmgate.store import keys
from crmgate.store.client import ERRORS, code, nodes, unavailable
from crmgate.store.keys import translated

log = logging.getLogger(__name__)

NAME = "redis_rewrite"
_STARTED, _DONE, _OFF = "started", "done", "off"
_UNDER_WAY = "already in progress"
_STAYS = "Deleted personal data stays in the append-only file until Redis rewrites it by itself"
_REMEDY = (
    "Give the user +bgrewriteaof and +info, or rewrite the file in another way once a day; the provider of a managed"
    " Redis says when it does so"
)


class Rewriter:
    """Starts the rewrite on every node. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def daily(self) -> bool:
        """Start the rewrite if the last one is a day old, and keep the result. Returns whether it was its turn."""
        with translated():
            if not self._redis.set(keys.REWRITE, _STARTED, nx=True, ex=keys.REWRITE_SECONDS):
                return False
            found = sorted({_rewrite(node) for node in nodes(self._redis)})
            refused = [result for result in found if result not in (_DONE, _OFF)]
            result = refused[0] if refused else found[0]
            self._redis.set(keys.REWRITE, result, xx=True, keepttl=True)
        if refused:
            log.warning("the append-only file of Redis was not rewritten: %s", result)
        return True

    def check(self) -> Check:
        """The result of the last rewrite."""
        with translated():
            stored: bytes | None = self._redis.get(keys.REWRITE)  # type: ignore[assignment]
        match (stored or b"").decode():
            case "":
                return Check(NAME, True, "A worker rewrites the append-only file once a day; none has done so yet.")
            case word if word in (_DONE, _STARTED):
                return Check(NAME, True, "The append-only file was rewritten within the last day.")
            case word if word == _OFF:
                return Check(NAME, True, "Redis has no append-only file to rewrite.")
            case reason:
                return Check(NAME, False, f"{_STAYS}: {reason}. {_REMEDY}.")


def _rewrite(node: redis.Redis) -> str:
    """Start the rewrite on one node. Returns the result, or the reason why Redis refuses it."""
    try:
        if not int(node.info("persistence").get("aof_enabled", 0)):
            return _OFF
        node.bgrewriteaof()
    except ResponseError as error:
        return _DONE if _UNDER_WAY in str(error) else _refusal(error)
    except ERRORS as error:
        return _refusal(error)
    return _DONE


def _refusal(error: Exception) -> str:
    """The reason without the text of the error. A managed Redis does not know the command, or refuses it."""
    if code(error):
        return str(unavailable(error))
    return "Redis refuses INFO or BGREWRITEAOF" if isinstance(error, ResponseError) else type(error).__name__
