"""Texts for the comments of a lead and for its timeline.

The portal reads the field `comments` as HTML and converts it to BBCode: a `<` that no white space follows begins a
tag, which can take the rest of the text with it. A comment on the timeline is stored as it is. A database with utf8mb3
cuts every text at the first character above U+FFFF.
"""

from __future__ import annotations

import re
import unicodedata

SPACE = " \t\n\r\v\f"
"""White space for the portal: other spaces of Unicode do not end the danger of a `<`."""
ENTITY = re.compile(r"&(?=#?\w{1,32};)")
WIDE = re.compile("[\U00010000-\U0010ffff]")


def unmarked(text: str) -> str:
    """`text` with BBCode disabled: a visitor's link, image or mention stays plain text.

    Inserts a word joiner (invisible) behind the bracket of each possible tag, and changes nothing else.
    """
    return re.sub(r"\[(?=/?\w|\*)", "[\u2060", text)


def plain(text: str) -> str:
    """`text` for the field `comments`, with BBCode, tags and entities disabled.

    There is a space on both sides of each `<`. The one before it keeps an address from taking the `<` along. A word
    joiner breaks each `&` that would begin an entity.
    """
    return _spaced(ENTITY.sub("&\u2060", unmarked(text)), "<")


def repeated(comments: str) -> str:
    """The stored `comments` of a lead, for an update that repeats them. Their BBCode stays.

    The portal shows them with entities, and decodes these when it gets them back. It would make a link of an address
    behind an encoded quotation mark.
    """
    return _spaced(comments, "&lt;").replace("&quot;", '"')


def wide(text: str) -> set[str]:
    """The characters of `text` above U+FFFF."""
    return set(WIDE.findall(text))


def described(text: str) -> str:
    """`text` with the name of each character above U+FFFF in its place, such as `(graduation cap)`."""
    return WIDE.sub(lambda found: f"({unicodedata.name(found[0], f'U+{ord(found[0]):X}').lower()})", text)


def _spaced(text: str, mark: str) -> str:
    return re.sub(f"{mark}(?![{SPACE}])", f"{mark} ", re.sub(f"(?<=[^{SPACE}]){mark}", f" {mark}", text))
