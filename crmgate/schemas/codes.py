"""What can be said about one field. Clients switch on these codes, so one is added but never renamed."""

from __future__ import annotations

from enum import StrEnum


class FieldCode(StrEnum):
    """What is wrong with one field of a 422."""

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
    INVALID_NEXT = "invalid_next"
    """`_next` leads somewhere that is not an allowed origin."""
    UNKNOWN_FIELD = "unknown_field"
    """There is no such field here, or it cannot be changed."""
    FILE_REFUSED = "file_refused"
    """A file was uploaded."""


class WarningCode(StrEnum):
    """What was done with an accepted field that did not go where its name says. Nothing of it is lost."""

    UNKNOWN_FIELD = "unknown_field"
    """crmgate does not know the field: kept in `custom`."""
    CONFLICTING_VALUES = "conflicting_values"
    """The field came twice with different values: one is used, the other kept in `custom`."""
    UNUSABLE_VALUE = "unusable_value"
    """The value cannot be used as what it is meant for: kept in `custom`, the default applies."""
    PARTLY_READ = "partly_read"
    """Only a part could be used, such as a phone number without its extension: kept whole in `custom`."""
