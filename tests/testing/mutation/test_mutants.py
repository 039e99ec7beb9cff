"""Mutation test of the contract kit: harmful edits of the reference plugins, listed in mutants.toml, fail a check.

The suite runs the check that is listed for a mutant. `MUTANTS_FULL=1` (`make mutants`) runs all checks on each mutant,
and prints the score.
"""

from __future__ import annotations

import os

import pytest

from tests.testing.mutation.mutate import (
    Mutant,
    all_checks,
    all_mutants,
    contracts,
    failing,
    mutated_contract,
    source_of,
)

FULL = bool(os.environ.get("MUTANTS_FULL"))
CAUGHT = [mutant for mutant in all_mutants() if mutant.check]
SURVIVORS = [mutant for mutant in all_mutants() if not mutant.check]
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
LEAST, SCORE = 40, 0.95


def test_the_list_is_long_enough_and_each_entry_has_its_reason() -> None:
    assert len(all_mutants()) >= LEAST
    assert len(CAUGHT) >= SCORE * len(all_mutants())
    assert len({mutant.name for mutant in all_mutants()}) == len(all_mutants())
    assert [mutant.name for mutant in SURVIVORS if len(mutant.survives) < 40] == []
    assert [mutant.name for mutant in all_mutants() if len(mutant.why) < 20] == []
    assert {f"test_{mutant.check}" for mutant in CAUGHT} <= {*all_checks()}


@pytest.mark.parametrize("plugin", contracts())
def test_each_mutant_is_caught(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    mutants = [mutant for mutant in CAUGHT if mutant.plugin == plugin]
    survived = [mutant.name for mutant in mutants if not caught_by(mutant)]
    if FULL:
        with capsys.disabled():
            print(f"\n{plugin}: {len(mutants) - len(survived)} of {len(mutants)} mutants caught")
    assert survived == []


@pytest.mark.parametrize("mutant", SURVIVORS, ids=lambda mutant: mutant.name)
def test_each_listed_survivor_loads(mutant: Mutant) -> None:
    assert source_of(mutant) != ""
    checks = all_checks() if FULL else ["test_the_gateway_accepts_it"]
    assert [*failing(mutated_contract(mutant), checks)] == [], "a check finds it now: list the check"


def caught_by(mutant: Mutant) -> list[str]:
    """The checks that fail: the listed one, or all of them in the full run."""
    listed = f"test_{mutant.check}"
    found = [*failing(mutated_contract(mutant), all_checks() if FULL else [listed])]
    return found if listed in found else []
