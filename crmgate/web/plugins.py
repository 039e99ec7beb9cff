"""`/api/v1/plugins`: the plugins that this process has loaded, and those that it has set aside."""

from __future__ import annotations

from flask import Blueprint, Response

from crmgate.operators.plugin_list import listed
from crmgate.store.tokens import Scope
from crmgate.web.auth import require
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.operator_answers import PluginsSchema
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("plugins", __name__, url_prefix="/api/v1/plugins")


@blueprint.get("")
@Describe("List plugins", "Operating", {200: ResponseDoc("The plugins.", PluginsSchema)}, token=Scope.READ)
def index() -> Response:
    """CRMs and listeners with their capabilities, and files that cannot be used with the reason and the remedy."""
    require(Scope.READ)
    return answer(listed(services().plugins, services().settings.provider))
