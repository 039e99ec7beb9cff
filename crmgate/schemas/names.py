"""Names that forms and form tools give to the fields of an application, in one table.

`field_of` looks a name up. It ignores case, accents, spaces and punctuation, the numbers and prefixes that form tools
add (`q3_fullName`, `form_fields[email]`, `fields[name][value]`), and polite words (`Please enter your e-mail`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from crmgate.schemas.labels import BEFORE, comparable, words_of
from crmgate.schemas.text import clean

FULL_NAME = "full_name"
"""A name that an application may use although it is no field: it is split into first name and last name."""
CONTACT = "contact"
"""Another such name: an email address if there is an @ in the value, otherwise a phone number."""


class Names(NamedTuple):
    """Names of one field by language, separated by commas. The name of the field itself is always known."""

    english: str = ""
    turkish: str = ""
    russian: str = ""
    others: str = ""


TABLE: Mapping[str, Names] = {
    "full_name": Names(
        "name, first and last name, name and surname, name surname, first name last name, complete name, legal name,"
        " whole name, contact person, from name, sender name, names, how should we call you, who are you,"
        " name as in passport, full name as in passport",
        "ad soyad, ad ve soyad, adı soyadı, adınız soyadınız, adınız ve soyadınız, adınızı ve soyadınızı,"
        " isim, isim soyisim, isim soyad, isim ve soyisim, isminiz, isminizi, isminiz soyisminiz, ad, adı, adınız,"
        " adınızı, tam ad, tam adı, tam adınız, tam isim, adsoyad, öğrenci adı soyadı, öğrencinin adı soyadı",
        "имя, имя и фамилия, имя фамилия, фамилия и имя, фамилия имя, фио, ф и о, фамилия имя отчество, полное имя,"
        " имя фамилия отчество, как вас зовут, как к вам обращаться, как к вам можно обращаться, контактное лицо, "
        " имя клиента, имя студента, фио студента",
        "vollständiger name, vor und nachname, vorname und nachname, vorname nachname, nom et prénom, nom complet,"
        " prénom et nom, nom prénom, nombre completo, nombre y apellido, nombre y apellidos, nombre, nome completo,"
        " nome e cognome, nom, ism, ism familiya, аты жөні, аты-жөні тегі, الاسم, الاسم الكامل, الاسم بالكامل",
    ),
    "first_name": Names(
        "firstname, fname, f name, given name, given names, forename, christian name, first, name first, names first,"
        " full name first, first names, name first name, names first name",
        "ilk ad, ilk adı, ilk adınız, ilk isim, ön ad, öğrenci adı, öğrencinin adı",
        "собственное имя, имя без фамилии",
        "vorname, prénom, imię, ім'я, аты, nombre de pila, primer nombre, nome proprio, الاسم الأول",
    ),
    "last_name": Names(
        "lastname, lname, l name, surname, family name, second name, last, name last, names last, full name last,"
        " name last name, names last name, sur name, last names",
        "soyad, soyadı, soyadınız, soyadınızı, soyisim, soy isim, soy ad, soy adı, soy adınız, soyismi, soyisminiz,"
        " öğrenci soyadı",
        "фамилия, ваша фамилия",
        "nachname, familienname, nazwisko, прізвище, тегі, familiya,"
        " nom de famille, apellido, apellidos, cognome, sobrenome, اسم العائلة, اللقب",
    ),
    "email": Names(
        "e-mail, mail, email address, e-mail address, mail address, email id, e-mail id, reply to, replyto,"
        " reply to email,"
        " work email, personal email, business email, school email, confirm email, email confirmation, repeat email,"
        " email confirm, contact email, email contact, sender email, from email, primary email, electronic mail",
        "e-posta, eposta, e-posta adresi, e-posta adresiniz, eposta adresi, eposta adresiniz, e-postanız, e-postanızı,"
        " e-posta adresinizi, mail adresi, mail adresiniz, mail adresinizi, mailiniz, e-mail adresi, e-mail adresiniz,"
        " email adresi, emailiniz, e-mailiniz, elektronik posta, elektronik posta adresi, elektronik posta adresiniz",
        "электронная почта, электронной почты, адрес электронной почты, эл почта, эл адрес, почта, имейл, емейл, емайл,"
        " мейл, мэйл, майл, e-mail адрес, email адрес, электронный адрес, электронную почту",
        "e-mail-adresse, emailadresse, mailadresse, courriel, adresse email, adresse e-mail, adresse mail, mél,"
        " correo, correo electrónico, dirección de correo electrónico, dirección de correo, indirizzo email,"
        " e-poçt, пошта, електронна пошта, البريد الإلكتروني, البريد الالكتروني, الإيميل, ايميل",
    ),
    "phone": Names(
        "telephone, tel, phone number, telephone number, tel number, tel no, phone no, mobile, mobile phone,"
        " mobile number, mobile no, mobile phone number, cell, cell phone, cell number, cell phone number, cellphone,"
        " cellular, contact number, contact no, contact phone, contact phone number, phone contact, number phone,"
        " whatsapp, whatsapp number, whatsapp no, whatsapp phone, whatsapp phone number, phone whatsapp, wa number,"
        " home phone, work phone, work phone number, business phone, day phone, daytime phone, daytime phone number,"
        " phone mobile, mobile telephone, telephone mobile, full phone, phone full, full phone number,"
        " phone full number, phn, gsm,"
        " phone number full, primary phone, call back number, phone with country code",
        "telefon, telefon numarası, telefon numaranız, telefon numaranızı, telefonunuz, telefonunuzu, telefon no,"
        " telefon nosu, tel no, tel numarası, tel numaranız, cep, cep telefonu, cep telefonunuz, cep telefonu numarası,"
        " cep telefonu numaranız, cep telefon no, cep telefonu no, cep telefon, cep numarası, cep numaranız, cep no,"
        " cep tel, gsm no, gsm numarası, gsm numaranız, mobil, mobil telefon, mobil numara, iletişim numarası,"
        " iletişim numaranız, iletişim telefonu, iletişim no, whatsapp numarası, whatsapp numaranız, whatsapp hattı,"
        " irtibat telefonu, irtibat numarası, ev telefonu, iş telefonu, numaranız",
        "телефон, номер телефона, контактный телефон, контактный номер, номер контактного телефона, мобильный,"
        " мобильный телефон, мобильный номер, номер мобильного, номер мобильного телефона, сотовый, сотовый телефон,"
        " тел, no телефона, номер тел, моб тел, моб телефон, номер, ватсап, вотсап, ватсапп, номер whatsapp,"
        " номер ватсап,"
        " телефон whatsapp, телефон для связи, номер для связи, ваш тел",
        "telefonnummer, telefon raqami, numer telefonu, handy,"
        " handynummer, mobilnummer, rufnummer, téléphone, numéro de téléphone, portable,"
        " téléphone portable, teléfono, número de teléfono, móvil, celular, teléfono móvil, telefono, cellulare,"
        " telefone, الهاتف, رقم الهاتف, رقم الجوال, الجوال, رقم الموبايل, الموبايل, هاتف, رقم الواتساب, واتساب",
    ),
    "contact": Names(
        "email or phone, phone or email, email phone, phone email, contacts, contact info, contact information, contact"
        " details, contact data, how can we contact you, how can we reach you, email or phone number, phone number or"
        " email",
        "e-posta veya telefon, telefon veya e-posta, e-posta telefon, telefon e-posta, iletişim, iletişim bilgileri,"
        " iletişim bilgisi, iletişim bilgileriniz, iletişim bilginiz, mail veya telefon, telefon veya mail,"
        " e-mail telefon, telefon e-mail, mail telefon",
        "телефон или email, email или телефон, телефон или почта, почта или телефон, телефон email, email телефон,"
        " контакт, контакты, ваши контакты, контактные данные, контактная информация, как с вами связаться",
    ),
    "country": Names(
        "country region, region country, country name, country residence, country of residence, current country,"
        " country list, which country do you live in, which country do you live, country where you live,"
        " residence country, address country, country you live in",
        "ülke, ülkeniz, ülkenizi, ülke adı, ülke bölge, yaşadığınız ülke, bulunduğunuz ülke, ikamet ülkesi,"
        " ikamet ettiğiniz ülke, yaşadığı ülke, hangi ülkede yaşıyorsunuz",
        "страна, страна проживания, страна регион, в какой стране вы живете, страну",
        "land, wohnsitzland, pays, pays de résidence, país, país de residencia, paese, البلد, الدولة, بلد الإقامة",
    ),
    "city": Names(
        "town, city town, town city, city name, current city, city of residence, residence city, address city,"
        " city you live in, which city do you live in, locality",
        "şehir, şehriniz, şehrinizi, il, iliniz, şehir il, yaşadığınız şehir, bulunduğunuz şehir, yaşadığı şehir,"
        " ikamet ettiğiniz şehir, kent, hangi şehirde yaşıyorsunuz",
        "город, город проживания, населенный пункт, в каком городе вы живете, из какого вы города",
        "stadt, wohnort, ort, ville, ciudad, città, cidade, المدينة, مدينة",
    ),
    "birth_date": Names(
        "date of birth, birthdate, birth day, birthday, dob, d o b, birth, born on, when were you born",
        "doğum tarihi, doğum tarihiniz, doğum tarihinizi, doğum günü, doğum gününüz",
        "дата рождения, день рождения, др, дату рождения",
        "geburtsdatum, date de naissance, fecha de nacimiento, data di nascita, data de nascimento, تاريخ الميلاد",
    ),
    "level": Names(
        "education level, level of education, highest level of education, education, level of study, study level,"
        " degree, degree level, level of degree, desired degree, current education level, qualification,"
        " highest qualification, program level, programme level, academic level",
        "seviye, eğitim seviyesi, eğitim seviyeniz, eğitim düzeyi, eğitim düzeyiniz, eğitim durumu, eğitim durumunuz,"
        " öğrenim durumu, öğrenim durumunuz, öğrenim seviyesi, öğrenim düzeyi, derece, program seviyesi, mezuniyet"
        " durumu",
        "уровень, уровень образования, образование, степень, уровень обучения, ступень обучения, ваше образование",
        "bildungsabschluss, abschluss, niveau d'études, nivel de estudios, المستوى التعليمي, المرحلة الدراسية",
    ),
    "field": Names(
        "field of study, field of studies, study field, major, subject of study, area of study, current major",
        "alan, eğitim alanı, öğrenim alanı, çalışma alanı, mezun olduğunuz bölüm, okuduğunuz bölüm",
        "направление обучения, область обучения, сфера обучения",
        "studienfach, fachrichtung, domaine d'études, área de estudio, مجال الدراسة",
    ),
    "institution": Names(
        "school, school name, high school, high school name, name of school, current school, current institution,"
        " institution name, current university, educational institution, college, last school",
        "okul, okulunuz, okul adı, lise, lise adı, liseniz, mezun olduğunuz okul, mezun olunan okul, mezun olduğu okul,"
        " okuduğunuz okul, şu anki okulunuz, mezun olduğunuz lise, kurum",
        "школа, учебное заведение, место учебы, где вы учитесь, ваша школа",
        "schule, école, établissement, escuela, institución, المدرسة, اسم المدرسة",
    ),
    "graduation_year": Names(
        "year of graduation, grad year, graduation, graduating year, expected graduation year",
        "mezuniyet yılı, mezuniyet yılınız, mezun olduğunuz yıl, mezun olma yılı",
        "год окончания, год выпуска, год окончания школы",
        "abschlussjahr, année de diplôme, año de graduación, سنة التخرج",
    ),
    "gpa": Names(
        "grade point average, cgpa, average grade, grade average, grades",
        "not ortalaması, not ortalamanız, ortalama, diploma notu, diploma notunuz, mezuniyet notu",
        "средний балл, средняя оценка, ваш средний балл",
        "notendurchschnitt, moyenne, promedio, المعدل",
    ),
    "universities": Names(
        "university, preferred university, preferred universities, desired university, university of interest,"
        " university choice, target university, university name, choose university, select university",
        "üniversite, üniversiteler, üniversite tercihi, üniversite tercihiniz, tercih ettiğiniz üniversite,"
        " tercih edilen üniversite, hedef üniversite, istediğiniz üniversite, düşündüğünüz üniversite, üniversite adı",
        "университет, вуз, университеты, желаемый университет, выберите университет, желаемый вуз, предпочитаемый вуз",
        "universität, université, universidad, università, الجامعة, الجامعة المطلوبة",
    ),
    "programs": Names(
        "program, programme, programmes, course, courses, course name, program name, programme name, department,"
        " program of interest, programme of interest, course of interest, interested program, interested course,"
        " preferred program, preferred programme, preferred course, desired program, desired programme, desired course,"
        " study program, study programme, program of study, programme of study, faculty, choose program,"
        " select program, select course, which program are you interested in, what do you want to study",
        "programlar, program adı, bölüm, bölümler, bölümünüz, bölüm tercihi, bölüm tercihiniz, tercih ettiğiniz bölüm,"
        " istediğiniz bölüm, ilgilendiğiniz bölüm, ilgilendiğiniz program, okumak istediğiniz bölüm, düşündüğünüz"
        " bölüm, hedef bölüm, tercih edilen bölüm, fakülte, kurs,"
        " hangi bölümü okumak istiyorsunuz, hangi bölümle ilgileniyorsunuz",
        "программа, программы, программа обучения, специальность, специальности, желаемая специальность, факультет,"
        " курс, желаемая программа, выберите программу, интересующая программа, интересующая специальность",
        "studiengang, studienprogramm, programme d'études, formation, programa, carrera, التخصص, البرنامج",
    ),
    "budget": Names(
        "annual budget, yearly budget, budget range, budget per year, estimated budget, tuition budget, price range,"
        " what budget do you have",
        "bütçe, bütçeniz, bütçenizi, bütçe aralığı, yıllık bütçe, yıllık bütçeniz, tahmini bütçe",
        "бюджет, бюджет в год, планируемый бюджет, примерный бюджет, ваш бюджет на обучение",
        "jahresbudget, presupuesto, الميزانية",
    ),
    "start_date": Names(
        "intake, start, starting date, desired start date, preferred start date, intended start date, start semester,"
        " intake term, enrollment date, admission year, start year, when do you want to start, when would you like to"
        " start, planned start, start term, semester",
        "başlangıç tarihi, başlama tarihi, başlangıç, dönem, başlangıç dönemi, ne zaman başlamak istiyorsunuz, kayıt"
        " dönemi, başlamak istediğiniz dönem",
        "дата начала, начало обучения, дата начала обучения, когда планируете начать, когда вы хотите начать,"
        " когда планируете поступать, семестр",
        "startdatum, studienbeginn, date de début, fecha de inicio, تاريخ البدء",
    ),
    "scholarship_needed": Names(
        "need scholarship, scholarship need, do you need scholarship, need a scholarship, scholarship required",
        "burs, burs ihtiyacı, burs ihtiyacınız var mı, burs istiyor musunuz, burs talebi, burs gerekiyor mu",
        "стипендия, нужна стипендия, нужна ли стипендия, нужна ли вам стипендия",
        "stipendium benötigt, stipendium, bourse, beca, المنحة",
    ),
    "language_preference": Names(
        "preferred language, language of instruction, instruction language, language preference, study language,"
        " language of study, teaching language, languages",
        "dil, dil tercihi, dil tercihiniz, eğitim dili, tercih ettiğiniz dil, tercih ettiğiniz eğitim dili, öğretim"
        " dili",
        "язык, язык обучения, предпочитаемый язык, язык преподавания, желаемый язык обучения",
        "sprache, unterrichtssprache, langue, idioma, لغة الدراسة, اللغة",
    ),
    "user_type": Names(
        "i am, i am a, student or parent, are you a student or a parent", "öğrenci mi veli mi", "кто вы"
    ),
    "language": Names(),
    "scholarship": Names(),
    "university_chosen": Names("have you chosen a university", "üniversite seçtiniz mi", "вы выбрали университет", ""),
    "referral_code": Names(
        "ref, referral, ref code, referrer code, referral id, reference code, invite code, invitation code, affiliate"
        " code, partner code",
        "referans kodu, referans, davet kodu, referans kodunuz",
        "реферальный код, код приглашения, реферал, код партнера",
        "empfehlungscode, code de parrainage, código de referido, كود الإحالة",
    ),
    "source": Names(),
    "source_description": Names(
        "how did you hear about us, how did you find us, where did you hear about us, hear about us, how you heard"
        " about us, how did you know about us",
        "bizi nereden duydunuz, bizi nasıl buldunuz, bizi nereden buldunuz, bize nasıl ulaştınız, bizi nereden"
        " biliyorsunuz",
        "откуда вы о нас узнали, как вы о нас узнали, откуда узнали о нас, как узнали о нас",
        "wie haben sie von uns erfahren, comment nous avez vous connu, cómo nos conoció, كيف سمعت عنا",
    ),
    "session": Names("session id, crmgate session"),
    "additional_info": Names(
        "message, messages, msg, comment, comments, note, notes, question, questions, additional information, more"
        " information, further information, additional comments, additional notes, additional message, other"
        " information, anything else, details, description, inquiry, enquiry, how can we help, how can we help you,"
        " how may we help you, message text, text message, leave a message, remarks, request, comment or message,"
        " comments or questions, questions or comments, tell us about yourself, textarea, text area,"
        " message body, feedback",
        "mesaj, mesajınız, mesajınızı, not, notunuz, notlar, notlarınız, yorum, yorumunuz, yorumlar, açıklama,"
        " açıklamalar, açıklamanız, soru, sorunuz, sorularınız, soru ve görüşleriniz, ek bilgi, ek bilgiler, ek notlar,"
        " eklemek istedikleriniz, talep, talebiniz, iletiniz, ileti, detay, detaylar, görüşleriniz, size nasıl"
        " yardımcı olabiliriz, eklemek istediğiniz bir şey var mı",
        "сообщение, текст сообщения, комментарий, комментарии, примечание, вопрос, вопросы, дополнительная информация,"
        " дополнительно, описание, текст, заметка, отзыв, пожелания, ваше обращение, чем мы можем помочь, запрос,"
        " коммент, комментарий к заявке",
        "nachricht, ihre nachricht, mitteilung, bemerkung, bemerkungen, kommentar, anmerkungen, commentaire,"
        " commentaires, votre message, mensaje, comentario, comentarios, messaggio, mensagem, الرسالة, رسالة, ملاحظات",
    ),
    "utm_source": Names(),
    "utm_medium": Names(),
    "utm_campaign": Names(),
    "utm_content": Names(),
    "utm_term": Names(),
    "consent_given": Names(
        "consent, gdpr, gdpr consent, gdpr agreement, privacy, privacy policy, privacy consent, acceptance,"
        " accept, agree,"
        " i agree, i consent, agreement, data consent, data protection, accept privacy policy, i agree to the privacy"
        " policy, i accept the privacy policy, agree privacy policy, accept privacy, consent to data processing",
        "kvkk, kvkk onayı, kvkk onay, kvkk metni, kvkk rızası, onay, onaylıyorum, kabul ediyorum, açık rıza, gizlilik"
        " politikası, kişisel verilerin işlenmesi, aydınlatma metni, kvkk aydınlatma metni, kvkk izni, rıza, izin",
        "согласие, согласен, согласие на обработку персональных данных, согласие на обработку данных, обработка"
        " персональных данных, политика конфиденциальности, я согласен, соглашение, персональные данные",
        "dsgvo, datenschutz, einwilligung, consentement, rgpd, consentimiento, الموافقة, أوافق",
    ),
    "consent_text": Names("consent wording, agreement text", "onay metni", "текст согласия"),
    "consent_at": Names("consent date, consent time, consent timestamp", "onay tarihi", "дата согласия"),
}
"""The names of each field, by the flat name of the field."""

_LONGEST = 120
"""A longer name is a text, not a label."""
_CACHED = 2_048
_ASIDE = re.compile(r"\([^()]*\)")
_LABEL = re.compile(r"[.\[]\d+\]?[.\[]name\]?\Z", re.IGNORECASE)
"""The label of a field in a list of fields: `fields[0][name]`."""
_SEVERAL = re.compile(r"[(/|\\]|\s[-–—]\s")
"""Signs of a remark, or of a label in two languages."""
_OR = re.compile(r"\s*[/|\\]\s*|\s+[-–—]\s+")

_NOT_ALONE = frozenset({"field"})
"""Fields whose own name is also what form tools call any field (`Field 2`, `field-3`)."""


def field_of(label: str) -> str | None:
    """The flat name of the field that a form calls `label`, such as `email` or `full_name`; None if it is not known.

    Every result is a name that `parse_application` takes.
    """
    return _field_of(label) if len(label) <= _LONGEST else None


def known_names(*fields: str) -> Iterator[tuple[str, str]]:
    """Yield each known name of `fields`, as it is compared, with its field."""
    yield from ((key, field) for key, field in _INDEX.items() if field in fields)


@lru_cache(maxsize=_CACHED)
def _field_of(label: str) -> str | None:
    text = clean(label)
    if _LABEL.search(text):
        return None
    found = _exact(text)
    if found is None and _SEVERAL.search(text):
        return _exact(_ASIDE.sub(" ", text)) or _agreed(text)
    return found


def _exact(text: str) -> str | None:
    """The field of a label without alternatives, with or without its leading words."""
    words = words_of(text)
    while words:
        found = _INDEX.get("".join(words))
        if found is not None:
            return found
        if words[0] not in BEFORE:
            return None
        words = words[1:]
    return None


def _agreed(text: str) -> str | None:
    """The field of a label in two languages, such as `Name / Ad Soyad`: that of all its parts."""
    found = {_exact(part) for part in _OR.split(_ASIDE.sub(" ", text)) if words_of(part)}
    return found.pop() if len(found) == 1 else None


def _index() -> dict[str, str]:
    index: dict[str, str] = {}
    for field, names in TABLE.items():
        labels = [label for text in names for label in text.split(",")]
        own = [] if field in _NOT_ALONE else [field]
        for label in (*own, *labels):
            index.setdefault(comparable(label), field)
    index.pop("", None)
    return index


_INDEX = _index()
