"""Names of fields as forms and form tools send them, full names, and the errors of missing fields.

Each table is checked in one test that lists every row that fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from crmgate.schemas import parse_application
from crmgate.schemas.faults import InvalidFields
from crmgate.schemas.full_names import split
from crmgate.schemas.names import FULL_NAME, TABLE, field_of
from crmgate.schemas.vocabulary import APPLICATION

PHONE = {"phone": "0532 123 45 67"}
ADA = {"first_name": "Ada"}

LABELS: Mapping[str, str] = {
    "full_name": (
        "name|Name *|No Label name|YOUR NAME|Your full name|Full Name (as in passport)|fullName|"
        "q3_fullName|your-name|text-name|"
        "form_fields[name]|fields[name][value]|wpforms[fields][name]|et_pb_contact_name_0|txtName|user_name|user[name]|"
        "What's your name?|Can we have your name?|Name / Ad Soyad|Ad Soyad|AD SOYAD|Ad-Soyad|adı soyadı|"
        "ADINIZ SOYADINIZ|Adiniz Soyadiniz|İsim Soyisim|İSİM|Adınız *|Lütfen adınızı girin|"
        "Öğrenci Adı Soyadı|Имя|ИМЯ *|Ваше имя|"
        "Имя и фамилия|ФИО|Ф.И.О.|Как вас зовут?|Введите имя|«Имя»|Nombre completo|الاسم"
    ),
    "first_name": (
        "First name|First Name:|Firstname|fname|FNAME|mc4wp-FNAME|given-name|names[first_name]|"
        "names.first|Contact 7 First Name|field:first_name_e1e8|"
        "q3_fullName[first]|Name (First)|name-1-first-name|billing_first_name|contact.name.first|"
        "properties.firstname|wpforms[fields][0][first]|Vorname|Prénom|First name (required)"
    ),
    "last_name": (
        "Last name|LAST_NAME|lname|Surname|Family name|q3_fullName[last]|Name_Last|names[last_name]|Soyad|Soyadınız|"
        "SOYADI|soyisim|Фамилия|Ваша фамилия|Nachname|Apellidos"
    ),
    "email": (
        "e-mail|E-Mail:|EMAIL|eMail|Mail|mail_address|your-email|Your e-mail address|email-1|email-123|Email ID|"
        "Please enter your email|Please enter a valid email|What is your e-mail address?|form_fields[email]|"
        "data.email|contact[email]|user.email|Email (we never share it)|📧 Email|_replyto|Reply-To|E-posta|"
        "E-POSTA ADRESİ|e_posta|Eposta adresiniz|Mail adresiniz|Lütfen e-posta adresinizi giriniz|"
        "E-posta / Email|Почта|Эл. почта|"
        "Электронная почта|Ваш e-mail|E-mail адрес|Adresse e-mail|Correo electrónico|البريد الإلكتروني"
    ),
    "phone": (
        "tel|Tel.|Tel. No.|TELEPHONE|Phone #|phone_number|tel-789|Mobile|Mobile No.|mobile-phone|Cell Phone|"
        "Contact number|q5_phoneNumber[full]|billing_phone|form_fields[phone]|Phone (WhatsApp)|WhatsApp|whatsapp_no|"
        "What's the best phone number to reach you?|Telefon|TELEFON NUMARASI|Telefon numaranız nedir?|Cep Telefonu|"
        "Cep tel|GSM|İletişim numaranız|Телефон|Номер телефона|№ телефона|Ваш телефон *|Контактный телефон|"
        "Телефон/WhatsApp|Telefon / Phone|Telefonnummer|Téléphone|رقم الهاتف"
    ),
    "contact": "Contact|Phone or email|E-mail / Telefon|İletişim bilgileriniz|Телефон или email|Ваши контакты",
    "country": "Country|Country/Region|country-list|Country of residence|Ülke|ÜLKENİZ|Yaşadığınız ülke|Страна|País",
    "city": "City|City/Town|billing_city|Şehir|ŞEHİR|Şehir / İl|İl|Город|Ville|Stadt",
    "birth_date": "Date of birth|DOB|dob (dd/mm/yyyy)|Birthday|Doğum Tarihi|Doğum tarihiniz|Дата рождения|Geburtsdatum",
    "additional_info": (
        "Message|your-message|Comments|How can we help you?|textarea-1|et_pb_contact_message_0|Mesaj|Mesajınız|Notlar|"
        "Açıklama|Сообщение|Ваше сообщение|Комментарий|Nachricht|_message"
    ),
    "programs": "Program of interest|Programme|Course|Bölüm|İlgilendiğiniz bölüm|Специальность|Программа обучения",
    "universities": "University|Preferred university|Üniversite|Hedef Üniversite|Университет|ВУЗ",
    "level": "Level of study|Education level|Degree|Eğitim düzeyi|Öğrenim durumu|Уровень образования",
    "institution": "School name|High school|Okul|Mezun olduğunuz okul|Школа|Учебное заведение",
    "graduation_year": "Year of graduation|Mezuniyet yılı|Год окончания",
    "budget": "what_is_your_budget?|Annual budget (USD)|Bütçe|Bütçeniz nedir?|Бюджет",
    "start_date": "Intake|When do you want to start?|Başlangıç tarihi|Дата начала обучения",
    "gpa": "GPA|Not ortalaması|Средний балл",
    "language_preference": "Preferred language|Eğitim dili|Язык обучения",
    "consent_given": (
        "consent|gdpr_consent|acceptance-123|I agree to the privacy policy|KVKK|KVKK onayı|"
        "Согласие на обработку персональных данных"
    ),
    "source_description": "How did you hear about us?|Bizi nereden duydunuz?|Откуда вы о нас узнали?",
    "utm_source": "UTM Source|utm-source|utmSource",
}
"""Names by their field, separated by |."""

UNKNOWN = (
    "parent_email|Veli adı|Veli telefonu|friend[email]|hobby.email|Emergency contact phone|company name|Company|"
    "form_name|formName|form[name]|file name|campaign_name|ad_name|ad_id|event name|username|password|nickname|"
    "email subject|email_verified|email_consent|is_email|email_required|phone type|phone_country|Telegram|"
    "telegram username|Field 2|field-3|form_fields[field_7f3]|fields[name][title]|"
    "fields[email][type]|fields[0][name]|answers.3.name|"
    "input_1.3|1.3|q5|MERGE1|text-12|menu-77|number-5|subject|Konu|Тема|address|title|newsletter|marketing consent|"
    "Name of company|tranid|page_url|x|*|[]|...|?|" + "name " * 40
)


def failing(rows: Iterable[tuple[Any, Any, Any]]) -> list[tuple[Any, Any, Any]]:
    """The rows (input, found, expected) that are not as expected."""
    return [row for row in rows if row[1] != row[2]]


def parsed(body: Mapping[str, Any], region: str = "TR", **options: Any) -> dict[str, Any]:
    """What is not a default of the lead, with the names and codes of the warnings; or the codes of the errors."""
    try:
        result = parse_application(body, default_region=region, **options)
    except InvalidFields as refused:
        return {"errors": [(error.field, error.code.value) for error in refused.errors]}
    lead = {name: value for name, value in result.lead.to_dict().items() if name not in ("source", "referral_code")}
    warnings = [(warning.field, warning.code.value) for warning in result.warnings]
    return lead | ({"warnings": warnings} if warnings else {})


def test_labels_of_forms_and_form_tools() -> None:
    rows = [(label, field_of(label), field) for field, text in LABELS.items() for label in text.split("|")]
    assert len(rows) > 200
    assert failing(rows) == []


def test_the_field_of_something_else_is_unknown() -> None:
    assert failing((label, field_of(label), None) for label in UNKNOWN.split("|")) == []


def test_each_name_of_the_table_leads_to_its_own_field() -> None:
    labels = [(label, field) for field, names in TABLE.items() for text in names for label in text.split(",")]
    assert failing((label, field_of(label), field) for label, field in labels if label.strip()) == []


def test_the_table_has_each_field() -> None:
    assert {APPLICATION.targets[field] for field in TABLE} == {*APPLICATION.targets.values()} - {"custom"}


TOOLS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"your-name": "Ada Lovelace", "your-email": "ada@x.co", "your-message": "Hi", "tel-1": "05321234567"},
        {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.co", "additional_info": "Hi",
         "phone": "+905321234567"},
    ),
    (
        {"q3_fullName[first]": "Ada", "q3_fullName[last]": "Lovelace", "q4_email": "ada@x.co"},
        {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.co"},
    ),
    (
        {"q3_fullName": {"first": "Ada", "last": "Lovelace"}, "q5_phoneNumber": {"area": "532", "phone": "1234567"}},
        {"first_name": "Ada", "last_name": "Lovelace", "phone": "+905321234567"},
    ),
    (
        {"form_fields": {"name": "Ada Lovelace", "email": "ada@x.co"}},
        {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.co"},
    ),
    (
        {"fields": {"name": {"value": "Ada Lovelace"}, "email": {"value": "ada@x.co", "raw_value": "ada@x.co"}}},
        {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.co"},
    ),
    (
        {"name": {"first": "Ada", "last": "Lovelace", "middle": "King"}, "contact": {"phone": "05321234567"}},
        {"first_name": "Ada", "last_name": "Lovelace", "phone": "+905321234567", "custom": {"name.middle": "King"},
         "warnings": [("name.middle", "unknown_field")]},
    ),
    (
        {"form": {"name": "Footer"}, "Name": "Ada", "Email": "ada@x.co"},
        {"first_name": "Ada", "email": "ada@x.co", "custom": {"form": '{"name":"Footer"}'},
         "warnings": [("form", "unknown_field")]},
    ),
    (
        {"Ad Soyad": "Ayşe Yılmaz", "Telefon Numarası": "0532 123 45 67", "Bölüm": "Tıp", "KVKK": "on"},
        {"first_name": "Ayşe", "last_name": "Yılmaz", "phone": "+905321234567", "programs": ["Tıp"],
         "consent": {"given": True}},
    ),
    (
        {"Имя": "Иван", "Фамилия": "Петров", "Телефон": "8 912 345-67-89", "Город": "Казань"},
        {"first_name": "Иван", "last_name": "Петров", "phone": "+79123456789", "city": "Казань"},
    ),
    ({"name": "Ada", "Телефон или email": "ada@x.co"}, {"first_name": "Ada", "email": "ada@x.co"}),
    ({"name": "Ada", "Contact": "0532 123 45 67"}, {"first_name": "Ada", "phone": "+905321234567"}),
    ({"contact": "1234567", "phone": "0532 123 45 67", "full_name": {"first": "Ada", "last": "Lovelace"}},
     {"first_name": "Ada", "last_name": "Lovelace", "phone": "+905321234567", "custom": {"contact": "1234567"},
      "warnings": [("contact", "conflicting_values")]}),
    ({"name": "Ada", "contact": {"email": "ada@x.co"}}, {"first_name": "Ada", "email": "ada@x.co"}),
    (
        {"name": "Ada", "Email": "ada@x.co", "Contact": "@ada"},
        {"first_name": "Ada", "email": "ada@x.co", "custom": {"Contact": "@ada"},
         "warnings": [("Contact", "unusable_value")]},
    ),
    ({"Vorname": "Ada", "Name": "Lovelace"} | PHONE,
     {"first_name": "Ada", "last_name": "Lovelace", "phone": "+905321234567"}),
    ({"personal_info": {"fullName": "Ada Lovelace", "mobile": "05321234567"}},
     {"first_name": "Ada", "last_name": "Lovelace", "phone": "+905321234567"}),
    ({"first_name": "Ada", "Education": "Bachelor"} | PHONE,
     {"first_name": "Ada", "phone": "+905321234567", "education_level": "Bachelor"}),
    (
        {"first_name": "Ada", "Name": "Grace Hopper"} | PHONE,
        {"first_name": "Ada", "phone": "+905321234567", "custom": {"Name": "Grace Hopper"},
         "warnings": [("Name", "conflicting_values")]},
    ),
    (
        {"E-posta": "b@x.co", "email": "a@x.co", "first_name": "Ada"},
        {"first_name": "Ada", "email": "a@x.co", "custom": {"E-posta": "b@x.co"},
         "warnings": [("E-posta", "conflicting_values")]},
    ),
    (
        {"first_name": "Ada", "Doğum tarihi": "dün", "ad": "123"} | PHONE,
        {"first_name": "Ada", "phone": "+905321234567", "custom": {"ad": "123", "Doğum tarihi": "dün"},
         "warnings": [("ad", "conflicting_values"), ("Doğum tarihi", "unusable_value")]},
    ),
    ({"first_name": "Ada", "Name": "L" * 150} | PHONE,
     {"first_name": "Ada", "last_name": "L" * 100, "phone": "+905321234567", "custom": {"Name": "L" * 150},
      "warnings": [("Name", "cut")]}),
    ({"first_name": "Ada", "Telegram": "@ada"} | PHONE,
     {"first_name": "Ada", "phone": "+905321234567", "custom": {"Telegram": "@ada"},
      "warnings": [("Telegram", "unknown_field")]}),
]  # fmt: skip


def test_bodies_of_form_tools() -> None:
    assert failing((body, parsed(body), lead) for body, lead in TOOLS) == []


SERIALIZED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"fields[0][name]": "name", "fields[0][value]": "Ada Lovelace", "fields[1][name]": "email",
         "fields[1][value]": "ada@x.co", "fields[1][type]": "email", "page": "/apply"},
        {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.co", "custom": {"page": "/apply"},
         "warnings": [("page", "unknown_field")]},
    ),
    (
        {"child[0][label]": "Ida", "child[0][age]": "5", "name": "Ada", "email": "ada@x.co"},
        {"first_name": "Ada", "email": "ada@x.co", "custom": {"child[0][label]": "Ida", "child[0][age]": "5"},
         "warnings": [("child[0][label]", "unknown_field"), ("child[0][age]", "unknown_field")]},
    ),
]  # fmt: skip


def test_lists_of_answers_in_the_notation_of_forms() -> None:
    assert failing((body, parsed(body), lead) for body, lead in SERIALIZED) == []


SPLIT = [
    ("Ada Lovelace", "Ada", "Lovelace"),
    ("Ada", "Ada", ""),
    ("Lovelace, Ada", "Ada", "Lovelace"),
    ("Lovelace,Ada King", "Ada King", "Lovelace"),
    ("Ada Lovelace, PhD", "Ada", "Lovelace, PhD"),
    ("Lovelace,", "Lovelace,", ""),
    ("  Ada \n King  Lovelace ", "Ada King", "Lovelace"),
    ("Ayşe Nur Yılmaz", "Ayşe Nur", "Yılmaz"),
    ("Иванов Иван Иванович", "Иван Иванович", "Иванов"),
    ("Иван Иванович Петров", "Иван Иванович", "Петров"),
    ("Роман Аркадьевич Абрамович", "Роман Аркадьевич", "Абрамович"),
    ("Петрова Анна Сергеевна", "Анна Сергеевна", "Петрова"),
    ("王小明", "王小明", ""),
]

KNOWN = [
    ("Ada Lovelace", "", "Lovelace", ("Ada", "Lovelace")),
    ("Ada", "", "Lovelace", ("Ada", "Lovelace")),
    ("Mary Ann", "", "Smith", ("Mary Ann", "Smith")),
    ("Ada Lovelace", "Ada", "", ("Ada", "Lovelace")),
    ("Lovelace, Ada", "Ada", "", ("Ada", "Lovelace")),
    ("ada lovelace", "Ada", "Lovelace", ("Ada", "Lovelace")),
    ("Lovelace Ada", "Ada", "Lovelace", ("Ada", "Lovelace")),
    ("Ada", "Ada", "", ("Ada", "")),
    ("Lovelace", "Ada", "", ("Ada", "Lovelace")),
]


def test_full_names() -> None:
    assert failing((full, split(full), (first, last)) for full, first, last in SPLIT) == []


def test_full_names_beside_first_and_last_names() -> None:
    rows = []
    for full, first, last, expected in KNOWN:
        lead = parsed({"name": full, "first_name": first, "last_name": last} | PHONE)
        rows.append(((full, first, last), (lead["first_name"], lead.get("last_name", "")), expected))
        assert "warnings" not in lead
    assert failing(rows) == []


def message(body: Mapping[str, Any], field: str = "personal_info.first_name") -> str:
    with pytest.raises(InvalidFields) as refused:
        parse_application(body, default_region="TR")
    [text] = [error.message for error in refused.value.errors if error.field == field]
    return text


def test_the_error_of_a_missing_field_names_what_was_sent_and_the_nearest_name() -> None:
    body = {"naam": "secret", "mial": "hidden@x.co", "tel": "0532 123 45 67", "_next": "/thanks"}
    text = message(body)
    assert "The form sent: naam, mial, tel." in text
    assert "Known names for it: first_name, full_name, firstname, name," in text
    assert "Did you mean `naam` -> `full_name`?" in text
    assert "FIELD_ALIASES=naam=full_name" in text
    text = message({"first_name": "Ada", "mial": "hidden at x.co"}, "personal_info")
    assert "Did you mean `mial` -> `email`?" in text
    assert "hidden" not in text


def test_the_error_of_an_empty_form() -> None:
    assert "The form sent no fields." in message({})


def test_names_in_an_error_are_few_short_and_clean() -> None:
    text = message({"a\x00\n\u202eb`c": "x", "y" * 1_000: "x"} | {f"field{n}": "x" for n in range(40)})
    assert "The form sent: a bc, " in text
    assert "y" * 41 not in text
    assert "field7" in text
    assert "field8" not in text
    assert "and 32 more." in text
    assert len(text) < 1_500
    assert text.isprintable()


def test_a_misspelt_name_inside_a_group_is_named() -> None:
    text = message({"personal_info": {"frist_name": "Ada", "email": "a@x.co"}})
    assert "personal_info.frist_name" in text


def test_field_aliases() -> None:
    aliases = {"q5": "phone", "isim-alani": "full_name", "answers.q7": "education.level", "name": "custom"}
    body = {"Q5": "0532 123 45 67", "isim-alani": "Ada Lovelace", "answers": {"q7": "MSc"}, "name": "Footer form"}
    assert parsed(body, aliases=aliases) == {
        "first_name": "Ada", "last_name": "Lovelace", "phone": "+905321234567", "education_level": "MSc",
        "custom": {"name": "Footer form"},
    }  # fmt: skip


def test_a_field_alias_comes_before_a_usual_name_and_after_the_fields_own() -> None:
    body = {"Mail": "c@x.co", "q1": "b@x.co"} | ADA
    assert parsed(body, aliases={"q1": "email"})["email"] == "b@x.co"
    assert parsed(body | {"email": "a@x.co"}, aliases={"q1": "email"})["email"] == "a@x.co"


def test_full_name_is_a_name_of_its_own() -> None:
    assert FULL_NAME in APPLICATION.targets
    assert parsed({FULL_NAME: "Ada Lovelace"} | PHONE)["last_name"] == "Lovelace"
