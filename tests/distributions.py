"""Packages that a distribution needs at run time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import distribution

from packaging.requirements import Requirement


def needed_by(requirements: Iterable[str]) -> set[str]:
    """Names of the installed distributions that `requirements` name, and of all that those require, without extras."""
    found = set[str]()
    pending = [*requirements]
    while pending:
        requirement = Requirement(pending.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            pending += distribution(name).requires or ()
    return found
