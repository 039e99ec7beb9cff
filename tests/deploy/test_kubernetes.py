"""contrib/kubernetes: valid for the schemas of Kubernetes, and of one piece with the settings and the compose file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from crmgate import __version__
from crmgate.cli import main
from crmgate.config import Settings
from tests.deploy.files import ROOT, services
from tests.test_docs import settings

FOLDER = ROOT / "contrib/kubernetes"
BASES = sorted(FOLDER.rglob("kustomization.yaml"))
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
"""The oldest and the newest version that the files are checked for."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(path.read_text()))


OBJECTS = [
    document
    for path in sorted(FOLDER.rglob("*.yaml")) if path not in BASES
    for document in documents(path)
]  # fmt: skip


def named(kind: str, name: str) -> dict[str, Any]:
    [found] = [one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def label(document: dict[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


TEMPLATES = {label(one): one["spec"]["template"] for one in OBJECTS if "template" in one.get("spec", {})}
CONTAINERS = {name: template["spec"]["containers"][0] for name, template in TEMPLATES.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", OBJECTS, ids=label)
def test_it_is_valid_for_the_schema(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_a_mistake_is_found() -> None:
    wrong = named("Deployment", "crmgate-web") | {"spec": {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_belongs_to_a_kustomization_except_the_template_of_the_secrets() -> None:
    named_there = {(base.parent / name) for base in BASES for name in documents(base)[0]["resources"]}
    assert named_there == set(FOLDER.rglob("*.yaml")) - {*BASES, FOLDER / "secret.example.yaml"}


def test_every_name_of_a_setting_is_one() -> None:
    for document in OBJECTS:
        if document["kind"] in ("ConfigMap", "Secret"):
            assert set(document.get("data", {})) | set(document.get("stringData", {})) <= settings()


def test_the_settings_are_good_together() -> None:
    given = named("ConfigMap", "crmgate")["data"] | named("Secret", "crmgate")["stringData"]
    loaded = Settings.load(given | {"ESPOCRM_API_KEY": "key"})
    assert (loaded.provider, loaded.trusted_proxies) == ("espocrm", 1)


def test_no_secret_is_in_the_settings_or_filled_in() -> None:
    assert not [name for name in named("ConfigMap", "crmgate")["data"] if "KEY" in name or "PASSWORD" in name]
    assert not any(named("Secret", "crmgate-setup")["stringData"].values())


def test_each_pod_gets_the_settings_and_only_its_own_secrets() -> None:
    for name, container in CONTAINERS.items():
        given = [source[kind]["name"] for source in container["envFrom"] for kind in source]
        secret = "crmgate-setup" if name == "Job crmgate-setup" else "crmgate"
        assert given == ["crmgate", secret]
        assert "env" not in container


def test_the_image_is_this_version() -> None:
    [image] = documents(FOLDER / "kustomization.yaml")[0]["images"]
    assert (image["name"], image["newTag"]) == ("crmgate", __version__)
    assert {container["image"] for container in CONTAINERS.values()} == {"crmgate"}


def test_the_commands_are_those_of_the_compose_file() -> None:
    assert CONTAINERS["Deployment crmgate-worker"]["args"] == services()["worker"]["command"]
    setup = CONTAINERS["Job crmgate-setup"]["command"]
    assert " ".join(setup) in services()["espocrm-setup"]["command"][-1]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_pod_can_do_little(name: str) -> None:
    pod, container = TEMPLATES[name]["spec"], CONTAINERS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container["resources"]["limits"]


def test_a_pod_gets_more_time_to_stop_than_it_takes() -> None:
    web, worker = (TEMPLATES[f"Deployment crmgate-{name}"]["spec"] for name in ("web", "worker"))
    [pause] = [int(word) for word in web["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] if word.isdigit()]
    assert web["terminationGracePeriodSeconds"] >= pause + 30 + 5
    words = worker["containers"][0]["args"]
    assert worker["terminationGracePeriodSeconds"] >= int(words[words.index("--shutdown-timeout") + 1]) + 10


def test_a_pod_of_the_web_server_depends_on_nothing_but_itself() -> None:
    container = CONTAINERS["Deployment crmgate-web"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_the_probe_of_the_worker_is_a_command_that_exists() -> None:
    container = CONTAINERS["Deployment crmgate-worker"]
    for probe in ("startupProbe", "livenessProbe"):
        [program, *arguments] = container[probe]["exec"]["command"]
        assert program == "crmgate"
        assert CliRunner().invoke(main, [*arguments, "--help"]).exit_code == 0
        assert container[probe]["timeoutSeconds"] >= 20, "the start of Python on a busy node"


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy"])
def test_a_selector_finds_pods(kind: str) -> None:
    for document in OBJECTS:
        if document["kind"] == kind:
            spec = document["spec"]
            wanted = spec.get("podSelector", spec.get("selector"))
            labels = wanted.get("matchLabels", wanted).items()
            assert [name for name, one in TEMPLATES.items() if labels <= one["metadata"]["labels"].items()]


def test_an_autoscaler_has_its_deployment_to_itself() -> None:
    targets = [one["spec"]["scaleTargetRef"]["name"] for one in OBJECTS if one["kind"] == "HorizontalPodAutoscaler"]
    assert sorted(targets) == ["crmgate-web", "crmgate-worker"]
    assert "replicas" not in named("Deployment", "crmgate-web")["spec"]
    [patch] = documents(FOLDER / "scaling/kustomization.yaml")[0]["patches"]
    assert patch["target"]["name"] == "crmgate-worker"
    assert YAML(typ="safe").load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]
