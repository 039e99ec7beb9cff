"""The form tools that crmgate knows, by the name of the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crmgate.sources import (
    cf7,
    elementor,
    generic,
    googleforms,
    gravityforms,
    jotform,
    meta,
    signatures,
    tilda,
    typeform,
    webflow,
)
from crmgate.sources.model import Parsed, SourceRequest


@dataclass(frozen=True, slots=True)
class Tool:
    """A form tool: its label, its adapter, and the check of its signature if it signs requests."""

    label: str
    parse: Callable[[SourceRequest], Parsed]
    check: signatures.Check | None = None


GENERIC = Tool("any other", generic.parse, signatures.standard)
TOOLS: Mapping[str, Tool] = {
    "tilda": Tool("Tilda", tilda.parse),
    "typeform": Tool("Typeform", typeform.parse, signatures.typeform),
    "jotform": Tool("JotForm", jotform.parse),
    "webflow": Tool("Webflow", webflow.parse, signatures.webflow),
    "elementor": Tool("Elementor", elementor.parse),
    "cf7": Tool("Contact Form 7", cf7.parse),
    "gravityforms": Tool("Gravity Forms", gravityforms.parse),
    "googleforms": Tool("Google Forms", googleforms.parse),
    "meta": Tool("Meta Lead Ads", meta.parse, signatures.meta),
}
"""The tools by name, without `-` and `_`."""
_ALSO = {"contactform7": "cf7", "gravity": "gravityforms", "google": "googleforms", "facebook": "meta"}


def key(name: str) -> str:
    """The name of a source as it is compared: in lower case, without `-` and `_`."""
    return name.lower().replace("-", "").replace("_", "")


def tool_of(name: str) -> Tool:
    """The tool with this name, else the generic one."""
    found = key(name)
    return TOOLS.get(_ALSO.get(found, found), GENERIC)


def is_known(name: str) -> bool:
    """Whether a tool has this name."""
    return tool_of(name) is not GENERIC
