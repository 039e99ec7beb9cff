"""Records clicks in the background: a redirect waits neither for the CRM nor for Redis.

A background worker of the process records clicks, usually within a millisecond. While Redis does not answer, it puts a
click into the spool of the host. Without a spool, or with a full one, it retries a click for `PATIENCE` seconds; so it
does with a click that is only counted (`MINIMAL_LEADS` off). Lost clicks are counted and logged, without personal data.
A graceful stop records the waiting clicks first; SIGKILL loses them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from crmgate.background import CAPACITY, STOP_SECONDS, Background, Report
from crmgate.delivery import identity
from crmgate.errors import LedgerUnavailable, NotAccepted, TooMany
from crmgate.model import Activity, Kind
from crmgate.store.limits import Metered, Use

if TYPE_CHECKING:
    from crmgate.services import Services

PATIENCE = 5.0
"""Seconds for which a click is retried: long enough for a restart of Redis."""
PAUSE = 0.1
"""Seconds between two tries to record a click."""
DOUBLE_CLICK = 60.0

NO_REDIS = "Redis did not answer"
TOO_MANY = "too many from one address"


class Clicks:
    """The queue of clicks of one process.

    `record` returns False for a click above the limit of its address. `record` and `report` (number of dropped clicks,
    by reason) may raise `LedgerUnavailable`; `record` also `NotAccepted`.
    """

    def __init__(
        self, record: Callable[[Activity, Sequence[Use]], bool], report: Report, *,
        capacity: int = CAPACITY, patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        self._record, self._patience = record, patience
        self._background = Background("clicks on messenger links", capacity=capacity, report=report)
        self._failing = False

    def offer(self, activity: Activity, uses: Sequence[Use] = ()) -> None:
        """Put a click into the queue, with its `uses` of rate limits. Never waits, never raises."""
        self._background.offer(partial(self._settle, activity, uses, time.monotonic() + self._patience))

    def drop(self) -> None:
        """Count a click that exceeds the limit of its address as lost. Never waits, never raises."""
        self._background.drop(TOO_MANY)

    def lost(self) -> dict[str, int]:
        """Number of clicks that this process lost and has not reported yet, by reason."""
        return self._background.dropped()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Record the waiting clicks within `seconds`; the rest is lost."""
        self._background.stop(seconds)

    def _settle(self, activity: Activity, uses: Sequence[Use], until: float) -> None:
        """Record a click, or drop it. An expired click is not tried while Redis is known not to answer."""
        while not (self._failing and self._over(until)):
            try:
                recorded = self._record(activity, uses)
            except (LedgerUnavailable, NotAccepted):
                self._failing = True
                self._background.stopping.wait(PAUSE)
            else:
                self._failing = False
                if not recorded:
                    self.drop()
                return
        self._background.drop(NO_REDIS)

    def _over(self, until: float) -> bool:
        return time.monotonic() >= until or self._background.stopping.is_set()


def for_services(services: Callable[[], Services]) -> Clicks:
    """The queue of clicks for the gateway of `services`."""
    return Clicks(
        lambda activity, uses: record(services(), activity, uses),
        lambda reasons: services().figures.count_lost_clicks(reasons),
    )


def record(services: Services, activity: Activity, uses: Sequence[Use] = ()) -> bool:
    """Record a click once; the same channel and referral code of a session within a minute is a double click.

    Returns False, and records nothing, if one of the `uses` of rate limits exceeds its limit. Too many clicks of one
    session are suspects. Raises `LedgerUnavailable` or `NotAccepted` if it is neither in Redis nor in the spool.
    """
    if not services.settings.minimal_leads:
        if uses and services.limiter.take_shared(uses):
            return False
        count(services, activity)
        return True
    try:
        services.gateway.submit(
            Kind.CREATE_MINIMAL_LEAD, activity.to_dict(), inline=False, repeats=DOUBLE_CLICK,
            content=[activity.session, activity.channel, activity.referral_code], last_resort=False,
            metered=Metered(uses, of_session(services, activity.session)),
        )  # fmt: skip
    except TooMany:
        return False
    return True


def of_session(services: Services, session: str) -> list[Use]:
    """The use of a session by a click. The limit is that of a person; a session may be known to others."""
    limit = services.settings.limits.person
    return [Use("session", session, limit)] if limit else []


def count(services: Services, activity: Activity) -> None:
    """Only count a click, because `MINIMAL_LEADS` is off. Raises `LedgerUnavailable`."""
    services.ledger.count_click(activity, identity.visit(activity.session))
