"""Figures, goals, the page and its chart."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from benchmarks import page, wrk
from benchmarks.chart import Panel, draw
from benchmarks.figures import Figure, Gathered, Report, percentile, short
from benchmarks.goals import GOALS, Goal
from benchmarks.loads import LOADS, accept, drain, growth

THREE = Figure("crmgate", "requests/s", "", (300.0, 100.0, 250.0))
ACCEPTS = Report(
    accept.NAME,
    (Figure("Flask echo", accept.RATE, "", (500.0,)), replace(THREE, what=accept.RATE)),
    accept.RATE, "Flask echo", ("Celery is left out: no network.",),
)  # fmt: skip


def _of_echo(report: Report) -> float | None:
    return report.ratio(accept.RATE, "crmgate", "Flask echo")


RESULTS = page.Results("2 cores", "2026-11-28", {accept.NAME: ACCEPTS})


def test_a_figure_shows_its_median_and_its_range() -> None:
    assert (THREE.median, THREE.least, THREE.most) == (250, 100, 300)
    assert str(THREE) == "250 (100 to 300)"
    assert str(Figure("a", "p99", "ms", (2.5,))) == "2.50 ms"


def test_a_figure_needs_a_value() -> None:
    with pytest.raises(ValueError, match="no values"):
        Figure("a", "p99", "ms", ())


@pytest.mark.parametrize(("value", "text"), [(0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234"), (99.96, "100.0")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 51), (99, 100), (100, 100)])
def test_percentiles(percent: float, value: int) -> None:
    assert percentile(range(100, 0, -1), percent) == value


def test_rounds_are_gathered_by_contender_and_quantity() -> None:
    gathered = Gathered()
    for who, value in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        gathered.add(who, "rate", "", value)
    assert gathered.figures() == (Figure("a", "rate", "", (1.0, 3.0)), Figure("b", "rate", "", (2.0,)))


def test_a_ratio_is_that_of_the_medians() -> None:
    assert ACCEPTS.ratio(accept.RATE, "crmgate", "Flask echo") == 0.5
    assert ACCEPTS.ratio(accept.RATE, "crmgate", "absent") is None
    assert ACCEPTS.ratio("p99", "crmgate", "Flask echo") is None


def test_a_report_survives_its_file() -> None:
    assert Report.from_dict(ACCEPTS.to_dict()) == ACCEPTS


@pytest.mark.parametrize(("limit", "at_most", "reached"), [(0.5, 0, 1), (0.51, 0, 0), (0.5, 1, 1), (0.49, 1, 0)])
def test_a_goal_is_reached_or_not(limit: float, at_most: int, reached: int) -> None:
    goal = Goal("accepts", accept.NAME, _of_echo, limit, bool(at_most))
    assert goal.row(RESULTS.reports)[-1] == ("reached" if reached else "**not reached**")
    assert goal.row({})[-2:] == ["not measured", "-"]


def test_the_goal_of_a_long_queue_is_about_the_slowest_size() -> None:
    sizes = [Figure(growth.name(10**n), growth.CLAIM, "us", (100.0 + n,)) for n in (3, 5, 4)]
    [goal] = [goal for goal in GOALS if goal.load == growth.NAME and "claim" in goal.text]
    found = goal.found({growth.NAME: Report(growth.NAME, tuple(sizes))})
    assert found == pytest.approx(105 / 103)


def test_every_goal_is_of_a_load_that_exists_and_every_load_has_a_section() -> None:
    assert {goal.load for goal in GOALS} <= LOADS.keys()
    assert page.TITLES.keys() == LOADS.keys()


def test_the_page_has_the_figures_with_ratios_the_remarks_and_the_notes() -> None:
    text = page.text(RESULTS, "## By hand\n")
    assert "| crmgate | 0.50 | 250 (100 to 300) |" in text
    assert "- Celery is left out: no network." in text
    assert "| accepts a second, of a bare Flask echo | at least 0.6 | 0.50 | **not reached** |" in text
    assert text.endswith("## By hand\n")


def test_the_committed_page_and_chart_are_those_of_the_committed_results() -> None:
    results = page.Results.load()
    assert results.reports.keys() == LOADS.keys()
    again = "run `python -m benchmarks --page`"
    assert page.PAGE.read_text() == page.text(results, page.NOTES.read_text()), again
    assert page.CHART.read_text() == page.chart(results), again


def test_the_chart_is_svg_with_a_bar_for_each_contender_and_leaves_out_what_was_not_measured() -> None:
    panels = [Panel("Accepts <a second>", accept.NAME, accept.RATE), Panel("Drain", drain.NAME, drain.RATE)]
    root = ET.fromstring(draw(panels, RESULTS.reports))
    bars = [(bar.get("class"), bar.get("width")) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars == [("peer", "470.0"), ("own", "235.0")]
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Accepts <a second>", "Flask echo", "500 (1.00)", "crmgate", "250 (0.50)"]


def test_the_result_of_wrk_is_read() -> None:
    line = 'RESULT {"requests": 500, "seconds": 2.0, "refused": 1, "broken": 2, "p50": 0.1, "p99": 0.4}'
    load = wrk.read(f"Running 2s test\n\n{line}\n")
    assert (load.rate, load.refused, load.broken, load.p99) == (250, 1, 2, 0.4)
