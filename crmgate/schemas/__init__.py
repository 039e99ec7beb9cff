"""Schemas of submissions, and the functions that parse a submission into a `Lead` or an `Activity`."""

from crmgate.schemas.application import NO_REFERRAL, REFERRAL_CODE, TOKEN, ApplicationSchema
from crmgate.schemas.canonical import FieldWarning
from crmgate.schemas.parse import Parsed, ParsedEvent, Sender, parse_application, parse_event

__all__ = [
    "NO_REFERRAL",
    "REFERRAL_CODE",
    "TOKEN",
    "ApplicationSchema",
    "FieldWarning",
    "Parsed",
    "ParsedEvent",
    "Sender",
    "parse_application",
    "parse_event",
]
