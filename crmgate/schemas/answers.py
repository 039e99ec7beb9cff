"""Words for yes and no in the languages of forms, and the answers of a consent box."""

from __future__ import annotations

import re

_YES = (
    "1 yes true on y t ok okay checked selected agree agreed accept accepted granted given"
    " evet var doğru dogru kabul onay да так истина иә ha bəli ja jawohl oui vrai si sí sì sim tak ano áno igen da"
    " ναι نعم بله بلی כן हाँ 是 对 はい 예 네 ✓ ✔ ☑ ✅ x"
)
_NO = (
    "0 no false off n f none null nil undefined nan unchecked unselected disagree disagreed decline declined deny"
    " denied reject rejected refuse refused withdrawn revoked"
    " hayır hayir yok yanlış yanlis нет ні ложь жоқ yo'q xeyr nein nej nei ei non faux não nao falso nie ne nem nu"
    " όχι لا نه خیر לא नहीं 否 不 いいえ 아니요 아니오 ☐ ✗ ✘ ❌"
)
_REFUSAL = re.compile(
    r"\b(?:do|does|did|will|would|am|is)(?: not|n[o']?t|n’t) (?:\w+ )?(?:agree|accept|consent|want|wish|allow|give)"
    r"|\bdisagree|\bdeclin|\brefus|\breject|\bnot (?:agreed|accepted|given|granted|consent)|\bopt(?:ed)?[ -]?out\b"
    r"|\bistem(?:iyor|em\b)|\b(?:et|ver)m(?:iyor|em\b)|\bonaylam[ıi]yor|\breddet"
    r"|\bне (?:соглас|хочу|даю|разреш|приним|жела)|\bотказ"
    r"|\bnicht\b|\bkeine\b|\bn['’]accepte pas|\bne (?:souhaite|veux|consens) pas|\bno (?:acepto|estoy|quiero|deseo)"
)
_SHORT = 100
"""Number of characters up to which a text is an answer. A longer one is what the visitor agreed to by ticking it."""
_EDGES = " \t\r\n.,;:!?'\"“”«»[](){}"


def folded(text: str) -> str:
    """`text` without upper case. Python folds the Turkish İ to an i with a dot above, which is removed."""
    return text.casefold().replace("i\u0307", "i")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_YES_WORDS, _NO_WORDS = _words(_YES), _words(_NO) | {"n/a", "not given", "object object", "", "-", "–", "—"}


def yes_or_no(text: str) -> bool | None:
    """What an answer says; None if it is neither yes nor no."""
    word = folded(text).strip(_EDGES)
    if word in _NO_WORDS:
        return False
    return True if word in _YES_WORDS else None


def refuses(text: str) -> bool:
    """Whether an answer to a consent box refuses: it begins with a no, or says that the visitor does not agree.

    Any other text is what the visitor agreed to. In doubt there is no consent.
    """
    lower = folded(text)
    first = re.split(r"[\s,.;:!–—-]+", lower.strip(_EDGES), maxsplit=1)[0]
    return len(lower) <= _SHORT and (first in _NO_WORDS or _REFUSAL.search(lower) is not None)


def last_of(answers: list[str]) -> str:
    """The answer of a box with its hidden field, which holds the answer of the box that is not ticked.

    The hidden field comes first, so that the last value counts. ASP.NET sends it behind the box, as `true` and `false`.
    """
    pair = [answer.casefold() for answer in answers]
    return answers[0] if pair == ["true", "false"] else answers[-1]
