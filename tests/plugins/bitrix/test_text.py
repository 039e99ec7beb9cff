"""Nothing that a visitor types is lost: the portal reads `comments` as HTML, and a database can cut wide characters."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from requests.structures import CaseInsensitiveDict

from crmgate.errors import Forbidden, OutcomeUnknown
from crmgate.model import Activity, Operation
from crmgate.plugin_host.caller import HookCaller
from crmgate.provider import Answer
from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.bitrix24.markup import normalised
from crmgate.testing.server import Request
from plugins.bitrix import Bitrix
from plugins.bitrix.text import described, plain, repeated
from plugins.bitrix.values import dropped
from tests.plugins.bitrix.rig import (
    ANNA,
    BOTH_APIS,
    CLICK,
    COMMENT,
    Connect,
    activity,
    bring,
    click,
    creation,
    deliver,
    existing,
    failure,
    methods,
    only_lead,
    shown,
    update,
)

CAP = "\U0001f393"
PIECES = (
    *("<", ">", "&", '"', "'", "&lt;", "&amp;", "&nbsp;", "&#60;", "<b>", "</b>", "<br", "<!--", "-->", "<?", "?>"),
    *("[b]", "[url=x]", "[/url]", "\n", " ", "(", ")", "\u00a0", "\0", CAP),
    *("https://example.org/a", "www.example.org", "john@example.com", "<a href='x'>"),
)
TEXTS = pytest.mark.parametrize(
    "text",
    [
        "I <3 Istanbul. My GPA is 3.8.",
        "John <john@example.com>, please",
        "C++ <vector> knowledge",
        "x<y then",
        "a typed &lt;3 then",
        "https://example.org/< then",
        "<it's mine> then",
        "<!-- hidden --> then",
        "5 <\u00a06 then",
    ],
)


class Local(Bitrix):
    """The plugin with the fake portal in place of the network."""

    portal: ClassVar[FakeBitrix24]

    def request(self, method: str, url: str, *, json: Any = None, **_options: Any) -> Answer:
        """The portal's answer."""
        headers = {"Content-Type": "application/json"}
        sent = Request(method, urlsplit(url).path, "", headers, dumped(json))
        answer = self.portal.answer(sent)
        return Answer(answer.status, CaseInsensitiveDict(), str(answer.body).encode())


def dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


def seen(portal: FakeBitrix24, lead_id: object) -> str:
    """All that people read on a lead: its fields and its timeline."""
    lead = portal.leads[int(str(lead_id))]
    return shown(
        "\n".join([*map(str, lead.values()), *(str(row["COMMENT"]) for row in portal.comments_of(lead["id"]))])
    )


def words(text: str) -> list[str]:
    return re.findall(r"\w+", shown(text))


@BOTH_APIS
@TEXTS
class TestMarkup:
    def test_a_new_lead_keeps_every_word(self, portal: FakeBitrix24, crm: HookCaller, text: str) -> None:
        operation = creation(replace(ANNA, additional_info=text))
        deliver(crm, operation)
        comments = shown(only_lead(portal)["comments"])
        assert [word for word in [*words(text), operation.tracking_code] if word not in comments] == []
        assert not portal.comments

    def test_an_update_is_found_again(self, portal: FakeBitrix24, crm: HookCaller, text: str) -> None:
        operation = update(existing(portal), replace(ANNA, additional_info=text))
        portal.fail("drop", when="after", path=r"crm\.(item|lead)\.update", times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        assert crm.find(operation, 5.0)

    def test_updates_repeat_the_text_of_staff_as_it_is(
        self, portal: FakeBitrix24, crm: HookCaller, text: str
    ) -> None:  # fmt: skip
        theirs = f'[b]R&D[/b] "x" &amp;lt; {plain(text)} www.example.org'
        lead = existing(portal, comments=theirs)
        before = only_lead(portal)["comments"]
        for _ in range(3):
            deliver(crm, update(lead, ANNA))
            assert only_lead(portal)["comments"].startswith(before + "\n\n")


@BOTH_APIS
def test_an_update_loses_nothing_of_a_stored_text(portal: FakeBitrix24, crm: HookCaller) -> None:
    """An import into the portal can have stored what its own form does not take."""
    lead = existing(portal)
    portal.leads[lead]["comments"] = "I &lt;3 it, &quot;www.example.org&quot; x&lt;y &amp;lt; end"
    for _ in range(2):
        deliver(crm, update(lead, ANNA))
        assert only_lead(portal)["comments"].startswith(
            "I &lt; 3 it, &quot;www.example.org&quot; x &lt; y &amp;lt; end\n\n"
        )
    assert not portal.comments


def heavy(chance: random.Random, number: int) -> str:
    """A text with twelve words `w<number>x...`, each behind a piece of markup."""
    marks = chance.choices(PIECES, k=12)
    return "".join(f"{mark}{chance.choice(('', ' '))}w{number}x{place}" for place, mark in enumerate(marks))


def test_every_word_of_3000_texts_full_of_markup() -> None:
    """Ten texts in each of 300 submissions: two of three update the lead of the one before."""
    Local.portal, chance, made, operations = FakeBitrix24(), random.Random(7), "", list[Operation]()
    crm = Local({"BITRIX_WEBHOOK_URL": Local.portal.webhook_url}, on_duplicate="create")
    for number in range(300):
        texts = {f"text {place}": heavy(chance, 10 * number + place) for place in range(10)}
        lead = replace(ANNA, additional_info=texts.pop("text 0"), custom=texts)
        operations.append(creation(lead))
        if number % 3:
            crm.update_lead(lead_id=made, lead=lead, operation=operations[-1])
        else:
            made = crm.create_lead(lead=lead, operation=operations[-1]).record_id
    comments = [str(lead["comments"]) for lead in Local.portal.leads.values()]
    kept = {*re.findall(r"w\d+x\d+", "\n".join(comments))}
    assert {f"w{number}x{place}" for number in range(3000) for place in range(12)} - kept == set()
    assert [one.tracking_code for one in operations if one.tracking_code not in "\n".join(comments)] == []
    assert not Local.portal.comments
    assert [text for text in comments if normalised(repeated(text)) != text] == [], "a later update changes nothing"


def test_an_encoded_echo_is_the_same_value() -> None:
    sent, echo = {"sourceDescription": 'R&D "x" <y>'}, {"sourceDescription": "R&amp;D &quot;x&quot; &lt;y&gt;"}
    assert [*dropped(sent, echo)] == []
    assert [*dropped(sent, {"sourceDescription": "R&amp;D"})] == ["sourceDescription"]


class TestTextsThatThePortalShortens:
    """A portal that removes more of a comment than crmgate expects."""

    @pytest.fixture(autouse=True)
    def shortened_comments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("crmgate.testing.bitrix24.portal.normalised", lambda text: text.partition("Budget")[0])

    LEAD = replace(ANNA, additional_info="My own words", budget="10 000", custom={"note": "the last one"})

    def operations(self, portal: FakeBitrix24) -> list[Operation]:
        lead = existing(portal)
        visitor = Activity("telegram", metadata={"Budget": "10 000", "note": "the last one"})
        return [creation(self.LEAD), update(lead, self.LEAD), click(visitor)]

    @BOTH_APIS
    def test_the_whole_text_is_on_the_timeline(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect("create")
        for operation in self.operations(portal):
            lead = deliver(crm, operation).record_id
            (comment,) = portal.comments_of(int(lead))
            for part in ("10 000", "the last one", operation.tracking_code):
                assert part in comment["COMMENT"]
            assert crm.find(operation, 5.0)
            assert len(portal.comments_of(int(lead))) == 1

    @BOTH_APIS
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("path", [COMMENT, r"comment\.list|batch"])
    def test_once_after_an_unknown_outcome(
        self, portal: FakeBitrix24, connect: Connect, when: Any, path: str
    ) -> None:  # fmt: skip
        crm = connect("create")
        for operation in self.operations(portal):
            portal.fail("drop", when=when, path=path, times=1)
            lead = bring(crm, operation).record_id
            assert crm.find(operation, 5.0)
            (comment,) = portal.comments_of(int(lead))
            assert operation.tracking_code in comment["COMMENT"]
        assert len(portal.leads) == 3

    @pytest.mark.parametrize("code", ["QUERY_LIMIT_EXCEEDED", "ACCESS_DENIED", "NO_AUTH_FOUND"])
    def test_a_refused_comment_makes_no_second_lead(self, portal: FakeBitrix24, connect: Connect, code: str) -> None:
        crm, operation = connect("create"), creation(self.LEAD)
        portal.fail_with(code, path=COMMENT, times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        assert crm.find(operation, 5.0)
        assert (len(portal.leads), len(portal.comments)) == (1, 1)

    def test_a_timeline_that_is_closed_is_an_error_to_the_end(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm, operation = connect("create"), creation(self.LEAD)
        portal.locked_timelines = [1]
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        assert isinstance(failure(lambda: crm.find(operation, 5.0)), Forbidden)

    def test_the_rest_of_the_requests_is_as_always(
        self, portal: FakeBitrix24, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.undo()
        deliver(connect("create"), creation(self.LEAD))
        assert methods(portal)[-1] == "crm.item.add"
        assert not portal.comments


@BOTH_APIS
class TestWideCharacters:
    @pytest.fixture
    def portal(self, portal: FakeBitrix24) -> FakeBitrix24:
        portal.utf8mb3 = True
        return portal

    @pytest.fixture
    def crm(self, connect: Connect) -> HookCaller:
        return connect("create")

    SEND: ClassVar[list[Callable[[int, Any], Operation]]] = [
        lambda lead, values: creation(replace(ANNA, **values)),
        lambda lead, values: update(lead, replace(ANNA, **values)),
    ]

    @pytest.mark.parametrize("fact", ["first_name", "last_name", "additional_info", "referral_code", "city"])
    @pytest.mark.parametrize("send", SEND, ids=["create", "update"])
    @pytest.mark.parametrize("drop", ["nothing", COMMENT, r"\.get"])
    def test_what_a_database_cuts_is_on_the_timeline_once(
        self, portal: FakeBitrix24, crm: HookCaller, fact: str, send: Any, drop: str
    ) -> None:
        operation = send(existing(portal), {fact: f"Ayla {CAP} Yildiz"})
        portal.fail("drop", when="after", path=drop, times=1)
        lead = bring(crm, operation).record_id
        (comment,) = portal.comments_of(int(lead))
        for part in ("Ayla (graduation cap) Yildiz", operation.tracking_code):
            assert part in comment["COMMENT"]
        assert crm.find(operation, 5.0)
        assert (len(portal.comments), len(portal.leads)) == (1, 2 if operation.lead_id == "" else 1)

    def test_the_lead_of_a_click(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = bring(crm, click(replace(CLICK, metadata={"a": f"x {CAP} y"}))).record_id
        assert "a: x (graduation cap) y" in seen(portal, lead)

    def test_a_click_and_a_note(self, portal: FakeBitrix24, connect: Connect) -> None:
        lead = existing(portal, phone=ANNA.phone)
        wanted = [
            (activity(lead, replace(CLICK, metadata={"a": f"x {CAP} y"})), "a: x (graduation cap) y"),
            (creation(replace(ANNA, additional_info=f"{CAP} tail")), "(graduation cap) tail"),
        ]
        for operation, part in wanted:
            deliver(connect("note"), operation)
            assert part in seen(portal, lead)
            assert operation.tracking_code in seen(portal, lead)

    @pytest.mark.parametrize("path", [COMMENT, r"comment\.get"])
    def test_a_click_is_found_again(self, portal: FakeBitrix24, crm: HookCaller, path: str) -> None:
        portal.utf8mb3 = False
        operation = activity(existing(portal), replace(CLICK, metadata={"a": CAP}))
        portal.fail("drop", when="after", path=path, times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        assert crm.find(operation, 5.0)
        assert len(portal.comments) == 1

    def test_a_database_that_keeps_them(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.utf8mb3 = False
        deliver(crm, creation(replace(ANNA, first_name=CAP, additional_info=f"x {CAP} y")))
        assert (only_lead(portal)["name"], portal.comments) == (CAP, {})
        assert f"x {CAP} y" in only_lead(portal)["comments"]

    def test_a_lead_that_may_not_be_read_is_delivered(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.can_read = False
        assert deliver(crm, creation(replace(ANNA, first_name=CAP))).record_id == "1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(f"a{CAP}b", "a(graduation cap)b"), ("\U0001f1f9", "(regional indicator symbol letter t)"), ("ş東", "ş東")],
)
def test_characters_are_described(text: str, expected: str) -> None:
    assert described(text) == expected
    assert described("\U000fffff") == "(u+fffff)"
