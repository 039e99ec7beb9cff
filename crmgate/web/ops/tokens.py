"""`/ops/tokens`: list, create and revoke API tokens. A revoked token ends its sessions."""

from __future__ import annotations

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from crmgate.store.tokens import FRESH, NAME, Scope, Token
from crmgate.web.codes import ProblemCode
from crmgate.web.ops.shell import actor, blueprint, go, page, require_operate, visit
from crmgate.web.problems import Problem
from crmgate.web.services import services


@blueprint.get("/tokens")
def tokens() -> Response:
    """All tokens without their secrets, and the form for a new one."""
    require_operate()
    return _list()


@blueprint.post("/tokens")
def tokens_create() -> Response:
    """Create a token. Its text is shown only now: Redis has a hash of it."""
    require_operate()
    name, scope = request.form.get("name", "").strip(), request.form.get("scope", "")
    if not NAME.fullmatch(name) or scope not in list(Scope):
        return _list("A name has 1 to 64 letters, digits, dots, hyphens and underscores. Choose a scope, too.", 422)
    token, text = services().tokens.new(name, scope, actor())
    return page("ops/token_new.html", token=token, text=text)


@blueprint.post("/tokens/<token_id>/revoke")
def tokens_revoke(token_id: str) -> BaseResponse:
    """Revoke a token: first what it is, then with `confirmed` the revocation."""
    require_operate()
    token = _known(token_id)
    if "confirmed" not in request.form:
        own = token.id == visit().token.id
        return page("ops/token_revoke.html", token=token, own=own, seconds=FRESH)
    services().tokens.revoke(token_id, actor())
    return go("ops.tokens")


def _known(token_id: str) -> Token:
    """The token in Redis with this id. Raises `Problem` (404)."""
    found = next((token for token in services().tokens.all() if token.id and token.id == token_id), None)
    if found is None:
        detail = "Redis has no token with this id. To revoke one of API_TOKENS, remove its entry and restart."
        raise Problem(ProblemCode.NOT_FOUND, detail)
    return found


def _list(fault: str = "", status: int = 200) -> Response:
    listed = services().tokens.all()
    return page("ops/tokens.html", status, tokens=listed, scopes=list(Scope), own=visit().token.id, fault=fault)
