"""Idempotency keys of different senders: nobody takes a key, or a submission, from somebody else."""

from __future__ import annotations

import pytest

from crmgate.delivery.identity import once
from crmgate.errors import KeyReused
from crmgate.model import Kind, Operation, State, Suspicion
from tests.world import World

ADA = {"first_name": "Ada", "email": "ada@example.com"}
EVE = {"first_name": "Eve", "email": "eve@example.com"}


def submit(world: World, payload: dict[str, str], key: str = "1", scope: str = "", **more: object) -> Operation:
    return world.gateway.submit(Kind.CREATE_LEAD, payload, inline=False, key=key, scope=scope, repeats=60, **more)  # type: ignore[arg-type]


def test_a_key_belongs_to_the_scope_in_which_it_was_used(world: World) -> None:
    scopes = ("", "https://a.example", "https://b.example", "token cg_1", "token cg_2")
    first = {scope: submit(world, EVE | {"city": scope or "none"}, scope=scope).id for scope in scopes}
    assert len(set(first.values())) == len(scopes)
    for scope in scopes:
        assert submit(world, EVE | {"city": scope or "none"}, scope=scope).id == first[scope]
        with pytest.raises(KeyReused):
            submit(world, ADA, scope=scope)


def test_a_key_that_the_previous_version_recorded_is_known(world: World) -> None:
    """It had no scopes. A browser repeats a submission for up to 23 hours, and so after an upgrade, too."""
    before = submit(world, ADA)
    assert submit(world, ADA, scope="https://a.example").id == before.id


def test_a_key_without_a_scope_blocks_none_with_a_scope(world: World) -> None:
    """Otherwise anyone could use the predictable key of a site first."""
    submit(world, EVE)
    own = submit(world, ADA, scope="https://a.example")
    assert world.stored(own).payload == ADA
    assert submit(world, ADA, scope="https://a.example").id == own.id


def test_a_repeated_suspect_is_one(world: World) -> None:
    """A browser whose answer was lost repeats it."""
    first = submit(world, ADA, suspect=Suspicion.HONEYPOT)
    again = submit(world, ADA, suspect=Suspicion.HONEYPOT)
    assert (again.id, again.state) == (first.id, State.SUSPECT)
    assert submit(world, ADA).id == first.id, "also when the limit has time again"


def test_a_robot_does_not_take_the_content_of_a_person(world: World) -> None:
    """Without a key the same content within a minute is a double click: but not that of a suspect."""
    robot = submit(world, ADA, key="", suspect=Suspicion.HONEYPOT)
    person = submit(world, ADA, key="")
    assert person.id != robot.id
    assert world.stored(person).state == State.ACCEPTED
    assert submit(world, ADA, key="").id == person.id


def test_the_key_in_redis_depends_on_the_scope() -> None:
    operation = Operation("a" * 32, Kind.CREATE_LEAD, ADA, 0.0)
    sent = [("k", ""), ("k", "https://a.example"), ('["https://a.example", "k"]', ""), ("k", "token t")]
    found = [once(operation, None, key, 0.0, scope) for key, scope in sent]
    assert len({one.key for one in found if one}) == 4
