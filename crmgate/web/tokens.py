"""`/api/v1/tokens`: lists, creates and revokes API tokens. No answer contains the hash of a token."""

from __future__ import annotations

from flask import Blueprint, Response

from crmgate.schemas.choices import Choice
from crmgate.schemas.coded import Group
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.fields import Text
from crmgate.store.tokens import NAME, Scope
from crmgate.web.auth import require
from crmgate.web.body import READ_BODY, read_fields
from crmgate.web.codes import ProblemCode
from crmgate.web.openapi import Body, Describe, Example, ResponseDoc
from crmgate.web.operator_answers import NewTokenSchema, TokenSchema, TokensSchema
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("tokens", __name__, url_prefix="/api/v1/tokens")

_TAG = "Tokens"
_ID = {
    "name": "token_id", "in": "path", "required": True, "example": "5f1d9c02", "description": "The `id` of a token.",
    "schema": {"type": "string"},
}  # fmt: skip
_LETTERS = "Expected 1 to 64 letters, digits, dots, hyphens and underscores."


class TokenBodySchema(Group):
    """A token to create."""

    json_schema = {"additionalProperties": False}  # noqa: RUF012

    name = Text(64, required=True, example="monitoring", about="The name of its holder; the audit log shows it.")
    scope = Choice(*Scope, required=True, about="`read`: read only; `operate`: read and change.")


@blueprint.get("")
@Describe("List tokens", _TAG, {200: ResponseDoc("All tokens.", TokensSchema)}, token=Scope.OPERATE)
def index() -> Response:
    """All tokens without their secrets: those of `API_TOKENS`, then those in Redis by their age."""
    require(Scope.OPERATE)
    return answer({"items": [token.to_json() for token in services().tokens.all()]})


@blueprint.post("")
@Describe(
    "Create a token", _TAG, {201: ResponseDoc("The token; its text is shown only now.", NewTokenSchema)},
    token=Scope.OPERATE, problems=READ_BODY,
    body=Body(TokenBodySchema, (Example("For monitoring", {"name": "monitoring", "scope": "read"}, 201),)),
)  # fmt: skip
def create() -> Response:
    """Create a token. Redis gets only its hash, so that its text cannot be shown again."""
    who = require(Scope.OPERATE).name
    wanted = read_fields(TokenBodySchema())
    if not NAME.fullmatch(wanted["name"]):
        raise InvalidFields([FieldError("name", FieldCode.INVALID_CHOICE, _LETTERS)])
    token, text = services().tokens.new(wanted["name"], wanted["scope"], who)
    return answer(token.to_json() | {"token": text}, 201)


@blueprint.delete("/<token_id>")
@Describe(
    "Revoke a token", _TAG, {200: ResponseDoc("The revoked token.", TokenSchema)},
    token=Scope.OPERATE, parameters=[_ID], problems=[ProblemCode.NOT_FOUND],
)  # fmt: skip
def revoke(token_id: str) -> Response:
    """Revoke a token in Redis. It works for at most five more seconds."""
    who = require(Scope.OPERATE).name
    token = services().tokens.revoke(token_id, who)
    if token is None:
        detail = "Redis has no token with this id. To revoke one of API_TOKENS, remove its entry and restart."
        raise Problem(ProblemCode.NOT_FOUND, detail)
    return answer(token.to_json())
