"""Half a minute of chaos, with forks. The long run is `make chaos`, which starts each process by its command."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.run import run
from tests.chaos.trials import ONE_RECORD
from tests.forked import Forked
from tests.processes import DEADLINE

KILLS = 8
RECOVERY = DEADLINE
"""Seconds; more than `make chaos` allows, since other tests run at the same time."""


@pytest.mark.timeout(600)  # a trial that gives up reports more than a test that timed out
@pytest.mark.parametrize("provider", ["espocrm", "bitrix"])
def test_nothing_is_lost_and_nothing_doubled(provider: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))
    short = replace(ONE_RECORD, seconds=5)
    result = run(tmp_path, provider, kills=KILLS, seed=seed, pause=1.0, limit=RECOVERY, trials=[short], kind=Forked)
    assert not result.failures(), result.story()
    assert result.kills == KILLS
    assert result.accepted > 5, result.story()
