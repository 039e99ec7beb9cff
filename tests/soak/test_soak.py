"""The short form of `make soak`."""

from __future__ import annotations

from pathlib import Path

from tests.soak.run import soak


def test_a_worker_does_not_grow_and_redis_gets_its_memory_back(tmp_path: Path) -> None:
    result = soak(tmp_path, 2000)
    assert result.worker_growth < 0.10, result.table()
    assert result.redis_left < 0.05, result.table()
