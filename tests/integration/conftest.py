"""One running gateway for each module; tests that break something start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway in front of the fake EspoCRM, shared by the tests of a module: a test that breaks it repairs it."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running.start()


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A gateway for this test alone, not started yet."""
    with Stack(tmp_path) as built:
        yield built
