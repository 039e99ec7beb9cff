"""Bodies in other encodings, languages and structures."""

from __future__ import annotations

from tests.schemas.bodies import form, posted

SITES = [
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
