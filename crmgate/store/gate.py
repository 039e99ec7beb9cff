"""The state of a provider, shared by all processes: whether it takes requests, and how many.

It is kept in Redis (`keys.gate`) and changes inside the ledger's scripts, in the same atomic step as the operations
that it is about. The decisions are pure functions in `lua/gate.lua`. A gate is open, or shut for one of five causes:

| cause | shut by | opened by |
|---|---|---|
| `outage` | `threshold` failures in a row that say that the CRM is unavailable | a connection test that passes, or an answer |
| `refused` | refused credentials or a missing right, confirmed by the connection test | a connection test that passes, or an answer that does not refuse the credentials |
| `limited` | the CRM says that there are too many requests | the end of the limit: one operation is let through as a probe |
| `epidemic` | different operations in a row that are refused for the same reason | the first operation that is delivered; probes rotate |
| `paused` | an operator | an operator |

A delivery opens whatever is shut, except a pause. While the gate is shut, submissions are accepted and wait; their
retries are not used up, and none of them becomes a dead letter. When the gate opens, one attempt runs at a time; each
success allows one more at once (`window`).
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from crmgate.errors import Code
from crmgate.model import Rate, rfc3339
from crmgate.policy import MAX_RETRY_AFTER, REFUSED_PROBE, SETTLE_SECONDS
from crmgate.record import Word


class Cause(Word):
    """Why nothing is sent to a provider."""

    OUTAGE = "outage"
    REFUSED = "refused"
    LIMITED = "limited"
    EPIDEMIC = "epidemic"
    PAUSED = "paused"


RULES = {
    "threshold": 5,  # failures in a row after which nothing is sent
    "first_probe": 5.0,  # seconds between two connection tests while an outage is young: most are short
    "probe": 15.0,  # seconds between two connection tests after that, and while something is wrong with the gate open
    "young": 60.0,  # seconds for which an outage is young
    "refused_probe": REFUSED_PROBE,
    "first_epidemic_probe": 1.0,  # seconds until the first probe of an epidemic
    "epidemic_probe": 5.0,  # seconds between two of them
    "limit_first": 1.0,  # seconds of the first wait where the CRM does not say how long a limit lasts
    "limit_growth": 0.3,  # later waits: share of the time since the limit began
    "limit_most": MAX_RETRY_AFTER,
    "quiet": 120.0,  # seconds without a failure after which an incident is over, if a connection test has passed
}
"""Times and numbers for the decisions about a gate."""
EPIDEMIC_AFTER = 5
"""Different operations in a row with the same refusal that shut the gate, unless `CRM_EPIDEMIC_AFTER` is set."""
RETURN_WAITS = (0.0, 60.0, 300.0, 1800.0, 7200.0)
"""Seconds until a dead letter whose cause it shares with others may return by itself: for the first time, the second
... and then never. The number is bounded because the operation itself may be what the CRM fails on."""
RETURN_BATCH = 50
"""Dead letters that return with one sweep; none do while as many others wait."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A provider as the ledger knows it.

    `credentials` is a fingerprint of those in use: others are tried by one operation first. At most `most` attempts run
    at once in all processes together (0: no limit). `epidemic_after` different operations in a row with the same
    refusal shut the gate. `settle`: seconds for which the CRM may still process a request of unknown outcome. A CRM
    that is not `active` is no longer chosen, but holds records that waiting operations are about. `at_most_once`: only
    an operator may send an operation again that may have arrived.
    """

    provider: str
    credentials: str = ""
    most: int = 0
    rate: Rate | None = None
    active: bool = True
    epidemic_after: int = EPIDEMIC_AFTER
    settle: float = SETTLE_SECONDS
    at_most_once: bool = False

    def for_scripts(self) -> dict[str, object]:
        """The recipient as the Lua scripts read it (`a.to`)."""
        rate = self.rate or Rate(0, 0, 0)
        return {
            "provider": self.provider, "credentials": self.credentials, "most": self.most, "active": self.active,
            "epidemic_after": self.epidemic_after, "at_most_once": self.at_most_once,
            "rate": rate.per_second, "burst": rate.burst, "reserve": rate.reserve,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gate:
    """Why nothing is sent to a provider (`cause`, None if its gate is open), since when, and until when.

    `confirmed`: the connection test found refused credentials as well. `reason`: the refusal that operations share in
    an epidemic. `failures`: number of failures in a row. `held`: number of operations that wait for the provider.
    `returning`: number of dead letters that return when it works. Times are seconds since the epoch, 0 for none.
    """

    cause: Cause | None = None
    since: float = 0.0
    until: float = 0.0
    confirmed: bool = False
    reason: str = ""
    failures: int = 0
    held: int = 0
    returning: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """A cause in words for people: what happens, and what to do. Every surface uses the same ones.

    `detail` names fields and codes of the CRM: it is for operators, not for the public.
    """

    what: str
    remedy: str
    detail: str = ""


_NO_ANSWER = {Code.CONNECTION_FAILED, Code.CONNECTION_DROPPED, Code.TIMEOUT}


def cause_of(text: str) -> Cause | None:
    """The cause that a script answered; empty: None. An older process may have written `trial`, which is no cause."""
    return Cause.read(text) if text and text != "trial" else None


def explain(gate: Gate, failure: Code | None = None) -> Explanation | None:
    """Why nothing is sent to the provider, and what to do; None if its gate is open.

    `failure`: the code of the last failed request, if it is known. It distinguishes a CRM that does not answer from one
    that answers with errors.
    """
    cause = gate.cause
    if cause is None:
        return None
    if not cause.known:
        return Explanation(f"nothing is sent to the CRM: {cause}", "a newer version of crmgate knows the cause")
    match cause:
        case Cause.OUTAGE:
            return Explanation(
                _outage(failure),
                "nothing if the CRM is being repaired: deliveries continue automatically; else see `crmgate crm test`",
            )
        case Cause.REFUSED if gate.confirmed:
            return Explanation(
                "the CRM refuses the credentials, or a right is missing",
                "correct them (`crmgate crm test` names what is missing); they are tried every"
                f" {REFUSED_PROBE:g} s, and at once after `crmgate crm resume`",
            )
        case Cause.REFUSED:
            return Explanation(
                "the CRM refused the credentials for one operation",
                "wait for the connection test, which shows whether all operations are refused",
            )
        case Cause.LIMITED:
            until = f" until {rfc3339(gate.until)}" if gate.until else ""
            return Explanation(
                f"the CRM accepts no more requests for now{until}",
                "nothing: deliveries continue automatically when the limit ends",
            )
        case Cause.EPIDEMIC:
            return Explanation(
                "the CRM refuses different operations for the same reason",
                "repair that field, or setting, in the CRM or in the mapping (`crmgate crm fields`); one operation is"
                f" tried every {RULES['epidemic_probe']:g} s, and deliveries continue after the first success",
                gate.reason,
            )
        case Cause.PAUSED:
            return Explanation("an operator paused deliveries", "run `crmgate crm resume`")
        case _:
            assert_never(cause)


def _outage(failure: Code | None) -> str:
    if failure is None:
        return "the CRM does not answer, or answers with errors"
    return "the CRM does not answer" if failure in _NO_ANSWER else "the CRM answers with errors"
