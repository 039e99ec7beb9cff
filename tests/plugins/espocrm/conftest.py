"""An EspoCRM that is set up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crmgate.testing.espocrm import FakeEspoCRM


@pytest.fixture
def crm() -> Iterator[FakeEspoCRM]:
    with FakeEspoCRM() as crm:
        yield crm
