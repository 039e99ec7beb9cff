"""The steps of a trial: what each reports about a plugin that is wrong, and about a CRM that is slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from crmgate.plugin_host.caller import HookCaller, hook_manager
from crmgate.plugin_host.trial.data import TrialData, new_run
from crmgate.plugin_host.trial.steps import Trial, TrialStep
from crmgate.provider import CRMProvider
from tests.plugin_host.trial.crm import KEY, Crashing, Deleting, FindsNothing, Hanging, SlowSearch
from tests.testing.contract.acme import Acme, FakeAcme

Try = Callable[..., Trial]


@pytest.fixture
def crm() -> Iterator[SlowSearch]:
    with SlowSearch() as crm:
        crm.lag = 0
        yield crm


@pytest.fixture
def waits() -> list[float]:
    """The seconds of each wait, none of which was waited."""
    return []


@pytest.fixture
def trial(crm: FakeAcme, waits: list[float]) -> Try:
    def trial(plugin: type[CRMProvider] = Acme, key: str = KEY, grace: float = 60.0) -> Trial:
        provider = plugin({"ACME_URL": crm.url, "ACME_KEY": key})
        caller = HookCaller(hook_manager(), provider)
        return Trial(caller, TrialData(new_run(), time.time()), budget=10.0, grace=grace, sleep=waits.append)

    return trial


def failed(steps: list[TrialStep]) -> dict[str, str]:
    return {step.name: step.detail for step in steps if step.ok is False}


def test_every_step_passes_and_the_records_say_that_they_are_tests(trial: Try, crm: SlowSearch) -> None:
    run = trial()
    steps = list(run.run())
    assert failed(steps) == {}
    assert [step.name for step in steps if step.ok is None] == ["clean-up"]
    lead, minimal = crm.tables["leads"]
    assert lead["last"].startswith("please delete ")
    assert lead["email"].endswith("@example.com")
    assert [one.id for one in run.records] == [lead["id"], minimal["id"]]
    assert "Akureyri" in str(lead), "the update arrived"
    assert len(crm.tables["notes"]) == 1


def test_a_second_run_makes_records_of_its_own(trial: Try, crm: SlowSearch) -> None:
    for _ in range(2):
        assert failed(list(trial().run())) == {}
    emails = [lead["email"] for lead in crm.tables["leads"] if "email" in lead]
    assert len(set(emails)) == len(emails) == 2


def test_a_search_that_lags_less_than_settle_seconds_is_waited_for(
    trial: Try, crm: SlowSearch, waits: list[float]
) -> None:
    crm.lag = 4
    steps = {step.name: step for step in trial().run()}
    assert (steps["find"].ok, steps["find"].detail) == (True, "A1, after 3 s")
    assert waits == [1, 1, 1]


def test_a_search_that_lags_longer_says_what_to_set(trial: Try, crm: SlowSearch) -> None:
    crm.lag = 16
    step = next(step for step in trial().run() if step.name == "find")
    assert step.detail == "A1 was found after 15 s, but settle_seconds is 10"
    assert "settle_seconds = 30" in step.remedy


def test_a_record_that_is_never_found_is_a_problem(trial: Try) -> None:
    steps = failed(list(trial(FindsNothing).run()))
    assert steps["find"] == "find_lead does not find A1 after 30 s"


def test_nothing_is_created_without_a_connection(trial: Try, crm: SlowSearch) -> None:
    run = trial(key="wrong")
    steps = list(run.run())
    assert [step.ok for step in steps[1:]] == [None] * (len(steps) - 1)
    assert steps[0].detail.startswith("not connected")
    assert "because connection failed" in steps[3].detail
    assert (crm.tables["leads"], run.records) == ([], [])


def test_a_bug_is_named_with_its_line_and_without_values(trial: Try) -> None:
    step = next(step for step in trial(Crashing).run() if step.name == "create")
    assert "KeyError in crm.py:" in step.detail
    assert "@example.com" not in step.detail
    assert step.remedy.startswith("Correct create_lead")


def test_a_hook_that_hangs_is_named_and_the_last_one(trial: Try) -> None:
    run = trial(Hanging, grace=-9.0)
    steps = list(run.run())
    assert (steps[-1].name, steps[-1].ok) == ("note", False)
    assert steps[-1].detail.startswith("log_activity hangs: it did not end within 1 s")
    assert [(one.step, one.id) for one in run.records] == [("create", "A1"), ("note", "")]


@pytest.mark.parametrize(
    ("fault", "records"),
    [({"kind": "answer", "status": 422, "body": "{}"}, []), ({"kind": "drop", "when": "after"}, [""])],
)  # fmt: skip
def test_a_record_of_unknown_outcome_is_listed(
    trial: Try, crm: SlowSearch, fault: dict[str, str], records: list[str]
) -> None:
    crm.fail(**fault, method="POST")  # type: ignore[arg-type]
    run = trial()
    create = next(step for step in run.run() if step.name == "create")
    assert create.ok is False
    assert create.remedy
    assert [one.id for one in run.records if one.step == "create"] == records


def test_a_plugin_that_can_delete_cleans_up(trial: Try) -> None:
    run = trial(Deleting)
    assert list(run.run())[-1].detail == "2 records deleted"
    assert run.records == []
