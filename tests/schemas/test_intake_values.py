"""What browsers, form tools and programs post, and what of it reaches the sandbox CRM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import redis
import requests
from flask import Flask
from flask.testing import FlaskClient

from crmgate import create_app
from crmgate.config import Settings
from crmgate.sandbox import create_app as create_sandbox
from crmgate.sandbox import running
from tests.processes import DEADLINE, RedisProcess

URL = "/api/v1/applications"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@dataclass(frozen=True)
class Case:
    """One request, and the texts in the lead that the sandbox gets, in a field or in the description.

    `absent` are texts that must not be there; `warned` are all codes of the warnings.
    """

    name: str
    body: bytes
    kind: str
    found: tuple[str, ...]
    warned: frozenset[str] = frozenset()
    absent: tuple[str, ...] = ("\ufffd", "%D6", "Ã", "Ð")


def sent(fields: dict[str, Any], *found: str, warned: str = "", absent: tuple[str, ...] = ("\ufffd",)) -> Case:
    """A JSON body with a name and an email address."""
    body = {"first_name": "Ada", "email": "ada@example.com"} | fields
    name = json.dumps(fields, ensure_ascii=False)[:80]
    return Case(name, json.dumps(body).encode(), JSON, found, frozenset(warned.split()), absent)


def form(pairs: str, *found: str, warned: str = "", kind: str = FORM, absent: tuple[str, ...] = ("\ufffd",)) -> Case:
    """A form with a name and an email address."""
    body = f"first_name=Ada&email=ada%40example.com&{pairs}".encode()
    return Case(pairs[:80], body, kind, found, frozenset(warned.split()), absent)


def typed(text: str, charset: str, *, declared: str = "", field: str = "", guessed: bool = False) -> Case:
    """A form in an old charset, which is declared, in a field, or not at all."""
    pairs = f"first_name={quote_plus(text, encoding=charset)}&email=ada%40example.com"
    kind = f"{FORM}; charset={declared}" if declared else FORM
    body = f"_charset_={field}&{pairs}" if field else pairs
    warned = frozenset({"charset_guessed"} if guessed else ())
    return Case(f"{text} {charset} {declared}{field}", body.encode(), kind, (text,), warned)


def parts(*each: tuple[str, bytes], boundary: bytes = b"b", encoding: str = "utf-8") -> bytes:
    """A multipart body; each part is the text behind `form-data; ` and the content."""
    lines = (
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (boundary, head.encode(encoding), content)
        for head, content in each
    )
    return b"".join(lines) + b"--%b--\r\n" % boundary


def multipart(name: str, *each: tuple[str, bytes], found: tuple[str, ...], **options: Any) -> Case:
    """A multipart form with an email address."""
    warned = frozenset(options.pop("warned", "").split())
    kind = options.pop("kind", "multipart/form-data; boundary=b")
    body = parts(('name="email"', b"ada@example.com"), *each, **options)
    return Case(name, body, kind, found, warned)


OBJECT = '{"first_name": "Ada", "email": "ada@example.com", "city": "İzmir"}'


def coat(body: str, kind: str, name: str = "") -> Case:
    """A JSON object under another type."""
    return Case(name or f"{kind}: {body[:40]}", body.encode(), kind, ("Ada", "City: İzmir"))


CHARSETS = [
    typed("Özgür", "cp1254", guessed=True),
    typed("Şükrü Çığ", "cp1254", guessed=True),
    typed("Иван Петров", "cp1251", guessed=True),
    typed("Юрий", "cp1251", guessed=True),
    typed("Özgür", "cp1254", declared="windows-1254"),
    typed("Gülşah", "cp1254", declared="ISO-8859-9"),
    typed("René", "cp1252", declared="iso-8859-1"),
    typed("Иван", "cp1251", declared="windows-1251"),
    typed("Иван", "koi8_r", declared="KOI8-R"),
    typed("Łukasz Żak", "iso8859_2", declared="iso-8859-2"),
    typed("محمد", "cp1256", declared="windows-1256"),
    typed("山田太郎", "cp932", declared="Shift_JIS"),
    typed("王小明", "gb18030", declared="gbk"),
    typed("Иван", "cp1251", field="windows-1251"),
    typed("Özgür", "cp1254", field="windows-1254"),
    typed("Özgür", "utf-8", field="UTF-8"),
    typed("Özgür", "utf-8", declared="iso-8859-1"),
    typed("Özgür", "utf-8", declared="no-such-charset"),
    typed("Özgür", "cp1254", declared="utf-8", guessed=True),
    typed("Özgür 🎓 محمد", "utf-8"),
    Case("escape()", b"first_name=%D6zg%FCr%20%u015Eahin&email=a%40b.co", FORM, ("Özgür Şahin",)),
    Case("surrogates", b"first_name=Ada&city=%ED%A0%BD%ED%B8%80&email=a%40b.co", FORM, ("😀",)),
    Case("cut within a letter", b"first_name=Ada&city=%D0%9A%D0%B8%D0&email=a%40b.co", FORM, ("City: Ки",)),
    Case(
        "characters that the charset lacks", b"first_name=%26%231040%3B%F6&email=a%40b.co",
        f"{FORM}; charset=windows-1252", ("Аö",),
    ),
    Case(
        "a name in another charset", b"first_name=Ada&email=a%40b.co&%D6%F0retmen=x", FORM, ("Öğretmen",),
        frozenset({"charset_guessed", "unknown_field"}),
    ),
    multipart("1251", ('name="first_name"', "Иван".encode("cp1251")), found=("Иван",), warned="charset_guessed"),
    multipart(
        "1251 declared", ('name="first_name"', "Иван".encode("cp1251")), found=("Иван",),
        kind="multipart/form-data; boundary=b; charset=windows-1251",
    ),
    multipart(
        "1254 in _charset_", ('name="_charset_"', b"windows-1254"), ('name="first_name"', "Şule".encode("cp1254")),
        found=("Şule",),
    ),
    multipart(
        "charset of a part",
        ('name="first_name"\r\nContent-Type: text/plain; charset=windows-1254', "Şule".encode("cp1254")),
        ('name="city"', "İzmir".encode()), found=("Şule", "City: İzmir"),
    ),
    multipart(
        "names in cp1251", ('name="first_name"', b"Ada"), ('name="Цвет"', "Да".encode("cp1251")),
        found=("Цвет", "Да"), encoding="cp1251", warned="charset_guessed unknown_field",
    ),
    multipart(
        "RFC 5987", ('name="first_name"', b"Ada"), ("name*=UTF-8''%C5%9Fapka", b"x"), found=("şapka",),
        warned="unknown_field",
    ),
]  # fmt: skip

COATS = [
    coat(OBJECT, FORM),
    coat(f"\ufeff  {OBJECT}", FORM),
    coat(f"[{OBJECT}]", FORM),
    coat(quote(OBJECT), FORM),
    coat(f"{quote_plus(OBJECT)}=", FORM),
    coat(OBJECT, "text/plain"),
    coat(OBJECT, "text/plain;charset=UTF-8"),
    coat(OBJECT, ""),
    coat(OBJECT, "text/json"),
    coat(OBJECT, "application/vnd.api+json"),
    coat(OBJECT, "application/ld+json; charset=utf-8"),
    coat(OBJECT, "multipart/form-data"),
    coat(f"[{OBJECT}]", JSON),
    coat(json.dumps(OBJECT), JSON, "encoded twice"),
    coat("first_name=Ada&email=a%40b.co&city=%C4%B0zmir", JSON),
    coat("first_name=Ada&email=a%40b.co&city=%C4%B0zmir", "text/plain"),
    coat("first_name=Ada&email=a%40b.co&city=%C4%B0zmir", ""),
    coat("first_name=Ada\r\nemail=a@b.co\r\ncity=İzmir\r\n", "text/plain", "enctype=text/plain"),
    coat(f"data={quote_plus(OBJECT)}", FORM, "an object in a field"),
    coat(json.dumps({"data": json.loads(OBJECT)}), JSON, "an object in a wrapper"),
    coat(json.dumps({"payload": {"form": [json.loads(OBJECT)]}}), JSON, "two wrappers"),
    multipart(
        "written header", ('name="first_name"', b"Ada"), found=("Ada",), kind="multipart/form-data",
        boundary=b"----WebKitFormBoundaryX",
    ),
    multipart("a form as JSON", ('name="first_name"', b"Ada"), found=("Ada",), kind=JSON),
    multipart("odd boundary", ('name="first_name"', b"Ada"), found=("Ada",), kind="multipart/form-data; boundary=z"),
    multipart(
        "a part as JSON", ('name="data"; filename="blob"\r\nContent-Type: application/json', b'{"firstName": "Ada"}'),
        found=("Ada",),
    ),
    Case(
        "declared JSON", '{"first_name": "Иван", "phone": "05321234567"}'.encode("cp1251"),
        "application/json; charset=windows-1251", ("Иван",),
    ),
]  # fmt: skip

PAGES = [
    form("utm_source=google&utm_source=bing", "google", "bing", warned="conflicting_values"),
    form("utm_source=google&utm_source=google", "google"),
    form("utm_source[]=google&utm_source[]=bing", "google", "bing", warned="conflicting_values"),
    form("utm_campaign[0]=autumn", "autumn"),
    form("utm_campaign%5B%5D=autumn", "autumn"),
    form("utm[campaign]=autumn", "autumn"),
    form("utm.campaign=autumn", "autumn"),
    form("utm[campaign][]=autumn", "autumn"),
    form("utm_campaign[x]=autumn", "autumn", warned="unknown_field"),
    form("lead[city]=Bursa", "City: Bursa"),
    form("form_fields[city]=Bursa", "City: Bursa"),
    form("application[education][level]=bachelor", "Education level: bachelor"),
    form("education[0][level]=bachelor", "Education level: bachelor"),
    form("universities[0]=Ege&universities[1]=Hacettepe", "Ege", "Hacettepe"),
    form("universities.0=Ege&universities.1=Hacettepe", "Ege", "Hacettepe"),
    form("preferences[universities][]=Ege&preferences[universities][]=Hacettepe", "Ege", "Hacettepe"),
    form("utm=%7B%22source%22%3A%22google%22%7D", "google"),
    sent({"utm_source": 5, "utm_medium": True, "ref": 17, "session": 4711, "source": 12}, "17", "true"),
    sent({"utm": {"source": ["google", "bing"], "term": None}}, "google", "bing", warned="conflicting_values"),
    sent({"utm": [{"source": "google"}]}, "google"),
    sent({"utm": "google"}, "utm: google", warned="unknown_field"),
    sent({"utm": {"source": {"id": 5}}}, 'utm.source: {"id":5}', warned="unusable_value"),
    sent({"utm_term": "t" * 300}, "t" * 255, "utm.term: " + "t" * 300, warned="cut"),
    sent({"utm_term": "t" * 3_000}, "utm.term: " + "t" * 2_000, warned="cut"),
    sent({"session": "s" * 2_500}, "session: " + "s" * 2_000, warned="unusable_value cut"),
    sent({"session": "a b"}, "session: a b", warned="unusable_value"),
    sent({"ref": "abc=="}, "abc==", warned="unusable_value"),
    sent({"ref": ["R1", "R2"]}, "R1", "R2", warned="conflicting_values"),
    sent({"source": "Ana sayfa"}, "source: Ana sayfa", warned="unusable_value"),
    sent({"source_description": "d" * 1_500}, "source_description: " + "d" * 1_500, warned="cut"),
    sent({"source_description": {"page": "/x"}}, '{"page":"/x"}', warned="unusable_value"),
    sent({"COOKIES": "c=1; " * 800}, "COOKIES: " + ("c=1; " * 400)[:1_999], warned="cut unknown_field"),
    sent({"Soru " + "ü" * 80: "evet"}, "Soru " + "ü" * 80 + ": evet", warned="cut unknown_field"),
    sent({f"field{n}": f"value-{n}" for n in range(70)}, "value-0", "field69: value-69", warned="unknown_field"),
    sent({"custom": {f"field{n}": f"value-{n}" for n in range(70)}}, "field69: value-69", warned="unknown_field"),
    sent({"custom": {"x": "y" * 2_500}}, "x: " + "y" * 2_000, warned="cut"),
    sent({"custom": "a text"}, "custom: a text"),
    sent({"education": "Lisans"}, "Education level: Lisans"),
    sent({"preferences": "Tıp"}, "preferences: Tıp", warned="unknown_field"),
    sent({"education": [{"level": "BSc"}, {"level": "MSc"}]}, "level: BSc", "MSc", warned="conflicting_values"),
    sent({"data": [{"city": "Bursa"}, {"city": "İzmir"}]}, "City: Bursa", "İzmir", warned="conflicting_values"),
    sent({"custom": [{"a": "one"}, {"a": "two"}]}, "a: one", "two", warned="conflicting_values"),
    sent({"utm": '[{"source": "a1"}, {"source": "b2"}]'}, "a1", "b2", warned="conflicting_values"),
    sent({"personal_info": ["x"], "city": "Bursa"}, "City: Bursa", warned="unknown_field"),
]  # fmt: skip

CONTROLS = [
    form("_comment=c1&_message=m2&_email2=e3", "c1", "m2", "e3", warned="conflicting_values"),
    form("_subject=New&_wpcf7=12&_method=post&_ga=GA1.2", "New", "12", "post", "GA1.2", warned="unknown_field"),
    sent({"_remark9": {"id": 1}, "__v": 3}, '{"id":1}', "3", warned="unknown_field"),
    form("_t=9000&_hp=&_charset_=UTF-8&_next=", absent=("9000", "UTF-8")),
    Case("_replyto", b"first_name=Ada&_replyto=ada%40example.com", FORM, ("ada@example.com",)),
]

CONSENTS = [
    form("consent=0&consent=1", "Consent: given"),
    form("consent=no&consent=on", "Consent: given"),
    form("consent=true&consent=false", "Consent: given"),
    form("consent=1&consent=0", "Consent: not given", warned="conflicting_values"),
    form("consent[]=&consent[]=I+agree", "Consent: given", "I agree"),
    sent({"consent": ["I agree"]}, "Consent: given", "I agree"),
    sent({"consent": ["Terms", "Newsletter"]}, "Consent: given", "Terms", "Newsletter"),
    sent({"consent": 1}, "Consent: given"),
    sent({"consent": "Evet"}, "Consent: given", "Evet"),
    sent({"consent": "да"}, "Consent: given", "да"),
    sent({"consent": "accepted"}, "Consent: given", "accepted"),
    sent({"consent": {"given": "Kabul ediyorum", "text": "KVKK"}}, "Consent: given", "Kabul ediyorum", "KVKK"),
    sent({"consent": [{"given": "yes"}]}, "Consent: given"),
    *(
        sent({"consent": word, "consent_text": "T"}, "Consent: not given")
        for word in (
            "0", "false", "no", "off", "hayır", "Hayır", "HAYIR", "нет", "Нет.", "nein", "non", "não", "ложь", "لا",
            "null", "undefined", "N", "-", "No, thanks", "I do not agree", "Kabul etmiyorum", "не согласен", "Decline",
            "[object Object]", 0, False, ["0"], [0, 0], "☐",
        )
    ),
    sent({"consent": "x" * 12_000}, "Consent: given", warned="cut"),
    sent({"consent": {"given": {"id": 1}, "text": "T"}}, '{"id":1}', warned="unusable_value"),
]  # fmt: skip

AT = "2026-11-23T07:00:00.000Z"
MOMENTS = [
    *(
        sent({"consent": "on", "consent_at": at}, AT)
        for at in (
            1795417200, 1795417200000, "1795417200", "1795417200000", 1795417200.0, "2026-11-23T10:00:00+03:00",
            "2026-11-23T10:00:00+0300", "2026-11-23 07:00:00Z", "2026-11-23 07:00:00 UTC", "20261123T070000Z",
            "2026-11-23 10:00:00+03", "Mon Nov 23 2026 10:00:00 GMT+0300 (GMT+03:00)",
            "Mon Nov 23 2026 10:00:00 GMT+0300 (Москва, стандартное время)", "Mon, 23 Nov 2026 07:00:00 GMT",
            "Mon, 23 Nov 2026 10:00:00 +0300", "Monday, 23-Nov-26 07:00:00 GMT", "Mon Nov 23 07:00:00 UTC 2026",
            "/Date(1795417200000)/", ["2026-11-23T07:00:00Z"], "2026-11-23T10:00:00+03:00[Europe/Istanbul]",
        )
    ),
    *(
        sent({"consent": "on", "consent_at": at}, AT, f"consent.at: {at}", warned="partly_read")
        for at in (
            "2026-11-23 07:00:00", "2026-11-23T07:00", "23.11.2026 07:00:00", "23.11.2026, 07:00:00",
            "23/11/2026, 07:00:00", "11/23/2026, 7:00:00 AM", "November 23, 2026 at 7:00 AM", "2026/11/23 07:00",
        )
    ),
    *(
        sent({"consent": "on", "consent_at": at}, f"consent.at: {at}", warned="unusable_value")
        for at in ("yesterday", "undefined", "Invalid Date", "3/4/2026 10:00", "0000-00-00 00:00", "2026-02-30T10:00Z")
    ),
]  # fmt: skip

ANSWERS = [
    sent({"level": ["Bachelor"]}, "Education level: Bachelor"),
    sent({"level": ["", "Bachelor", None]}, "Education level: Bachelor"),
    sent({"level": ["Bachelor", "Master"]}, "Education level: Bachelor, Master"),
    sent({"city": ["Bursa"], "country": [["TR"]]}, "City: Bursa", "Country: TR"),
    sent({"city": ["Bursa", "İzmir"]}, "City: Bursa", "İzmir", warned="conflicting_values"),
    sent({"first_name": ["Ada", "Ada"]}, "Ada"),
    sent({"last_name": ["Lovelace", "King"]}, "Lovelace", "King", warned="conflicting_values"),
    sent({"country": {"code": "TR"}}, '{"code":"TR"}', warned="unusable_value"),
    sent({"additional_info": ["one", "two"]}, "one\ntwo"),
    sent({"additional_info": 42}, "42"),
    sent({"phone": 5321234567}, "+905321234567"),
    sent({"phone": ["0532 123 45 67"]}, "+905321234567"),
    sent({"level": "L" * 150}, "L" * 150, warned="cut"),
    sent({"gpa": 3.5, "budget": 8000}, "GPA: 3.5", "Budget: 8000"),
    sent({"user_type": "Öğrenci"}, "student"),
    sent({"user_type": "РОДИТЕЛЬ"}, "parent"),
    sent({"user_type": "agent"}, "user_type: agent", warned="unusable_value"),
    sent({"user_type": ["student", "parent"]}, "student", "parent", warned="conflicting_values"),
    sent({"language": ["Turkish", "English"]}, "both"),
    sent({"language": "Klingon"}, "language: Klingon", warned="unusable_value"),
    form("scholarship=0&scholarship=1", "Scholarship: yes"),
    sent({"scholarship": "Hayır"}, "Scholarship: no"),
    sent({"scholarship": "belki"}, "scholarship: belki", warned="unusable_value"),
    form("scholarship_needed=0&scholarship_needed=1", "Scholarship needed: 1"),
    sent({"graduation_year": "Haziran 2027"}, "Graduation year: 2027", "Haziran 2027", warned="partly_read"),
    sent({"graduation_year": "2026-2027"}, "graduation_year: 2026-2027", warned="unusable_value"),
    sent({"graduation_year": 2027.0}, "Graduation year: 2027"),
    sent({"graduation_year": "soon"}, "graduation_year: soon", warned="unusable_value"),
    sent({"birth_date": "12/31/2001"}, "Birth date: 2001-12-31"),
    sent({"birth_date": "2001-12-31T00:00:00.000Z"}, "Birth date: 2001-12-31"),
    sent({"birth_date": "December 31, 2001"}, "Birth date: 2001-12-31"),
    sent({"birth_date": "03/04/2001"}, "birth_date: 03/04/2001", warned="unusable_value"),
    sent({"birth_date": "0000-00-00"}, "birth_date: 0000-00-00", warned="unusable_value"),
    sent({"universities": [{"name": "Ege"}, "Hacettepe"]}, "Hacettepe", '{"name":"Ege"}', warned="partly_read"),
    sent({"universities": ["U" * 250, "Ege"]}, "U" * 250, "Ege", warned="partly_read"),
    sent({"programs": [f"P{n}" for n in range(60)]}, "P0", "P59", warned="partly_read"),
    sent({"programs": 5}, "Programs: 5"),
]

FILES = [
    multipart(
        "a file", ('name="first_name"', b"Ada"), ('name="cv"; filename="özgeçmiş.pdf"\r\nContent-Type: application/pdf',
        b"%PDF" * 300), found=("Ada", "özgeçmiş.pdf (1,200 bytes)"), warned="file_left_out",
    ),
    multipart(
        "two files", ('name="first_name"', b"Ada"), ('name="cv[]"; filename="a.png"', b"\x89PNG\xff"),
        ('name="cv[]"; filename="b.png"', b""), found=("a.png (5 bytes)", "b.png (0 bytes)"), warned="file_left_out",
    ),
    multipart("an empty input", ('name="first_name"', b"Ada"), ('name="cv"; filename=""', b""), found=("Ada",)),
]  # fmt: skip

CASES = [*CHARSETS, *COATS, *PAGES, *CONTROLS, *CONSENTS, *MOMENTS, *ANSWERS, *FILES]


@dataclass
class Setup:
    """The gateway in this process, and the address of its sandbox CRM."""

    client: FlaskClient
    app: Flask
    crm: str

    def lead(self, case: Case) -> tuple[dict[str, Any], set[str]]:
        """What the sandbox has of a case, and the codes of the warnings."""
        answer = self.client.post(URL, data=case.body, content_type=case.kind or None)
        assert answer.status_code == 201, answer.text
        operation = {"operation_id": answer.json["id"]}
        found = requests.get(f"{self.crm}/api/leads", operation, headers={"X-Sandbox-Key": "k"}, timeout=DEADLINE)
        [lead] = found.json()["leads"]
        return lead, {warning["code"] for warning in answer.json.get("warnings", [])}


@pytest.fixture(scope="module")
def setup(redis_process: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with redis.Redis.from_url(redis_process.url) as client:
        client.flushall()
    with running(create_sandbox(tmp_path_factory.mktemp("sandbox") / "leads.db", key="k")) as crm:
        environ = {
            "CRM_PROVIDER": "sandbox", "SANDBOX_URL": crm, "SANDBOX_KEY": "k", "REDIS_URL": redis_process.url,
            "LOG_LEVEL": "ERROR", "RATE_LIMIT_ADDRESS": "off", "RATE_LIMIT_PERSON": "off", "CRM_ON_DUPLICATE": "create",
            "CRM_INLINE_BUDGET": "30",
        }  # fmt: skip
        app = create_app(Settings.load(environ))
        yield Setup(app.test_client(), app, crm)
        app.extensions["crmgate.clicks"].stop()


def faults(setup: Setup, case: Case) -> Iterator[str]:
    lead, warned = setup.lead(case)
    texts = "\n".join(str(value) for value in lead.values())
    yield from (f"lacks {text[:60]!r}" for text in case.found if text not in texts)
    yield from (f"contains {text!r}" for text in case.absent if text in texts)
    if warned != case.warned:
        yield f"warned of {sorted(warned)} instead of {sorted(case.warned)}"


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 150


@pytest.mark.parametrize("group", ["CHARSETS", "COATS", "PAGES", "CONTROLS", "CONSENTS", "MOMENTS", "ANSWERS", "FILES"])
def test_what_reaches_the_crm(setup: Setup, group: str) -> None:
    wrong = []
    for case in globals()[group]:
        try:
            wrong += [f"{case.name}: {fault}" for fault in faults(setup, case)]
        except AssertionError as error:
            wrong.append(f"{case.name}: {str(error)[:300]}")
    assert not wrong, "\n".join(wrong)
