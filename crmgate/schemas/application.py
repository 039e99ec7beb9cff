"""The schema of an application. Limits are in characters; a longer text is refused, never truncated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validates_schema

from crmgate.model import Consent
from crmgate.schemas.coded import FieldFault, Group
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.fields import BirthDate, Choice, Email, Moment, Phone, Text, TextList, TextMap, Year, YesNo

CUSTOM_TEXT = 2_000
"""Largest number of characters in an unknown field, or in a field whose value crmgate cannot use."""
REFERRAL = "Short name: `ref`. 1 to 64 of `A-Za-z0-9_-`; any other value is kept as text only; `DIRECT` means none."
SESSION = "Id of the visit: 1 to 64 of `A-Za-z0-9_.-`. Clicks and applications of one session become one lead."
REST = "Other fields of the form. Unknown fields are also kept here, and named in `warnings`."


def _word(answer: bool) -> str:
    return "yes" if answer else "no"


class PersonalInfoSchema(Group):
    """The person. Either an email address or a phone number is required."""

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

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _contact_required(self, _data: Any, original: Mapping[str, Any], **_options: Any) -> None:
        # In the original data, because an invalid phone number already has its own error.
        if not {"email", "phone"} & original.keys():
            raise ValidationError([FieldFault(FieldCode.CONTACT_REQUIRED, "Give an email address or a phone number.")])


class EducationSchema(Group):
    """Education so far."""

    level = Text(100, attribute="education_level", example="bachelor")
    field = Text(200, attribute="field_of_study", example="Mathematics")
    institution = Text(200, example="Ege University")
    graduation_year = Year(example=2027)
    gpa = Text(50, numbers=True, example="3.90", about="Kept as written.")


class PreferencesSchema(Group):
    """Wishes for the studies."""

    universities = TextList(50, 200, example=["Boğaziçi", "Hacettepe"], about="The first one is the favourite.")
    programs = TextList(50, 200, example=["Medicine"])
    budget = Text(100, numbers=True, example="10,000 EUR a year")
    start_date = Text(100, example="Autumn 2027")
    scholarship_needed = Text(100, booleans=True, example="yes")
    language_preference = Text(100, example="English")


class UserPreferencesSchema(Group):
    """Answers to the questionnaire."""

    user_type = Choice("student", "parent", example="student")
    language = Choice("turkish", "english", "both", example="both")
    scholarship = YesNo(post_load=_word, example="yes")
    university_chosen = YesNo(post_load=_word, example="no")


class UtmSchema(Group):
    """The campaign parameters. A value of more than 255 characters is kept in `custom`."""

    # The page fills them in: `parse` moves a long value to `custom` instead of refusing it.
    source = Text(CUSTOM_TEXT, example="google")
    medium = Text(CUSTOM_TEXT, example="cpc")
    campaign = Text(CUSTOM_TEXT, example="autumn")
    content = Text(CUSTOM_TEXT)
    term = Text(CUSTOM_TEXT)


class ConsentSchema(Group):
    """The visitor's consent."""

    given = YesNo(example=True)
    text = Text(10_000, lines=True, example="You may call me.", about="The text that the visitor agreed to.")
    at = Moment(example="2026-11-23T04:59:00Z")

    @post_load
    def _record(self, data: dict[str, Any], **_options: Any) -> Consent:
        return Consent(**data)


class ApplicationSchema(Group):
    """An application in its canonical form. Blanks count as absent; text is trimmed."""

    personal_info = fields.Nested(PersonalInfoSchema, required=True)
    education = fields.Nested(EducationSchema)
    preferences = fields.Nested(PreferencesSchema)
    user_preferences = fields.Nested(UserPreferencesSchema)
    utm = fields.Nested(UtmSchema)
    consent = fields.Nested(ConsentSchema)
    referral_code = Text(CUSTOM_TEXT, example="REF1", about=REFERRAL)
    source = Text(CUSTOM_TEXT, example="website", about="Location of the form; default `website`.")
    source_description = Text(1_000, lines=True, example="Form at the end of /prices")
    session = Text(CUSTOM_TEXT, example="s-4711", about=SESSION)
    additional_info = Text(20_000, lines=True, example="Please call after five.")
    custom = TextMap(50, 64, CUSTOM_TEXT, example={"shoe_size": "38"}, about=REST)

    @post_load
    def _flat(self, data: dict[str, Any], **_options: Any) -> dict[str, Any]:
        """The data by the field names of `crmgate.model.Lead`, without groups."""
        groups = ("personal_info", "education", "preferences", "user_preferences")
        flat = {name: value for group in groups for name, value in data.pop(group, {}).items()}
        return flat | data
