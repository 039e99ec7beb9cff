"""Many leads with few requests: each has an outcome of its own, and what cannot be sent together goes alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import (
    AuthFailed,
    Code,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Unavailable,
)
from crmgate.model import Delivered, Lead, Operation
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.cases import all_cases
from tests.plugins.bitrix.rig import (
    ANNA,
    FULL,
    Connect,
    assert_has_every_fact,
    calls,
    creation,
    deliver,
    existing,
    failure,
    methods,
    text_of_record,
)

BATCH = r"/batch\.json"
NUMBERS = itertools.count(1000)


def people(number: int, **values: Any) -> list[Operation]:
    """Applications of different persons."""
    return [
        creation(Lead(first_name=f"Test{n}", email=f"Test{n}@example.com", phone=f"+1202555{n:04}", **values))
        for n in itertools.islice(NUMBERS, number)
    ]


def outcomes(crm: HookCaller, operations: list[Operation]) -> list[Any]:
    found = crm.create_leads(operations, 5.0)
    assert found.keys() == {operation.id for operation in operations}
    return [found[operation.id] for operation in operations]


def kinds(answers: Iterable[Any]) -> list[type]:
    return [type(answer) for answer in answers]


def of(portal: FakeBitrix24, operation: Operation) -> list[dict[str, Any]]:
    return [lead for lead in portal.records()["lead"] if lead.get("originId") == operation.id]


def command_methods(portal: FakeBitrix24) -> list[list[str]]:
    return [[command.partition("?")[0] for command in call["cmd"].values()] for call in calls(portal, "batch")]


def test_fifty_leads_are_two_requests(crm: HookCaller, portal: FakeBitrix24) -> None:
    outcomes(crm, people(2))  # it now knows the fields
    portal.requests.clear()
    operations = people(50)
    made = outcomes(crm, operations)
    assert kinds(made) == [Delivered] * 50
    assert methods(portal) == ["batch", "batch"]
    assert {*command_methods(portal)[1]} == {"crm.item.add"}
    assert [one.record_id for one in made] == [str(of(portal, operation)[0]["id"]) for operation in operations]


def test_a_lead_of_a_batch_is_the_same_as_one_that_is_sent_alone(portal: FakeBitrix24, connect: Connect) -> None:
    lead = replace(FULL, additional_info='50 % + 1 & "quotes" <b>ğ</b>\nsecond line\n[url=http://x]x[/url]')
    alone, together, other = creation(lead), creation(lead), creation(ANNA)
    crm = connect(on_duplicate="create")
    deliver(crm, alone)
    assert kinds(outcomes(crm, [together, other])) == [Delivered, Delivered]

    def stored(operation: Operation) -> str:
        [row] = of(portal, operation)
        assert_has_every_fact(lead, text_of_record(row))
        shown = {name: value for name, value in row.items() if name not in ("id", "fm", "createdTime", "updatedTime")}
        rows = [(one["typeId"], one["value"]) for one in row["fm"]]
        text = json.dumps([shown, rows], default=str, sort_keys=True)
        return text.replace(operation.id, "ID").replace(operation.tracking_code, "CODE")

    assert stored(alone) == stored(together)


def test_a_person_whom_the_portal_knows_goes_alone(crm: HookCaller, portal: FakeBitrix24) -> None:
    operations = people(30)
    existing(portal, phone=operations[3].lead.phone)
    existing(portal, email=operations[17].lead.email.lower())
    answers = outcomes(crm, operations)
    assert [n for n, answer in enumerate(answers) if answer is None] == [3, 17]
    assert kinds(answers).count(Delivered) == 28
    assert not of(portal, operations[3]) + of(portal, operations[17])


def test_only_the_first_fifty_are_searched_one_by_one(crm: HookCaller, portal: FakeBitrix24) -> None:
    operations = people(50)
    for position in range(0, 50, 8):
        existing(portal, phone=operations[position].lead.phone, email=operations[position].lead.email)
    answers = outcomes(crm, operations)
    assert all(answers[position] is None for position in range(0, 50, 8))
    assert max(map(len, command_methods(portal))) <= 50
    assert all(
        len(of(portal, one)) == isinstance(answer, Delivered) for one, answer in zip(operations, answers, strict=True)
    )


def test_a_refused_search_of_a_group_is_made_one_by_one(
    crm: HookCaller, portal: FakeBitrix24, monkeypatch: Any
) -> None:
    """One value that the portal refuses hides no person who is known."""
    operations = people(4)
    existing(portal, email=operations[2].lead.email)
    batch = portal._command

    def refusing(command: str, index: int, results: dict[str, Any]) -> Any:
        if command.startswith("crm.duplicate") and command.count("values") > 2:
            command = "crm.no.such.method"
        return batch(command, index, results)

    monkeypatch.setattr(portal, "_command", refusing)
    assert [answer is None for answer in outcomes(crm, operations)] == [False, False, True, False]


def test_without_a_search_of_duplicates_everybody_gets_a_lead(portal: FakeBitrix24, connect: Connect) -> None:
    crm, operations = connect(on_duplicate="create"), people(3)
    existing(portal, phone=operations[1].lead.phone)
    assert kinds(outcomes(crm, operations)) == [Delivered] * 3
    assert len(calls(portal, "batch")) == 1


def test_one_that_is_refused_goes_alone_and_the_others_are_created(crm: HookCaller, portal: FakeBitrix24) -> None:
    outcomes(crm, people(2))
    portal.add_user_field("UF_CRM_1234567896", "integer")  # after the plugin has read the fields
    operations = [
        creation(replace(one.lead, field_of_study="Law" if n == 1 else "")) for n, one in enumerate(people(3))
    ]
    assert kinds(outcomes(crm, operations)) == [Delivered, type(None), Delivered]
    assert [len(of(portal, operation)) for operation in operations] == [1, 0, 1]
    assert deliver(crm, operations[1]).moved


@all_cases("text", ["$result[o1][item][id]", "see $result", "🎓"])
def test_a_text_that_a_batch_would_change_goes_alone(crm: HookCaller, portal: FakeBitrix24, text: str) -> None:
    """The portal puts results of other commands in the place of references, also in what a visitor typed."""
    one, other, third = people(3)
    strange = creation(replace(other.lead, additional_info=text))
    assert [answer is None for answer in outcomes(crm, [one, strange, third])] == [False, True, False]
    assert deliver(crm, strange)


def test_very_long_texts_are_not_sent_together(crm: HookCaller, portal: FakeBitrix24) -> None:
    """The answer of a batch repeats them all, and an answer that is too long would leave the outcome unknown."""
    operations = people(50, additional_info="ğ" * 5000)
    answers = outcomes(crm, operations)
    assert 2 < kinds(answers).count(Delivered) < 50
    assert {*kinds(answers)} == {Delivered, type(None)}


def test_values_that_the_portal_ignores_are_rescued_with_one_request(portal: FakeBitrix24, connect: Connect) -> None:
    crm = connect(BITRIX_MAP_CITY="noSuchField")
    operations = people(3, city="Oslo")
    answers = outcomes(crm, operations)
    assert [answer.dropped for answer in answers] == [("noSuchField",)] * 3
    assert all("Oslo" in of(portal, operation)[0]["comments"] for operation in operations)
    assert command_methods(portal)[-1] == ["crm.item.update"] * 3


def test_half_of_a_batch_without_an_answer_is_found_and_the_rest_is_not(crm: HookCaller, portal: FakeBitrix24) -> None:
    outcomes(crm, people(2))
    operations = people(6)
    portal.batch_ends_after = 3  # the search of duplicates has two commands
    assert isinstance(failure(lambda: crm.create_leads(operations, 5.0)), OutcomeUnknown)
    portal.batch_ends_after = None
    assert [len(of(portal, operation)) for operation in operations] == [1, 1, 1, 0, 0, 0]
    found = crm.find_leads(operations, 5.0)
    assert [one.id in found for one in operations] == [True] * 3 + [False] * 3
    assert [found[one.id] for one in operations[:3]] == [
        crm.find(operation, 5.0) for operation in operations[:3]
    ]  # fmt: skip


def test_fifty_operations_are_found_with_two_requests(crm: HookCaller, portal: FakeBitrix24) -> None:
    operations = people(50)
    outcomes(crm, operations)
    portal.requests.clear()
    found = crm.find_leads(operations, 5.0)
    assert {name: one.record_id for name, one in found.items()} == {
        one.id: str(of(portal, one)[0]["id"]) for one in operations
    }  # fmt: skip
    assert all(one.adopted for one in found.values())
    assert methods(portal) == ["batch", "batch"]


def test_a_lead_whose_text_was_cut_is_left_to_the_single_search(crm: HookCaller, portal: FakeBitrix24) -> None:
    one, other = people(2)
    outcomes(crm, [one, other])
    of(portal, one)[0]["comments"] = "cut"
    portal.leads[of(portal, one)[0]["id"]]["comments"] = "cut"
    assert crm.find_leads([one, other], 5.0).keys() == {other.id}
    assert crm.find(one, 5.0)


def test_a_command_without_an_answer_is_of_unknown_outcome(portal: FakeBitrix24, connect: Connect) -> None:
    crm, operations = connect(on_duplicate="create"), people(3)
    outcomes(crm, people(2))
    body = {"result": {"o" + operations[0].id: {"item": {"id": 7}}}, "result_error": []}
    portal.fail("answer", status=200, body=json.dumps({"result": body}), when="after", path=BATCH)
    assert kinds(outcomes(crm, operations)) == [Delivered, OutcomeUnknown, OutcomeUnknown]


def refusals(code: str, text: str = "") -> dict[str, str]:
    return {"error": code, "error_description": text}


@pytest.mark.parametrize(("code", "expected"), [
    ("QUERY_LIMIT_EXCEEDED", RateLimited), ("OPERATION_TIME_LIMIT", RateLimited),
    ("INTERNAL_SERVER_ERROR", OutcomeUnknown), ("ERROR_CORE", OutcomeUnknown), ("0", OutcomeUnknown),
    ("ACCESS_DENIED", AuthFailed), ("CRM_FIELD_ERROR_VALUE_NOT_VALID", type(None)), ("NOT_FOUND", type(None)),
    ("ERROR_BATCH_LENGTH_EXCEEDED", type(None)),
])  # fmt: skip
def test_an_error_of_one_command(portal: FakeBitrix24, connect: Connect, code: str, expected: type) -> None:
    """Those that `create_lead` can correct go alone."""
    crm = connect(on_duplicate="create")
    outcomes(crm, people(2))
    one, other = people(2)
    body = {"result": {"o" + one.id: {"item": {"id": 7}}}, "result_error": {"o" + other.id: refusals(code)}}
    portal.fail("answer", status=200, body=json.dumps({"result": body}), path=BATCH)
    assert kinds(outcomes(crm, [one, other])) == [Delivered, expected]


@pytest.mark.parametrize(("code", "expected"), [
    ("QUERY_LIMIT_EXCEEDED", RateLimited), ("INTERNAL_SERVER_ERROR", OutcomeUnknown),
    ("INVALID_CREDENTIALS", AuthFailed), ("INVALID_REQUEST", None), ("100", None),
])  # fmt: skip
def test_an_error_of_the_whole_batch(
    portal: FakeBitrix24, connect: Connect, code: str, expected: type[ProviderError] | None
) -> None:
    """If the portal refuses batches, each lead goes alone."""
    crm = connect(on_duplicate="create")
    outcomes(crm, people(2))
    portal.fail_with(code, path=BATCH)
    if expected is None:
        assert outcomes(crm, people(2)) == [None, None]
    else:
        assert isinstance(failure(lambda: crm.create_leads(people(2), 5.0)), expected)


@all_cases("fault, expected", [
    ({"kind": "drop", "when": "after"}, OutcomeUnknown), ({"kind": "hang"}, OutcomeUnknown),
    ({"kind": "answer", "status": 502, "body": "<html>"}, OutcomeUnknown),
    ({"kind": "answer", "status": 200, "body": '{"result": {"result": {"a'}, OutcomeUnknown),
    ({"kind": "answer", "status": 200, "body": '{"result": true}'}, OutcomeUnknown),
])  # fmt: skip
def test_a_lost_answer_is_of_unknown_outcome(
    portal: FakeBitrix24, connect: Connect, fault: dict[str, Any], expected: type[ProviderError]
) -> None:
    crm = connect(on_duplicate="create")
    outcomes(crm, people(2))
    portal.fail(path=BATCH, **fault)
    error = failure(lambda: crm.create_leads(people(2), 0.3))
    assert isinstance(error, expected)
    portal.heal()


def test_a_search_without_an_answer_is_an_error_and_finds_nobody(crm: HookCaller, portal: FakeBitrix24) -> None:
    operations = people(3)
    portal.fail("answer", status=502, body="<html>", path=BATCH)
    assert isinstance(failure(lambda: crm.create_leads(operations, 5.0)), Unavailable)
    assert isinstance(failure(lambda: crm.find_leads(operations, 5.0)), Unavailable)
    assert portal.records()["lead"] == []


@all_cases("settings", [{"BITRIX_API": "lead"}, {"BITRIX_TARGET": "deal"}])
def test_deals_and_the_old_methods_are_sent_one_at_a_time(connect: Connect, settings: dict[str, str]) -> None:
    assert connect(**settings).leads_at_once < 2
    assert connect().leads_at_once == 50


def test_a_batch_is_one_request_for_the_limit_of_the_vendor(crm: HookCaller, portal: FakeBitrix24) -> None:
    portal.rate_limit, portal.burst, portal.clock = True, 6, lambda: 0.0
    assert kinds(outcomes(crm, people(50))) == [Delivered] * 50
    assert isinstance(failure(lambda: [crm.create_leads(people(2), 5.0) for _ in range(6)]), RateLimited)


def test_no_error_shows_what_visitors_typed(portal: FakeBitrix24, connect: Connect) -> None:
    crm = connect(on_duplicate="create")
    operations = [creation(FULL), creation(ANNA)]
    portal.fail_with("INTERNAL_SERVER_ERROR", f"near {FULL.last_name} and {ANNA.email}", path=BATCH)
    error = failure(lambda: crm.create_leads(operations, 5.0))
    assert error.code == Code.SERVER_ERROR
    assert not any(value in str(error) for value in (FULL.last_name, ANNA.email))
