"""`crmgate sources`: which are on, and what a payload becomes without being sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run, output_of
from tests.sources.payloads import EXAMPLES, META_SEVERAL, TILDA_TEST, TYPEFORM
from tests.sources.test_signatures import b64, digest

SECRETS = {"SOURCE_TILDA_SECRET": "a-secret-of-24-characters", "SOURCE_GOOGLE_FORMS_SECRET": "short"}


def test_list(run: Run, mini: dict[str, str]) -> None:
    answer = run("sources", "list", "--json", **mini, **SECRETS, APP_DOMAIN="crm.example.com")
    found = output_of(answer)
    assert found["sources"] == [
        {"source": "google_forms", "tool": "Google Forms",
         "address": "https://crm.example.com/in/google_forms?token=<SOURCE_GOOGLE_FORMS_SECRET>",
         "protected_by": "token; the secret is shorter than 16 characters"},
        {"source": "tilda", "tool": "Tilda", "address": "https://crm.example.com/in/tilda?token=<SOURCE_TILDA_SECRET>",
         "protected_by": "token"},
    ]  # fmt: skip
    assert "googleforms" not in found["off"]
    assert "typeform" in found["off"]
    shown = run("sources", "list", **mini, **SECRETS)
    assert SECRETS["SOURCE_TILDA_SECRET"] not in shown.output
    assert SECRETS["SOURCE_TILDA_SECRET"] in run("sources", "list", "--reveal", **mini, **SECRETS).output
    assert "No source is on." in run("sources", "list", **mini).output


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_an_example_becomes(run: Run, mini: dict[str, str], tmp_path: Path, name: str) -> None:
    sent = EXAMPLES[name][0]
    (tmp_path / "body").write_bytes(sent.body)
    answer = run("sources", "test", name, "body", "--json", **mini, SOURCE_CRMTOOL_SECRET="x")
    assert answer.exit_code == 0, answer.output
    [item] = output_of(answer)["items"]
    assert (item["complete"], item["delivery_id"]) == (True, sent.delivery)
    assert item["payload"]["email"].endswith("@example.com")


def test_for_people(run: Run, mini: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(TILDA_TEST.body)
    assert "It is a handshake: the answer is 'ok'" in run("sources", "test", "tilda", "body", **mini).stdout
    (tmp_path / "body").write_bytes(META_SEVERAL.body)
    shown = run("sources", "test", "meta", "body", **mini).stdout
    assert shown.count("Delivery id: 44444444444") == 3
    assert "There was no name; a stand-in was used." in shown
    answer = run("sources", "test", "typeform", "-", stdin='{"answers": "all"', **mini)
    assert answer.exit_code == 1
    assert "Kept for an operator" in answer.stdout
    assert "custom.body" in answer.stdout
    assert "There is nothing to store." in run("sources", "test", "cf7", "-", stdin=" ", **mini).stdout


def test_a_header(run: Run, mini: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(TYPEFORM.body)
    settings = mini | {"SOURCE_TYPEFORM_SECRET": "the-secret"}
    right = f"Typeform-Signature: sha256={b64(digest(TYPEFORM.body))}"
    answer = run("sources", "test", "typeform", "body", "--header", right, **settings)
    assert (answer.exit_code, answer.stdout.splitlines()[0]) == (0, "The signature is right.")
    answer = run("sources", "test", "typeform", "body", "--header", right + "x", "--json", **settings)
    assert (answer.exit_code, json.loads(answer.stdout)["signature"]) == (1, "wrong")
    assert run("sources", "test", "typeform", "body", "--header", "no colon", **settings).exit_code == 2
    wrong_type = ("--header", "Content-Type: multipart/form-data; boundary=x")
    assert run("sources", "test", "typeform", "body", *wrong_type, **settings).exit_code == 1


def test_a_name_that_is_no_source(run: Run, mini: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(TYPEFORM.body)
    answer = run("sources", "test", "crmtool", "body", **mini)
    assert answer.exit_code == 2
    assert "SOURCE_CRMTOOL_SECRET" in answer.output
