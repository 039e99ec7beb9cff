"""Data classes of sources: a request of a form tool, and what an adapter reads in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crmgate.schemas.charset import AUTO
from crmgate.sources.bodies import parse_body


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """A request of a form tool. The names of `headers` are in lower case; `query` does not contain the token.

    `form_charset` is the value of `DEFAULT_FORM_CHARSET`.
    """

    method: str
    headers: Mapping[str, str]
    body: bytes = b""
    query: Mapping[str, str] = field(default_factory=dict)
    form_charset: str = AUTO

    def data(self) -> Any:
        """The body: a JSON value, or the fields of a form, nested by their brackets. Raises `ValueError`."""
        return parse_body(self.headers.get("content-type", ""), self.body, self.form_charset)

    def mapping(self) -> dict[str, Any]:
        """The body as an object; that of a list with one object is the object. Raises `ValueError`."""
        data = self.data()
        if isinstance(data, list) and len(data) == 1:
            data = data[0]
        if not isinstance(data, dict):
            raise ValueError("the body is not an object")
        return data


@dataclass(frozen=True, slots=True)
class Received:
    """One submission: values by the names of its fields as the tool or the form names them.

    A value is a text, a number, a truth value or a list of them. `delivery_id` is the tool's id of the submission, the
    same in each repetition; empty if the tool sends none.
    """

    fields: Mapping[str, Any]
    delivery_id: str = ""


@dataclass(frozen=True, slots=True)
class Handshake:
    """The answer to a handshake: `text` is sent with the status 200, and nothing is stored."""

    text: str = "ok"


Parsed = Sequence[Received] | Handshake
"""The submissions in a request, none if there is nothing to store; or the answer to a handshake."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source that is switched on. `name` is that of its settings in lower case, `tool` the adapter that reads it.

    `paths` has the path in the body by the name of a field; `id` is a header, or a path in the body, with the
    delivery id.
    """

    name: str
    secret: str = field(repr=False)
    tool: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
