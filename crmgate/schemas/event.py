"""The schema of a click on a messenger link."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from marshmallow import fields
from marshmallow.experimental.context import Context

from crmgate.channels import WELL_KNOWN, canonical_name
from crmgate.schemas.application import (
    CUSTOM_FIELDS,
    CUSTOM_NAME,
    NO_REFERRAL,
    REFERRAL,
    REFERRAL_CODE,
    SESSION,
    TOKEN,
    UtmSchema,
)
from crmgate.schemas.coded import Coded, Group
from crmgate.schemas.fields import CUSTOM_TEXT, PageCode, Text, TextMap


class KnownChannels(Context[Set[str]]):
    """Context with the accepted channels, for fields that are read."""


class ChannelName(Coded[str]):
    """One of the known channels or its alias, in upper or lower case."""

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
    """The place of the click on the site."""

    page = Text(CUSTOM_TEXT, forgiving=True, example="/prices")
    section = Text(CUSTOM_TEXT, forgiving=True, example="hero")
    component = Text(CUSTOM_TEXT, forgiving=True, example="button")
    campaign = Text(CUSTOM_TEXT, forgiving=True)
    referrer = Text(CUSTOM_TEXT, forgiving=True)
    notes = Text(CUSTOM_TEXT, lines=True, forgiving=True, join="\n")


class MessengerEventSchema(Group):
    """A click on a messenger link in its canonical form."""

    channel = ChannelName(required=True, example="telegram", about="Upper or lower case; `telegramBot` is `telegram`.")
    referral_code = PageCode(
        REFERRAL_CODE, default=NO_REFERRAL, required=True, example="REF1",
        about=f"{REFERRAL} Not required if the visitor's cookie has one.",
    )  # fmt: skip
    session = PageCode(TOKEN, example="s-4711", about=SESSION)
    utm = fields.Nested(UtmSchema)
    metadata = fields.Nested(MetadataSchema)
    custom = TextMap(
        CUSTOM_FIELDS, CUSTOM_NAME, CUSTOM_TEXT, about="Other fields; unknown fields are kept in `metadata`."
    )
