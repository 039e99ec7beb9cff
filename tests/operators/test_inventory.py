"""Listing, filtering and finding operations, with a bound on the work of a page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis

from crmgate.errors import LedgerUnavailable, Rejected
from crmgate.model import Kind, State, Suspicion
from crmgate.operators.inventory import CHUNK, SCAN, Count, Cursor, Filter, Inventory
from crmgate.store import keys
from crmgate.store.client import connect
from crmgate.store.gate import Recipient
from crmgate.store.keys import RECEIPT_SECONDS
from crmgate.store.ledger import Ledger
from crmgate.tracking import code as tracking_code
from crmgate.tracking import id_prefix
from tests.dead_letters import add_dead_letters
from tests.world import START, World

DEAD = Filter(state=State.DEAD)


@pytest.fixture
def inventory(redis_client: redis.Redis) -> Inventory:
    return Inventory(redis_client)


def ids(inventory: Inventory, wanted: Filter, limit: int = 100) -> list[str]:
    return [operation.id for operation in inventory.page(wanted, None, limit).items]


def paged(inventory: Inventory, wanted: Filter, limit: int) -> list[str]:
    found, cursor = [], None
    while True:
        page = inventory.page(wanted, cursor, limit)
        assert len(page.items) <= limit
        found += [operation.id for operation in page.items]
        if page.next is None:
            return found
        cursor = Cursor.parse(str(page.next))


def test_an_absent_redis_is_reported() -> None:
    with pytest.raises(LedgerUnavailable):
        Inventory(connect("redis://127.0.0.1:1/0")).page(Filter())


def test_every_operation_is_listed_the_newest_first(world: World, inventory: Inventory) -> None:
    made = []
    for number in range(5):
        made.append(world.apply(number).id)
        world.now += 1
    assert ids(inventory, Filter()) == made[::-1]
    world.work()
    assert {o.state for o in inventory.page(Filter()).items} == {"delivered"}
    assert ids(inventory, Filter(state=State.WAITING)) == []


def test_an_accept_is_still_one_round_trip(world: World, redis_client: redis.Redis) -> None:
    world.apply()  # loads the script

    def commands() -> dict[str, int]:
        info: dict[str, dict[str, int]] = redis_client.info("commandstats")  # type: ignore[assignment]
        return {name: counted["calls"] for name, counted in info.items()}

    before = commands()
    world.apply(1)
    assert commands()["cmdstat_evalsha"] - before["cmdstat_evalsha"] == 1


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_together_are_the_whole_list(ledger: Ledger, inventory: Inventory, limit: int) -> None:
    made = add_dead_letters(ledger, 13)
    assert paged(inventory, DEAD, limit) == made[::-1]
    assert paged(inventory, Filter(), limit) == made[::-1]


def test_operations_of_the_same_time_are_listed_once(ledger: Ledger, inventory: Inventory) -> None:
    made = add_dead_letters(ledger, 230, step=0)
    assert sorted(paged(inventory, Filter(), 70)) == sorted(made)
    assert sorted(paged(inventory, DEAD, 100)) == sorted(made)


def test_a_page_is_stable_while_operations_come_and_go(ledger: Ledger, inventory: Inventory) -> None:
    made = add_dead_letters(ledger, 10)
    first = inventory.page(DEAD, None, 5)
    add_dead_letters(ledger, 3, at=START + 100)
    ledger.discard(first.items[-1].id, Recipient("acme"), reason="")
    rest = inventory.page(DEAD, first.next)
    assert [o.id for o in [*first.items, *rest.items]] == made[::-1]


def test_filters(ledger: Ledger, inventory: Inventory) -> None:
    [a] = add_dead_letters(ledger, provider="acme", code="invalid_value", at=START)
    [b] = add_dead_letters(ledger, provider="acme", code="timeout", at=START + 10)
    [c] = add_dead_letters(ledger, provider="other", code="timeout", at=START + 20, kind=Kind.CREATE_MINIMAL_LEAD)
    assert ids(inventory, Filter(code="timeout")) == [c, b]
    assert ids(inventory, Filter(provider="acme")) == [b, a]
    assert ids(inventory, Filter(kind=Kind.CREATE_MINIMAL_LEAD)) == [c]
    assert ids(inventory, Filter(accepted_from=START + 10)) == [c, b]
    assert ids(inventory, Filter(accepted_to=START + 10)) == [a]
    for state in (None, State.DEAD):
        assert ids(inventory, Filter(state=state, accepted_from=START + 10, accepted_to=START + 20)) == [b]
    assert ids(inventory, replace(DEAD, dead_before=START + 10)) == [b, a]
    assert ids(inventory, Filter(state=State.SUSPECT)) == []


def test_a_suspect_is_listed_as_one(world: World, inventory: Inventory) -> None:
    kept = world.gateway.submit(Kind.CREATE_LEAD, {"first_name": "Bot"}, inline=False, suspect=Suspicion.HONEYPOT)
    assert ids(inventory, Filter(state=State.SUSPECT)) == [kept.id]
    assert ids(inventory, DEAD) == []


def test_a_filter_that_nothing_passes_costs_bounded_work(
    ledger: Ledger, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = add_dead_letters(ledger, SCAN + CHUNK, code="timeout")
    monkeypatch.setattr(ledger, "get", None)
    read: list[int] = []
    original = inventory.read
    monkeypatch.setattr(inventory, "read", lambda ids: read.append(len(ids)) or original(ids))
    page = inventory.page(Filter(state=State.DEAD, detail="nowhere"))
    assert (page.items, sum(read)) == ((), SCAN)
    assert page.next is not None
    assert page.next.id == made[-SCAN]
    assert inventory.page(Filter(state=State.DEAD, detail="nowhere"), page.next).next is None


def test_a_count_without_a_filter_reads_nothing(ledger: Ledger, inventory: Inventory) -> None:
    add_dead_letters(ledger, 5, code="timeout")
    add_dead_letters(ledger, 3, code="duplicate", at=START + 100)
    assert inventory.count_dead(DEAD) == Count(8, True)
    assert inventory.count_dead(replace(DEAD, dead_before=START + 50)) == Count(5, True)
    assert inventory.count_dead(replace(DEAD, code="duplicate")) == Count(3, True)


def test_a_count_says_when_it_is_not_exact(
    ledger: Ledger, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_dead_letters(ledger, 250, code="timeout")
    monkeypatch.setattr("crmgate.operators.inventory.COUNTED", 200)
    assert inventory.count_dead(replace(DEAD, kind=Kind.CREATE_LEAD)) == Count(200, False)
    assert inventory.count_dead(replace(DEAD, code="timeout")) == Count(250, True)


def test_an_operation_is_found_by_its_tracking_code(ledger: Ledger, inventory: Inventory) -> None:
    [wanted, _] = add_dead_letters(ledger, 2)
    code = tracking_code(wanted)
    typed = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    for text in (code, typed, code.replace("-", "")):
        assert [operation.id for operation in inventory.find(text)] == [wanted]
    for text in ("CG-0000-0000", "", "CG-", "CG-ÄÄÄÄ-ÄÄÄÄ", "CG-UUUU-UUUU", "[", "CG-[[[[-[[[["):
        assert inventory.find(text) == []


def test_an_operation_is_found_by_the_beginning_of_its_id(ledger: Ledger, inventory: Inventory) -> None:
    [wanted, _] = add_dead_letters(ledger, 2)
    for text in (wanted, wanted[:6], wanted[:12].upper()):
        assert [operation.id for operation in inventory.find(text)] == [wanted]
    other = "0" if wanted[0] != "0" else "1"
    for text in (wanted[:5], wanted + "0", other * 12, "g" * 8):
        assert inventory.find(text) == []


def test_a_filter_by_cause_reads_only_what_the_index_names(
    ledger: Ledger, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_dead_letters(ledger, 300, code="timeout")
    first = add_dead_letters(ledger, 2, field="source")
    both = add_dead_letters(ledger, 2, field="email,source", at=START + 50)
    add_dead_letters(ledger, 100, field="email", at=START + 100)
    read: list[int] = []
    original = inventory.read
    monkeypatch.setattr(inventory, "read", lambda ids: read.append(len(ids)) or original(ids))
    found = [operation.id for operation in inventory.all(replace(DEAD, field="source"))]
    assert (found, sum(read)) == ([*both[::-1], *first[::-1]], 4)
    assert list(inventory.all(replace(DEAD, field="nothing"))) == []
    assert list(inventory.all(replace(DEAD, provider="other"))) == []
    assert inventory.count_dead(replace(DEAD, field="source")) == Count(4, True)
    assert inventory.count_dead(replace(DEAD, field="email", dead_before=START + 60)) == Count(2, True)
    assert inventory.looked_at(replace(DEAD, code="invalid_value")) == 104
    assert sum(read) == 4, "counts read no record"


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_of_several_causes_are_one_list_in_order(ledger: Ledger, inventory: Inventory, limit: int) -> None:
    fields = ["a", "b", "a,b", "c"]
    made = [add_dead_letters(ledger, field=fields[number % 4], at=START + number // 3)[0] for number in range(22)]
    expected = sorted(made, key=lambda i: (made.index(i) // 3, i))
    wanted = [each for each in expected if made.index(each) % 4 != 3]
    chosen = Filter(state=State.DEAD, provider="acme")
    assert paged(inventory, chosen, limit) == expected[::-1]
    assert paged(inventory, replace(chosen, field="b"), limit) == [
        each for each in wanted[::-1] if made.index(each) % 4 in (1, 2)
    ]


def test_without_a_complete_index_every_dead_letter_is_read(
    world: World, inventory: Inventory, redis_client: redis.Redis
) -> None:
    made = add_dead_letters(world.ledger, 3, field="source")
    digest = redis_client.hget(keys.op(made[1]), "filed_under")
    redis_client.zrem(keys.cause(digest.decode()), made[1])  # type: ignore[union-attr]
    assert ids(inventory, replace(DEAD, field="source")) == made[::-1]
    assert inventory.count_dead(replace(DEAD, field="source")) == Count(3, True)


def test_more_causes_than_are_merged_are_read_together(
    ledger: Ledger, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crmgate.operators.inventory.MERGED", 1)
    made = [*add_dead_letters(ledger, 2, field="a"), *add_dead_letters(ledger, 2, field="b", at=START + 10)]
    add_dead_letters(ledger, code="timeout")
    assert ids(inventory, replace(DEAD, code="invalid_value")) == made[::-1]
    assert inventory.count_dead(replace(DEAD, code="invalid_value")) == Count(4, True)


def test_the_message_of_a_failure_is_searched(ledger: Ledger, inventory: Inventory) -> None:
    [dead] = add_dead_letters(ledger)
    assert ids(inventory, replace(DEAD, detail="crm REFUSES")) == [dead]
    assert ids(inventory, replace(DEAD, detail="accepts")) == []
    assert ids(inventory, Filter(detail="refuses", field="")) == [dead]


def test_a_tracking_code_leads_back_to_the_id() -> None:
    assert id_prefix(tracking_code("0123456789" + "a" * 22)) == "0123456789"
    assert id_prefix(tracking_code("f" * 32)) == "f" * 10


@pytest.mark.parametrize("text", ["x", "", "AAAA", "ÿ", "YWJj", "bmFuIGFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="])
def test_an_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Cursor.parse(text)


def test_expired_operations_leave_the_index(world: World, inventory: Inventory, redis_client: Any) -> None:
    world.crm.trouble = lambda operation: Rejected("no") if operation and operation.lead.first_name == "Test1" else None
    kept, gone = world.apply(1), world.apply(2)
    world.work()
    redis_client.delete(f"{{crmgate}}:op:{gone.id}")  # as its expiry does
    assert inventory.trim(world.now + RECEIPT_SECONDS - 10) == 0
    assert inventory.trim(world.now + RECEIPT_SECONDS + 10) == 1
    assert ids(inventory, Filter()) == [kept.id]
    assert redis_client.zcard("{crmgate}:ids") == 1


def test_trimming_goes_on_past_old_dead_letters(
    ledger: Ledger, inventory: Inventory, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crmgate.operators.inventory.TRIM", 10)
    made = add_dead_letters(ledger, 35)
    redis_client.delete(*(f"{{crmgate}}:op:{i}" for i in made[30:]))
    later = START + RECEIPT_SECONDS + 100
    assert [inventory.trim(later) for _ in range(8)] == [0, 0, 0, 5, 0, 0, 0, 0]
    assert redis_client.zcard("{crmgate}:ops") == 30
