"""One person, one lead, at the fakes over HTTP: the gateway's order of operations and the look-ups of the plugins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from crmgate.model import Kind, Operation, State
from crmgate.plugin_host.caller import HookCaller
from crmgate.store.ledger import Ledger
from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.bitrix24.shelves import DEAL
from crmgate.testing.espocrm import FakeEspoCRM
from crmgate.testing.server import FakeCRM
from tests.plugins.bitrix import rig as bitrix
from tests.plugins.espocrm import rig as espocrm
from tests.processes import DEADLINE
from tests.world import World

LOCAL = ("127.0.0.1",)


class Site:
    """A gateway in this process, with a fake CRM and workers in threads."""

    def __init__(self, fake: Any, crm: HookCaller, ledger: Ledger, client: redis.Redis) -> None:
        self.fake, self.world = fake, World(ledger, client, crm)
        self.world.use(crm, most=8)
        # Credentials that never worked are tried by one operation at a time.
        self.drain([self.world.apply(0, inline=True)])

    def together(self, count: int, **person: str) -> list[Operation]:
        """Submissions of one person that arrive at the same moment, each with a text of its own."""
        barrier = threading.Barrier(count)

        def apply(number: int) -> Operation:
            barrier.wait()
            more = {"email": f"p{number}@example.com", "additional_info": f"text-{number}."} | person
            return self.world.apply(number, inline=True, **more)

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(apply, range(count)))

    def drain(self, operations: list[Operation]) -> None:
        """Work with four threads until the operations are delivered."""
        deadline = time.monotonic() + DEADLINE
        with ThreadPoolExecutor(4) as workers:
            while self.world.states(operations) != {State.DELIVERED}:
                assert time.monotonic() < deadline, self.world.states(operations)
                list(workers.map(lambda _: self.world.work(), range(4)))
                self.world.now += 1

    def leads(self) -> list[dict[str, Any]]:
        """The leads (or deals) in the CRM without that of the first submission."""
        if not isinstance(self.fake, FakeBitrix24):
            return list(self.fake.leads)[1:]
        records = self.fake.records()
        return (records["deal"] if self.fake.simple_mode else records["lead"])[1:]

    def record_id(self, lead: dict[str, Any]) -> str:
        """The id that crmgate stores for a lead or deal."""
        return f"D_{lead['id']}" if "contactId" in lead else str(lead["id"])

    def person(self, lead: dict[str, Any]) -> str:
        """Text of the lead, or of the contact of a deal."""
        return json.dumps(self.fake.contacts[lead["contactId"]] if "contactId" in lead else lead)

    def delete(self, click: Operation) -> None:
        """Let staff delete the lead of a click."""
        assert click.delivered is not None
        lead = click.delivered.record_id
        if not isinstance(self.fake, FakeBitrix24):
            self.fake.delete_lead(lead)
        elif self.fake.simple_mode:
            self.fake.shelves[DEAL].remove(int(lead.removeprefix("D_")))
        else:
            self.fake.delete_lead(int(lead))

    def everything(self) -> str:
        return json.dumps(self.fake.records(), ensure_ascii=False, default=str)

    def refuse_one(self) -> None:
        """The CRM refuses the next lead for good."""
        if isinstance(self.fake, FakeBitrix24):
            self.fake.fail("answer", status=400, body='{"error": "NO"}', path=bitrix.ADD, times=1)
        else:
            self.fake.fail("answer", status=400, body="{}", path="/Lead", method="POST", times=1)


def espo(unique: bool) -> tuple[FakeCRM, Callable[[], HookCaller]]:
    fake = FakeEspoCRM(unique_operation_id=unique)
    fake.race_window = 0.02

    def connect() -> HookCaller:
        environ = {"ESPOCRM_URL": fake.url, "ESPOCRM_API_KEY": espocrm.KEY}
        return espocrm.plugins().choose("espocrm", environ, 5.0, LOCAL)

    return fake, connect


def portal() -> tuple[FakeCRM, Callable[[], HookCaller]]:
    fake = FakeBitrix24()
    fake.outliving_timelines = True

    def connect() -> HookCaller:
        environ = {"BITRIX_WEBHOOK_URL": fake.webhook_url, "BITRIX_RATE": "0"}
        return bitrix.plugins().choose("bitrix", environ, 5.0, LOCAL)

    return fake, connect


def deals() -> tuple[FakeCRM, Callable[[], HookCaller]]:
    """A portal without leads."""
    fake = FakeBitrix24()
    fake.simple_mode = True

    def connect() -> HookCaller:
        environ = {"BITRIX_WEBHOOK_URL": fake.webhook_url, "BITRIX_RATE": "0", "BITRIX_TARGET": "deal"}
        return bitrix.plugins().choose("bitrix", environ, 5.0, LOCAL)

    return fake, connect


CRMS = {
    "espocrm": lambda: espo(unique=True), "no index": lambda: espo(unique=False), "bitrix": portal, "deals": deals,
}  # fmt: skip


@pytest.fixture(params=CRMS)
def site(request: pytest.FixtureRequest, ledger: Ledger, redis_client: redis.Redis) -> Iterator[Site]:
    fake, connect = CRMS[request.param]()
    with fake:
        yield Site(fake, connect(), ledger, redis_client)


PEOPLE = {
    "email": {"email": "ada@example.com"},
    "phone": {"phone": "+905321234567"},
    "both": {"email": "ada@example.com", "phone": "+905321234567"},
}


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("person", PEOPLE.values(), ids=PEOPLE)
def test_parallel_submissions_of_one_person_make_one_lead(site: Site, person: dict[str, str], count: int) -> None:
    operations = site.together(count, **person)
    site.drain(operations)
    assert len(site.leads()) == 1
    texts = site.everything()
    assert [number for number in range(count) if f"text-{number}." not in texts] == []


@pytest.mark.parametrize("site", ["no index", "bitrix", "deals"], indirect=True)
def test_a_backlog_makes_one_lead_a_person(site: Site) -> None:
    """40 people with two submissions each, which waited for the CRM. Three seconds are 80 deliveries over HTTP."""
    site.fake.stop()
    operations: list[Operation] = []
    for person in range(1, 41):
        who = {"email": f"p{person}@example.com"} if person % 2 else {"email": "", "phone": f"+9053212345{person:02}"}
        for text in ("first", "second"):
            info = f"{text}-of-{person}."
            operations.append(site.world.apply(person, inline=True, additional_info=info, **who))
        site.world.pass_time(1)
    assert State.DELIVERED not in site.world.states(operations)
    site.fake.start()
    site.drain(operations)
    assert len(site.leads()) == 40
    texts = site.everything()
    assert [one for one in operations if str(one.payload["additional_info"]) not in texts] == []


def test_a_dead_predecessor_holds_no_application_and_joins_its_lead_later(site: Site) -> None:
    site.refuse_one()
    letter = site.world.apply(1, phone="+905321234567", additional_info="text-of-the-first.")
    site.world.pass_time(0)
    assert site.world.stored(letter).state == State.DEAD
    later = site.world.apply(2, phone="+905321234567", additional_info="text-of-the-second.", inline=True)
    assert later.state == State.DELIVERED
    site.world.gateway.release(letter.id)
    site.drain([letter])
    assert len(site.leads()) == 1
    assert all(text in site.everything() for text in ("text-of-the-first.", "text-of-the-second."))


class TestAGoneLead:
    """Staff deleted the lead that a click of the session had made, or merged it into another one."""

    @pytest.fixture
    def click(self, site: Site) -> Operation:
        return site.world.click("s1", inline=True)

    def test_an_application_makes_another_one(self, site: Site, click: Operation) -> None:
        site.delete(click)
        self.application_makes_another_one(site)

    @pytest.mark.parametrize("site", ["espocrm"], indirect=True)
    def test_so_does_one_after_a_merge(self, site: Site, click: Operation) -> None:
        assert click.delivered is not None
        site.fake.merge_leads(site.fake.leads[0]["id"], click.delivered.record_id)
        self.application_makes_another_one(site)

    def application_makes_another_one(self, site: Site) -> None:
        assert site.leads() == []
        application = site.world.apply(1, session="s1", additional_info="text-of-the-first.", inline=True)
        later = site.world.click("s1", page="/later")
        site.drain([application, later])
        [lead] = site.leads()
        assert "test1@example.com" in site.person(lead)
        assert site.world.stored(application).kind == Kind.CREATE_LEAD
        assert site.world.stored(later).delivered.record_id == site.record_id(lead)  # type: ignore[union-attr]
        assert "text-of-the-first." in site.everything()

    def test_a_click_makes_a_minimal_lead_that_an_application_completes(self, site: Site, click: Operation) -> None:
        site.delete(click)
        again = site.world.click("s1", page="/again")
        site.drain([again])
        application = site.world.apply(1, session="s1", inline=True)
        site.drain([application])
        [lead] = site.leads()
        assert "test1@example.com" in site.person(lead)
        kinds = [site.world.stored(operation).kind for operation in (again, application)]
        assert kinds == [Kind.CREATE_MINIMAL_LEAD, Kind.UPDATE_LEAD]

    def test_a_person_with_another_lead_gets_no_third_one(self, site: Site, click: Operation) -> None:
        """The search for duplicates applies to the lead that replaces the deleted one."""
        known = site.world.apply(1, inline=True)
        site.delete(click)
        application = site.world.apply(1, session="s1", additional_info="text-of-the-second.", inline=True)
        site.drain([application])
        [lead] = site.leads()
        assert site.record_id(lead) == known.delivered.record_id  # type: ignore[union-attr]
        assert "text-of-the-second." in site.everything()


@pytest.mark.parametrize("site", ["deals"], indirect=True)
class TestDealsOfASession:
    """Two applications and a click of a session are one contact and one deal."""

    def submit(self, site: Site) -> list[Operation]:
        first = site.world.apply(1, session="s1", additional_info="text-of-the-first.", inline=True)
        click = site.world.click("s1", metadata={"page": "/fees"}, inline=True)
        other = {"phone": "+12025550119", "city": "Oslo", "additional_info": "text-of-the-second."}
        return [first, click, site.world.apply(1, session="s1", inline=True, **other)]

    def is_one_of_each(self, site: Site, operations: list[Operation]) -> None:
        site.drain(operations)
        [deal] = site.leads()
        assert {site.world.stored(one).delivered.record_id for one in operations} == {site.record_id(deal)}  # type: ignore[union-attr]
        [_, contact] = site.fake.records()["contact"]
        assert deal["contactId"] == contact["id"]
        assert {row["value"] for row in contact["fm"]} == {"test1@example.com", "+12025550119"}
        assert all(text in deal["comments"] for text in ("text-of-the-first.", "text-of-the-second.", "City: Oslo"))
        assert "/fees" in json.dumps(site.fake.comments_of(deal["id"], "deal"))
        assert not site.fake.leads

    def test_in_quiet_times(self, site: Site) -> None:
        self.is_one_of_each(site, self.submit(site))

    def test_a_click_first(self, site: Site) -> None:
        click = site.world.click("s1", inline=True)
        self.is_one_of_each(site, [click, *self.submit(site)])

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_with_each_request_lost_once(self, site: Site, when: Any) -> None:
        site.fake.fail("drop", when=when, path=r"\.(add|update)\.json", every=2)
        self.is_one_of_each(site, self.submit(site))
