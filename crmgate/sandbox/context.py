"""What the views of one sandbox share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from crmgate.sandbox.behaviour import Control
from crmgate.sandbox.store import Store


@dataclass(frozen=True)
class SandboxParts:
    """What the views share."""

    store: Store
    control: Control
    key: str
    gateway_url: str


def sandbox() -> SandboxParts:
    """What the views of the current application share."""
    return cast(SandboxParts, current_app.extensions["sandbox"])
