"""A table of cases in one test loses no failure."""

from __future__ import annotations

import pytest

from tests.cases import all_cases


def report(test: object, **fixtures: object) -> str:
    with pytest.raises(pytest.fail.Exception) as failed:
        test(**fixtures)  # type: ignore[operator]
    return str(failed.value)


def test_every_case_runs_and_every_failure_is_reported_by_name() -> None:
    seen = []

    @all_cases(("number", "word"), [(1, "one"), pytest.param(2, "two", id="a pair"), (3, "three"), (4, "four")])
    def test(number: int, word: str, limit: int) -> None:
        seen.append(number)
        assert len(word) < limit, "too long"
        if number == 4:
            raise ValueError("broken")
        with pytest.raises(ZeroDivisionError):
            1 / (number - 1)

    said = report(test, limit=5)
    assert seen == [1, 2, 3, 4]
    assert said.startswith("3 of 4 cases failed")
    for word in ("[a pair]", "[3-'three']", "[4-'four']", "too long", "broken", "DID NOT RAISE"):
        assert word in said
    assert "[1-'one']" not in said


def test_tables_multiply() -> None:
    seen = []

    @all_cases("one", [1, 2], ids=["first", "second"])
    @all_cases("other", "ab", ids=str.upper)
    def test(one: int, other: str) -> None:
        seen.append((one, other))
        assert (one, other) != (2, "b")

    said = report(test)
    assert sorted(seen) == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert "[second]" in said
    assert "[B]" in said
    assert "[A]" not in said


@pytest.mark.parametrize("wrong", [[], [(1, 2)]])
def test_a_table_without_cases_or_with_others_is_an_error(wrong: list[object]) -> None:
    with pytest.raises(AssertionError):
        all_cases(("a", "b", "c"), wrong)


class TestMethods:
    @all_cases("number", [1, 2])
    def test_a_method_has_its_fixtures(self, number: int, tmp_path: object) -> None:
        assert tmp_path
        assert number in (1, 2)
