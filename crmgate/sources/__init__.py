"""Sources: what form tools post, read into the fields of an application. Pure functions, without I/O."""

from crmgate.sources.model import Received, Reply, SourceRequest

__all__ = ["Received", "Reply", "SourceRequest"]
"""The names that plugins import; the others are internal to crmgate."""
