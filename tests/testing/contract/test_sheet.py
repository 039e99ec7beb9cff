"""A plugin with a transport of its own passes the kit. Each fault of the kit reaches it through the fake."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from crmgate.testing import Failed, Failure, ProviderContract
from crmgate.testing.transport import READ, WRITE
from tests.processes import DEADLINE
from tests.testing.contract.fake_sheet import TOKEN, FakeSheet
from tests.testing.contract.sheet import Sheet

PAGE = Path(__file__).parents[3] / "docs" / "plugins" / "testing.md"


class TestSheet(ProviderContract):
    """The checks, each as a test."""

    plugin = Sheet

    def fake(self) -> FakeSheet:
        return FakeSheet()

    def settings(self, fake: FakeSheet) -> Mapping[str, str]:
        return {"SHEET_ADDRESS": fake.address, "SHEET_TOKEN": TOKEN}


@pytest.fixture
def fake() -> Iterator[FakeSheet]:
    with FakeSheet() as fake:
        yield fake


def exchange(fake: FakeSheet, *, reads: bool = False, timeout: float | None = None) -> str:
    """A request that stores a row, with Turkish letters."""

    def work() -> str:
        fake.rows.append({"id": "1"})
        return "stored"

    return fake.exchange("append", {"name": "Ayşe"}, work, reads=reads, timeout=timeout)


def test_a_request_is_recorded(fake: FakeSheet) -> None:
    assert (exchange(fake), exchange(fake, reads=True)) == ("stored", "stored")
    assert [(one.method, one.path) for one in fake.requests] == [(WRITE, "append"), (READ, "append")]
    assert TestSheet().sent_text(fake.requests[0]) == "append\nAyşe"
    assert [TestSheet().is_write(one) for one in fake.requests] == [True, False]


def test_a_stopped_fake_refuses_the_connection(fake: FakeSheet) -> None:
    fake.stop()
    with pytest.raises(ConnectionRefusedError):
        exchange(fake)
    assert (fake.rows, fake.requests) == ([], [])
    fake.start()
    assert exchange(fake) == "stored"


@pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
def test_a_cut_connection(fake: FakeSheet, when: str, stored: int) -> None:
    fake.fail("drop", when=when, times=1)
    with pytest.raises(ConnectionResetError):
        exchange(fake)
    assert len(fake.rows) == stored
    assert exchange(fake) == "stored"


@pytest.mark.parametrize("timeout", [0.01, None])
def test_a_silent_fake(fake: FakeSheet, timeout: float | None) -> None:
    fake.fail("hang", seconds=DEADLINE if timeout else 0.01)
    with pytest.raises(TimeoutError if timeout else ConnectionResetError):
        exchange(fake, timeout=timeout)
    assert fake.rows == []


def test_a_slow_fake(fake: FakeSheet) -> None:
    fake.fail("latency", seconds=0.05)
    begun = time.monotonic()
    assert exchange(fake, timeout=DEADLINE) == "stored"
    assert time.monotonic() - begun >= 0.05


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (401, Failure.CREDENTIALS), (403, Failure.RIGHT), (404, Failure.ADDRESS), (409, Failure.CONFLICT),
        (400, Failure.VALUE), (422, Failure.VALUE), (429, Failure.RATE), (500, Failure.ERROR), (502, Failure.ERROR),
        (503, Failure.MAINTENANCE), (200, Failure.UNREADABLE), (302, Failure.UNREADABLE),
    ],
)  # fmt: skip
def test_an_answer_of_the_kit(fake: FakeSheet, status: int, failure: Failure) -> None:
    fake.fail("answer", status=status, body="quoted words", headers={"Retry-After": "7"})
    with pytest.raises(Failed) as caught:
        exchange(fake)
    assert (caught.value.failure, caught.value.text, caught.value.retry_after) == (failure, "quoted words", 7.0)
    assert fake.rows == []


def test_the_documentation_shows_the_example_that_runs() -> None:
    page, source = PAGE.read_text(), Path(__file__).with_name("fake_sheet.py").read_text()
    [shown] = re.findall(r"^# docs:\n(.*?)\n+ *# docs: end$", source, re.MULTILINE | re.DOTALL)
    assert shown.strip() in page, "copy the example again"
    assert sorted(re.findall(r"`(\w+)`", page.partition("`failure` is one of")[2].partition(".")[0])) == sorted(Failure)
