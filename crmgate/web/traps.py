"""What gives a robot away that fills in forms: a field that no visitor sees, and a form sent too fast."""

from __future__ import annotations

import math
from typing import Any

from crmgate.schemas.text import is_blank, tidy

OPEN_FOR = "_t"
"""The field in which a script says for how many milliseconds the form was open."""


def caught(raw: dict[str, Any], honeypot: str, least: float) -> bool:
    """Whether the body looks like a robot's; both fields are taken out of it.

    A form without a script has no `_t`, and that is no offence. `least` is in seconds; with 0 time does not matter.
    """
    filled, open_for = raw.pop(honeypot, None), raw.pop(OPEN_FOR, None)
    return not is_blank(tidy(filled)) or (least > 0 and not is_blank(tidy(open_for)) and _too_fast(open_for, least))


def _too_fast(open_for: Any, least: float) -> bool:
    """Text where the script writes a number was not written by the script."""
    try:
        seconds = float(str(open_for)) / 1000
    except ValueError:
        return True
    return not math.isfinite(seconds) or seconds < least
