"""What a submission consists of. Limits are in characters; what is longer is refused, never cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validates_schema

from crmgate.model import Consent
from crmgate.web.codes import FieldCode
from crmgate.web.schemas.coded import Fault
from crmgate.web.schemas.fields import BirthDate, Choice, Email, Moment, Phone, Text, TextList, TextMap, Year, YesNo

CUSTOM_TEXT = 2_000
"""The longest text of a field that crmgate does not know, or cannot use as what it is meant for."""


def _word(answer: bool) -> str:
    return "yes" if answer else "no"


class PersonalInfoSchema(Schema):
    """Who it is. Either an email address or a phone number is required."""

    first_name = Text(100, required=True)
    last_name = Text(100)
    email = Email()
    phone = Phone()
    country = Text(100)
    city = Text(100)
    birth_date = BirthDate()

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _contact_required(self, _data: Any, original: Mapping[str, Any], **_options: Any) -> None:
        # The original: a phone that was refused is named by its own error.
        if not {"email", "phone"} & original.keys():
            raise ValidationError([Fault(FieldCode.CONTACT_REQUIRED, "Give an email address or a phone number.")])


class EducationSchema(Schema):
    """What they have learnt."""

    level = Text(100, attribute="education_level")
    field = Text(200, attribute="field_of_study")
    institution = Text(200)
    graduation_year = Year()
    gpa = Text(50, numbers=True)


class PreferencesSchema(Schema):
    """What they want."""

    universities = TextList(50, 200)
    programs = TextList(50, 200)
    budget = Text(100, numbers=True)
    start_date = Text(100)
    scholarship_needed = Text(100, booleans=True)
    language_preference = Text(100)


class UserPreferencesSchema(Schema):
    """The answers of the questionnaire."""

    user_type = Choice("student", "parent")
    language = Choice("turkish", "english", "both")
    scholarship = YesNo(post_load=_word)
    university_chosen = YesNo(post_load=_word)


class UtmSchema(Schema):
    """The campaign parameters. The page fills them in: `parse` moves what is too long instead of refusing it."""

    source = Text(CUSTOM_TEXT)
    medium = Text(CUSTOM_TEXT)
    campaign = Text(CUSTOM_TEXT)
    content = Text(CUSTOM_TEXT)
    term = Text(CUSTOM_TEXT)


class ConsentSchema(Schema):
    """What they agreed to."""

    given = YesNo()
    text = Text(10_000, lines=True)
    at = Moment()

    @post_load
    def _record(self, data: dict[str, Any], **_options: Any) -> Consent:
        return Consent(**data)


class ApplicationSchema(Schema):
    """The body of `POST /api/v1/applications` in its canonical form."""

    personal_info = fields.Nested(PersonalInfoSchema, required=True)
    education = fields.Nested(EducationSchema)
    preferences = fields.Nested(PreferencesSchema)
    user_preferences = fields.Nested(UserPreferencesSchema)
    utm = fields.Nested(UtmSchema)
    consent = fields.Nested(ConsentSchema)
    referral_code = Text(CUSTOM_TEXT)
    source = Text(CUSTOM_TEXT)
    source_description = Text(1_000, lines=True)
    session = Text(CUSTOM_TEXT)
    additional_info = Text(20_000, lines=True)
    custom = TextMap(50, 64, CUSTOM_TEXT)

    @post_load
    def _flat(self, data: dict[str, Any], **_options: Any) -> dict[str, Any]:
        """The names of `crmgate.model.Lead`: the groups are dissolved."""
        groups = ("personal_info", "education", "preferences", "user_preferences")
        flat = {name: value for group in groups for name, value in data.pop(group, {}).items()}
        return flat | data
