"""The fake Bitrix24 where a real portal surprises. Evidence: the vendor's server modules, or the page that is named."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.bitrix24.markup import normalised, strip_tags
from crmgate.testing.bitrix24.wire import SERVER_FAULTS
from tests.cases import all_cases
from tests.processes import DEADLINE

Call = Callable[..., requests.Response]
PHONE = {"typeId": "PHONE", "valueType": "WORK", "value": "+905321234567"}
EMAIL = {"typeId": "EMAIL", "valueType": "WORK", "value": "anna@example.com"}
EMOJI = "\U0001f393"


@pytest.fixture
def crm() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as fake:
        yield fake


@pytest.fixture
def call(crm: FakeBitrix24) -> Call:
    def post(method: str, **params: Any) -> requests.Response:
        return requests.post(f"{crm.webhook_url}{method}.json", json=params, timeout=DEADLINE)

    return post


@pytest.fixture
def add(call: Call) -> Callable[..., dict[str, Any]]:
    def create(**fields: Any) -> dict[str, Any]:
        item: dict[str, Any] = call("crm.item.add", entityTypeId=1, fields=fields).json()["result"]["item"]
        return item

    return create


def error(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


class TestStripTags:
    """https://www.php.net/manual/en/function.strip-tags.php, and the tests of PHP: bug46578.phpt, strip_tags.phpt."""

    @all_cases(
        ("text", "kept"),
        [
            ("<!-- testing I've been to mars -->foobar", "foobar"),
            ('<a alt="foobar">foo<!-- foo! --></a>bar', "foobar"),
            ("< ax", "< ax"),
            ("<! a>", ""),
            ("<? ax", ""),
            ("NEAT <? cool < blah ?> STUFF", "NEAT  STUFF"),
            ("NEAT <!-- cool > blah --> STUFF", "NEAT  STUFF"),
            ("TESTS ?!!?!?!!!?!!", "TESTS ?!!?!?!!!?!!"),
            ('a <b c=">"> d', "a  d"),
            ("a <b <c> d> e", "a  e"),
            ("a > b", "a > b"),
            ("the end <", "the end "),
        ],
    )
    def test_it_removes_what_php_removes(self, text: str, kept: str) -> None:
        assert strip_tags(text) == kept


MARKS = (
    *("<", ">", "&", '"', "'", "&lt;", "&amp;", "<b>", "</b>", "<!--", "-->", "<?", "?>", "\n", " ", "(", ")"),
    *("https://example.org/a", "www.example.org", "john@example.com"),
)


def _pieces(chance: random.Random) -> list[str]:
    return [f"{mark}{chance.choice(('', ' '))}word{number}x" for number, mark in enumerate(chance.choices(MARKS, k=6))]


def _guarded(text: str) -> str:
    """The text with a word joiner behind an `&` that may begin an entity, and a space behind each `<`."""
    return re.sub(r"<(?!\s)", "< ", re.sub(r"&(?=#?\w+;)", "&\u2060", text))


def _loses(text: str) -> bool:
    """Whether a text that is stored twice loses one of its words."""
    stored = normalised(normalised(text))
    return any(word not in stored for word in re.findall(r"word\d+x", text))


class TestComments:
    """`comments` is read as HTML (measured on the vendor's normaliser)."""

    @pytest.mark.parametrize(
        ("sent", "stored"),
        [
            ("I <3 Istanbul. My GPA is 3.8.\n\nTracking code: CG-M9WA-V61N", "I "),
            ("John <john@example.com>, hello", "John , hello"),
            ("C++ <vector> and more", "C++  and more"),
            ("x<y and more", "x"),
            ("a &lt;3 and more", "a "),
            ("a <\u2060b and more", "a "),
            ("a < b and more", "a &lt; b and more"),
            ('R&D "x"', "R&amp;D &quot;x&quot;"),
            ("see https://example.org/a now", "see [url=https://example.org/a]https://example.org/a[/url] now"),
            ("(www.example.org)", "([url=www.example.org]www.example.org[/url])"),
            ("https://example.org/< b and more", "[url=https://example.org/"),
            ("https://example.org/ < b", "[url=https://example.org/]https://example.org/[/url] &lt; b"),
            ("R&\u2060lt; 3", "R&amp;\u2060lt; 3"),
            ("<b>bold</b><br>next", "[b]bold[/b]\nnext"),
            ('<a href="https://example.org">here</a>', "[url=https://example.org]here[/url]"),
        ],
    )
    @pytest.mark.parametrize("api", ["item", "lead"])
    def test_what_is_stored(self, crm: FakeBitrix24, call: Call, api: str, sent: str, stored: str) -> None:
        call(f"crm.{api}.add", entityTypeId=1, fields={"comments": sent, "COMMENTS": sent})
        assert crm.leads[1]["comments"] == stored

    def test_the_answer_shows_what_is_stored(self, add: Any) -> None:
        assert add(comments='a <b & "c"')["comments"] == "a "

    @pytest.mark.parametrize("text", ['R&D "x" < y', "see https://example.org/a now", "[b]x[/b]", "a & b &amp; c"])
    def test_what_was_stored_once_survives_being_sent_again(self, text: str) -> None:
        assert normalised(normalised(text)) == normalised(text)

    def test_what_saves_a_text_from_it(self) -> None:
        """Measured on the vendor's normaliser with 3,000 texts: half of them lose words as typed; with a word joiner
        behind `&` and spaces around `<` none does, and without the space before it some do."""
        chance = random.Random(3)
        texts = ["".join(_pieces(chance)) for _ in range(600)]
        assert sum(_loses(text) for text in texts) > 200
        assert sum(_loses(_guarded(text)) for text in texts) > 0
        assert sum(_loses(re.sub(r"(?<!\s)<", " <", _guarded(text))) for text in texts) == 0

    def test_a_timeline_comment_is_kept_as_typed(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        fields = {"ENTITY_ID": add()["id"], "ENTITY_TYPE": "lead", "COMMENT": 'I <3 "you"'}
        call("crm.timeline.comment.add", fields=fields)
        assert crm.comments_of(1)[0]["COMMENT"] == 'I <3 "you"'


class TestTimelineOfNothing:
    """Only `ENTITY_ID > 0`, the type and the rights are checked."""

    @pytest.fixture
    def comment(self, call: Call) -> Call:
        def post(entity_id: Any = 99, entity_type: str = "lead") -> requests.Response:
            fields = {"ENTITY_ID": entity_id, "ENTITY_TYPE": entity_type, "COMMENT": "x"}
            return call("crm.timeline.comment.add", fields=fields)

        return post

    def test_an_administrator_comments_on_a_deleted_lead(self, crm: FakeBitrix24, add: Any, comment: Call) -> None:
        lead_id = add()["id"]
        crm.delete_lead(lead_id)
        assert comment(lead_id).status_code == 200
        assert comment(99, "deal").status_code == 200

    def test_lesser_rights(self, crm: FakeBitrix24, comment: Call) -> None:
        crm.admin = False
        assert error(comment()) == (400, "ACCESS_DENIED")

    @pytest.mark.parametrize("owner", [(0, "lead"), ("x", "lead"), (-1, "lead"), (1, "nonsense")])
    def test_a_bad_id_or_type(self, comment: Call, owner: tuple[Any, str]) -> None:
        assert error(comment(*owner)) == (400, "OWNER_NOT_FOUND")


class TestServerFaults:
    """The REST layer turns every exception into status 400, also after the record was saved."""

    @pytest.mark.parametrize("code", SERVER_FAULTS)
    @pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
    def test_a_fault(self, crm: FakeBitrix24, call: Call, code: str, when: Any, stored: int) -> None:
        crm.fail_with(code, when=when, times=1)
        assert error(call("crm.item.add", entityTypeId=1, fields={})) == (400, code)
        assert len(crm.leads) == stored

    def test_a_quota_refuses_every_new_record(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        lead_id = add()["id"]
        crm.quota_refusal = "Disk alanı doldu."
        for entity in (1, 2, 3):
            response = call("crm.item.add", entityTypeId=entity, fields={"name": "Anna"})
            assert (*error(response), response.json()["error_description"]) == (400, "", "Disk alanı doldu.")
        assert call("crm.item.update", entityTypeId=1, id=lead_id, fields={"name": "Anna"}).ok

    def test_without_the_subscription(self, crm: FakeBitrix24, call: Call) -> None:
        crm.subscribed = False
        response = call("profile")
        assert error(response) == (403, "ACCESS_DENIED")
        assert response.json()["error_description"] == "REST is available only by subscription."

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("PAYMENT_REQUIRED", 402),
            ("allowed_only_intranet_user", 403),
            ("authorization_error", 400),
            ("User is not found or is not active", 400),
        ],
    )
    def test_account_wide_codes(self, crm: FakeBitrix24, call: Call, code: str, status: int) -> None:
        crm.system_error = code
        assert error(call("profile")) == (status, code)

    def test_a_time_limit_has_no_time(self, crm: FakeBitrix24, call: Call) -> None:
        assert call("crm.item.list", entityTypeId=1).json()["time"]["operating_reset_at"] > time.time()
        crm.time_limits = {"crm.item.list": time.time() + 420}
        assert "time" not in call("crm.item.list", entityTypeId=1).json()


class TestDuplicates:
    """https://apidocs.bitrix24.com/api-reference/crm/duplicates/crm-duplicate-find-by-comm.html, and server code."""

    def found(self, call: Call, kind: str, *values: str, **more: str) -> Any:
        return call("crm.duplicate.findbycomm", type=kind, values=values, **more).json()["result"]

    @pytest.mark.parametrize(
        ("stored", "asked"),
        [
            ("+905321234567", "90 (532) 123-45-67"),
            ("00905321234567", "+905321234567"),
            ("01190 532 123 45 67", "905321234567"),
            ("05321234567", "5321234567"),
            ("8 912 345 67 89", "+79123456789"),
        ],
    )
    def test_phones_are_normalised(self, call: Call, add: Any, stored: str, asked: str) -> None:
        lead = add(fm=[PHONE | {"value": stored}])["id"]
        assert self.found(call, "PHONE", asked) == {"LEAD": [lead]}

    def test_a_short_number_keeps_its_8(self, call: Call, add: Any) -> None:
        add(fm=[PHONE | {"value": "812345678"}])
        assert self.found(call, "PHONE", "712345678") == []

    def test_email_is_compared_without_case(self, call: Call, add: Any) -> None:
        lead = add(fm=[EMAIL])["id"]
        assert self.found(call, "EMAIL", "ANNA@Example.com") == {"LEAD": [lead]}

    def test_only_the_20_oldest_of_a_value_are_shown(self, call: Call, add: Any) -> None:
        ids = [add(fm=[PHONE])["id"] for _ in range(22)]
        newest = add(fm=[PHONE | {"value": "+12025550119"}])["id"]
        assert self.found(call, "PHONE", PHONE["value"]) == {"LEAD": ids[:20]}
        assert self.found(call, "PHONE", PHONE["value"], "+12025550119") == {"LEAD": [*ids[:20], newest]}


class TestRows:
    """`fm`: numeric keys are ids of rows."""

    def test_a_list_overwrites_the_row_whose_id_is_its_position(self, call: Call, add: Any) -> None:
        lead = add(fm=[PHONE])
        assert lead["fm"][0]["id"] == 1
        fm = [PHONE | {"value": "+12025550119"}, EMAIL]
        item = call("crm.item.update", entityTypeId=1, id=lead["id"], fields={"fm": fm}).json()["result"]["item"]
        assert [row["value"] for row in item["fm"]] == ["anna@example.com", "+12025550119"]

    def test_an_object_with_other_keys_only_adds(self, call: Call, add: Any) -> None:
        lead = add(fm=[PHONE])
        fm = {"n0": PHONE | {"value": "+12025550119"}, "n1": EMAIL, "n2": PHONE}
        item = call("crm.item.update", entityTypeId=1, id=lead["id"], fields={"fm": fm}).json()["result"]["item"]
        assert [row["value"] for row in item["fm"]] == [PHONE["value"], "+12025550119", "anna@example.com"]

    @pytest.mark.parametrize("address", ['"a b"@example.com', "a@example.abcdefghijklmnopqrstu", "a@b"])
    def test_a_bad_email_refuses_the_whole_record(self, crm: FakeBitrix24, call: Call, address: str) -> None:
        response = call("crm.item.add", entityTypeId=1, fields={"fm": {"n0": EMAIL | {"value": address}}})
        assert error(response) == (400, "0")
        assert "E-mail" in response.json()["error_description"]
        assert not crm.leads


class TestEcho:
    def test_utf8mb3_cuts_what_is_stored_and_not_the_answer(self, crm: FakeBitrix24, add: Any) -> None:
        crm.utf8mb3 = True
        values = dict.fromkeys(("title", "name", "comments", "lastName"), f"before {EMOJI} after")
        answer = add(**values)
        assert answer | values == answer
        assert [crm.leads[1][name] for name in values] == ["before "] * 4
        assert crm.add_comment(1, f"before {EMOJI} after")["COMMENT"] == "before "

    def test_select_with_original_names_shows_empty_rows(self, call: Call, add: Any) -> None:
        add(), add()
        params = {"entityTypeId": 1, "select": ["id"], "start": -1}
        assert call("crm.item.list", **params, useOriginalUfNames="Y").json()["result"] == {"items": [[], []]}
        assert call("crm.item.list", **params).json()["result"] == {"items": [{"id": 1}, {"id": 2}]}

    @pytest.mark.parametrize(
        ("kind", "multiple", "sent", "shown"),
        [
            ("boolean", False, 1, "Y"),
            ("boolean", False, "given", "N"),
            ("date", False, "2026-09-01", "2026-09-01T03:00:00+03:00"),
            ("date", False, "next autumn", None),
            ("double", False, "3.5", 3.5),
            ("integer", False, "2026", 2026),
            ("string", True, ["a", "b"], ["a", "b"]),
            ("date", True, ["2026-09-01"], ["2026-09-01T03:00:00+03:00"]),
        ],
    )
    def test_user_fields(self, crm: FakeBitrix24, add: Any, kind: str, multiple: bool, sent: Any, shown: Any) -> None:
        crm.add_user_field("UF_CRM_X", kind, multiple=multiple)
        assert add(ufCrmX=sent)["ufCrmX"] == shown

    def test_a_multiple_list_takes_ids(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        crm.add_user_field("UF_CRM_X", "enumeration", ["MSc", "MBA"], multiple=True)
        first, second = crm.user_fields["UF_CRM_X"].options
        assert add(ufCrmX=[str(first), second])["ufCrmX"] == [first, second]
        refused = call("crm.item.add", entityTypeId=1, fields={"ufCrmX": ["MSc"]})
        assert error(refused) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")
