"""The state of a provider, shared by all processes: whether it takes requests, and how many.

It is kept in Redis (`keys.gate`) and changes inside the ledger's scripts, in the same atomic step as the operations
that it is about. A gate is shut for one of three causes:

| cause | shut by | opened by |
|---|---|---|
| `outage` | `THRESHOLD` failures in a row that say that the CRM is away | a probe (`test_connection`) or a delivery |
| `refused` | refused credentials | the operation that tries them every `policy.PROBE_INTERVAL`, once it is delivered |
| `trial` | credentials that never worked yet | the one operation that tries them, whatever its outcome |

While the gate is shut, submissions are accepted and wait; their retries are not used up. After an outage one attempt
runs at once, then one more for each that succeeds (`window`).
"""

from __future__ import annotations

from dataclasses import dataclass

from crmgate.model import Rate, Word


class Cause(Word):
    """Why nothing is sent to a provider."""

    OUTAGE = "outage"
    REFUSED = "refused"
    TRIAL = "trial"


THRESHOLD = 5
"""Failures in a row after which nothing is sent."""
FIRST_PROBE = 5.0
"""Seconds between two probes while an outage is young: most are short."""
YOUNG = 60.0
"""Seconds for which an outage is young."""
PROBE_SECONDS = 15.0
"""Seconds between two later probes of a provider that is away, or to which dead letters of an outage could return."""
RETURN_WAITS = (0.0, 60.0, 300.0, 1800.0, 7200.0)
"""Seconds until a dead letter of an outage may return by itself: for the first time, the second ... and then never.

The number is bounded because the operation itself may be what the CRM fails on."""
RETURN_BATCH = 50
"""Dead letters that return with one sweep; none do while as many others wait."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A provider as the ledger knows it.

    `credentials` is a fingerprint of those in use: others are tried by one operation first. At most `most` attempts run
    at once in all processes together (0: no limit). A CRM that is not `active` is no longer chosen, but holds records
    that waiting operations are about.
    """

    provider: str
    credentials: str = ""
    most: int = 0
    rate: Rate | None = None
    active: bool = True

    def for_scripts(self) -> dict[str, object]:
        """The recipient as the Lua scripts read it (`a.to`)."""
        rate = self.rate or Rate(0, 0, 0)
        return {
            "provider": self.provider, "credentials": self.credentials, "most": self.most, "active": self.active,
            "rate": rate.per_second, "burst": rate.burst, "reserve": rate.reserve,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gate:
    """Why nothing is sent to a provider (`cause`, None if its gate is open), since when, and until when.

    `failures`: number of failures in a row. `held`: number of operations that wait for it. `returning`: number of dead
    letters that return when it works. Times are seconds since the epoch, 0 for none.
    """

    cause: Cause | None = None
    since: float = 0.0
    until: float = 0.0
    failures: int = 0
    held: int = 0
    returning: int = 0
