"""Wherever the worker is started, SIGTERM lets it finish what it has in hand."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STARTERS = ["Procfile", "docker-compose.yml", "contrib/systemd/crmgate-worker.service", "crmgate/cli/dev.py"]


@pytest.mark.parametrize("file", STARTERS)
def test_the_worker_is_stopped_gracefully(file: str) -> None:
    words = (ROOT / file).read_text().replace('"', " ").replace(",", " ").split()
    start = words.index("crmgate.worker.huey")
    assert words[words.index("--graceful-signal", start) + 1] == "TERM"
    assert words[words.index("--worker-type", start) + 1] == "thread"
