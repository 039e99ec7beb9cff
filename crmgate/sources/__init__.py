"""Sources: what form tools post, read into the fields of an application. Pure functions, without I/O."""

from crmgate.sources.model import Handshake, Received, SourceRequest

__all__ = ["Handshake", "Received", "SourceRequest"]
"""The names that plugins import; the others are internal to crmgate."""
