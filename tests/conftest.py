"""A real Redis for every test that asks for one."""

from __future__ import annotations

import contextlib
import gc
import logging
import zlib
from collections.abc import Generator, Iterator

import pytest
import redis

from crmgate.store.client import connect
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.everything import rows
from tests.needs import refuse_skip
from tests.processes import DEADLINE, RedisProcess
from tests.world import World


@contextlib.contextmanager
def loggers_as_before() -> Iterator[None]:
    """An application that a test made logs to standard error, which other tests read."""
    root, own = logging.getLogger(), logging.getLogger("crmgate")
    before = root.handlers[:], root.level, own.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


@pytest.fixture(autouse=True, scope="module")
def _logs_as_before() -> Iterator[None]:
    with loggers_as_before():
        yield


WAITING = (
    "testing/contract/", "integration/", "chaos/", "soak/", "deploy/", "delivery/test_long_outage.py",
    "cli/test_new.py", "test_tutorial.py", "plugins/test_alerts_of_a_gateway.py", "browser/",
)  # fmt: skip
"""Tests that mostly wait for other processes."""


def waits(item: pytest.Item) -> bool:
    return item.nodeid.removeprefix("tests/").startswith(WAITING)


def shares_something(item: pytest.Item) -> bool:
    """Whether the test has a fixture of its module or package, which is made once in each process that runs one."""
    shared = getattr(item, "_fixtureinfo", None)
    made = shared.name2fixturedefs.items() if shared else ()
    scopes = {definitions[-1].scope for name, definitions in made if name != _logs_as_before.__name__}
    return bool(scopes & {"module", "package"})


def turn(item: pytest.Item) -> float:
    """Where in the run the test has its turn, from 0 to 1: at random, and the same in each process and each run.

    Waiting and busy tests so run side by side, and the processor always has work. The last fifth has no waiting test,
    so that no process waits for the last of them alone.
    """
    marker = item.get_closest_marker("xdist_group")
    place = zlib.crc32((marker.args[0] if marker else item.nodeid).encode()) / 2**32
    return place * 0.8 if waits(item) else place


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of a module that share something costly in one process."""
    for item in items:
        if shares_something(item) or not waits(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=turn)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return refuse_skip((yield))


def pytest_configure() -> None:
    """Collect the tests without the garbage collector: none of them becomes garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through the thousands of collected tests again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path_factory.mktemp("redis"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
def redis_client(redis_process: RedisProcess) -> Iterator[redis.Redis]:
    """A client of an empty Redis. A key that a test leaves there has to be documented."""
    with redis.Redis.from_url(redis_process.url) as client:
        client.flushall()
        yield client
        assert [name for name in client.scan_iter(count=1000) if not rows(name.decode())] == []


@pytest.fixture
def ledger(redis_client: redis.Redis, redis_process: RedisProcess) -> Iterator[Ledger]:
    client = connect(redis_process.url, timeout=DEADLINE)
    yield Ledger(client, wake_message)
    client.close()


@pytest.fixture
def world(ledger: Ledger, redis_client: redis.Redis) -> World:
    """A gateway with a CRM and a clock that the test controls."""
    return World(ledger, redis_client)
