"""What a submission may look like, and how it becomes a `Lead`."""

from crmgate.web.schemas.application import ApplicationSchema
from crmgate.web.schemas.canonical import FieldWarning
from crmgate.web.schemas.parse import Parsed, parse_application

__all__ = ["ApplicationSchema", "FieldWarning", "Parsed", "parse_application"]
