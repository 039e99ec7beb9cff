"""Each deployment keeps the spool in a place that the web server may write and that a restart keeps."""

from __future__ import annotations

from pathlib import PurePosixPath

from tests.deploy.files import ROOT, UNITS, services
from tests.deploy.test_kubernetes import TEMPLATES, named


def test_both_web_servers_of_compose_share_a_volume() -> None:
    mounts = set()
    for name in ("web", "web2"):
        service = services()[name]
        folder = service["environment"]["SPOOL_DIR"]
        mounts |= {volume for volume in service["volumes"] if volume.split(":")[1:] == [folder]}
        assert f"install -d -o crmgate -g crmgate -m 0700 /run/crmgate /var/lib/crmgate {folder}" in (
            (ROOT / "Dockerfile").read_text()
        ), "a new volume gets this owner"
    assert len(mounts) == 1, "one web server drains what the other left"
    assert "SPOOL_DIR" not in services()["worker"]["environment"]


def test_a_pod_has_a_volume() -> None:
    folder = PurePosixPath(named("ConfigMap", "crmgate")["data"]["SPOOL_DIR"])
    spec = TEMPLATES["Deployment crmgate-web"]["spec"]
    [mount] = (mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "spool")
    assert folder.is_relative_to(mount["mountPath"])
    assert "readOnly" not in mount
    assert "spool" in {volume["name"] for volume in spec["volumes"]}


def test_systemd_makes_the_folder() -> None:
    [unit] = (unit.read_text().splitlines() for unit in UNITS if "web" in unit.name)
    assert "StateDirectory=crmgate" in unit
    assert "Environment=SPOOL_DIR=%S/crmgate/spool" in unit
