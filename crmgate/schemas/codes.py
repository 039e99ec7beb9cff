"""Error and warning codes for fields. Clients switch on them: new codes may be added, existing ones never change."""

from __future__ import annotations

from enum import StrEnum


class FieldCode(StrEnum):
    """Error code of one field."""

    REQUIRED = "required"
    """The field is absent or blank."""
    CONTACT_REQUIRED = "contact_required"
    """Neither an email address nor a phone number was given."""
    INVALID_TYPE = "invalid_type"
    """Another JSON type was expected."""
    TOO_LONG = "too_long"
    """More characters than the limit in the message."""
    TOO_MANY = "too_many"
    """More entries than the limit in the message."""
    INVALID_EMAIL = "invalid_email"
    INVALID_PHONE = "invalid_phone"
    INVALID_CHOICE = "invalid_choice"
    """Not one of the values that the message lists."""
    INVALID_DATE = "invalid_date"
    INVALID_NUMBER = "invalid_number"
    UNKNOWN_FIELD = "unknown_field"
    """There is no such field here, or it cannot be changed."""
    FILE_REFUSED = "file_refused"
    """A file was uploaded, and `REFUSE_FILES` is on."""


class WarningCode(StrEnum):
    """Warning code for an accepted field that was changed or stored under another name. Its value is never lost."""

    UNKNOWN_FIELD = "unknown_field"
    """crmgate does not know the field; it is kept in `custom`."""
    CONFLICTING_VALUES = "conflicting_values"
    """The field was sent twice with different values; one is used, the other is kept in `custom`."""
    UNUSABLE_VALUE = "unusable_value"
    """The value does not fit the field; it is kept in `custom`, and the field's default applies."""
    PARTLY_READ = "partly_read"
    """Only a part was used, such as a phone number without its extension; the whole value is kept in `custom`."""
    DOUBTFUL_VALUE = "doubtful_value"
    """The value is used but may be wrong, such as a phone number outside the numbering plan; the typed text is also
    kept in `custom`."""
    RECOGNISED = "recognised"
    """The value is an email or a phone number, but the name of the field is not known or means another contact."""
    STAND_IN = "stand_in"
    """There was no name, and nobody could add one; the first part of the email, or `-`, stands for the first name."""
    CUT = "cut"
    """Only the first characters were used; the whole value, up to 2,000 characters, is kept in `custom`."""
    FILE_LEFT_OUT = "file_left_out"
    """A file was not stored. Its name and size are in the message and in `custom`."""
    INVALID_NEXT = "invalid_next"
    """The origin of the address in `_next` is not allowed: the visitor gets the thank-you page instead."""
    CHARSET_GUESSED = "charset_guessed"
    """The form is not UTF-8 and names no charset; it was read with `DEFAULT_FORM_CHARSET`."""
