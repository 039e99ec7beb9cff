"""What a click on a messenger link consists of."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from marshmallow import fields
from marshmallow.experimental.context import Context

from crmgate.channels import WELL_KNOWN, canonical_name
from crmgate.schemas.application import CUSTOM_TEXT, REFERRAL, SESSION, UtmSchema
from crmgate.schemas.coded import Coded, Group
from crmgate.schemas.fields import Text, TextMap

KnownChannels = Context[Set[str]]
"""The channels that a click may name, while a schema loads."""


class ChannelName(Coded[str]):
    """One of the known channels, in any case or under an alias."""

    expected = "a text"
    default_error_messages = {"invalid_choice": "Expected one of: {options}."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": sorted(KnownChannels.get(WELL_KNOWN))}

    def read(self, value: object) -> str:
        name = canonical_name(self.text(value, 1_000))
        known = KnownChannels.get()
        if name not in known:
            raise self.make_error("invalid_choice", options=", ".join(sorted(known)))
        return name


class MetadataSchema(Group):
    """Where on the site it was."""

    page = Text(CUSTOM_TEXT, example="/prices")
    section = Text(CUSTOM_TEXT, example="hero")
    component = Text(CUSTOM_TEXT, example="button")
    campaign = Text(CUSTOM_TEXT)
    referrer = Text(CUSTOM_TEXT)
    notes = Text(CUSTOM_TEXT, lines=True)


class MessengerEventSchema(Group):
    """A click on a messenger link in its canonical form."""

    channel = ChannelName(required=True, example="telegram", about="In any case; `telegramBot` is `telegram`.")
    referral_code = Text(
        CUSTOM_TEXT, required=True, example="REF1", about=f"{REFERRAL} Not required where the visitor's cookie has one."
    )
    session = Text(CUSTOM_TEXT, example="s-4711", about=SESSION)
    utm = fields.Nested(UtmSchema)
    metadata = fields.Nested(MetadataSchema)
    custom = TextMap(50, 64, CUSTOM_TEXT, about="Fields that are not known are kept in `metadata`.")
