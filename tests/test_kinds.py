"""Each kind of operation, and each state, is known wherever the code or a page lists them.

What mypy cannot see is proven here. `docs/adding.md` says what to do when one of these tests fails.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from crmgate import hookimpl, hookspecs
from crmgate.kinds import about_a_lead, for_scripts, traits
from crmgate.model import EventType, Kind, Lead, Operation, State
from crmgate.operators.export import COLUMNS
from crmgate.store.entries import JobState
from crmgate.store.gate import Cause
from crmgate.store.tallies import Happened
from crmgate.web.ops.words import KINDS, OUTCOMES, STATES
from tests.testing.contract.acme import Acme
from tests.testing.contract.test_contract import passes

ROOT = Path(__file__).parents[1]
HTTP = (ROOT / "docs" / "http.md").read_text()
EACH = ("crmgate/testing/contract/steps.py", "crmgate/plugin_host/trial/steps.py")
"""Files that send one operation of each kind."""


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_a_row_in_the_table(kind: Kind) -> None:
    rows = json.loads(json.dumps(for_scripts()))
    assert kind in rows, f"crmgate/kinds.py: _TABLE has no row for {kind}"
    row = traits(kind)
    expected = {"needs_lead": row.needs_lead, "with_lead": row.with_lead, "without_lead": row.without_lead}
    assert rows[kind] == expected | {"minimal": row.minimal}


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_becomes_what_its_session_allows(kind: Kind) -> None:
    assert kind in for_scripts(), f"crmgate/kinds.py: _TABLE has no row for {kind}"
    row = traits(kind)
    follow, first = traits(row.with_lead), traits(row.without_lead)
    assert follow.needs_lead, f"crmgate/kinds.py: with_lead of {kind} has to be a kind that needs a lead"
    assert not first.needs_lead, f"crmgate/kinds.py: without_lead of {kind} has to be a kind that makes the lead"
    assert {follow.payload, first.payload} == {row.payload}, f"crmgate/kinds.py: {kind} would change its payload"
    assert kind in (row.with_lead, row.without_lead), f"crmgate/kinds.py: {kind} is not what it becomes"


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_a_hook_that_takes_its_payload(kind: Kind) -> None:
    hook = getattr(hookspecs, kind, None)
    assert hook, f"crmgate/hookspecs.py: there is no hook {kind}"
    assert kind in for_scripts(), f"crmgate/kinds.py: _TABLE has no row for {kind}"
    row = traits(kind)
    expected = {"operation", "lead" if row.payload is Lead else "activity"} | ({"lead_id"} if row.needs_lead else set())
    assert {*inspect.signature(hook).parameters} == expected, f"crmgate/hookspecs.py: wrong arguments of {kind}"


@pytest.mark.parametrize("kind", Kind)
def test_the_export_has_a_column_for_each_fact_of_a_kind(kind: Kind) -> None:
    assert kind in for_scripts(), f"crmgate/kinds.py: _TABLE has no row for {kind}"
    spread = {"utm": "utm_source", "consent": "consent_given"}
    names = {spread.get(name, name) for name in traits(kind).payload.__dataclass_fields__}
    assert names <= {*COLUMNS}, f"crmgate/operators/export.py: no column for {names - {*COLUMNS}}"


@pytest.mark.parametrize(("parameter", "words"), [("kind", Kind), ("state", State)])
def test_the_description_of_the_api_lists_each_kind_and_state(parameter: str, words: type[Kind | State]) -> None:
    [row] = re.findall(rf"^\| `{parameter}` \| (.*) \|$", HTTP, re.MULTILINE)
    missing = {*words} - {*re.findall(r"`(\w+)`", row)}
    assert not missing, f"docs/http.md: the row `{parameter}` of GET /api/v1/operations does not name {missing}"


def test_a_kind_is_about_a_lead_if_its_row_says_so() -> None:
    assert {Kind.UPDATE_LEAD, Kind.LOG_ACTIVITY} <= {*about_a_lead()}
    assert {Kind.CREATE_LEAD, Kind.CREATE_MINIMAL_LEAD}.isdisjoint(about_a_lead())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("file", EACH)
def test_each_kind_is_sent_by_the_trial_and_with_each_write_failing(file: str, kind: Kind) -> None:
    assert f"Kind.{kind.name}" in (ROOT / file).read_text(), f"{file} sends no {kind}"


def test_the_contract_finds_operations_of_each_kind_together() -> None:
    found = set[Kind]()

    class Watched(Acme):
        @hookimpl
        def find_many(self, operations: Sequence[Operation]) -> Mapping[str, str]:
            found.update(one.kind for one in operations)
            return super().find_many(operations)

    assert passes(Watched, "test_delivered_operations_are_found_together")
    missing = {*Kind} - found
    assert not missing, f"crmgate/testing/contract/capabilities.py: _receipts has no {', '.join(missing)}"


@pytest.mark.parametrize(("table", "words"), [(KINDS, Kind), (STATES, State), (OUTCOMES, EventType)])
def test_the_pages_have_words_for_each(table: Mapping[str, str], words: type[Kind | State | EventType]) -> None:
    missing = {*words} - table.keys()
    assert not missing, f"crmgate/web/ops/words.py has no words for {missing}"


WORDS_IN_TEMPLATES = re.compile(r"\.(state|cause|what)\b (?:[!=]= |in \()((?:\"\w+\"(?:, )?)+)")


def test_the_scripts_compare_and_write_states_that_exist() -> None:
    texts = [path.read_text() for path in (ROOT / "crmgate/store/lua").glob("*.lua")]
    compared = {word for text in texts for word in re.findall(r"\bstate [~=]= '(\w+)'", text)}
    written = {word for text in texts for word in re.findall(r"'HSET', [\w()\[\]]+, 'state', '(\w+)'", text)}
    assert len(compared | written) > 5
    assert (compared | written) - {*State, *JobState} == set()


def test_the_templates_compare_with_words_that_exist() -> None:
    known = {"state": {*State, *JobState}, "cause": {*Cause}, "what": {*Happened}}
    paths = [*(ROOT / "crmgate/web/ops/templates").rglob("*.html")]
    found = {(path.name, name, word) for path in paths for name, words in WORDS_IN_TEMPLATES.findall(path.read_text())
             for word in re.findall(r"\w+", words)}  # fmt: skip
    assert len(found) > 5
    assert {one for one in found if one[2] not in known[one[1]]} == set()


def test_the_scripts_and_python_agree_on_the_states_that_are_final() -> None:
    text = (ROOT / "crmgate/store/lua/common.lua").read_text()
    [ended] = re.findall(r"local function ended\(state\) (.*) end", text)
    assert {*re.findall(r"'(\w+)'", ended)} == {state for state in State if state.ended}
    assert not State.read("of_a_newer_version").ended
