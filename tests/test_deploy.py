"""Wherever the worker is started, SIGTERM lets it finish what it has in hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crmgate.plugins import discover

ROOT = Path(__file__).parent.parent
STARTERS = ["Procfile", "docker-compose.yml", "contrib/systemd/crmgate-worker.service", "crmgate/cli/dev.py"]


@pytest.mark.parametrize("file", STARTERS)
def test_the_worker_is_stopped_gracefully(file: str) -> None:
    words = (ROOT / file).read_text().replace('"', " ").replace(",", " ").split()
    start = words.index("crmgate.worker.huey")
    assert words[words.index("--graceful-signal", start) + 1] == "TERM"
    assert words[words.index("--worker-type", start) + 1] == "thread"


def test_the_metadata_for_espocrm_hold_every_custom_field_and_the_unique_index() -> None:
    path = ROOT / "contrib/espocrm/custom/Espo/Custom/Resources/metadata/entityDefs/Lead.json"
    metadata = json.loads(path.read_text())
    espocrm = discover(ROOT / "plugins", ("espocrm",)).providers["espocrm"]
    assert {name for name in espocrm.lead_fields.values() if name.endswith("C")} == metadata["fields"].keys()
    assert metadata["indexes"]["crmgateOperationIdC"] == {"type": "unique", "columns": ["crmgateOperationIdC"]}
    for fact, name in espocrm.lead_fields.items():
        options = metadata["fields"].get(name, {}).get("options")
        assert options is None or set(espocrm.lead_values[fact].values()) <= set(options)
