"""Whole bodies of form tools, frameworks and sites: each typed value is found again in the lead of the sandbox CRM."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from crmgate.schemas.labelled import labelled
from crmgate.schemas.text import as_text
from tests.schemas.sandboxed import Setup, setup
from tests.schemas.test_intake_names import LABELS, TOOLS

__all__ = ["setup"]
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True)
class Case:
    """A body; the words of the name and the contacts that are fields of the lead, and every typed value."""

    name: str
    body: bytes
    kind: str
    person: str
    typed: list[Any]


def form(name: str, person: str, fields: Mapping[str, str], charset: str = "utf-8", kind: str = FORM) -> Case:
    typed = [value for key, value in fields.items() if key != "_charset_"]
    return Case(name, urlencode(fields, encoding=charset).encode(), kind, person, typed)


def posted(name: str, person: str, body: Any, charset: str = "utf-8") -> Case:
    kind = JSON if charset == "utf-8" else f"{JSON}; charset={charset}"
    return Case(name, json.dumps(body, ensure_ascii=False).encode(charset), kind, person, [*typed_in(body)])


def typed_in(value: Any) -> Iterator[Any]:
    """The values in a body; of an object with a label only its value."""
    if answer := labelled(value):
        yield from typed_in(answer[1])
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from typed_in(inner)
    elif value not in (None, "", True, False):
        yield value


BODIES = [
    form(
        "elementor form_fields",
        "Ada ada@x.co",
        {
            "form_fields[name]": "Ada Lovelace",
            "form_fields[email]": "ada@x.co",
            "form_fields[field_4f2a]": "Tıp",
            "form_fields[message]": "Merhaba",
            "form_id": "abc12",
            "referer_title": "Home",
            "action": "elementor_pro_forms_send_form",
        },
    ),
    form(
        "elementor labels",
        "Ada ada@x.co",
        {
            "No Label name": "Ada Lovelace",
            "No Label email": "ada@x.co",
            "No Label field_b1c2": "0532 123 45 67",
            "Page URL": "https://x.co/a",
            "User Agent": "Mozilla/5.0",
            "Remote IP": "10.0.0.1",
            "form_name": "New Form",
        },
    ),
    posted(
        "elementor json",
        "Ayşe +905321234567",
        {
            "form": {"id": "a1", "name": "Contact"},
            "fields": {
                "name": {
                    "id": "name",
                    "type": "text",
                    "title": "Ad Soyad",
                    "value": "Ayşe Yılmaz",
                    "raw_value": "Ayşe Yılmaz",
                    "required": "1",
                },
                "field_1": {
                    "id": "field_1",
                    "type": "tel",
                    "title": "Telefon",
                    "value": "0532 123 45 67",
                    "raw_value": "0532 123 45 67",
                },
            },
            "meta": {"date": {"title": "Date", "value": "28 Kasım"}},
        },
    ),
    form(
        "elementor advanced",
        "Ada ada@x.co",
        {
            "fields[name][id]": "name",
            "fields[name][title]": "Name",
            "fields[name][value]": "Ada Lovelace",
            "fields[email][id]": "email",
            "fields[email][value]": "ada@x.co",
            "fields[email][title]": "Email",
        },
    ),
    form(
        "cf7",
        "Ada ada@x.co",
        {
            "_wpcf7": "12",
            "_wpcf7_version": "5.9",
            "_wpcf7_unit_tag": "wpcf7-f12-p3-o1",
            "your-name": "Ada Lovelace",
            "your-email": "ada@x.co",
            "your-subject": "Burs",
            "your-message": "Hi there",
            "acceptance-1": "1",
            "checkbox-12[]": "Tıp",
        },
    ),
    form(
        "formspree",
        "Ada ada@x.co",
        {"name": "Ada Lovelace", "_replyto": "ada@x.co", "_subject": "New lead", "message": "Hello", "_gotcha": ""},
    ),
    form(
        "netlify form",
        "Ada ada@x.co",
        {"form-name": "contact", "bot-field": "", "name": "Ada Lovelace", "email": "ada@x.co", "role[]": "leader"},
    ),
    posted(
        "netlify hook",
        "Ada ada@x.co",
        {
            "number": 5,
            "title": None,
            "email": "ada@x.co",
            "name": "Ada Lovelace",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "company": None,
            "summary": "Hello",
            "body": "Hello",
            "data": {"name": "Ada Lovelace", "email": "ada@x.co", "message": "Hello", "ip": "10.0.0.1"},
            "created_at": "2026-11-28T10:00:00Z",
            "human_fields": {"Name": "Ada Lovelace", "Email": "ada@x.co", "Message": "Hello"},
            "ordered_human_fields": [
                {"title": "Name", "name": "name", "value": "Ada Lovelace"},
                {"title": "Email", "name": "email", "value": "ada@x.co"},
            ],
        },
    ),
    posted(
        "hubspot embedded",
        "Ada ada@x.co",
        {
            "submittedAt": "1517927174000",
            "fields": [
                {"objectTypeId": "0-1", "name": "email", "value": "ada@x.co"},
                {"objectTypeId": "0-1", "name": "firstname", "value": "Ada"},
                {"objectTypeId": "0-1", "name": "lastname", "value": "Lovelace"},
                {"name": "mobilephone", "value": "+905321234567"},
            ],
            "context": {
                "hutk": "60c2ccdfe4892f0fa0593940b12c11aa",
                "pageUri": "www.example.com/page",
                "pageName": "Example page",
            },
            "legalConsentOptions": {"consent": {"consentToProcess": True, "text": "I agree to allow Example"}},
        },
    ),
    posted(
        "hubspot workflow",
        "Ada ada@x.co",
        {
            "properties": {
                "firstname": {"value": "Ada"},
                "lastname": {"value": "Lovelace"},
                "email": {"value": "ada@x.co"},
                "phone": {"value": "+905321234567"},
            },
            "vid": 5512,
        },
    ),
    posted(
        "wix",
        "Ada ada@x.co",
        {
            "data": {
                "formName": "Contact",
                "submissionTime": "2026-11-28",
                "submissions": [
                    {"label": "First name", "value": "Ada"},
                    {"label": "Last name", "value": "Lovelace"},
                    {"label": "Email", "value": "ada@x.co"},
                    {"label": "Hangi bölüm?", "value": "Tıp"},
                ],
                "field:first_name_abc1": "Ada",
                "contact": {"name": {"first": "Ada", "last": "Lovelace"}, "email": "ada@x.co", "contactId": "c-1"},
            }
        },
    ),
    posted(
        "wix flat",
        "Ada ada@x.co",
        {
            "field:first_name_e1e8": "Ada",
            "field:last_name_4f21": "Lovelace",
            "field:email_91f0": "ada@x.co",
            "field:phone_0a1b": "+905321234567",
            "formId": "f-77",
        },
    ),
    posted(
        "squarespace",
        "Ada ada@x.co",
        {
            "name": {"fname": "Ada", "lname": "Lovelace"},
            "email": "ada@x.co",
            "phone": {"areaCode": "532", "prefix": "123", "line": "4567", "country": "+90"},
            "textarea": "Hello",
        },
    ),
    form(
        "squarespace form",
        "Ada ada@x.co",
        {"fname": "Ada", "lname": "Lovelace", "email": "ada@x.co", "textarea-yui_3": "Hello you"},
    ),
    form(
        "jotform direct",
        "Ada ada@x.co +905321234567",
        {
            "q3_fullName[first]": "Ada",
            "q3_fullName[last]": "Lovelace",
            "q4_email": "ada@x.co",
            "q5_phoneNumber[area]": "532",
            "q5_phoneNumber[phone]": "1234567",
            "q6_address[city]": "Bursa",
            "q6_address[country]": "Türkiye",
            "q6_address[addr_line1]": "Sokak 5",
            "formID": "2026",
            "simple_spc": "2026-2026",
        },
    ),
    form(
        "jotform birth",
        "Ada ada@x.co",
        {
            "q3_name[first]": "Ada",
            "q3_name[last]": "Lovelace",
            "q4_email4": "ada@x.co",
            "q7_birthDate[month]": "12",
            "q7_birthDate[day]": "10",
            "q7_birthDate[year]": "2001",
        },
    ),
    posted(
        "google ads",
        "Ada ada@x.co",
        {
            "lead_id": "TeSter-123",
            "user_column_data": [
                {"column_name": "Full Name", "string_value": "Ada Lovelace", "column_id": "FULL_NAME"},
                {"column_name": "User Email", "string_value": "ada@x.co", "column_id": "EMAIL"},
                {"column_name": "User Phone", "string_value": "+905321234567", "column_id": "PHONE_NUMBER"},
                {"column_name": "City", "string_value": "Bursa", "column_id": "CITY"},
            ],
            "api_version": "1.0",
            "form_id": 12345,
            "campaign_id": 777,
            "google_key": "gk",
            "is_test": True,
            "gcl_id": "gcl9",
            "adgroup_id": 20000,
        },
    ),
    posted(
        "linkedin zapier",
        "Ada ada@x.co",
        {
            "First Name": "Ada",
            "Last Name": "Lovelace",
            "Email Address": "ada@x.co",
            "Phone Number": "+905321234567",
            "Job Title": "Analyst",
            "Company Name": "Engines",
            "Campaign": "Autumn",
        },
    ),
    posted(
        "linkedin",
        "Ada ada@x.co",
        {
            "firstName": "Ada",
            "lastName": "Lovelace",
            "emailAddress": "ada@x.co",
            "phoneNumber": {"number": "+905321234567"},
            "city": "Bursa",
            "leadType": "SPONSORED",
        },
    ),
    posted(
        "facebook field_data",
        "Ada ada@x.co",
        {
            "id": "44444",
            "created_time": "2026-11-28T10:00:00+0000",
            "field_data": [
                {"name": "full_name", "values": ["Ada Lovelace"]},
                {"name": "email", "values": ["ada@x.co"]},
                {"name": "phone_number", "values": ["+905321234567"]},
                {"name": "hangi_bölüm?", "values": ["Tıp"]},
            ],
        },
    ),
    posted(
        "webflow",
        "Ada ada@x.co",
        {
            "triggerType": "form_submission",
            "payload": {
                "name": "Email Form",
                "siteId": "65427cf400e02b306eaa049c",
                "data": {
                    "First Name": "Ada",
                    "Last Name": "Lovelace",
                    "email": "ada@x.co",
                    "Phone Number": "+905321234567",
                },
                "submittedAt": "2022-09-14T12:35:16.117Z",
                "id": "6321ca84df3949bfc6752327",
            },
        },
    ),
    form(
        "gravity direct",
        "Ada ada@x.co",
        {
            "input_1.3": "Ada",
            "input_1.6": "Lovelace",
            "input_2": "ada@x.co",
            "input_3": "0532 123 45 67",
            "gform_submit": "3",
        },
    ),
    form(
        "wpforms",
        "Ada ada@x.co",
        {
            "wpforms[fields][0][first]": "Ada",
            "wpforms[fields][0][last]": "Lovelace",
            "wpforms[fields][1]": "ada@x.co",
            "wpforms[fields][2]": "Message text",
            "wpforms[id]": "77",
        },
    ),
    form("ninja", "ada@x.co", {"nf-field-1": "Ada Lovelace", "nf-field-2": "ada@x.co", "nf-field-3": "Message text"}),
    form(
        "fluent",
        "Ada ada@x.co",
        {
            "names[first_name]": "Ada",
            "names[last_name]": "Lovelace",
            "email": "ada@x.co",
            "input_text": "Tıp",
            "__fluent_form_embded_post_id": "5",
            "_fluentform_3_fluentformnonce": "abcd1234",
        },
    ),
    form(
        "formidable", "ada@x.co", {"item_meta[6]": "Ada Lovelace", "item_meta[7]": "ada@x.co", "frm_action": "create"}
    ),
    form(
        "drupal webform",
        "Ada ada@x.co",
        {
            "name": "Ada Lovelace",
            "email": "ada@x.co",
            "message": "Hi",
            "form_build_id": "form-x",
            "form_id": "webform_submission_contact_add_form",
            "op": "Send",
        },
    ),
    form(
        "rails",
        "Ada ada@x.co",
        {
            "utf8": "✓",
            "authenticity_token": "tok==",
            "contact[first_name]": "Ada",
            "contact[last_name]": "Lovelace",
            "contact[email]": "ada@x.co",
            "commit": "Send",
        },
    ),
    form(
        "django",
        "Ada ada@x.co",
        {
            "csrfmiddlewaretoken": "tok99",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "email": "ada@x.co",
            "phone_0": "+90",
            "phone_1": "5321234567",
        },
    ),
    form(
        "aspnet",
        "ada@x.co",
        {
            "__RequestVerificationToken": "CfDJ8",
            "__VIEWSTATE": "/wEPDw",
            "ctl00$MainContent$txtName": "Ada Lovelace",
            "ctl00$MainContent$txtEmail": "ada@x.co",
            "ctl00$MainContent$txtPhone": "05321234567",
        },
    ),
    form(
        "joomla",
        "ada@x.co",
        {
            "jform[contact_name]": "Ada Lovelace",
            "jform[contact_email]": "ada@x.co",
            "jform[contact_subject]": "Burs",
            "jform[contact_message]": "Hi",
            "option": "com_contact",
            "task": "contact.submit",
        },
    ),
    form(
        "bitrix24 ru form",
        "Иван",
        {"LEAD_NAME": "Иван", "LEAD_LAST_NAME": "Петров", "LEAD_PHONE": "+7 912 345-67-89", "LEAD_EMAIL": "ivan@x.co"},
    ),
    form(
        "amo",
        "Иван",
        {
            "fields[name_1]": "Иван Петров",
            "fields[577425_1][222331]": "+79123456789",
            "fields[577427_1][222343]": "ivan@x.co",
        },
    ),
    form(
        "tilda",
        "Иван",
        {
            "Name": "Иван Петров",
            "Email": "ivan@x.co",
            "Phone": "+7 (912) 345-67-89",
            "Textarea": "Привет",
            "tranid": "1:2",
            "formid": "form77",
            "COOKIES": "a=1; TILDAUTM=utm_source%3Dgoogle",
        },
    ),
    form(
        "tr site",
        "Ayşe +905321234567",
        {
            "adsoyad": "Ayşe Yılmaz",
            "telefon": "0(532) 123 45 67",
            "eposta": "ayse@x.co",
            "bolum": "Tıp",
            "mesaj": "Merhaba",
            "aydinlatma": "on",
        },
    ),
    form(
        "tr site 1254",
        "Ayşe +905321234567",
        {"adsoyad": "Ayşe Yılmaz", "telefon": "0(532) 123 45 67", "sehir": "İzmir", "mesaj": "Çok güzel"},
        "cp1254",
    ),
    form("ru site 1251", "Иван", {"имя": "Иван Петров", "телефон": "8 912 345 67 89", "город": "Казань"}, "cp1251"),
    form("ru koi8", "Иван", {"name": "Иван Петров", "phone": "8 912 345 67 89", "_charset_": "koi8-r"}, "koi8_r"),
    posted("json 1251", "Иван", {"name": "Иван Петров", "phone": "89123456789"}, "cp1251"),
    posted("json utf16", "Иван", {"name": "Иван Петров", "phone": "89123456789"}, "utf-16"),
    posted(
        "nested arrays",
        "Ada ada@x.co",
        {
            "answers": [
                {"question": "Your name", "answer": "Ada Lovelace"},
                {"question": "E-mail", "answer": "ada@x.co"},
                {"question": "Level", "answer": ["BSc", "MSc"]},
            ]
        },
    ),
    posted(
        "questions",
        "Ayşe +905321234567",
        {
            "questions": [
                {"id": 1, "label": "Ad Soyad", "value": "Ayşe Yılmaz"},
                {"id": 2, "label": "Cep", "value": "05321234567"},
            ]
        },
    ),
    posted(
        "fields list name/value",
        "Ada ada@x.co",
        {"fields": [{"name": "Name", "value": "Ada Lovelace"}, {"name": "Email", "value": "ada@x.co"}]},
    ),
    posted(
        "responses",
        "Ada ada@x.co",
        {"responses": {"name": {"value": "Ada Lovelace", "label": "Name"}, "email": {"value": "ada@x.co"}}},
    ),
    posted("contacts hub list", "Ada ada@x.co", {"contacts": [{"first_name": "Ada", "email": "ada@x.co"}]}),
    posted(
        "event envelope",
        "Ada ada@x.co",
        {
            "event": "form.submitted",
            "id": "ev1",
            "data": {"object": {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.co"}},
        },
    ),
    posted(
        "attributes",
        "Ada ada@x.co",
        {
            "data": {
                "type": "lead",
                "attributes": {
                    "first_name": "Ada",
                    "last_name": "Lovelace",
                    "email": "ada@x.co",
                    "phone": "+905321234567",
                },
            }
        },
    ),
    posted(
        "graphql",
        "Ada ada@x.co",
        {
            "variables": {"input": {"firstName": "Ada", "lastName": "Lovelace", "email": "ada@x.co"}},
            "query": "mutation",
        },
    ),
    posted(
        "array of pairs",
        "Ada ada@x.co",
        [{"name": "name", "value": "Ada Lovelace"}, {"name": "email", "value": "ada@x.co"}],
    ),
    posted(
        "bool consents",
        "Ada ada@x.co",
        {"name": "Ada Lovelace", "email": "ada@x.co", "gdpr": True, "newsletter": False},
    ),
    posted(
        "phone object",
        "Ada +905321234567",
        {
            "name": "Ada Lovelace",
            "phone": {"countryCode": "TR", "dialCode": "+90", "number": "5321234567", "e164": "+905321234567"},
        },
    ),
    posted("phone parts", "Ada", {"name": "Ada Lovelace", "phone": {"country_code": "+90", "number": "532 123 45 67"}}),
    posted(
        "email list obj", "Ada ada@x.co", {"name": "Ada Lovelace", "emails": [{"address": "ada@x.co", "type": "work"}]}
    ),
    posted("email list", "Ada ada@x.co", {"name": "Ada Lovelace", "email": ["ada@x.co", "b@x.co"]}),
    posted("phones list", "Ada +905321234567", {"name": "Ada Lovelace", "phones": ["+905321234567", "+905331234567"]}),
    posted("number phone", "Ada +905321234567", {"name": "Ada Lovelace", "phone": 905321234567}),
    posted(
        "schema.org",
        "Ada ada@x.co",
        {
            "@type": "Person",
            "givenName": "Ada",
            "familyName": "Lovelace",
            "email": "ada@x.co",
            "telephone": "+905321234567",
        },
    ),
    posted(
        "salesforce w2l",
        "Ada ada@x.co",
        {
            "first_name": "Ada",
            "last_name": "Lovelace",
            "email": "ada@x.co",
            "company": "X",
            "00N58000001abc": "Tıp",
            "oid": "00D",
            "retURL": "https://x.co",
        },
    ),
    form(
        "w2l",
        "Ada ada@x.co",
        {
            "oid": "00D",
            "retURL": "http://x.co",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "email": "ada@x.co",
            "00N5800": "Tıp",
        },
    ),
    form(
        "zoho",
        "Ada ada@x.co",
        {
            "xnQsjsdp": "a1",
            "First Name": "Ada",
            "Last Name": "Lovelace",
            "Email": "ada@x.co",
            "Mobile": "05321234567",
            "LEADCF5": "Tıp",
        },
    ),
    form(
        "mailchimp", "ada@x.co", {"MERGE0": "ada@x.co", "MERGE1": "Ada", "MERGE2": "Lovelace", "u": "123", "id": "99a"}
    ),
    form(
        "mailchimp names",
        "Ada ada@x.co",
        {"EMAIL": "ada@x.co", "FNAME": "Ada", "LNAME": "Lovelace", "b_123_99": "", "subscribe": "Subscribe"},
    ),
    form(
        "activecampaign",
        "Ada ada@x.co",
        {"u": "1", "f": "1", "fullname": "Ada Lovelace", "email": "ada@x.co", "field[1]": "Tıp"},
    ),
    form(
        "pipedrive",
        "Ada ada@x.co",
        {
            "visibleTo": "3",
            "Person - Name": "Ada Lovelace",
            "Person - Email": "ada@x.co",
            "Person - Phone": "05321234567",
        },
    ),
    form(
        "intl-tel",
        "Ada +905321234567",
        {"name": "Ada Lovelace", "phone": "532 123 45 67", "phone_full": "+905321234567", "phone_country": "tr"},
    ),
    form("confirm email", "Ada ada@x.co", {"name": "Ada Lovelace", "email": "ada@x.co", "email_confirm": "ada@x.co"}),
    form(
        "date of birth parts",
        "Ada ada@x.co",
        {"name": "Ada Lovelace", "email": "ada@x.co", "dob_day": "10", "dob_month": "12", "dob_year": "2001"},
    ),
    form("tel only", "Ada +905321234567", {"tel": "05321234567", "ad": "Ada"}),
    form("whatsapp only", "Ada +905321234567", {"name": "Ada", "whatsapp": "wa.me/905321234567"}),
    form("name with emoji", "Ada ada@x.co", {"name": "🎓 Ada", "email": "ada@x.co"}),
    form("name caps", "Ada +905321234567", {"NAME": "ADA LOVELACE", "EMAIL": "ADA@X.CO", "PHONE": "05321234567"}),
    form("name dots", "Ada ada@x.co", {"contact.name": "Ada Lovelace", "contact.email": "ada@x.co"}),
    form("colon", "Ada ada@x.co", {"Name:": "Ada Lovelace", "Email:": "ada@x.co", "Phone:": "05321234567"}),
    form(
        "arabic", "+905321234567", {"الاسم": "محمد علي", "البريد الإلكتروني": "m@x.co", "رقم الهاتف": "+905321234567"}
    ),
    form("persian digits", "", {"name": "Ali", "phone": "۰۹۱۲۳۴۵۶۷۸۹"}),
    form("kazakh", "", {"Аты-жөні": "Айгүл Сериқызы", "Телефон": "+77011234567"}),
    form("ukrainian", "", {"Ім'я": "Олена Коваль", "Телефон": "+380501234567", "Пошта": "o@x.co"}),
    form("azeri", "", {"Ad Soyad": "Elçin Məmmədov", "Telefon": "+994501234567", "E-poçt": "e@x.co"}),
    form("uzbek", "", {"Ism": "Aziz Karimov", "Telefon raqami": "+998901234567"}),
    form("french", "", {"Nom": "Dupont", "Prénom": "Jean", "Courriel": "j@x.co"}),
    form("german", "", {"Vorname": "Jürgen", "Nachname": "Groß", "E-Mail": "j@x.de", "Nachricht": "Hallo"}),
    form("spanish", "", {"Nombre": "José", "Apellidos": "García", "Correo": "j@x.es"}),
    form("polish", "", {"Imię": "Łukasz", "Nazwisko": "Żak", "E-mail": "l@x.pl"}),
    posted("deep 7", "Ada ada@x.co", {"a": {"b": {"c": {"d": {"e": {"f": {"email": "ada@x.co", "name": "Ada"}}}}}}}),
    posted(
        "dup keys differing case",
        "Ada ada@x.co",
        {"Email": "ada@x.co", "email": "b@x.co", "EMAIL": "c@x.co", "first_name": "Ada"},
    ),
    posted("big", "Ada ada@x.co", {"first_name": "Ada", "email": "ada@x.co", "n": 10**30}),
]

VALUES = {
    "full_name": "Ada Lovelace", "first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.co",
    "phone": "0532 123 45 67", "city": "Bursa", "country": "Türkiye", "birth_date": "2001-12-10",
}  # fmt: skip
LABELLED = [
    form(label, "", {"email": "b@x.co", "first_name": "Grace"} | {label: text})
    for field, text in VALUES.items()
    for label in LABELS[field].split("|")[::4]
]
CASES = [*BODIES, *LABELLED, *(posted(str(body)[:60], "", body) for body, _lead in TOOLS)]


def missing(setup: Setup, case: Case) -> Iterator[str]:
    lead, _ = setup.lead(case.body, case.kind)
    text = "\n".join(map(as_text, lead.values())).casefold()
    numbers = "".join(filter(str.isdecimal, text))
    fields = " ".join(as_text(value) for name, value in lead.items() if name != "description").casefold()
    yield from (f"{word!r} is in no field" for word in case.person.casefold().split() if word not in fields)
    for value in case.typed:
        digits = "".join(filter(str.isdecimal, as_text(value)))
        is_number = len(digits) > 6 and digits[-7:] in numbers
        if not is_number and not all(word in text for word in as_text(value).casefold().split()):
            yield f"lacks {value!r}"


def test_each_typed_value_is_in_the_lead(setup: Setup) -> None:
    assert len(CASES) >= 150
    wrong = []
    for case in CASES:
        try:
            wrong += [f"{case.name}: {fault}" for fault in missing(setup, case)]
        except AssertionError as error:
            wrong.append(f"{case.name}: {str(error)[:300]}")
    assert not wrong, "\n".join(wrong)
