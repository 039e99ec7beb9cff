"""A run writes its results into the documentation, and the seed alone decides its faults."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

from tests.chaos.auditor import Complaint, Evidence, Lead, Note, Trial
from tests.chaos.faults import ALL, BY_TARGET, Struck, throws
from tests.chaos.report import PAGE, write
from tests.chaos.run import RECOVERY_LIMIT, Result, by_fault
from tests.chaos.trials import ONE_RECORD

KILL, FREEZE = ALL[0], ALL[2]
EVIDENCE = Evidence(
    (Note("ada@example.com", True, 100.0, 101.0, "a1", (503, 202)), Note("eve@example.com", False, 100.0, 101.0)),
    (Lead("ada@example.com", 107.5),),
    {"a1": "delivered"},
    trials=(Trial(ONE_RECORD.name, "record", 200.0, 230.0, 3.5, 20.0, most=1),),
)
STRUCK = (Struck(KILL, "web", 100.5, 102.0), Struck(KILL, "web", 110.0, 111.0), Struck(FREEZE, "web", 99.0, 106.0))


def result(*complaints: Complaint, recovery: float = 1.25) -> Result:
    return Result(
        "espocrm", 7, EVIDENCE, STRUCK, complaints, (), (0.5, recovery), RECOVERY_LIMIT, 130.0, "the ends of the logs"
    )


def test_recovery_is_reported_for_each_fault() -> None:
    assert by_fault(result()) == {KILL.name: (2, 5.5), FREEZE.name: (1, 1.5)}


def test_the_table_replaces_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    write([result(Complaint("lost", "ada@example.com"))], page)
    write([result()], page)
    text = page.read_text()
    assert "| **accepted and lost** | **0** |" in text
    assert f"| {KILL.name} | 2 / 5.5 |" in text
    assert f"| {ONE_RECORD.name} | 30 / 3.5 / 1 |" in text
    assert text.count("seed 7:") == 1
    assert text.splitlines()[0] == PAGE.read_text().splitlines()[0]
    assert text.splitlines()[-5:] == PAGE.read_text().splitlines()[-5:]


def test_a_failure_says_how_to_reproduce_it() -> None:
    story = result(Complaint("lost", "ada@example.com")).story()
    assert "lost: ada@example.com got the answer 201 or 202, the CRM has no lead" in story
    assert "--provider espocrm --kills 2 --seed 7" in story
    assert f"web: {FREEZE.name}" in story
    assert "the ends of the logs" in story


def test_a_recovery_that_takes_too_long_is_a_failure() -> None:
    assert result().failures() == []
    assert len(result(recovery=RECOVERY_LIMIT + 0.1).failures()) == 1
    [trial] = EVIDENCE.trials
    for worse in (replace(trial, recovery=trial.limit + 0.1), replace(trial, ready=False)):
        found = replace(result(), evidence=replace(EVIDENCE, trials=(worse,)))
        assert [failure.partition(":")[0] for failure in found.failures()] == [ONE_RECORD.name]


def test_the_same_seed_throws_the_same_faults() -> None:
    for target, faults in BY_TARGET.items():
        first, again, other = (list(islice(throws(faults, f"{seed} {target}", 1.0), 50)) for seed in (1, 1, 2))
        assert first == again != other


def test_every_fault_gets_its_turn() -> None:
    thrown = {
        fault.name
        for target, faults in BY_TARGET.items() for _, fault, *_ in islice(throws(faults, target, 1.0), 500)
    }  # fmt: skip
    assert {fault.name for fault in ALL} == thrown
