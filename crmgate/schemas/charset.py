"""Decodes the text of forms: as UTF-8, in the declared charset, or in that of old forms."""

from __future__ import annotations

import re
from collections.abc import Iterable

AUTO = "auto"
"""Value of `DEFAULT_FORM_CHARSET`: windows-1251 for Russian text, else windows-1254."""
STRICT = "off"
"""Value of `DEFAULT_FORM_CHARSET`: a form without a declared charset must be UTF-8."""

_CODECS = {
    "utf8": "utf-8", "unicode11utf8": "utf-8", "utf16": "utf-16", "utf16le": "utf-16-le", "utf16be": "utf-16-be",
    "ascii": "cp1252", "usascii": "cp1252", "iso88591": "cp1252", "latin1": "cp1252", "l1": "cp1252",
    "iso88599": "cp1254", "latin5": "cp1254", "l5": "cp1254", "windows31j": "cp932", "shiftjis": "cp932",
    "sjis": "cp932", "xsjis": "cp932", "eucjp": "euc_jp", "iso2022jp": "iso2022_jp", "euckr": "cp949",
    "ksc56011987": "cp949", "windows949": "cp949", "gbk": "gb18030", "xgbk": "gb18030", "gb2312": "gb18030",
    "gb18030": "gb18030", "big5": "big5hkscs", "koi8r": "koi8_r", "koi8u": "koi8_u", "ibm866": "cp866",
    "cp866": "cp866", "macintosh": "mac_roman", "xmaccyrillic": "mac_cyrillic", "windows874": "cp874",
    "latin2": "iso8859_2", "latin3": "iso8859_3", "latin4": "iso8859_4",
    **{f"iso8859{part}": f"iso8859_{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **{f"{name}{page}": f"cp{page}" for name in ("windows", "cp", "xcp", "win") for page in range(1250, 1259)},
}  # fmt: skip
"""Codec of Python by label, as the Encoding Standard assigns them: browsers read ISO-8859-1 as windows-1252."""
_SEVERAL_BYTES = frozenset({
    "utf-16", "utf-16-le", "utf-16-be", "cp932", "euc_jp", "iso2022_jp", "cp949", "gb18030", "big5hkscs"
})  # fmt: skip
_LETTERS = "A-Za-z\\x80-\\xff"
_HIGH_WORD = re.compile(f"(?<![{_LETTERS}])[\\xc0-\\xff\\xa8\\xb8]{{2,}}(?![{_LETTERS}])".encode("ascii"))
_TURKISH = "çÇğĞıİöÖşŞüÜâÂîÎûÛ".encode("cp1254")


def codec(label: str) -> str:
    """Python's name of the charset `label`; empty for an unknown one."""
    return _CODECS.get(re.sub(r"[^a-z0-9]", "", label.lower()), "")


def decode(data: bytes, declared: str = "") -> str | None:
    """`data` as text, in UTF-8 or in the codec `declared`; None if it is in neither.

    A text with letters beyond ASCII that is valid UTF-8 is UTF-8, even if its sender declares a charset with one byte a
    character: forms declare a charset and then send another one more often than such a text exists in it.
    """
    order = (declared, "utf-8") if declared in _SEVERAL_BYTES else ("utf-8", declared)
    for name in order:
        text = (_utf8(data) if name == "utf-8" else _in(data, name)) if name else None
        if text is not None:
            return text
    return None


def legacy(data: Iterable[bytes], default: str) -> str:
    """The codec of a form with the texts `data`, none of them UTF-8; empty if `default` is `STRICT`."""
    if default != AUTO:
        return codec(default)
    return "cp1251" if any(map(_is_russian, data)) else "cp1254"


def _is_russian(data: bytes) -> bool:
    """Whether a word consists only of letters beyond ASCII, and at least one of them is not Turkish."""
    return any(word.translate(None, _TURKISH) for word in _HIGH_WORD.findall(data))


def _in(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        return None


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        good = data[: error.start]
        if error.reason == "unexpected end of data" and not good.isascii():
            return good.decode("utf-8")  # a program has cut the text within its last character
    # Java and MySQL know a UTF-8 in which an emoji is a pair of surrogates.
    try:
        paired = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return paired.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
