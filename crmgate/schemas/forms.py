"""Reads HTML forms: urlencoded, multipart and plain text, in whatever charset they are sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData, Preamble

from crmgate.schemas.charset import codec, decode, legacy

CHARSET = "_charset_"
"""The field that browsers fill with the charset of the form (HTML Standard, 4.10.21.3)."""

# The obsolete `escape()` of JavaScript: %uXXXX and %XX are code units of UTF-16.
_ESCAPE = re.compile(rb"%u[0-9A-Fa-f]{4}")
_ESCAPED = re.compile(r"%u([0-9A-Fa-f]{4})|%([0-9A-Fa-f]{2})")
# What browsers send for a character that the charset of the form does not have.
_REFERENCE = re.compile(r"&#([0-9]{2,7});")


class MalformedForm(ValueError):
    """The form cannot be read; the text is for its sender."""


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form in the bytes of the wire. `file` is the name of an uploaded file, None for a field."""

    name: bytes
    value: bytes
    charset: str = ""
    file: bytes | None = None


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form as text, in order. `size` in bytes is that of an uploaded file, whose name is `text`."""

    name: str
    text: str
    size: int | None = None


def urlencoded(data: bytes) -> list[Part]:
    """The fields of `application/x-www-form-urlencoded`."""
    pairs = (pair.partition(b"=") for pair in data.split(b"&") if pair)
    return [Part(_unquoted(name), _unquoted(value)) for name, _, value in pairs]


def _unquoted(text: bytes) -> bytes:
    text = text.replace(b"+", b" ")
    if not _ESCAPE.search(text):
        return unquote_to_bytes(text)
    units = _ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), text.decode("latin-1"))
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def plain(data: bytes) -> list[Part]:
    """The fields of a form with `enctype="text/plain"`: one in each line."""
    lines = (line.partition(b"=") for line in data.splitlines())
    return [Part(name, value) for name, equals, value in lines if equals]


def multipart(data: bytes, boundary: str, most: int) -> list[Part]:
    """The fields of `multipart/form-data`. Raises `MalformedForm` if it is malformed or incomplete.

    Raises `RequestEntityTooLarge` for more than `most` parts.
    """
    marks = boundary.encode("latin-1", "replace")
    data = data.lstrip(b"\r\n")
    if data.startswith(b"--") and (not marks or not data.startswith(b"--" + marks)):
        marks = data[2:].partition(b"\n")[0].strip()  # the header was written by hand, without the boundary
    try:
        return list(_parts(data, marks, most)) if marks else []
    except ValueError:
        raise MalformedForm("A part of the form is incomplete, or has no valid header.") from None


def _parts(data: bytes, boundary: bytes, most: int) -> Iterator[Part]:
    # The decoder reads headers as UTF-8. As UTF-8 of Latin-1, every byte of another charset survives it.
    decoder = MultipartDecoder(boundary, max_parts=most)
    decoder.receive_data(data.decode("latin-1").encode())
    decoder.receive_data(None)
    part, chunks = Part(b"", b""), list[bytes]()
    while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
        if isinstance(event, Field | File):
            part, chunks = _opened(event), []
        elif isinstance(event, Data):
            chunks.append(event.data)
            if not event.more_data:
                yield replace(part, value=b"".join(chunks).decode().encode("latin-1"))
        else:
            assert isinstance(event, Preamble)


def _opened(event: Field | File) -> Part:
    kind, options = parse_options_header(event.headers.get("Content-Type", ""))
    file = _bytes(event.filename) if isinstance(event, File) else None
    if file == b"blob" and kind.startswith(("text/", "application/json")):
        file = None  # a script's way to give a field a type
    return Part(_bytes(event.name or ""), b"", codec(options.get("charset", "")), file)


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:  # written as name*=UTF-8''...
        return text.encode()


def read(parts: Sequence[Part], declared: str, default: str) -> tuple[list[FormField], str]:
    """The fields as text, and the charset that was guessed (empty if none was).

    `declared` is the charset of the request, `default` the value of `DEFAULT_FORM_CHARSET`. Raises `MalformedForm` if
    a field cannot be decoded.
    """
    charset = codec(declared) or _named(parts)
    unread = [text for part in parts for text in _texts(part) if decode(text, part.charset or charset) is None]
    guessed = legacy(unread, default) if unread else ""
    old = bool(guessed) or charset not in ("", "utf-8")
    return [_written(part, charset, guessed, old) for part in parts if part.name != CHARSET.encode()], guessed


def _texts(part: Part) -> tuple[bytes, bytes]:
    return part.name, part.value if part.file is None else part.file


def _named(parts: Sequence[Part]) -> str:
    return next((codec(part.value.decode("latin-1")) for part in parts if part.name == CHARSET.encode()), "")


def _written(part: Part, charset: str, guessed: str, old: bool) -> FormField:
    name, text = (_decoded(data, part.charset or charset, guessed, old) for data in _texts(part))
    return FormField(name, text, None if part.file is None else len(part.value))


def _decoded(data: bytes, charset: str, guessed: str, old: bool) -> str:
    text = decode(data, charset)
    if text is None and guessed:
        text = decode(data, guessed)
    if text is None:
        raise MalformedForm("It is not UTF-8. Send it as UTF-8, or name its charset in Content-Type.")
    return _REFERENCE.sub(_character, text) if old else text


def _character(match: re.Match[str]) -> str:
    code = int(match[1])
    return chr(code) if code <= 0x10FFFF else match[0]
