"""Bodies of frameworks, and of forms that the sites of one country have."""

from __future__ import annotations

from tests.schemas.bodies import form

FRAMEWORKS = [
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
]
