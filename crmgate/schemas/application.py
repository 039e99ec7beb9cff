"""The schema of an application. Limits are in characters.

A longer text is refused if the visitor typed it. If the page offers it (`forgiving`), it is cut and kept in `custom`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import fields

from crmgate.model import Consent
from crmgate.schemas.answers import refuses
from crmgate.schemas.choices import Choice, Given, YesNoWord
from crmgate.schemas.coded import Group
from crmgate.schemas.fields import (
    CUSTOM_TEXT,
    BirthDate,
    Email,
    Moment,
    PageCode,
    Phone,
    Text,
    TextList,
    TextMap,
    Year,
)

CUSTOM_FIELDS = 50
"""Largest number of unknown fields with an entry of their own in `custom`."""
CUSTOM_NAME = 64
"""Largest number of characters in the name of an unknown field."""
UTM_LIMIT = 255
REFERRAL_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NO_REFERRAL = "DIRECT"
REFERRAL = "Short name: `ref`. 1 to 64 of `A-Za-z0-9_-`; any other value is kept as text only; `DIRECT` means none."
SESSION = "Id of the visit: 1 to 64 of `A-Za-z0-9_.-`. Clicks and applications of one session become one lead."
REST = "Other fields of the form. Unknown fields are also kept here, and named in `warnings`."


class Selected(Text):
    """An answer of at most `limit` characters that the visitor often selects; several answers are joined."""

    def __init__(self, limit: int, **options: Any) -> None:
        super().__init__(limit, forgiving=True, join=", ", **options)


class PersonalInfoSchema(Group):
    """The person. Either an email address or a phone number is required (`missing.missing`)."""

    json_schema = {**Group.json_schema, "anyOf": [{"required": ["email"]}, {"required": ["phone"]}]}  # noqa: RUF012

    first_name = Text(100, required=True, example="Ada")
    last_name = Text(100, example="Lovelace")
    email = Email(example="ada@example.com", about="Of several addresses the first one counts.")
    phone = Phone(
        example="0532 123 45 67",
        about="Stored as E.164. Without a country code it is a number of the gateway's `DEFAULT_PHONE_REGION`."
        " Of several numbers the first one counts.",
    )
    country = Text(100, example="Türkiye")
    city = Text(100, example="İzmir")
    birth_date = BirthDate(example="2001-12-10", about="In the past; `2001-12-10` or `10.12.2001`.")


class EducationSchema(Group):
    """Education so far."""

    level = Selected(100, attribute="education_level", example="bachelor")
    field = Selected(200, attribute="field_of_study", example="Mathematics")
    institution = Selected(200, example="Ege University")
    graduation_year = Year(example=2027)
    gpa = Selected(50, numbers=True, example="3.90", about="Kept as written.")


class PreferencesSchema(Group):
    """Wishes for the studies."""

    universities = TextList(50, 200, example=["Boğaziçi", "Hacettepe"], about="The first one is the favourite.")
    programs = TextList(50, 200, example=["Medicine"])
    budget = Selected(100, numbers=True, example="10,000 EUR a year")
    start_date = Selected(100, example="Autumn 2027")
    scholarship_needed = Selected(100, booleans=True, example="yes")
    language_preference = Selected(100, example="English")


_USER_TYPES = {
    "öğrenci": "student", "ogrenci": "student", "студент": "student", "студентка": "student", "ученик": "student",
    "veli": "parent", "ebeveyn": "parent", "anne": "parent", "baba": "parent", "родитель": "parent",
    "mother": "parent", "father": "parent", "guardian": "parent",
}  # fmt: skip
_LANGUAGES = {
    "türkçe": "turkish", "turkce": "turkish", "tr": "turkish", "турецкий": "turkish",
    "ingilizce": "english", "en": "english", "английский": "english",
    "ikisi de": "both", "her ikisi": "both", "her ikisi de": "both", "оба": "both", "english+turkish": "both",
    "both+english": "both", "both+turkish": "both",
}  # fmt: skip


class UserPreferencesSchema(Group):
    """Answers to the questionnaire."""

    user_type = Choice("student", "parent", words=_USER_TYPES, example="student")
    language = Choice("turkish", "english", "both", words=_LANGUAGES, example="both")
    scholarship = YesNoWord(example="yes")
    university_chosen = YesNoWord(example="no")


class UtmSchema(Group):
    """The campaign parameters. A longer value is cut, and kept in `custom`."""

    source = Text(UTM_LIMIT, forgiving=True, example="google")
    medium = Text(UTM_LIMIT, forgiving=True, example="cpc")
    campaign = Text(UTM_LIMIT, forgiving=True, example="autumn")
    content = Text(UTM_LIMIT, forgiving=True)
    term = Text(UTM_LIMIT, forgiving=True)


CONSENT_TEXT = 10_000


class ConsentSchema(Group):
    """The visitor's consent."""

    given = Given(CONSENT_TEXT, example=True, about="Yes, no, or the text of a ticked box: then it is given.")
    text = Text(
        CONSENT_TEXT, lines=True, forgiving=True, join="\n", example="You may call me.",
        about="The text that the visitor agreed to.",
    )  # fmt: skip
    at = Moment(example="2026-11-23T04:59:00Z")


def consent(values: Mapping[str, Any]) -> Consent:
    """The consent of the values that the fields of `ConsentSchema` read."""
    answer = values.get("given", False)
    if isinstance(answer, bool):
        return Consent(**values)
    texts = dict.fromkeys([answer, values.get("text", answer)])
    return Consent(**{**values, "given": not refuses(answer), "text": "\n".join(texts)})


class ApplicationSchema(Group):
    """An application in its canonical form. Blanks count as absent; text is trimmed."""

    personal_info = fields.Nested(PersonalInfoSchema, required=True)
    education = fields.Nested(EducationSchema)
    preferences = fields.Nested(PreferencesSchema)
    user_preferences = fields.Nested(UserPreferencesSchema)
    utm = fields.Nested(UtmSchema)
    consent = fields.Nested(ConsentSchema)
    referral_code = PageCode(REFERRAL_CODE, default=NO_REFERRAL, example="REF1", about=REFERRAL)
    source = PageCode(TOKEN, example="website", about="Location of the form; default `website`.")
    source_description = Text(1_000, lines=True, forgiving=True, join="\n", example="Form at the end of /prices")
    session = PageCode(TOKEN, example="s-4711", about=SESSION)
    additional_info = Text(20_000, lines=True, join="\n", example="Please call after five.")
    custom = TextMap(CUSTOM_FIELDS, CUSTOM_NAME, CUSTOM_TEXT, example={"shoe_size": "38"}, about=REST)
