"""One attempt to deliver several operations with few requests: each has a lease and an outcome of its own.

Only applications without a trace of an earlier attempt are sent together. Those of unknown outcome are searched
together, and one that is not found is then sent alone: if it is the reason that the CRM fails, it fails no other one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from crmgate import logs
from crmgate.delivery.outcome import Following, Outcome, Sent, out_of_time, unsettled
from crmgate.delivery.plan import Crm
from crmgate.errors import LedgerUnavailable, OutcomeUnknown, ProviderError
from crmgate.model import Delivered, Kind, Operation
from crmgate.store.batches import end_batch
from crmgate.store.entries import Claim, Result, Wanted
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger

log = logging.getLogger(__name__)

FIRST = 10
"""Number of operations in the first batch of a process."""
FEWEST = 2
"""Smallest number of operations in a batch."""
SHARE = 0.3
"""Part of the time of an attempt that a batch is to take: a larger one is followed by smaller ones."""

Answer = Delivered | ProviderError | None
"""The outcome of one operation of a batch; None: it was not sent, and is to be sent alone."""


@dataclass
class BatchSize:
    """Number of operations in the next batch: at most `most`, and fewer at a CRM that takes long for each.

    Threads may share it. A process begins with `FIRST`, so that it does not overrun the time limit of a slow CRM.
    """

    most: int
    size: int = FIRST

    @property
    def others(self) -> int:
        """Number of operations in addition to the first one; 0: no batches."""
        return max(min(self.size, self.most) - 1, 0)

    def note(self, number: int, seconds: float, budget: float, *, lost: bool) -> None:
        """Adapt the size to a batch of `number` operations that took `seconds`. `lost`: its outcome is unknown."""
        fits = int(SHARE * budget * number / max(seconds, 0.001))
        wanted = self.size // 2 if lost else min(max(self.size, 2 * number), fits, self.most)
        self.size = max(wanted, FEWEST)


@dataclass
class Reported:
    """Events of the provider's gate that operations of one batch have reported: one request is one event."""

    events: set[str] = field(default_factory=set)

    def part(self, result: Result) -> Result:
        """The result of one operation of the batch. Its requests are counted at the end of the batch."""
        event = result.event
        if event and event.what in self.events:
            event = None
        elif event and event.what in ("delivered", "unavailable"):
            self.events.add(event.what)
        return replace(result, used=0, reserved=False, event=event)


class Batches:
    """Attempts several operations together at the active CRM. `budget`: time of an attempt in seconds.

    `conclude` decides what follows the answer for one operation, and records it (`Delivery`).
    """

    def __init__(
        self, ledger: Ledger, crm: Crm, to: Recipient, budget: float, conclude: Callable[..., Outcome]
    ) -> None:  # fmt: skip
        self._ledger, self._crm, self._to = ledger, crm, to
        self._budget, self._conclude = budget, conclude
        self._size = BatchSize(0 if to.at_most_once else crm.leads_at_once)

    @property
    def others(self) -> int:
        """Number of operations that are to be taken in addition to one; 0: none."""
        return self._size.others

    def attempt(self, claim: Claim, deadline: float, wanted: Callable[[], Wanted | None]) -> Outcome:
        """Send an operation and its `others`, which are leased, and record the outcome of each.

        Nothing is sent after `deadline`, a time of `time.monotonic`. `wanted()`: the lease on the next operation, if
        the caller attempts one.
        """
        begun, claims, reported = time.monotonic(), (claim, *claim.others), Reported()
        answers, used = send_together(claims, self._crm, deadline)
        seconds = time.monotonic() - begun
        self._size.note(len(claims), seconds, self._budget, lost=is_lost(answers.values()))
        alone = [one for one in claims if answers[one.operation.id] is None]
        for one in claims:
            if answer := answers[one.operation.id]:
                with logs.bound(operation=one.operation.id):
                    self._conclude(one, self._to, answer, begun, wake=True, batch=reported)
        log.info("a batch of %d operations in %.3f s; %d of them are sent alone", len(claims), seconds, len(alone))
        lease, deadline_of_next = wanted(), time.monotonic() + self._budget
        try:
            following = end_batch(self._ledger, self._to, claim, used=used, alone=alone, wanted=lease)
        except LedgerUnavailable as failure:  # the leases run out, and the next attempts look in the CRM first
            log.error("the end of a batch could not be recorded (%s)", failure)
            return Outcome(None, "unrecorded")
        return Outcome(None, "batch", following=Following(following, deadline_of_next) if following else None)


def send_together(claims: Sequence[Claim], crm: Crm, deadline: float) -> tuple[dict[str, Sent | None], int]:
    """Search for operations of unknown outcome and send the others. Nothing is sent after `deadline`.

    Returns the answers by operation id, and the number of requests. None: nothing was sent for this operation, and it
    is to be sent alone.
    """
    crm.used()
    together = [claim for claim in claims if _fits(claim)]
    searched = [claim for claim in together if _is_searched(claim, crm)]
    fresh = [claim for claim in together if not _is_searched(claim, crm)]
    answers: dict[str, Sent | None] = {claim.operation.id: None for claim in claims}
    found, used = _phase(_search, searched, crm, deadline)
    created, more = _phase(_create, fresh, crm, deadline)
    return answers | found | created, used + more


def is_lost(answers: Iterable[Sent | None]) -> bool:
    """Whether the outcome of a request is unknown."""
    return any(answer and isinstance(answer.error, OutcomeUnknown) for answer in answers)


def _is_searched(claim: Claim, crm: Crm) -> bool:
    return claim.look_first and crm.delivery.searched


def _fits(claim: Claim) -> bool:
    """Whether an operation is a new lead, and was never sent as anything else."""
    operation = claim.operation
    return operation.kind is Kind.CREATE_LEAD and not operation.unreadable and claim.sent_as is None


def _phase(
    ask: Callable[[Sequence[Claim], Crm, float], Mapping[str, Answer]], claims: Sequence[Claim], crm: Crm,
    deadline: float,
) -> tuple[dict[str, Sent | None], int]:  # fmt: skip
    if not claims:
        return {}, 0
    left = deadline - time.monotonic()
    if left <= 0:
        return {claim.operation.id: Sent(None, out_of_time(crm.name), asked=False) for claim in claims}, 0
    try:
        answers = ask(claims, crm, left)
    except ProviderError as error:
        answers = {claim.operation.id: error for claim in claims}
    used = crm.used()
    return {name: _sent(answer, used) for name, answer in answers.items()}, used


def _sent(answer: Answer, used: int) -> Sent | None:
    if isinstance(answer, Delivered):
        return Sent(answer, None, used)
    return None if answer is None else Sent(None, answer, used)


def _search(claims: Sequence[Claim], crm: Crm, left: float) -> dict[str, Answer]:
    found = crm.find_leads(_operations(claims), left)
    return {claim.operation.id: found.get(claim.operation.id) or _not_found(claim, crm) for claim in claims}


def _not_found(claim: Claim, crm: Crm) -> Answer:
    """While the CRM may still process the earlier request, the operation waits."""
    wait = claim.settles_at - claim.at
    return unsettled(wait, crm.name) if wait > 0 else None


def _create(claims: Sequence[Claim], crm: Crm, left: float) -> Mapping[str, Answer]:
    return crm.create_leads(_operations(claims), left)


def _operations(claims: Sequence[Claim]) -> list[Operation]:
    return [claim.operation for claim in claims]
