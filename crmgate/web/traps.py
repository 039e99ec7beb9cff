"""Detects robots that fill in forms: by a honeypot field that no visitor sees, and by a form sent too fast."""

from __future__ import annotations

import math
from typing import Any

from crmgate.model import Suspicion
from crmgate.schemas.coded import single
from crmgate.schemas.text import is_blank, tidy

OPEN_FOR = "_t"
"""The field for which a script sends the milliseconds that the form was open."""


def caught(raw: dict[str, Any], honeypot: str, least: float) -> Suspicion | None:
    """The reason to believe that a robot has sent `raw`; None if there is no reason. Removes both fields from it.

    `least` is the shortest plausible time in seconds; 0 disables that check. It is skipped for a form without `_t`.
    """
    if honeypot not in raw and OPEN_FOR not in raw:
        return None
    filled, open_for = tidy(raw.pop(honeypot, None)), tidy(single(raw.pop(OPEN_FOR, None)))
    if not is_blank(filled):
        return Suspicion.HONEYPOT
    if least > 0 and not is_blank(open_for) and _too_fast(open_for, least):
        return Suspicion.FAST
    return None


def _too_fast(open_for: Any, least: float) -> bool:
    """Whether `open_for` (milliseconds) is below `least` (seconds), or not a number: the script only sends numbers."""
    try:
        seconds = float(str(open_for)) / 1000
    except ValueError:
        return True
    return not math.isfinite(seconds) or seconds < least
