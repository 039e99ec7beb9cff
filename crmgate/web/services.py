"""Access to the services of the gateway during a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import Flask, current_app

from crmgate.web.clicks import Clicks, for_services

if TYPE_CHECKING:
    from crmgate.services import Services

_CLICKS = "crmgate.clicks"


def init_app(app: Flask) -> None:
    """Give `app` its queue of clicks."""
    app.extensions[_CLICKS] = for_services(lambda: cast("Services", app.extensions["crmgate"]))


def services() -> Services:
    """The services of the current application."""
    parts: Services = current_app._get_current_object().extensions["crmgate"]  # type: ignore[attr-defined]
    return parts


def clicks() -> Clicks:
    """The current application's queue of clicks."""
    return cast("Clicks", current_app.extensions[_CLICKS])
