"""A connection test in steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from crmgate.errors import AuthFailed, Code, ProviderError
from crmgate.model import Check, Connection


@dataclass(frozen=True)
class Look:
    """One step of a connection test: its name, a function that returns its checks, and a hint for a failed request.

    If a check of a `gate` fails, the steps after it are not run.
    """

    name: str
    checks: Callable[[], Iterable[Check]]
    hint: str = ""
    gate: bool = False


def tested(
    provider: str, looks: Sequence[Look], needs: Collection[str], explain: Callable[[ProviderError, str], str]
) -> Connection:
    """Run a connection test; see `CRMProvider.test`."""
    checks = list[Check]()
    connected, refused = True, False
    begun, latency = time.monotonic(), 0.0
    for look in looks:
        try:
            found = list(look.checks())
        except ProviderError as error:
            found = [Check(look.name, False, explain(error, look.hint))]
            refused |= _refuses_all(error, needed=look.gate or look.name in needs)
        else:
            refused |= any(not check.ok for check in found if check.name in needs)
        latency = latency or round((time.monotonic() - begun) * 1000, 1)
        checks += found
        connected &= all(check.ok for check in found if look.gate or check.name in needs)
        if look.gate and not connected:
            break
    return Connection(provider, connected, latency, tuple(checks), refused)


def _refuses_all(error: ProviderError, *, needed: bool) -> bool:
    """Whether a failed request of a connection test says that every operation would be refused."""
    return isinstance(error, AuthFailed) and (needed or error.code is not Code.NO_PERMISSION)
