"""Converts the text of `comments` as Bitrix24 does: it reads HTML and stores BBCode.

The steps, as the vendor's server takes them for `crm.item.*` and `crm.lead.*` alike:

1. Line breaks, links, lists, paragraphs and simple emphasis in HTML become BBCode; non-breaking spaces disappear.
2. A bare web address becomes a link. It ends only at white space, a quotation mark or a square or curly bracket, so it
   takes a `<` and what follows with it. One that follows a `(` ends at the `)`.
3. The entities `&lt; &gt; &quot; &apos; &amp;` are decoded, also those that a visitor typed.
4. Tags are removed as PHP's `strip_tags` removes them: a `<` that no white space follows begins a tag, and a tag that
   no `>` ends takes the rest of the text with it.
5. `& " < >` are encoded again. What is stored and what the answer shows is this encoded text.

https://www.php.net/manual/en/function.strip-tags.php describes step 4 and warns of unclosed tags.
"""

from __future__ import annotations

import re
from html import escape

_HTML = (
    (r"<br[^>]*>", "\n"),
    (r"<a\s[^>]*?href\s*=\s*([\"'])(.+?)\1[^>]*>(.*?)</a[^>]*>", r"[url=\2]\3[/url]"),
    (r"<([busi])>(.+?)</\1>", r"[\1]\2[/\1]"),
    (r"<p>(.+?)</p>", r"[p]\1[/p]"),
    (r"<ul>(.+?)</ul>", r"[list]\1[/list]"),
    (r"<ol>(.+?)</ol>", r"[list=1]\1[/list]"),
    (r"<li>(.*?)</li>", r"[*]\1"),
    (r"&nbsp;", ""),
)
_BBCODE = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), made) for pattern, made in _HTML)
_ADDRESS = re.compile(
    r"(?:(?<=^)|(?<=[\s.,;:!#*|\[\](){}-]))(?:(?:https?|ftp|news|file|mailto|tel)://|www\.)[\w@.:-]"
    r"(?:(?!&quot;)[^\s'\"{}\[\]])*",
    re.IGNORECASE,
)
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))
_SPACES = " \t\n\r\v\f"
_MARKED_LINK = re.compile(r"\[url[=\]].*?\[/url\]", re.IGNORECASE | re.DOTALL)


def normalised(text: str) -> str:
    """The text of `comments` as the portal stores it and shows it in its answer."""
    return escape(strip_tags(_decoded(_linked(_bbcode(text)))), quote=False).replace('"', "&quot;")


def strip_tags(text: str) -> str:
    """PHP's `strip_tags`: quotes hide a `>`, tags nest, comments and `<?` have ends of their own."""
    kept, position = [], 0
    while (begin := _tag_at(text, position)) >= 0:
        kept.append(text[position:begin])
        position = _end_of_tag(text, begin)
    return "".join([*kept, text[position:]]).replace("\0", "")


def _tag_at(text: str, position: int) -> int:
    """Position of the next tag, -1 for none. White space after a `<` makes it plain text."""
    begin = text.find("<", position)
    while begin >= 0 and text[begin + 1 : begin + 2] and text[begin + 1] in _SPACES:
        begin = text.find("<", begin + 1)
    return begin


def _end_of_tag(text: str, begin: int) -> int:
    """The position behind a tag; the end of the text for a tag that nothing ends."""
    for opening, closing in (("<!--", "-->"), ("<?", "?>")):
        if text.startswith(opening, begin):
            end = text.find(closing, begin + len(opening))
            return len(text) if end < 0 else end + len(closing)
    return _end_of_element(text, begin)


def _end_of_element(text: str, begin: int) -> int:
    depth, quote = 0, ""
    for position in range(begin + 1, len(text)):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "<" and text[position + 1 : position + 2] not in _SPACES:
            depth += 1
        elif character == ">" and depth:
            depth -= 1
        elif character == ">":
            return position + 1
    return len(text)


def _bbcode(text: str) -> str:
    text = text.replace("\u00a0", " ")
    for pattern, made in _BBCODE:
        text = pattern.sub(made, text)
    return text


def _linked(text: str) -> str:
    """Turn bare addresses into links. Existing links stay unchanged."""
    parts, position = [], 0
    for link in _MARKED_LINK.finditer(text):
        parts += [_with_links(text[position : link.start()]), link[0]]
        position = link.end()
    return "".join([*parts, _with_links(text[position:])])


def _with_links(text: str) -> str:
    return _ADDRESS.sub(_link, text)


def _link(match: re.Match[str]) -> str:
    opened = match.string[: match.start()].endswith("(")
    address, closing, rest = match[0].partition(")") if opened else (match[0], "", "")
    return f"[url={address}]{address}[/url]{closing}{rest}"


def _decoded(text: str) -> str:
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    return text
