"""Builds and runs the Lua scripts of the ledger.

A script is one atomic step and one round trip. `lua/common.lua` says what a script can use.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import redis

from crmgate import kinds
from crmgate.store import causes, keys, tallies
from crmgate.store import client as redis_client
from crmgate.store.gate import RETURN_WAITS, RULES, Recipient

NAMES = (
    "accept", "claim", "record", "batch", "dead_letter", "sweep", "probed", "resume", "release", "discard", "amend",
    "job", "retries", "pause", "click", "refile", "reindex", "erase", "snapshot", "restore", "repair", "inquire",
    "reseal",
)  # fmt: skip
"""The scripts after the shared ones (`SHARED`); `limit` and `trial` stand alone."""
SHARED = ("gate", "common", "order", "history", "person", "take", "meter")
"""The files that stand before each script, in this order."""
ALARM_GRACE = 3.0
"""Seconds after which a wake-up counts as lost."""
KEPT = {
    "hour": keys.HOUR_SECONDS, "day": keys.DAY_SECONDS, "values": tallies.VALUES, "causes": causes.MOST,
    "events": tallies.EVENTS_KEPT,
}  # fmt: skip
"""Limits of the figures: expiries in seconds, and numbers of entries."""
_ANY_ID = "@id@"  # stands for the operation's id in the wake-up that the scripts have
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SURVIVES_FAILOVER = {"accept", "claim"}  # else an operation could be lost, or sent twice

_COMPUTES_PERSONS = {"accept", "amend", "reindex", "restore"}  # see lua/person.lua


class Scripts:
    """Runs the scripts on one Redis. `wake` builds the Huey message that makes a worker attempt an operation.

    An accepted operation and a lease are on `replicas` replicas within `patience` seconds, or the script fails.
    """

    def __init__(self, client: redis.Redis, wake: Callable[[str], bytes], *, replicas: int, patience: float) -> None:
        self._redis, self.replicas, self._patience = client, replicas, patience
        self._person_key = secrets.token_hex(64)
        before = header(wake(_ANY_ID).decode()) + "".join(map(read, SHARED))
        self._scripts = {name: client.register_script(before + read(name)) for name in NAMES}

    def run(
        self, name: str, arguments: Mapping[str, Any], *, to: Recipient | None = None, text: str = "",
        operation: str = "",
    ) -> Any:  # fmt: skip
        """Run a script on the provider `to` and on an operation, if given; return its answer.

        Raises `LedgerUnavailable`.
        """
        place, sent = keys.DUE, dict(arguments)
        if name in _COMPUTES_PERSONS:
            sent["person_key"] = self._person_key
        if to:
            sent["to"] = to.for_scripts()
        if operation:
            place, sent["id"] = keys.op(operation), operation
        script, values = self._scripts[name], [compact(sent), text]
        try:
            if not self.replicas or name not in _SURVIVES_FAILOVER:
                return script(keys=[place], args=values)
            return redis_client.run_replicated(
                self._redis, script, [place], values,
                replicas=self.replicas, seconds=self._patience, mark=keys.PROBE,
            )  # fmt: skip
        except redis_client.ERRORS as error:  # `keys.translated` without the cost of a context manager
            raise redis_client.unavailable(error) from None


def header(wake_message: str) -> str:
    """Lua code before `common.lua`: the names and constants that Python and the scripts share."""
    shared = {
        "key": keys.for_scripts(), "kinds": kinds.for_scripts(), "RULES": RULES,
        "RETURN_WAITS": RETURN_WAITS, "GRACE": ALARM_GRACE, "WAKE_MESSAGE": wake_message, "KEPT": KEPT,
    }  # fmt: skip
    return "".join(f"local {name} = {_lua(value)}\n" for name, value in shared.items())


def standing_alone(*names: str) -> str:
    """The text of a script that needs only the names of the keys; what it consists of, in this order."""
    return f"local key = {_lua(keys.for_scripts())}\n{''.join(map(read, names))}"


@cache
def read(name: str) -> str:
    """The text of a file in `lua/`, read once in each process."""
    return files("crmgate.store").joinpath("lua", f"{name}.lua").read_text()


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def compact(value: Mapping[str, Any]) -> str:
    """JSON without spaces, as the scripts read it and the records hold it."""
    return _compact(value)


def _lua(value: Any) -> str:
    """A Lua expression for text, numbers, truth values, tuples and dictionaries of them with text as keys."""
    if isinstance(value, tuple):
        return "{" + ", ".join(map(_lua, value)) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{_lua(name)}] = {_lua(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value)  # of these, what JSON writes is Lua: ASCII only, and no escapes but \" and \\
