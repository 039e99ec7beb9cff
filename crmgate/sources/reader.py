"""Reads the requests of the sources that are switched on into leads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from crmgate.errors import PluginError
from crmgate.sources import generic
from crmgate.sources.answers import plain
from crmgate.sources.bodies import at
from crmgate.sources.leads import ReceivedLead, read
from crmgate.sources.model import Handshake, Parsed, Received, Source, SourceRequest
from crmgate.sources.tools import key, tool_of

log = logging.getLogger(__name__)

CHUNK = 2_000
"""Characters of a body that nobody could read, in one field."""

Plugged = Callable[[str, SourceRequest], Parsed | None]
"""Asks the plugins for what a request contains; None if none of them reads this source."""


class Sources:
    """The sources by name.

    `region` is the ISO 3166 country of phone numbers without a country code, `aliases` the setting FIELD_ALIASES.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        region: str,
        plugged: Plugged = lambda _name, _request: None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self._sources, self._region, self._plugged, self._aliases = sources, region, plugged, aliases or {}

    def get(self, name: str) -> Source | None:
        """The source with this name, in which `-` and `_` do not count; None if it is not switched on."""
        return self._sources.get(key(name))

    def all(self) -> list[Source]:
        """The sources that are switched on, by name."""
        return sorted(self._sources.values(), key=lambda source: source.name)

    def handshake(self, source: Source, request: SourceRequest) -> Handshake:
        """The answer to a GET request: that of a plugin, the value of `hub.challenge` (WebSub, Meta), or `ok`."""
        try:
            parsed = self._plugged(source.name, request)
        except PluginError as error:
            log.warning("source %s: a handshake failed: %s", source.name, error)
            parsed = None
        return parsed if isinstance(parsed, Handshake) else Handshake(request.query.get("hub.challenge", "ok"))

    def parse(self, source: Source, request: SourceRequest) -> Parsed:
        """The submissions in a request. One that cannot be read is one submission with the body as text."""
        try:
            parsed = self._plugged(source.name, request)
            if parsed is None:
                parsed = tool_of(source.tool or source.name).parse(request)
            if isinstance(parsed, Handshake):
                return parsed
            found = _mapped(source, request, parsed)
        except Exception as error:  # an unforeseen body is kept as text: a person reads it
            reason = str(error) if isinstance(error, PluginError) else type(error).__name__
            log.warning("source %s: a body could not be read: %s", source.name, reason)
            found = _as_generic(request)
        if not request.body.strip():
            return []
        return [each if each.fields else replace(each, fields=unread(request.body)) for each in found]

    def read(self, source: Source, received: Received) -> ReceivedLead:
        """The lead in a submission, with its warnings; incomplete if nobody could be contacted."""
        return read(source.name, received, self._region, self._aliases)


def _as_generic(request: SourceRequest) -> list[Received]:
    """The values in a body that differs from the documentation of its tool, without a delivery id. Can be empty."""
    try:
        return [replace(each, delivery_id="") for each in generic.parse(request)]
    except ValueError:
        return [Received({})]


def unread(body: bytes) -> dict[str, str]:
    """The text of a body in fields of `CHUNK` characters."""
    text = body.decode("utf-8", "backslashreplace")
    parts = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]
    return {f"body {number}" if number > 1 else "body": part for number, part in enumerate(parts, 1)}


def _mapped(source: Source, request: SourceRequest, parsed: Sequence[Received]) -> list[Received]:
    """The submissions with the fields that `SOURCE_<NAME>_MAP` names, and the id that `SOURCE_<NAME>_ID` names."""
    if not source.paths and not source.id:
        return [*parsed]
    data = request.data()
    items = data if isinstance(data, list) and len(data) == len(parsed) else [data] * len(parsed)
    alone = len(items) == 1
    return [_one(source, request, item, each, alone) for item, each in zip(items, parsed, strict=True)]


def _one(source: Source, request: SourceRequest, item: Any, received: Received, alone: bool) -> Received:
    found = {name: _value(path, item, received) for name, path in source.paths.items()}
    fields = {name: value for name, value in found.items() if value not in ("", [])}
    used = list(fields.values())
    rest = {name: value for name, value in received.fields.items() if name not in fields and value not in used}
    delivery = received.delivery_id
    if source.id:
        header = request.headers.get(source.id.lower()) if alone else None
        delivery = str(header or plain(at(item, source.id)) or delivery)
    return Received(fields | rest, delivery)


def _value(path: str, item: Any, received: Received) -> Any:
    """The value at a path in the body, else the answer with this name."""
    found = at(item, path)
    return plain(at(received.fields, path) if found is None else found)
