"""How a request finds the parts of the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import current_app

if TYPE_CHECKING:
    from crmgate.services import Services


def services() -> Services:
    """The services of the current application."""
    return cast("Services", current_app.extensions["crmgate"])
