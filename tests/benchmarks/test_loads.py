"""Each load of `make bench` runs, with tiny numbers and without peers. Nothing is said about speed."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import requests

from benchmarks import processes, wrk
from benchmarks.figures import Report
from benchmarks.loads import LOADS, accept, backlog, brownout, cost, drain, growth
from benchmarks.options import Options
from benchmarks.processes import ACCEPT, CrmSink, TooSlow, await_end
from benchmarks.wrk import Load, LoadFailed
from tests.forked import Forked
from tests.integration.stack import person
from tests.processes import DEADLINE, RedisProcess

_numbers = count()


def _a_few_requests(url: str, _seconds: float, connections: int) -> Load:
    """Stands for wrk, which not every machine has."""
    for _ in range(connections):
        assert requests.post(url + ACCEPT, json=person(next(_numbers)), timeout=DEADLINE).status_code == 202
    return Load(connections, 0.5, 0, 0, 0.01, 0.02)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    monkeypatch.setattr(processes, "KIND", Forked)
    monkeypatch.setattr(wrk, "run", _a_few_requests)
    monkeypatch.setattr(cost, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(brownout, "HEALTHY", 0.2)
    monkeypatch.setattr(backlog, "POLL_SECONDS", 0.1)
    return Options(
        rounds=1, warm_up=0.0, connections=10, operations=30, crm_seconds=0.01, concurrency=4, hang=1.0, leads=3,
        deliveries=20, sizes=(10, 700), samples=5, peers=False, folder=tmp_path,
    )  # fmt: skip


def measured(name: str, options: Options) -> Report:
    said: list[str] = []
    report = LOADS[name](options, said.append)
    assert said
    assert report.load == name
    return report


def test_accept(tiny: Options) -> None:
    report = measured(accept.NAME, tiny)
    assert report.contenders == ["crmgate"]
    assert report.quantities == [accept.RATE, accept.P50, accept.P99]


@pytest.mark.usefixtures("redis_client")  # empties Redis
def test_a_server_that_answers_without_a_record_has_no_figures(redis_process: RedisProcess) -> None:
    with pytest.raises(LoadFailed, match="7 requests were answered, and the ledger has"):
        accept._check(redis_process.url, Load(7, 0.5, 0, 0, 0.01, 0.02))


def test_drain(tiny: Options) -> None:
    report = measured(drain.NAME, tiny)
    assert report.contenders == ["crmgate", "crmgate, 2 processes"]
    assert 0 < report.figures[0].median <= 4 / 0.01


def test_brownout(tiny: Options) -> None:
    report = measured(brownout.NAME, tiny)
    assert report.median("crmgate", brownout.SERVED) == 100


def test_backlog(tiny: Options) -> None:
    report = measured(backlog.NAME, tiny)
    assert report.median("crmgate", backlog.LATE) == 0
    assert report.median("crmgate", backlog.EACH) >= 1  # type: ignore[operator]


def test_a_backlog_that_takes_too_long_is_computed_from_its_second_half() -> None:
    course = backlog.Course(((0.0, 0), (1.0, 50), (2.0, 60), (3.0, 70)), {})
    assert course.rate == 10
    assert course.seconds_for(1000) == pytest.approx(3 + 930 / 10)
    assert course.seconds_for(70) == 3


def test_cost(tiny: Options) -> None:
    report = measured(cost.NAME, tiny)
    assert report.median(cost.WAITING, cost.REDIS) > 100  # type: ignore[operator]
    for who in (cost.WEB, cost.WORKER):
        assert report.median(who, cost.IDLE) > 10  # type: ignore[operator]


def test_growth(tiny: Options) -> None:
    report = measured(growth.NAME, tiny)
    assert report.contenders == ["10 waiting", "700 waiting"]


def test_the_crm_counts_leads_and_keeps_its_time(tmp_path: Path) -> None:
    with CrmSink(tmp_path, 0.05).serving() as sink:
        for _ in range(2):
            sink._session.post(f"{sink.url}/leads", json={"operation": "a"}, timeout=10)
        seen = sink.seen()
        assert (seen["requests"], seen["answered"], seen["operations"], seen["peak"]) == (2, 2, 1, 1)
        assert seen["seconds"] >= 0.1
        assert sink._session.get(f"{sink.url}/leads?operation=a", timeout=10).json() == {"id": "abc"}
        assert sink._session.get(f"{sink.url}/leads?operation=b", timeout=10).json() == {"id": None}
        sink.reset()
        assert sink.seen()["requests"] == 0


def test_a_measurement_that_does_not_end_fails() -> None:
    with pytest.raises(TooSlow, match="all are delivered: not within 0 s"):
        await_end("all are delivered", lambda: False, 0.0)
