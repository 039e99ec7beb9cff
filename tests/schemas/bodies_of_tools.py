"""Bodies of form tools, of form builders in websites, and of advertising networks."""

from __future__ import annotations

from tests.schemas.bodies import form, posted

FORM_TOOLS = [
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
]
