"""What the tools post, after the examples in their documentation; shortened, with fictional people."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from werkzeug.test import encode_multipart

from crmgate.sources.model import SourceRequest

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True)
class Sent:
    """A body with its media type, and what it is read as: fields and delivery id."""

    body: bytes
    media: str
    fields: dict[str, Any] = field(default_factory=dict)
    delivery: str = ""

    def request(self, **headers: str) -> SourceRequest:
        return SourceRequest("POST", {"content-type": self.media, **headers}, self.body)


def as_json(value: Any, fields: dict[str, Any], delivery: str = "") -> Sent:
    return Sent(json.dumps(value, ensure_ascii=False).encode(), JSON, fields, delivery)


def as_form(value: Any, fields: dict[str, Any], delivery: str = "") -> Sent:
    return Sent(urlencode(value).encode(), FORM, fields, delivery)


def as_multipart(value: dict[str, str], fields: dict[str, Any], delivery: str = "") -> Sent:
    boundary, body = encode_multipart(value)
    return Sent(body, f'multipart/form-data; boundary="{boundary}"', fields, delivery)


ADA = {"email": "ada@example.com"}

TILDA = as_form(
    {
        "Name": "Ada Lovelace", "Phone": "+7 (999) 123-45-67", "Email": "ada@example.com", "Textarea": "Перезвоните",
        "tranid": "4715:3014011", "formid": "form47830", "formname": "Заявка",
        "COOKIES": "_ym_uid=16; TILDAUTM=utm_source%3Dyandex%7C%7C%7Cutm_medium%3Dcpc%7C%7C%7Cutm_campaign%3Dl%C3%BCx;"
        " previousUrl=example.com%2F",
    },
    {
        "utm_source": "yandex", "utm_medium": "cpc", "utm_campaign": "lüx", "Name": "Ada Lovelace",
        "Phone": "+7 (999) 123-45-67", "Email": "ada@example.com", "Textarea": "Перезвоните",
        "source_description": "Заявка",
    },
    "4715:3014011",
)  # fmt: skip
TILDA_PLAIN = as_form(
    [("Name", "Ada"), ("Phone", "+90 532 123 45 67"), ("Checkbox", "yes"), ("payment[amount]", "100"),
     ("payment[products][0][name]", "Course"), ("tranid", "1:2"), ("formid", "form1")],
    {"Name": "Ada", "Phone": "+90 532 123 45 67", "Checkbox": "yes", "payment amount": "100", "payment name": "Course"},
    "1:2",
)  # fmt: skip
TILDA_TEST = as_form({"test": "test"}, {})


def _typeform(*answers: dict[str, Any], fields: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    response = {
        "form_id": "lT4Z3j", "token": "a3a12ec67a1365927098a606107fac15", "submitted_at": "2018-01-18T18:17:02Z",
        "landed_at": "2018-01-18T18:07:02Z", "calculated": {"score": 9},
        "definition": {"id": "lT4Z3j", "title": "Study abroad", "fields": fields}, "answers": [*answers],
    }  # fmt: skip
    return {"event_id": "LtWXD3crgy", "event_type": "form_response", "form_response": response | more}


def _question(number: int, title: str, kind: str = "short_text", ref: str = "", **more: Any) -> dict[str, Any]:
    reference = ref or f"01F8MECHZX3TBDSZ7XRADM79{number:02}"
    return {"id": f"DlXFaesGBp{number:02}", "title": title, "type": kind, "ref": reference} | more


def _answer(number: int, kind: str, value: Any, ref: str = "") -> dict[str, Any]:
    reference = ref or f"01F8MECHZX3TBDSZ7XRADM79{number:02}"
    return {"type": kind, kind: value, "field": {"id": f"DlXFaesGBp{number:02}", "type": kind, "ref": reference}}


TYPEFORM = as_json(
    _typeform(
        _answer(1, "text", "Ada", "first_name"), _answer(2, "text", "Lovelace", "last_name"),
        _answer(3, "email", "ada@example.com"), _answer(4, "phone_number", "+905321234567"),
        _answer(5, "choice", {"id": "x", "label": "Medicine", "ref": "r"}),
        _answer(6, "choices", {"ids": ["a", "b"], "labels": ["London", "Sydney"], "refs": ["a", "b"],
        "other": "Izmir"}),
        _answer(7, "date", "2005-10-15"), _answer(8, "url", "https://example.com"),
        _answer(9, "file_url", "https://api.typeform.com/responses/files/1/cv.pdf"), _answer(10, "boolean", value=True),
        _answer(11, "number", 5), _answer(12, "payment", {"amount": "€10.00", "last4": "4242", "success": True}),
        fields=[
            _question(1, "What's your *first name*?", ref="first_name"), _question(2, "And your last name?",
            ref="last_name"),
            _question(3, "Where can we write to you?", "email"), _question(4, "Where can we call you?", "phone_number"),
            _question(5, "Which subject do you like most?", "dropdown"), _question(6, "Favourite places",
            "multiple_choice"),
            _question(7, "Day of your visit", "date"), _question(8, "Your site", "website"), _question(9, "CV",
            "file_upload"),
            _question(10, "Have you been here before?", "yes_no"), _question(11, "How happy are you?", "rating"),
            _question(12, "Fee", "payment"),
        ],
        hidden={"utm_source": "google", "user_id": "abc123456"},
        variables=[{"key": "score", "type": "number", "number": 4}, {"key": "tier", "type": "text", "text": "gold"}],
    ),
    {
        "first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com", "phone": "+905321234567",
        "Which subject do you like most?": "Medicine", "Favourite places": ["London", "Sydney", "Izmir"],
        "Day of your visit": "2005-10-15", "Your site": "https://example.com",
        "CV": "https://api.typeform.com/responses/files/1/cv.pdf", "Have you been here before?": "yes",
        "How happy are you?": 5, "Fee": ["€10.00", "paid"], "utm_source": "google", "user_id": "abc123456",
        "score": 4, "tier": "gold", "source_description": "Study abroad",
    },
    "a3a12ec67a1365927098a606107fac15",
)  # fmt: skip
TYPEFORM_GROUP = as_json(
    _typeform(
        _answer(1, "text", "Ada"), _answer(2, "email", "ada@example.com"), _answer(3, "email", "parent@example.com"),
        _answer(4, "choice", {"other": "Astronomy"}),
        fields=[
            _question(9, "Contact details", "contact_info", properties={"fields": [
                _question(1, "First name"), _question(2, "Email", "email"),
            ]}),
            _question(3, "Of your parents", "email"), _question(4, "Another wish", "multiple_choice"),
        ],
    ),
    {
        "First name": "Ada", "Email": "ada@example.com", "email": "parent@example.com", "Another wish": "Astronomy",
        "source_description": "Study abroad",
    },
    "a3a12ec67a1365927098a606107fac15",
)  # fmt: skip

_RAW = {
    "slug": "submit/232913014567055", "jsExecutionTracker": "build-date-1700", "submitSource": "desktop",
    "buildDate": "1700000000", "q3_fullName": {"prefix": "", "first": "Ada Maria", "last": "Lovelace"},
    "q4_email": "ada@example.com", "q5_phoneNumber": {"full": "(532) 123-4567"},
    "q6_address": {"addr_line1": "1 Main Street", "addr_line2": "", "city": "Izmir", "state": "", "postal": "35000",
                   "country": "Turkey"},
    "q7_birthDate": {"month": "12", "day": "10", "year": "2001"}, "q8_interests": ["Maths", "Music"],
    "q9_parentName": {"first": "Anne", "last": "Milbanke"}, "q10_utmSource": "google",
    "q11_matrix": {"0": {"0": "good"}, "1": {"0": "bad"}}, "fileUpload": ["https://www.jotform.com/uploads/x/cv.pdf"],
    "event_id": "1700_23_x", "timeToSubmit": "12", "validatedNewRequiredFieldIDs": "{}", "path": "/submit/23",
}  # fmt: skip
JOTFORM = as_multipart(
    {
        "action": "", "webhookURL": "https://gateway.example/in/jotform", "username": "school",
        "formID": "232913014567055",
        "type": "WEB", "formTitle": "Application", "submissionID": "5827712345678901234", "ip": "192.0.2.1",
        "pretty": "Full Name:Ada Maria Lovelace, E-mail:ada@example.com", "rawRequest": json.dumps(_RAW),
    },
    {
        "first_name": "Ada Maria", "last_name": "Lovelace", "email": "ada@example.com", "phoneNumber": "(532) 123-4567",
        "city": "Izmir", "country": "Turkey", "address": "1 Main Street, Izmir, 35000, Turkey",
        "birthDate": "2001-12-10",
        "interests": ["Maths", "Music"], "parentName": "Anne Milbanke", "utmSource": "google", "matrix": ["good",
        "bad"],
        "fileUpload": "https://www.jotform.com/uploads/x/cv.pdf", "source_description": "Application",
    },
    "5827712345678901234",
)  # fmt: skip
JOTFORM_BRACKETS = as_form(
    {"formID": "1", "submissionID": "77", "ip": "192.0.2.1", "q3_name[first]": "Ada", "q3_name[last]": "Lovelace",
     "q4_phone[country]": "90", "q4_phone[area]": "532", "q4_phone[phone]": "1234567"},
    {"first_name": "Ada", "last_name": "Lovelace", "phone": "+90 532 1234567"},
    "77",
)  # fmt: skip

WEBFLOW = as_json(
    {
        "triggerType": "form_submission",
        "payload": {
            "name": "Contact Us", "siteId": "65427cf400e02b306eaa049c",
            "data": {"First Name": "Zaphod", "Last Name": "Beeblebrox", "email": "zaphod@example.com",
                     "Phone Number": 15550000000},
            "schema": [{"fieldName": "First Name", "fieldType": "FormTextInput", "fieldElementId": "285042f7"}],
            "submittedAt": "2022-09-14T12:35:16.117Z", "id": "6321ca84df3949bfc6752327",
            "formId": "65429eadebe8a9f3a30f62d0", "formElementId": "4e038d2c",
        },
    },
    {"First Name": "Zaphod", "Last Name": "Beeblebrox", "email": "zaphod@example.com", "Phone Number": 15550000000,
     "source_description": "Contact Us"},
    "6321ca84df3949bfc6752327",
)  # fmt: skip
WEBFLOW_1 = as_json(
    {"name": "Sample Form", "site": "62749158efef318abc8d5a0f", "data": {"name": "Some One",
    "email": "some@example.com"},
     "d": "2022-09-14T12:35:16.117Z", "_id": "6321ca84df3949bfc6752327"},
    {"name": "Some One", "email": "some@example.com", "source_description": "Sample Form"},
    "6321ca84df3949bfc6752327",
)  # fmt: skip

ELEMENTOR = as_form(
    {"Name": "Ada", "Email": "ada@example.com", "Message": "Hello", "Date": "November 28, 2026", "Time": "2:09 pm",
     "Page URL": "https://www.example.com/contact/", "User Agent": "Mozilla/5.0", "Remote IP": "192.0.2.1",
     "Powered by": "Elementor", "form_id": "a6e0ee8", "form_name": "New Form"},
    {"Name": "Ada", "Email": "ada@example.com", "Message": "Hello", "Date": "November 28, 2026", "Time": "2:09 pm",
     "Page URL": "https://www.example.com/contact/", "source_description": "New Form"},
)  # fmt: skip


def _elementor(key: str, title: str, value: str, kind: str = "text") -> dict[str, str]:
    parts = {"id": key, "type": kind, "title": title, "value": value, "raw_value": value, "required": "1"}
    return {f"fields[{key}][{name}]": text for name, text in parts.items()}


ELEMENTOR_ADVANCED = as_form(
    {"form[id]": "a6e0ee8", "form[name]": "New Form", **_elementor("name", "Your name", "Ada Lovelace"),
     **_elementor("field_1c2f", "Where to write", "ada@example.com", "email"), **_elementor("field_9", "Why us",
     "Because"),
     "meta[date][title]": "Date", "meta[date][value]": "November 28, 2026", "meta[page_url][title]": "Page URL",
     "meta[page_url][value]": "https://www.example.com/", "meta[remote_ip][value]": "192.0.2.1"},
    {"name": "Ada Lovelace", "email": "ada@example.com", "Why us": "Because", "Page URL": "https://www.example.com/",
     "source_description": "New Form"},
)  # fmt: skip
ELEMENTOR_JSON = as_json(
    {"form_name": "Lead", "fields": {"email": {"id": "email", "title": "", "value": "ada@example.com", "type": "email"},
                                     "field_1": {"id": "field_1", "title": "Level", "value": "", "raw_value": ["BA",
                                     "MA"]}}},
    {"email": "ada@example.com", "Level": ["BA", "MA"], "source_description": "Lead"},
)  # fmt: skip

CF7 = as_json(
    {"your-name": "Ada", "your-email": "ada@example.com", "your-subject": "Studies", "your-message": "Hello\nagain",
     "menu-22": ["Maths"], "checkbox-9": ["A", "B"], "_wpcf7": "171", "_wpcf7_unit_tag": "wpcf7-f171"},
    {"your-name": "Ada", "your-email": "ada@example.com", "your-subject": "Studies", "your-message": "Hello\nagain",
     "menu-22": "Maths", "checkbox-9": ["A", "B"]},
)  # fmt: skip
CF7_FORM = as_form(
    [("email-451", "ada@example.com"), ("tel-870", "+905321234567"), ("checkbox-9[]", "A"), ("checkbox-9[]", "B"),
     ("_wpnonce", "x")],
    {"email-451": "ada@example.com", "tel-870": "+905321234567", "checkbox-9": ["A", "B"]},
)  # fmt: skip

GRAVITY = as_json(
    {"id": "3233", "form_id": "1", "post_id": None, "date_created": "2026-02-06 13:31:59", "is_starred": "0",
     "ip": "192.0.2.1", "source_url": "https://www.example.com/contact/", "user_agent": "Mozilla/5.0",
     "currency": "USD",
     "status": "active", "1.2": "", "1.3": "Jane", "1.4": "", "1.6": "Doe", "1.8": "", "2": "jane@example.com",
     "3": "(532) 123-4567", "4": "Tea", "5.1": "Bagel", "5.2": "", "5.3": "Danish", "6.1": "1 Main Street", "6.2": "",
     "6.3": "Izmir", "6.4": "", "6.5": "35000", "6.6": "Turkey", "7.1": "1", "7.2": "You may call me", "7.3": "4"},
    {"first_name": "Jane", "last_name": "Doe", "field 2": "jane@example.com", "field 3": "(532) 123-4567",
     "field 4": "Tea", "field 5": ["Bagel", "Danish"], "city": "Izmir", "country": "Turkey",
     "field 6": ["1 Main Street", "Izmir", "35000", "Turkey"], "consent_given": "yes",
     "consent_text": "You may call me",
     "Page URL": "https://www.example.com/contact/"},
    "3233",
)  # fmt: skip
GRAVITY_NAMED = as_form(
    {"First Name": "Jane", "Email": "jane@example.com", "Comments": "Hello"},
    {"First Name": "Jane", "Email": "jane@example.com", "Comments": "Hello"},
)  # fmt: skip

GOOGLE = as_json(
    {"id": "2_ABaOnuc", "formTitle": "Başvuru",
     "namedValues": {"Timestamp": ["11/28/2026 10:00:00"], "Name": ["Ada Lovelace"],
     "Email Address": ["ada@example.com"],
                     "Interests": ["Maths", "Music"], "Remark": [""]}},
    {"Timestamp": "11/28/2026 10:00:00", "Name": "Ada Lovelace", "Email Address": "ada@example.com",
     "Interests": ["Maths", "Music"], "source_description": "Başvuru"},
    "2_ABaOnuc",
)  # fmt: skip


def _meta(number: int, *answers: tuple[str, str]) -> dict[str, Any]:
    return {
        "created_time": 1732780800, "leadgen_id": f"44444444444{number}", "page_id": "111", "form_id": "222",
        "field_data": [{"name": name, "values": [value]} for name, value in answers],
    }  # fmt: skip


META = as_json(
    {"object": "page", "entry": [{"id": "111", "time": 1732780801, "changes": [{"field": "leadgen", "value": _meta(
        1, ("full_name", "Ada Lovelace"), ("email", "ada@example.com"), ("what_do_you_want_to_learn?", "Maths"))}]}]},
    {"full_name": "Ada Lovelace", "email": "ada@example.com", "what_do_you_want_to_learn?": "Maths", "form_id": "222",
     "page_id": "111", "lead id": "444444444441"},
    "444444444441",
)  # fmt: skip
META_SEVERAL = as_json(
    {"object": "page", "entry": [
        {"id": "111", "changes": [{"field": "leadgen", "value": _meta(1, ("email", "a@example.com"))},
                                  {"field": "feed", "value": {"item": "post"}},
                                  {"field": "leadgen", "value": _meta(2, ("phone_number", "+905321234567"))}]},
        {"id": "112", "changes": [{"field": "leadgen", "value": _meta(3, ("email", "c@example.com"))}]},
    ]},
    {},
)  # fmt: skip
META_BARE = as_json(
    {"object": "page", "entry": [{"id": "1", "changes": [{"field": "leadgen", "value": {
        "ad_id": "5", "form_id": "222", "leadgen_id": "444", "created_time": 1732780800, "page_id": "111"}}]}]},
    {"ad_id": "5", "form_id": "222", "leadgen_id": "444", "created_time": 1732780800, "page_id": "111",
    "lead id": "444"},
    "444",
)  # fmt: skip

TALLY = as_json(
    {"eventId": "a4cb511e", "eventType": "FORM_RESPONSE", "data": {"responseId": "2wgx4n", "fields": [
        {"key": "question_3EKz4n", "label": "Name", "type": "INPUT_TEXT", "value": "Ada"},
        {"key": "question_wvPl4n", "label": "E-mail", "type": "INPUT_EMAIL", "value": "ada@example.com"},
        {"key": "question_nPpjVn", "label": "Subjects", "type": "CHECKBOXES", "value": ["id1", "id2"],
         "options": [{"id": "id1", "text": "Maths"}, {"id": "id2", "text": "Music"}, {"id": "id3", "text": "Art"}]},
    ]}},
    {"eventId": "a4cb511e", "eventType": "FORM_RESPONSE", "responseId": "2wgx4n", "Name": "Ada",
     "E-mail": "ada@example.com", "Subjects": ["Maths", "Music"]},
)  # fmt: skip

EXAMPLES: dict[str, list[Sent]] = {
    "tilda": [TILDA, TILDA_PLAIN],
    "typeform": [TYPEFORM, TYPEFORM_GROUP],
    "jotform": [JOTFORM, JOTFORM_BRACKETS],
    "webflow": [WEBFLOW, WEBFLOW_1],
    "elementor": [ELEMENTOR, ELEMENTOR_ADVANCED, ELEMENTOR_JSON],
    "cf7": [CF7, CF7_FORM],
    "gravityforms": [GRAVITY, GRAVITY_NAMED],
    "googleforms": [GOOGLE],
    "meta": [META, META_BARE],
    "crmtool": [TALLY],
}
"""Bodies with one submission, by the name of the source; the first is that of the documentation."""
