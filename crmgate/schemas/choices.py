"""The fields with a few answers: choices, yes or no, and the consent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmgate.schemas.answers import folded, last_of, yes_or_no
from crmgate.schemas.coded import Coded, Mended, texts_in
from crmgate.schemas.codes import WarningCode
from crmgate.schemas.text import as_text, is_blank

_YES_NO = {
    "yes": True, "true": True, "on": True, "1": True,
    "no": False, "false": False, "off": False, "0": False,
}  # fmt: skip
"""The recommended words for a boolean; `answers` has those of other languages."""


class Choice(Coded[str]):
    """One of `choices`, in upper or lower case, or a word that `words` assigns to one."""

    expected = "a text"
    forgiving = True
    default_error_messages = {"invalid_choice": "Expected one of: {options}."}  # noqa: RUF012

    def __init__(self, *choices: str, words: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.choices = choices
        self.words = dict(zip(choices, choices, strict=True)) | dict(words or {})

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": [str(choice) for choice in self.choices]}

    def read(self, value: Any) -> str:
        word = value if type(value) is str and value in self.words else self._word(value)
        if word not in self.words:
            raise self.make_error("invalid_choice", options=", ".join(self.choices))
        return self.words[word]

    def _word(self, value: Any) -> str:
        if isinstance(value, list) and len(value) > 1 and all(isinstance(entry, str) for entry in value):
            value = "+".join(sorted({self.words.get(folded(entry), folded(entry)) for entry in value if entry}))
        return folded(self.text(value, 1_000))


class YesNo(Coded[bool]):
    """A boolean, or a form's word for one (a ticked checkbox sends `on`). Of a hidden field and its box the last."""

    expected = "yes, no, true or false"
    forgiving = True
    default_error_messages = {"invalid_choice": "Expected yes or no."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        return {"enum": [True, False, *_YES_NO]}

    def read(self, value: Any) -> bool:
        if type(value) is bool:
            return value
        if type(value) is str and value in _YES_NO:
            return _YES_NO[value]
        if isinstance(value, list):
            value = _last(value)
        answer = yes_or_no(self.text(value, 1_000))
        if answer is None:
            raise self.make_error("invalid_choice")
        return answer


class YesNoWord(Coded[str]):
    """`YesNo` as the word `yes` or `no`."""

    forgiving = True

    def json_schema(self) -> dict[str, Any]:
        return _ANSWER.json_schema()

    def read(self, value: Any) -> str:
        return "yes" if _ANSWER.read(value) else "no"


_ANSWER = YesNo()


def _last(values: list[Any]) -> Any:
    """The answer of a box with its hidden field; `values` itself if an entry is no answer."""
    texts = [as_text(entry) for entry in values if not is_blank(entry)]
    return last_of(texts) if all(yes_or_no(text) is not None for text in texts) else values


class Given(Coded[str | bool]):
    """Whether a consent was given: a boolean or a word for one. Any other text is the one that the visitor agreed to.

    Of a list the last entry counts. Several texts belong together.
    """

    expected = "yes, no or the text of the consent"
    forgiving = True

    def __init__(self, limit: int, **options: Any) -> None:
        super().__init__(**options)
        self.limit = limit

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["boolean", "string"], "maxLength": self.limit}

    def read(self, value: Any) -> str | bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value in _YES_NO:
            return _YES_NO[value]
        texts = texts_in(value)
        if not texts:
            raise self.wrong_type()
        last = last_of(texts)
        if yes_or_no(last) is not False:
            agreed = [text for text in dict.fromkeys(texts) if yes_or_no(text) is not False]
            return last.casefold() in _YES_NO or self.text("\n".join(agreed), self.limit)
        if any(yes_or_no(text) is not False for text in texts):
            raise self.wrong_type()
        return False

    def mend(self, value: Any, fault: str) -> Mended:
        """Of a text that is too long the beginning; of a yes before a no the no."""
        texts = texts_in(value)
        if not texts:
            return super().mend(value, fault)
        if yes_or_no(last_of(texts)) is False:
            message = "The last of several answers was used; all of them were"
            return Mended(False, value, WarningCode.CONFLICTING_VALUES, message)
        text = "\n".join(texts)
        message = f"Only the first {self.limit:,} characters were used; the rest was"
        return Mended(text[: self.limit].rstrip(), text[self.limit :], WarningCode.CUT, message)
