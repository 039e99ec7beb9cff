"""The spool keeps the order and the identity of submissions, and suspects stay suspects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from crmgate.errors import KeyReused
from crmgate.model import Kind, State, Suspicion
from tests.delivery.spooling import Host, Redis, come_back


class TestOrder:
    """What is about one person, or one session, goes to Redis in its order."""

    def test_a_later_one_does_not_overtake(self, host: Host, server: Redis) -> None:
        first = host.apply(1, session="s")
        second = host.apply(2, session="s")
        server.away = False
        third = host.apply(2)
        assert third.state is State.WAITING, "Redis is back, but the spool has one about the same person"
        come_back(server, host)
        assert list(host.world.crm.records) == [first.id, second.id, third.id]

    def test_another_person_does_not_wait(self, host: Host, server: Redis) -> None:
        host.apply(1)
        server.away = False
        assert host.apply(2).state is State.DELIVERED

    def test_a_click_and_its_application_are_one_lead(self, host: Host, server: Redis) -> None:
        click = host.gateway.submit(
            Kind.CREATE_MINIMAL_LEAD, {"channel": "telegram", "session": "s"}, inline=False, last_resort=False
        )
        application = host.apply(1, session="s")
        come_back(server, host)
        world = host.world
        assert list(world.crm.records) == [click.id, application.id]
        assert world.stored(application).kind is Kind.UPDATE_LEAD
        assert world.stored(application).lead_id == world.crm.records[click.id]


class TestSame:
    """The same submission twice is one, wherever the first one is."""

    def test_the_same_key_twice_without_redis(self, host: Host, server: Redis) -> None:
        first, second = host.apply(key="k", scope="one"), host.apply(key="k", scope="one")
        assert (second.id, second.state) == (first.id, State.WAITING)
        with pytest.raises(KeyReused):
            host.apply(1, key="k", scope="one")
        assert host.apply(key="k", scope="another").id != first.id
        server.away = False
        assert host.apply(key="k", scope="one").id == first.id, "Redis is back, and has not heard of it yet"
        come_back(server, host)
        assert host.apply(key="k", scope="one").id == first.id
        assert first.id in host.world.crm.records
        assert len(host.world.crm.records) == 2

    def test_a_key_that_redis_knew_is_the_earlier_submission(self, host: Host, server: Redis) -> None:
        server.away = False
        first = host.apply(key="k")
        server.away = True
        again = host.apply(key="k")
        assert (again.state, again.id != first.id) == (State.WAITING, True)
        come_back(server, host)
        assert list(host.world.crm.records) == [first.id]
        assert host.world.stored(again.id).id == first.id, "its id leads to the first one"

    def test_nothing_is_lost_if_redis_knew_the_key_with_other_content(
        self, host: Host, server: Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.away = False
        first = host.apply(1, key="k")
        server.away = True
        other = host.apply(2, key="k")
        come_back(server, host)
        assert list(host.world.crm.records) == [first.id, other.id]
        assert "but other content" in caplog.text
        server.away = False
        assert host.apply(1, key="k").id == first.id, "the key stays that of the first"

    def test_the_same_key_on_two_hosts(self, host: Host, server: Redis, tmp_path: Path) -> None:
        second = Host(host.world, tmp_path / "second")
        operations = [each.apply(key="k") for each in (host, second)]
        come_back(server, host, second)
        assert list(host.world.crm.records) == [operations[0].id]
        assert host.world.stored(operations[1].id).id == operations[0].id

    def test_a_double_click(self, host: Host, server: Redis) -> None:
        first = host.apply(repeats=60.0)
        host.world.now += 59
        assert host.apply(repeats=60.0).id == first.id
        host.world.now += 2
        second = host.apply(repeats=60.0)
        assert second.id != first.id, "after a minute it is another submission"
        come_back(server, host)
        assert list(host.world.crm.records) == [first.id, second.id]

    def test_a_double_click_whose_first_one_redis_has(self, host: Host, server: Redis) -> None:
        server.away = False
        first = host.apply(repeats=60.0)
        host.world.now += 1
        server.away = True
        host.apply(repeats=60.0)
        come_back(server, host)
        assert list(host.world.crm.records) == [first.id]


class TestSuspects:
    def test_a_suspect_stays_one(self, host: Host, server: Redis) -> None:
        suspect = host.apply(suspect=Suspicion.HONEYPOT, inline=False)
        assert suspect.state is State.SUSPECT
        come_back(server, host)
        stored = host.world.stored(suspect)
        assert (stored.state, stored.suspicion) == (State.SUSPECT, Suspicion.HONEYPOT)
        assert host.world.crm.records == {}
        assert host.hooks == []

    def test_a_robot_does_not_block_the_same_submission_of_a_person(self, host: Host, server: Redis) -> None:
        host.apply(suspect=Suspicion.HONEYPOT, inline=False, repeats=60.0)
        operation = host.apply(repeats=60.0)
        come_back(server, host)
        assert list(host.world.crm.records) == [operation.id]


def test_the_real_redis_knows_the_id_of_a_repetition_only_as_long_as_a_receipt(
    host: Host, server: Redis, redis_client: redis.Redis
) -> None:
    server.away = False
    host.apply(key="k")
    server.away = True
    again = host.apply(key="k")
    come_back(server, host)
    ttl: Any = redis_client.ttl(f"{{crmgate}}:same:{again.id}")
    assert 0 < ttl <= 7 * 24 * 3600
