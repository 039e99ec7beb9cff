"""Sources: what form tools post, read into the fields of an application. Pure functions, without I/O."""

from crmgate.sources.model import Handshake, Received, SourceRequest
from crmgate.sources.signatures import sign_standard

__all__ = ["Handshake", "Received", "SourceRequest", "sign_standard"]
"""The names that plugins import; the others are internal to crmgate."""
