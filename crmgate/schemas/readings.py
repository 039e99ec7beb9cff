"""The result of reading a typed contact: an email address or a phone number."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Doubt(Enum):
    """Why a typed contact is kept beside the contact that was read in it."""

    NONE = auto()
    PARTLY = auto()
    """The typed text says more than the contact, or something else."""
    POSSIBLE = auto()
    """The phone number has a possible length, but is not in the numbering plan."""
    BROKEN = auto()
    """A script of the page garbled the text: the contact is a guess."""


class Reading(NamedTuple):
    """An email address or a phone number in its normal form, as it was read."""

    value: str
    doubt: Doubt = Doubt.NONE
