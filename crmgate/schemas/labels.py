"""Reduces the label or the name of a form's field to the words that say what the field is."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

_NEAR = 0.7
"""Smallest similarity of two names, from 0 to 1, of which one may be a misspelling of the other."""
_CUT = 120
"""Number of characters of a name that are compared."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[^\W\d_]+")
_SEGMENT = re.compile(r"[.\[\]]+")
_NO_WORDS = re.compile(r"\b(what|which)( is| are|['’]?s)?\b(?! app)|\Ano label ")
"""The beginning of a question, and what Elementor calls a field without a label."""
_ID = re.compile(r"[_-][a-z]*\d+[a-z][a-z0-9]*(?![^\W_])")
"""An id that a form tool adds to a name: `first_name_e1e8`."""
_REQUIRED = re.compile(
    r"(\s[\s*:-]*|\*)(required|optional|mandatory|zorunlu|opsiyonel|istege bagli|обязательно|необязательно)\W*\Z"
)


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_POLITE = _set(
    "a an the your ur you we us our my me s please kindly enter write provide insert fill in give tell choose select"
    " are can could may will would do does have get like at to for of best reach with and from here hi hello"
    " there"
    " lutfen giriniz girin yaziniz yazin yazar misiniz belirtiniz belirtin seciniz secin nedir sizin ve doldurunuz"
    " ваш ваша ваше ваши вашу введите укажите напишите пожалуиста выберите оставьте какои какая какое у вас"
    " ihr ihre deine dein bitte votre vos su tu"
)
"""Words that say nothing about the field."""
BEFORE = _set(
    "contact applicant student customer client lead user visitor person personal billing primary main current type"
    " valid q et pb mc wp wpcf cf ff nf frm gf field fld input inp txt text dropdown select menu ddl textbox label"
    " hidden single checkbox radio candidate prospect ogrenci basvuran kisisel iletisim"
)
"""Words before the name of a field that form tools add, or that say whose field it is."""
_AROUND = _set(
    "fields field formfields formfield data formdata formresponse answers answer values value body payload submission"
    " submissions inputs input properties attributes params parameters variables wpforms itemmeta contact contacts"
    " contactinfo contactdetails contactinformation personal personaldata personaldetails personalinformation"
    " personalinfo person lead leads user customer client applicant student visitor profile billing result results"
    " entry entries record questions question mergefields record item items contactform"
)
"""What contains a field in a nested name: `form_fields[email]`, `contact.email`."""
INSIDE = _set("value rawvalue values answer text prettyformat full")
"""What the field's own value is called in a nested name: `fields[name][value]`."""


def comparable(label: str) -> str:
    """`label` as it is compared: its letters, without case, accents, containers and polite words."""
    return "".join(words_of(label))


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is spelled most like `name`; empty if none is near."""
    return next(iter(difflib.get_close_matches(name[:_CUT], list(known), 1, _NEAR)), "")


def words_of(label: str) -> list[str]:
    """The words of a label that say what the field is."""
    words = [word for segment in _segments(label) for word in segment]
    return [word for word in words if word not in _POLITE] or words


def _segments(label: str) -> list[list[str]]:
    """The words of each segment of a nested name, without what surrounds the field."""
    segments = [words for part in _SEGMENT.split(label) if (words := _WORD.findall(_plain(part)))]
    while len(segments) > 1 and "".join(segments[0]) in _AROUND:
        segments = segments[1:]
    while len(segments) > 1 and "".join(segments[-1]) in INSIDE:
        segments = segments[:-1]
    return segments


def _plain(text: str) -> str:
    """`text` in lower case, without accents and without what says nothing about a field; İ and ı become i."""
    text = _CAMEL.sub(" ", text).replace("ı", "i")
    if not text.isascii():
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if unicodedata.category(char) != "Mn")
    text = _ID.sub(" ", _REQUIRED.sub("", text.casefold()))
    return _NO_WORDS.sub(" ", text.replace("_", " "))
