"""The objects that the views of one sandbox share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from crmgate.sandbox.behaviour import Control
from crmgate.sandbox.store import Store


@dataclass(frozen=True)
class SandboxParts:
    """The objects that the views share."""

    store: Store
    control: Control
    key: str
    gateway_url: str


def sandbox() -> SandboxParts:
    """The shared objects of the current application."""
    return cast(SandboxParts, current_app.extensions["sandbox"])
