"""What a click on a messenger link consists of."""

from __future__ import annotations

from collections.abc import Set

from marshmallow import Schema, fields
from marshmallow.experimental.context import Context

from crmgate.channels import canonical_name
from crmgate.web.schemas.application import CUSTOM_TEXT, UtmSchema
from crmgate.web.schemas.coded import Coded
from crmgate.web.schemas.fields import Text, TextMap

KnownChannels = Context[Set[str]]
"""The channels that a click may name, while a schema loads."""


class ChannelName(Coded[str]):
    """One of the known channels, in any case or under an alias."""

    expected = "a text"
    default_error_messages = {"invalid_choice": "Expected one of: {options}."}  # noqa: RUF012

    def read(self, value: object) -> str:
        name = canonical_name(self.text(value, 1_000))
        known = KnownChannels.get()
        if name not in known:
            raise self.make_error("invalid_choice", options=", ".join(sorted(known)))
        return name


class MetadataSchema(Schema):
    """Where on the site it was."""

    page = Text(CUSTOM_TEXT)
    section = Text(CUSTOM_TEXT)
    component = Text(CUSTOM_TEXT)
    campaign = Text(CUSTOM_TEXT)
    referrer = Text(CUSTOM_TEXT)
    notes = Text(CUSTOM_TEXT, lines=True)


class MessengerEventSchema(Schema):
    """The body of `POST /api/v1/messenger-events` in its canonical form."""

    channel = ChannelName(required=True)
    referral_code = Text(CUSTOM_TEXT, required=True)
    session = Text(CUSTOM_TEXT)
    utm = fields.Nested(UtmSchema)
    metadata = fields.Nested(MetadataSchema)
    custom = TextMap(50, 64, CUSTOM_TEXT)
