"""The controls of a fake: the examples of docs/plugins/testing.md, the table of a fault's options, and `/__fake__/`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
import requests

from crmgate import testing
from crmgate.testing import FakeCRM, Fault, Request, Response
from tests.testing.contract.acme import FakeAcme, TestAcme

PAGE = (Path(__file__).parents[2] / "docs" / "plugins" / "testing.md").read_text()
FAULTS = PAGE.partition("\n## Faults\n")[2].partition("\n## ")[0]


def example(name: str) -> str:
    [code] = re.findall(rf"<!-- example: {name} -->\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


@pytest.fixture
def acme() -> Iterator[FakeAcme]:
    with FakeAcme() as fake:
        yield fake


@pytest.fixture
def _acme_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module in which the page keeps its fake."""
    module = ModuleType("acme_fake")
    vars(module)["FakeAcme"] = FakeAcme
    monkeypatch.setitem(sys.modules, "acme_fake", module)


@pytest.mark.usefixtures("_acme_fake")
def test_the_example_runs() -> None:
    exec(compile(example("controls"), "testing.md", "exec"), {})


def test_each_option_of_a_fault_is_in_the_table() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", FAULTS, re.MULTILINE)
    assert sorted(re.findall(r"\w+", " ".join(rows))) == sorted(field.name for field in fields(Fault))


def test_each_exported_name_has_its_documentation() -> None:
    assert sorted(re.findall(r"^### `(\w+)[`(]", PAGE, re.MULTILINE)) == sorted(testing.__all__)
    assert [name for name in testing.__all__ if not (getattr(testing, name).__doc__ or "").strip()] == []


CONTROLS = re.findall(r"^\| `(\w+) (/__fake__/\w+)` \|", FAULTS, re.MULTILINE)


def test_each_control_is_in_the_table() -> None:
    code = Path(FakeCRM.__module__.replace(".", "/") + ".py").read_text()
    answered = {f"{method} {what}" for method, what in re.findall(r'case "([A-Z]+)", "(\w+)":', code)}
    assert answered == {f"{method} {path.removeprefix('/__fake__/')}" for method, path in CONTROLS}


def test_a_fault_is_set_watched_and_removed_over_http(acme: FakeAcme) -> None:
    control, leads = f"{acme.url}/__fake__", f"{acme.url}/leads"
    made = requests.post(f"{control}/faults", json={"kind": "answer", "status": 418, "times": 2}, timeout=10)
    assert (made.status_code, made.json()["status"]) == (201, 418)
    assert requests.get(leads, timeout=10).status_code == 418
    [fault] = requests.get(f"{control}/faults", timeout=10).json()
    assert (fault["seen"], fault["times"]) == (1, 1)
    requests.delete(f"{control}/faults", timeout=10)
    assert requests.get(leads, timeout=10).status_code == 401
    assert [one["path"] for one in requests.get(f"{control}/requests", timeout=10).json()] == ["/leads", "/leads"]


@pytest.mark.parametrize(
    ("control", "body", "reason"),
    [
        ("faults", {"kind": "answer", "staus": 418}, "staus"),
        ("faults", {}, "kind"),
        ("faults", {"kind": "anser"}, "'anser' is no kind of fault. Write one of latency, hang, drop, answer."),
        ("faults", {"kind": "drop", "when": "later"}, "'later' is no moment of a fault. Write before or after."),
        ("configure", {"tabels": {}}, "FakeAcme has no option 'tabels'"),
    ],
)
def test_a_mistake_in_a_control_is_answered_with_the_reason(
    acme: FakeAcme, control: str, body: dict[str, object], reason: str
) -> None:
    answer = requests.post(f"{acme.url}/__fake__/{control}", json=body, timeout=10)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert acme.faults == []


def test_a_control_that_is_no_json_is_answered_with_the_reason(acme: FakeAcme) -> None:
    answer = requests.post(f"{acme.url}/__fake__/faults", data="kind=drop", timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_the_program_of_the_page_serves_the_fake(tmp_path: Path) -> None:
    (tmp_path / "acme_fake.py").write_text("from tests.testing.contract.acme import FakeAcme\n")
    (tmp_path / "fake.py").write_text(example("a program"))
    code = f"import sys, runpy; sys.path[:0] = [{str(tmp_path)!r}, {str(Path.cwd())!r}]; sys.argv = ['fake.py'];"
    command = [sys.executable, "-c", f"{code} runpy.run_path({str(tmp_path / 'fake.py')!r}, run_name='__main__')"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            where = re.fullmatch(r"FakeAcme on (http://\S+)\n", process.stdout.readline())
            assert where is not None
            address = f"{where[1]}/__fake__/records"
            assert requests.get(address, timeout=10).json() == {"leads": [], "notes": [], "fields": []}
        finally:
            process.kill()


def test_a_mistake_in_a_fake_is_named_by_the_check_that_meets_it() -> None:
    class Faulty(FakeAcme):
        def answer(self, request: Request) -> Response:
            return super().answer(request) if request.method == "GET" else Response(200, {}["no such key"])

    class OfFaulty(TestAcme):
        def fake(self) -> FakeAcme:
            return Faulty()

    check = OfFaulty()
    check.setup_method()
    with pytest.raises(AssertionError, match="Return the Delivered"):
        check.test_minimal_lead_arrives()
    with pytest.raises(AssertionError) as caught:
        check.teardown_method()
    said = (
        r"Faulty\.answer raised KeyError\('no such key'\) at test_controls\.py:\d+ for POST /leads\. Correct the fake: "
    )
    assert re.match(said, str(caught.value))
