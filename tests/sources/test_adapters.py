"""Each adapter reads what its tool documents; no body of a tool, however odd, raises or is lost."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from crmgate.sources import Handshake, Received, SourceRequest
from crmgate.sources.model import Source
from crmgate.sources.reader import Sources
from crmgate.sources.tools import TOOLS, tool_of
from tests.sources import payloads
from tests.sources.payloads import EXAMPLES, JSON, Sent, as_form, as_json

CASES = [(name, number) for name, examples in EXAMPLES.items() for number in range(len(examples))]


def read(name: str, sent: Sent, **settings: Any) -> list[Received]:
    parsed = Sources({}, "TR").parse(Source(name, "secret", **settings), sent.request())
    assert not isinstance(parsed, Handshake)
    return [*parsed]


@pytest.mark.parametrize(("name", "number"), CASES, ids=lambda value: str(value))
def test_an_example(name: str, number: int) -> None:
    sent = EXAMPLES[name][number]
    parsed = tool_of(name).parse(sent.request())
    assert parsed == [Received(sent.fields, sent.delivery)]


def test_every_tool_has_an_example() -> None:
    assert EXAMPLES.keys() >= TOOLS.keys()


def test_the_handshake_of_tilda_stores_nothing() -> None:
    assert tool_of("tilda").parse(payloads.TILDA_TEST.request()) == Handshake()
    with_key = as_form({"test": "test", "token": "x"}, {})
    assert tool_of("tilda").parse(with_key.request()) == Handshake()
    answer = as_form({"test": "test", "Email": "ada@example.com", "tranid": "1:2"}, {})
    assert tool_of("tilda").parse(answer.request()) == [Received({"Email": "ada@example.com"}, "1:2")]


def test_a_partial_response_does_not_hide_the_complete_one() -> None:
    whole = json.loads(payloads.TYPEFORM.body)
    partial = as_json(whole | {"event_type": "form_response_partial"}, {})
    [one], [two] = read("typeform", partial), read("typeform", payloads.TYPEFORM)
    assert one.delivery_id != two.delivery_id


def test_other_events_of_a_site_are_not_stored() -> None:
    assert read("webflow", as_json({"triggerType": "site_publish", "payload": {"site": "1"}}, {})) == []


def test_meta_sends_several_leads_in_one_body() -> None:
    found = read("meta", payloads.META_SEVERAL)
    assert [each.delivery_id for each in found] == ["444444444441", "444444444442", "444444444443"]
    assert [each.fields.get("email") or each.fields.get("phone_number") for each in found] == [
        "a@example.com", "+905321234567", "c@example.com",
    ]  # fmt: skip


def test_meta_as_the_graph_api_answers_it() -> None:
    lead = {
        "id": "9",
        "created_time": "2026-11-28T10:00:00+0000",
        "field_data": [{"name": "email", "values": ["a@b.co"]}],
    }
    for body in (lead, [lead], {"data": [lead], "paging": {}}):
        assert read("meta", as_json(body, {})) == [Received({"email": "a@b.co", "lead id": "9"}, "9")]


@pytest.mark.parametrize("envelope", [lambda items: items, lambda items: {"responses": items}])
def test_google_forms_sends_several_responses(envelope: Any) -> None:
    items = [{"id": str(number), "namedValues": {"Email": [f"{number}@example.com"]}} for number in (1, 2)]
    found = read("googleforms", as_json(envelope(items), {}))
    assert found == [Received({"Email": f"{number}@example.com"}, str(number)) for number in (1, 2)]


def test_google_forms_without_named_values() -> None:
    sent = as_json({"Full name": "Ada", "Email": "ada@example.com", "responseId": "7"}, {})
    assert read("googleforms", sent) == [Received({"Full name": "Ada", "Email": "ada@example.com"}, "7")]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Ada", "value": "5", "email": "ada@example.com"},
        [{"name": "name", "value": "Ada"}, {"name": "value", "value": "5"}, {"name": "email",
        "value": "ada@example.com"}],
        {"fields": {"a": {"label": "name", "value": "Ada"}, "b": {"label": "value", "value": 5}},
         "email": "ada@example.com"},
        {"submission": {"answers": [{"question": "name", "answer": "Ada"}, {"question": "value", "answer": ["5"]},
                                    {"key": "x", "title": "email", "value": "ada@example.com"}]}},
    ],
)  # fmt: skip
def test_any_other_json(body: Any) -> None:
    [found] = read("acme", as_json(body, {}))
    assert {name: str(value) for name, value in found.fields.items()} == {
        "name": "Ada", "value": "5", "email": "ada@example.com",
    }  # fmt: skip
    assert found.delivery_id == ""


def test_objects_inside_do_not_lend_their_names_to_the_person() -> None:
    body = {
        "form": {"id": "7", "name": "Contact form"}, "utm": {"source": "google"},
        "contact": {"name": "Ada", "email": {"type": "EMAIL", "value": "ada@example.com"}},
        "signature": "data:image/png;base64,AAAA",
    }  # fmt: skip
    [found] = read("acme", as_json(body, {}))
    assert found.fields["form name"] == "Contact form"
    assert found.fields["signature"] == "(a file: image/png)"
    payload = Sources({}, "TR").read(Source("acme", "secret"), found).payload
    assert (payload["first_name"], payload["email"], payload["utm"]) == ("Ada", "ada@example.com", {"source": "google"})


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("webflow", {"payload": {"name": "N", "formResponse": {"Name": "Ada", "Email": "ada@example.com"}, "id": "7"}}),
        ("gravityforms", {"entry": {"id": "7", "1.3": "Ada", "1.6": "", "2": "ada@example.com"}}),
        ("gravityforms", {"entry_id": "7", "Name": "Ada", "Email": "ada@example.com"}),
        ("jotform", {"submissionID": "7", "pretty": "Name:Ada, City:Izmir, Turkey, Email:ada@example.com"}),
        ("typeform", {"Name": "Ada", "Email": "ada@example.com"}),
        ("meta", {"leadgen_id": "7", "field_data": [{"name": "full_name", "values": ["Ada"]},
                                                    {"name": "email", "values": ["ada@example.com"]}]}),
        ("googleforms", [{"id": "7", "response": {"Name": "Ada", "Email": "ada@example.com"}}]),
    ],
)  # fmt: skip
def test_other_forms_of_a_payload(name: str, sent: Any) -> None:
    [found] = read(name, as_json(sent, {}))
    payload = Sources({}, "TR").read(Source(name, "secret"), found).payload
    assert (payload["first_name"], payload["email"]) == ("Ada", "ada@example.com")
    assert found.delivery_id == ("" if name == "typeform" else "7")


def test_a_list_of_objects_is_a_batch() -> None:
    sent = as_json([{"email": "a@example.com"}, {"email": "b@example.com"}], {})
    request = sent.request(**{"webhook-id": "msg_1"})
    assert tool_of("acme").parse(request) == [
        Received({"email": "a@example.com"}, "msg_1 0"), Received({"email": "b@example.com"}, "msg_1 1"),
    ]  # fmt: skip


def test_the_settings_name_fields_and_the_delivery_id() -> None:
    body = {"data": {"fields": [{"value": "Ada"}, {"value": "ada@example.com"}]}, "meta": {"uid": 17}, "plan": "gold"}
    paths = {"first_name": "data.fields.0.value", "email": "data.fields.1.value", "city": "nowhere.0"}
    [found] = read("acme", as_json(body, {}), paths=paths, id="meta.uid")
    assert found == Received({"first_name": "Ada", "email": "ada@example.com", "meta uid": 17, "plan": "gold"}, "17")
    request = SourceRequest("POST", {"content-type": JSON, "x-delivery": "d-1"}, b'{"a": 1}')
    parsed = Sources({}, "TR").parse(Source("acme", "secret", id="X-Delivery"), request)
    assert parsed == [Received({"a": 1}, "d-1")]


def test_a_path_with_points_and_the_name_of_an_answer() -> None:
    paths = {"budget": "4", "city": "5.1", "last_name": "field 5"}
    [found] = read("gravityforms", payloads.GRAVITY, paths=paths)
    assert (found.fields["budget"], found.fields["city"], found.fields["last_name"]) == (
        "Tea",
        "Bagel",
        ["Bagel", "Danish"],
    )
    assert not {"field 4", "field 5"} & found.fields.keys()


BROKEN = [
    b"{", b"[1, 2", b'{"form_response": 5}', b'"text"', b"\xff\xfe\x00", b"[" * 5000,
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b'{"payload": {"data": 7}}', b'{"entry": [{"changes": 5}]}', b'{"rawRequest": "{"}', b"rawRequest=[1]",
    b"a[b]=1&a=2",
    b'{"answers": [1]}', b"NaN", b'{"n": ' + b"9" * 5000 + b"}", "{'emoji': '\U0001f389'".encode(),
]  # fmt: skip


@pytest.mark.parametrize("name", [*TOOLS, "acme"])
def test_a_body_that_nobody_understands_is_kept(name: str) -> None:
    for body in BROKEN:
        for media in (JSON, "text/plain", payloads.FORM, "multipart/form-data; boundary=x"):
            found = read(name, Sent(body, media))
            assert found, (body, media)
            reading = Sources({}, "TR").read(Source(name, "secret"), found[0])
            assert reading.payload["custom"], (body, media)
            assert not reading.complete, (body, media)


@pytest.mark.parametrize("name", [*TOOLS, "acme"])
def test_an_empty_body_is_nothing(name: str) -> None:
    assert read(name, Sent(b"", "")) == []


def test_a_long_body_is_kept_whole() -> None:
    body = "{" + "é" * 30_000
    [found] = read("typeform", Sent(body.encode(), JSON))
    assert "".join(found.fields.values()) == body
    assert max(map(len, found.fields.values())) == 2_000


def test_further_answers_with_one_name_are_one_list() -> None:
    [found] = read(
        "acme", as_json({"a": [{"b": 1}, {"b": 2}, {"b": 3}, {"b": 1}], "e": {"email": "x"}, "email": "y"}, {})
    )
    assert found.fields == {"b": 1, "a.b": 2, "b (2)": 3, "email": "x", "email (2)": "y"}


def test_thousands_of_answers_take_no_time() -> None:
    body = json.dumps({"a": [{"b": number} for number in range(6_000)]}).encode()
    begun = time.process_time()
    [found] = read("acme", Sent(body, JSON))
    Sources({}, "TR").read(Source("acme", "secret"), found)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("media", "text"),
    [
        ("application/x-www-form-urlencoded", "Name=%C8%E2%E0%ED&Email=a%40b.co"),
        ("application/x-www-form-urlencoded; charset=windows-1251", "Name=%C8%E2%E0%ED&Email=a%40b.co"),
        ("application/x-www-form-urlencoded", "_charset_=windows-1251&Name=%C8%E2%E0%ED&Email=a%40b.co"),
        ("multipart/form-data; boundary=b", '--b\r\nContent-Disposition: form-data; name="Name"\r\n\r\nИван\r\n--b--'),
        ("application/json; charset=windows-1251", '{"Name": "Иван", "Email": "a@b.co"}'),
    ],
)
def test_a_form_in_an_old_charset_is_read_as_those_of_browsers(media: str, text: str) -> None:
    request = SourceRequest("POST", {"content-type": media}, text.encode("cp1251"))
    [found] = Sources({}, "TR").parse(Source("acme", "secret"), request)
    assert found.fields["Name"] == "Иван"
