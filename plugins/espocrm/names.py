"""Names of leads without a person, or with half a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmgate.provider import Update

from .required import DASH

MINIMAL = {"firstName": "Messenger", "lastName": "Lead"}
"""Name of a lead without a person: only a click is known."""
NOBODY = {"firstName": "", "lastName": DASH}
"""What EspoCRM gets for a missing name."""


def names_to_fill(plan: Update, known: Mapping[str, Any]) -> dict[str, str]:
    """Names without a value, for those that the update writes where the lead has none or that of a click."""
    filled = [name for name in MINIMAL if name in plan.fields and known.get(name) in (None, "", DASH, MINIMAL[name])]
    return {name: NOBODY[name] for name in filled}
