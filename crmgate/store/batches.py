"""The end of an attempt that sent several operations together."""

from __future__ import annotations

from collections.abc import Sequence

from crmgate.store.entries import Claim, Wanted, flag
from crmgate.store.gate import Recipient
from crmgate.store.ledger import PATIENCE, Ledger
from crmgate.store.records import to_claim


def end_batch(
    ledger: Ledger, to: Recipient, claim: Claim, *, used: int, alone: Sequence[Claim], wanted: Wanted | None
) -> Claim | None:
    """Count the `used` requests of the attempt on `claim` and its `others`, after their outcomes were recorded.

    Those in `alone` were not sent: they wait, and are sent alone from now on. With `wanted`, returns the operation of
    the oldest wake-up that may be attempted now, if there is one. Raises `LedgerUnavailable`.
    """
    back = [
        [one.operation.id, one.lease, flag(one.look_first), one.settles_at if one.look_first else 0.0] for one in alone
    ]
    arguments: dict[str, object] = {"lease": claim.lease, "used": used, "alone": back}
    if wanted and ledger.lets_follow(to):
        arguments["claim"] = wanted.for_scripts(PATIENCE, to.settle, ledger.vault.ids)
    answer = ledger.run("batch", arguments, to=to)
    return to_claim(answer, wanted.lease, ledger.vault) if wanted and answer else None
