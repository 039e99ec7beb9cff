"""Replaces secrets and personal data in recorded requests and answers.

A value has the same stand-in wherever it occurs, so that a recording can be replayed: an id in an answer is the id in
the path of the next request. The test data of the trial become the test data of the run `NO_RUN`. Emails, phone
numbers, tokens and names of persons that the account adds become stand-ins with a number.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from crmgate.plugin_host.trial.data import NO_RUN, TrialData
from crmgate.plugin_host.trial.exchanges import SENSITIVE, Exchange

HOST = "crm.example"
ORIGIN = f"https://{HOST}"
"""Stands for the scheme, host and port of every request."""
SHORTEST = 6
"""Minimum length in characters of a secret that is replaced inside other texts. A shorter one occurs by chance."""
_KIND = re.compile(r"whsec_|sk_(?:live|test)_|pat-|xox[a-z]-")
"""Prefixes that say which kind of secret it is, and by which plugins check a secret."""
_SEPARATORS = r"[\s().\-/]*"
_PERSON = re.compile(
    r"(?i)(?:(first|last|full|middle|user|owner|creator|author|assign\w*|contact|person|display|agent|manager|sur|given"
    r"|family|modifiedby|createdby|modified_by|created_by)[_ -]?name)|name_?(first|last)"
)
_CONTACT = re.compile(r"(?i)e-?mail|phone|mobile")
_PHONE_KEY = re.compile(r"(?i)phone|mobile|\btel\b|fax|msisdn|whatsapp")
_EMAIL = re.compile(r"[\w.+'-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+")
_TOKEN = re.compile(
    r"(?<![\w-])(?!\d{4}-\d\d-\d\dT)"
    r"(?:eyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?|(?=(?:[\w-]*\d){3})(?=[\w-]*[A-Za-z])[\w-]{20,})(?![\w-])",
    re.ASCII,
)
_PHONE = re.compile(
    r"(?<![\w.])(?:\+[\s(]*[1-9]|\(0?[1-9]\d{1,3}\)|0\d)(?:[\s().\-/]*\d){6,14}(?![\w-])"
    r"|(?<![\w.-])\d{3}-\d{3}-\d{4}(?![\w-])",
    re.ASCII,
)
_PATTERNS = {"email": _EMAIL, "token": _TOKEN, "phone": _PHONE}
_OPEN, _CLOSE = "\ue000", "\ue001"
"""Enclose the number of a stand-in while a text is worked on, so that no later rule reads it."""
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class Masker:
    """Replaces what belongs to one trial: the secrets of the settings, its test data, and the data of the account.

    What the plugin sends of its own, such as a date that looks like a phone number, stays as it is.
    """

    def __init__(self, sample: TrialData, secrets: Iterable[str], settings: Iterable[str]) -> None:
        self._stand_ins = list[str]()
        self._known = dict[tuple[str, str], str]()
        self._sent = set[str]()
        self._ours = set[str]()
        self._literals = dict[str, tuple[re.Pattern[str], str]]()
        self._phone = _spelt(sample.phone)
        self._canonical = TrialData(NO_RUN, sample.at)
        marks = {real: self._canonical.marks()[name] for name, real in sample.marks().items()}
        self._marks = {real: marks[real] for real in sorted(marks, key=len, reverse=True)}
        for secret in secrets:
            self._add_secret(secret)
        for setting in settings:
            self._add_origin(setting)
            self.text(setting)

    def learn(self, exchanges: Iterable[Exchange]) -> None:
        """Collect what is known by its place: hosts, credentials, and what the account adds in answers."""
        exchanges = list(exchanges)
        for one in exchanges:
            self._add_origin(one.origin)
            for credential in one.credentials:
                self._add_secret(credential)
        for one in exchanges:
            for value in (one.query, one.body.value if one.body else None):
                self._learn_tokens(value)
                self._learn_ours(value)
            answer = one.answer.value if one.answer else None
            self._learn_tokens(answer)
            self._learn_persons(answer)
            self._learn_phones(answer)
            self.value(answer)

    def exchange(self, one: Exchange) -> Exchange:
        """The exchange with stand-ins."""
        return one.mapped(self.text, self.value)

    def value(self, value: Any, key: str = "") -> Any:
        """A JSON value with stand-ins, also in the names of members."""
        match value:
            case str():
                return self._keyed(value, key)
            case bool() | float() | None:
                return value
            case int():
                return self._number(value, key)
            case [str(name), str(text)]:  # a pair of a form or a query
                return [self.text(name), self._keyed(text, name)]
            case list():
                return [self.value(one, key) for one in value]
        return {self.text(name): self.value(one, name) for name, one in value.items()}

    def text(self, text: str) -> str:
        """A text with stand-ins."""
        return self._shown(self._patterns(self._exact(text)))

    def _keyed(self, text: str, key: str) -> str:
        exact = self._exact(text)
        if _OPEN in exact:
            return self._shown(self._patterns(exact))
        if _PHONE_KEY.search(key) and text not in self._sent and sum(letter.isdecimal() for letter in text) >= 7:
            return self._shown(self._mark("phone", text, _numbered))
        if SENSITIVE.search(key) and text:
            return self._shown(self._mark("token", text, _masked))
        return self._shown(self._patterns(exact))

    def _number(self, value: int, key: str) -> int:
        text = str(value)
        shown = self._keyed(text, key) if len(text) >= 7 else text
        return int(shown.lstrip("0") or "0") if shown != text else value

    def _exact(self, text: str) -> str:
        """`text` with marks for secrets, hosts and names, then for the test data."""
        for pattern, stand_in in self._literals.values():
            text = pattern.sub(self._put(stand_in), text)
        for found, stand_in in self._marks.items():
            text = re.sub(re.escape(found), self._put(stand_in), text, flags=re.IGNORECASE)
        return self._phone.sub(lambda found: self._put(_dialled(found[0], self._canonical.phone)), text)

    def _patterns(self, text: str) -> str:
        """`text` with marks for emails, tokens and phone numbers."""
        for kind, pattern in _PATTERNS.items():
            text = pattern.sub(partial(self._found, kind), text)
        return text

    def _found(self, kind: str, match: re.Match[str]) -> str:
        """The mark of a match; what the plugin sends of its own stays, except a signed token."""
        if match[0] in self._ours and not match[0].startswith("eyJ"):
            return match[0]
        return self._mark(kind, match[0], _email if kind == "email" else _numbered)

    def _learn_tokens(self, value: Any) -> None:
        for key, text in _texts(value):
            if SENSITIVE.search(key) and len(text) >= SHORTEST and not self._is_marked(text):
                self._literal(text, self._shown(self._mark("token", text, _masked)))

    def _learn_ours(self, value: Any) -> None:
        """Collect what looks like data of the account, but is first seen in a request."""
        for _, text in _texts(value):
            exact = self._exact(text)
            known = {one for _, one in self._known}
            found = {one[0] for pattern in _PATTERNS.values() for one in pattern.finditer(exact)}
            self._ours |= found - known
            self._sent |= {text} - known

    def _learn_persons(self, value: Any) -> None:
        for name in _persons(value):
            if len(name) >= 3 and name not in self._sent and not self._is_marked(name):
                stand_in = self._shown(self._mark("person", name, lambda _, number: f"Person {number}"))
                self._literal(name, stand_in, whole=True)

    def _learn_phones(self, value: Any) -> None:
        """Collect numbers that are phones by the name of their member, so that they are found in texts as well."""
        for key, text in _texts(value):
            digits = "".join(letter for letter in text if letter.isdecimal())
            if _PHONE_KEY.search(key) and len(digits) >= 7 and text not in self._sent and not self._is_marked(text):
                self._literal(text, self._shown(self._mark("phone", text, _numbered)), whole=True)
                self._literal(digits, _numbered(digits, 0), whole=True)

    def _is_marked(self, text: str) -> bool:
        """Whether the text has test data of the trial, or a secret that is known."""
        return _OPEN in self._exact(text)

    def _add_secret(self, secret: str) -> None:
        for part in _parts(secret) if "://" in secret else (secret,):
            if len(part) >= SHORTEST and not self._is_marked(part):
                self._literal(part, shape(part))

    def _add_origin(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname:
            self._literal(f"{parts.scheme}://{parts.netloc}", ORIGIN, whole=True)
            for host in (parts.netloc, parts.hostname):
                if "." in host or ":" in host:
                    self._literal(host, HOST, whole=True)

    def _literal(self, found: str, stand_in: str, *, whole: bool = False) -> None:
        """Replace `found` in every form. `whole`: only as a word of its own."""
        start, end = (r"(?<![\w.-])", r"(?![\w-])") if whole else ("", "")
        for form in (_plain, html.escape, partial(quote, safe=""), _base64):
            pattern = re.compile(f"{start}{re.escape(form(found))}{end}")
            self._literals.setdefault(form(found), (pattern, form(stand_in)))
        self._literals = {one: self._literals[one] for one in sorted(self._literals, key=len, reverse=True)}

    def _mark(self, kind: str, found: str, make: Callable[[str, int], str]) -> str:
        """The mark of a value; a new value gets the next number of its kind."""
        if (kind, found) not in self._known:
            number = 1 + sum(known == kind for known, _ in self._known)
            self._known[kind, found] = make(found, number)
        return self._put(self._known[kind, found])

    def _put(self, stand_in: str) -> str:
        if stand_in not in self._stand_ins:
            self._stand_ins.append(stand_in)
        return f"{_OPEN}{self._stand_ins.index(stand_in)}{_CLOSE}"

    def _shown(self, text: str) -> str:
        return _MARK.sub(lambda found: self._stand_ins[int(found[1])], text)


def shape(secret: str) -> str:
    """A stand-in of the same length and form: `a`, `A` and `0` for letters and digits. Of an address, its host too."""
    if "://" in secret:
        return ORIGIN + re.sub(rf"[^/?&=#]{{{SHORTEST},}}", lambda found: shape(found[0]), _after_host(secret))
    prefix = _KIND.match(secret)
    kept = prefix[0] if prefix else ""
    return kept + "".join(map(_shaped, secret[len(kept) :]))


def _shaped(letter: str) -> str:
    if letter.isdecimal():
        return "0"
    if letter.isalpha():
        return "A" if letter.isupper() else "a"
    return letter


def _after_host(address: str) -> str:
    """Path and query of an address."""
    return urlsplit(address)._replace(scheme="", netloc="").geturl()


def _plain(text: str) -> str:
    return text


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _parts(address: str) -> list[str]:
    """The parts of a secret address that can be the secret."""
    return [part for part in re.split(r"[/?&=#]", _after_host(address)) if len(part) >= SHORTEST]


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a JSON value with the name of its member."""
    match value:
        case str():
            yield key, value
        case [str(name), str(text)]:
            yield name, text
        case list():
            for one in value:
                yield from _texts(one, key)
        case dict():
            for name, one in value.items():
                yield from _texts(one, name)


def _persons(value: Any) -> Iterator[str]:
    """Names of persons in an answer: members such as `ownerName`, and `name` beside an email or a phone."""
    match value:
        case list():
            for one in value:
                yield from _persons(one)
        case dict():
            contact = any(_CONTACT.search(key) for key in value)
            for key, one in value.items():
                if isinstance(one, str) and (_PERSON.search(key) or (contact and key.lower() == "name")):
                    yield one
                yield from _persons(one)


def _spelt(phone: str) -> re.Pattern[str]:
    """Finds the number without its country code, in any spelling."""
    return re.compile(rf"(?<!\d)1?{_SEPARATORS}{_SEPARATORS.join(phone.removeprefix('+1'))}(?!\d)")


def _dialled(spelling: str, phone: str) -> str:
    """`spelling` with the digits of `phone`, which has as many."""
    digits = iter(phone.removeprefix("+1"))
    national = [index for index, letter in enumerate(spelling) if letter.isdecimal()][-10:]
    return "".join(next(digits) if index in national else letter for index, letter in enumerate(spelling))


def _email(_found: str, number: int) -> str:
    return f"person-{number}@example.com"


def _masked(_found: str, number: int) -> str:
    return f"masked-{number}"


def _numbered(found: str, number: int) -> str:
    """`found` with zeros for its letters and digits, and the number in its last ones."""
    zeros = ["0" if letter.isalnum() else letter for letter in found]
    places = [index for index, letter in enumerate(found) if letter.isalnum()]
    for index, digit in zip(reversed(places), reversed(str(number)), strict=False):
        zeros[index] = digit
    return "".join(zeros)
