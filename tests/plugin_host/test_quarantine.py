"""A broken plugin is set aside with the reason and the remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crmgate.errors import (
    ConfigError,
)
from crmgate.model import Rate
from crmgate.plugin_host.admission import FEATURES, PROVIDER_HOOKS
from crmgate.plugin_host.caller import HOOKS
from crmgate.plugin_host.loader import MODULE_PREFIX, discover
from tests.plugin_host.rig import (
    LISTENER,
    PROVIDER,
    choose,
    variant,
    write,
)

IMPLEMENTED = "Implement them, marked @hookimpl."
BROKEN = {
    "syntax": ("def (", "line 1: invalid syntax.", "Correct the syntax."),
    "indentation": ("if 1:\npass", "line 2: expected an indented block", "Correct the syntax."),
    "null byte": ("\0", "source code string cannot contain null bytes.", "Correct"),
    "encoding": ("# coding: nonsense", "line 0: unknown encoding: nonsense", "Correct the syntax."),
    "missing package": ("import no_such_package", "No module named 'no_such_package'.", "Install what it imports"),
    "missing name": ("from crmgate import hokimpl", "import failed: cannot import name 'hokimpl'", "correct the name"),
    "exception": ("1 / 0", "ZeroDivisionError at import: division by zero.", "Correct or remove it."),
    "exit": ("import sys; sys.exit('bye')", "SystemExit at import: bye.", "Correct or remove it."),
    "hard exit": ("raise SystemExit", "SystemExit at import: .", "Correct or remove it."),
    "generator exit": ("raise GeneratorExit", "GeneratorExit at import: .", "Correct or remove it."),
    "own base exception": ("class Odd(BaseException): ...\nraise Odd", "Odd at import: .", "Correct or remove it."),
    "endless recursion": ("def f(): f()\nf()", "RecursionError at import", "Correct or remove it."),
    "empty": ("", "it implements nothing.", "Add a subclass of CRMProvider"),
    "unmarked functions": ("def operation_dead(operation): ...", "it implements nothing.", "marked @hookimpl"),
    "misspelt listener": (
        variant(("operation_dead", "operation_died"), source=LISTENER),
        "there is no hook 'operation_died'.", "Did you mean operation_dead?",
    ),
    "unknown listener": (
        variant(("operation_dead", "zzz"), source=LISTENER),
        "there is no hook 'zzz'.", f"Hooks that exist: {HOOKS[0]}, ",
    ),
    "misspelt hook": (
        variant(("find_lead", "find_laed")), "there is no hook 'find_laed'.", "Did you mean find_lead?",
    ),
    "wrong argument": (
        variant(("create_lead(self, lead,", "create_lead(self, leed,")),
        "Argument(s) {'leed'} are declared in the hookimpl", "Name the arguments as crmgate.hookspecs does.",
    ),
    "wrong argument of a listener": (
        variant(("(operation)", "(op)"), source=LISTENER), "Argument(s) {'op'}", "Name the arguments",
    ),
    "wrapper": (
        variant(("@hookimpl\n", "@hookimpl(wrapper=True)\n"), ("    heard", "    yield; heard"), source=LISTENER),
        "operation_dead is a wrapper", "plain @hookimpl",
    ),
    "lacks hooks": (
        variant(("@hookimpl\n    def find_lead", "def find_lead"), ("@hookimpl\n    def test", "def test")),
        "Acme lacks find_lead, test_connection.", IMPLEMENTED,
    ),
    "lacks every hook": (
        "from crmgate.provider import CRMProvider\nclass P(CRMProvider): name = 'p'",
        "P lacks create_lead, ", IMPLEMENTED,
    ),
    "no name": (variant(('"acme"', '""')), "Acme.name is ''.", "lower-case letters"),
    "name in capitals": (variant(('"acme"', '"Acme"')), "Acme.name is 'Acme'.", "lower-case letters"),
    "name with a hyphen": (variant(('"acme"', '"acme-crm"')), "Acme.name is 'acme-crm'.", "lower-case letters"),
    "name that no variable can have": (variant(('"acme"', '"şirket"')), "Acme.name is 'şirket'.", "lower-case letters"),
    "two of one name in one file": (
        PROVIDER + "\nclass Second(Acme): pass\n",
        "the provider 'acme' is already defined by", "Rename or remove one of them.",
    ),
    "async hook": (
        variant(("def create_lead", "async def create_lead")),
        "create_lead is an async function, whose body would never run.", "Write a plain function.",
    ),
    "async listener": (
        variant(("def operation_dead", "async def operation_dead"), source=LISTENER),
        "operation_dead is an async function, whose body would never run.", "Write a plain function.",
    ),
    "generator": (
        variant(("    heard.append", "    yield heard.append"), source=LISTENER),
        "operation_dead is a generator, whose body would never run.", "Write a plain function.",
    ),
    "misspelt delivery": (
        variant(("label =", "delivery = 'at_most_onec'; label =")),
        "Acme.delivery is 'at_most_onec'.", "Write 'exactly_once', 'idempotent', 'at_most_once'",
    ),
    "delivery as a bool": (
        variant(("label =", "delivery = True; label =")), "Acme.delivery is of type bool.", "Write 'exactly_once'",
    ),
    "a look-up that is never called": (
        variant(("label =", "delivery = 'idempotent'; label =")),
        "Acme has find_lead, which is never called with delivery = 'idempotent'.", "Remove the hook, or write",
    ),
    "settle_seconds of text": (
        variant(("label =", "settle_seconds = '5'; label =")), "Acme.settle_seconds is of type str.", "at least 0",
    ),
    "settle_seconds as a bool": (
        variant(("label =", "settle_seconds = True; label =")), "Acme.settle_seconds is of type bool.", "at least 0",
    ),
    "settle_seconds below 0": (
        variant(("label =", "settle_seconds = -1; label =")), "Acme.settle_seconds is -1.", "at least 0",
    ),
    "settle_seconds without end": (
        variant(("label =", "settle_seconds = float('inf'); label =")), "Acme.settle_seconds is inf.", "at least 0",
    ),
    "MAX_BODY of text": (
        variant(("label =", "MAX_BODY = '5 MB'; label =")), "Acme.MAX_BODY is of type str.", "a number of bytes",
    ),
    "leads_at_once of text": (
        variant(("label =", "leads_at_once = '50'; label =")), "Acme.leads_at_once is of type str.", "number of leads",
    ),
    "MAX_BODY of nothing": (variant(("label =", "MAX_BODY = 0; label =")), "Acme.MAX_BODY is 0.", "a number of bytes"),
    "rate as a number": (
        variant(("label =", "rate = 10; label =")), "Acme.rate is of type int.", "Write Rate(per_second=2, burst=50,",
    ),
    "rate of text": (
        variant(("label =", "rate = Rate('2', 50, 10); label =")), "Acme.rate is Rate(per_second='2',", "Write",
    ),
    "rate that never has enough": (
        variant(("label =", "rate = Rate(2, 5, 10); label =")), "Acme.rate is Rate(per_second=2,", "at most burst",
    ),
    "misspelt capability": (
        variant(("label =", "capabilities = frozenset({'detect_duplicates'}); label =")),
        "Acme.capabilities has 'detect_duplicates', which does not exist.", "Did you mean 'detects_duplicates'?",
    ),
    "unlike any capability": (
        variant(("label =", "capabilities = frozenset({'teleport'}); label =")),
        "Acme.capabilities has 'teleport', which does not exist.",
        f"Capabilities that exist: {min(PROVIDER_HOOKS | FEATURES)}, ",
    ),
    "capability without its hook": (
        variant(("label =", "capabilities = frozenset({'update_lead'}); label =")),
        "Acme.capabilities has 'update_lead', but there is no such hook.", "Implement it, marked @hookimpl, or remove",
    ),
    "capabilities of text": (
        variant(("label =", "capabilities = 'find_lead'; label =")),
        "Acme.capabilities is of type str.", "Write a set of names",
    ),
    "unknown fact": (
        variant(('label =', 'lead_fields = {"emial": "x", "custom_a": "y"}; lead_values = {"sauce": {}}; label =')),
        "Acme maps 'emial', 'sauce', which is no fact of a lead.", "Facts that exist: full_name, ",
    ),
    "provider hook outside a class": (
        "from crmgate import hookimpl\n@hookimpl\ndef create_lead(lead, operation): ...",
        "create_lead is a function of the module, which is never called.", "Make it a method of a subclass of CRM",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason", "remedy"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_set_aside_with_reason_and_remedy(
    folder: Path, caplog: pytest.LogCaptureFixture, text: str, reason: str, remedy: str
) -> None:
    plugins = discover(write(folder, broken=text, healthy=variant(('"acme"', '"healthy"'))))
    [error] = plugins.quarantined
    assert error.file == str(folder / "broken.py")
    assert reason in error.reason
    assert remedy in error.remedy
    assert str(error) == f"{error.file}: {error.reason} {error.remedy}"
    assert (list(plugins.providers), plugins.files) == (["healthy"], {"healthy": str(folder / "healthy.py")})
    assert MODULE_PREFIX + "broken" not in sys.modules
    assert MODULE_PREFIX + "healthy" in sys.modules
    assert f"plugin set aside: {error}" in caplog.messages


@pytest.mark.parametrize(("text", "reason", "remedy"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_cannot_be_chosen_and_says_why(folder: Path, text: str, reason: str, remedy: str) -> None:
    plugins = discover(write(folder, broken=text))
    with pytest.raises(ConfigError) as caught:
        choose(plugins, "broken")
    [problem] = caught.value.problems
    assert problem.startswith(
        "CRM_PROVIDER, got 'broken': there is no such plugin. Found: none. Its file cannot be used:"
    )
    assert reason in problem
    assert remedy in problem


def test_the_operators_own_interrupt_still_ends_the_start(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        discover(write(folder, broken="raise KeyboardInterrupt"))


def test_a_file_that_cannot_be_read_is_set_aside(folder: Path) -> None:
    (folder / "gone.py").symlink_to(folder / "nowhere")
    (folder / "room.py").mkdir()
    plugins = discover(write(folder, acme=PROVIDER))
    assert [Path(error.file).name for error in plugins.quarantined] == ["gone.py", "room.py"]
    assert list(plugins.providers) == ["acme"]


def test_the_second_file_with_the_same_provider_is_set_aside(folder: Path) -> None:
    plugins = discover(write(folder, b_second=PROVIDER, a_first=PROVIDER))
    [error] = plugins.quarantined
    assert error.file == str(folder / "b_second.py")
    assert error.reason == f"the provider 'acme' is already defined by {folder / 'a_first.py'}."
    assert plugins.files == {"acme": str(folder / "a_first.py")}


def test_the_active_provider_must_not_be_defined_twice(folder: Path) -> None:
    write(folder, other=variant(('"acme"', '"other"')), acme=PROVIDER)
    (folder / "acme copy.py").write_text(PROVIDER)
    plugins = discover(folder)
    with pytest.raises(ConfigError) as caught:
        choose(plugins)
    [problem] = caught.value.problems
    assert problem.startswith("CRM_PROVIDER, got 'acme': several plugins have this name: ")
    assert f"{folder / 'acme copy.py'} and {folder / 'acme.py'}. Rename or remove all but one" in problem
    assert choose(plugins, "other").name == "other", "a name that is not chosen may be ambiguous"
    assert choose(discover(folder, ("acme", "other"))).name == "acme", "PLUGINS_ALLOWED says which"


@pytest.mark.parametrize("rate", ["10", "'2/50'", "Rate(0, 50, 10)", "Rate(2, 50, None)", "{}[1]"])
def test_a_rate_that_is_no_rate_stops_the_start(folder: Path, rate: str) -> None:
    text = PROVIDER + f"\n    @property\n    def rate(self): return {rate}\n"
    plugins = discover(write(folder, acme=text))
    with pytest.raises(ConfigError) as caught:
        choose(plugins)
    [problem] = caught.value.problems
    expected = (
        "the plugin failed to start: KeyError in acme.py:" if rate == "{}[1]" else "Write Rate(per_second=2, burst"
    )
    assert problem.startswith("CRM_PROVIDER, got 'acme': ")
    assert expected in problem


def test_a_rate_passes(folder: Path) -> None:
    plugins = discover(write(folder, acme=variant(("label =", "rate = Rate(0.5, 10, 10); label ="))))
    assert choose(plugins).rate == Rate(0.5, 10, 10)


def test_an_exit_of_a_provider_at_its_start_stops_the_start_with_its_place(folder: Path) -> None:
    plugins = discover(write(folder, acme=PROVIDER + "\n    def __init__(self, *_, **__): raise SystemExit(0)\n"))
    with pytest.raises(ConfigError, match=r"the plugin failed to start: SystemExit in acme\.py:"):
        choose(plugins)


def test_a_file_with_one_broken_provider_is_refused_whole(folder: Path) -> None:
    two = PROVIDER + LISTENER + "\nclass Broken(CRMProvider):\n    name = 'broken'\n"
    plugins = discover(write(folder, two=two))
    assert (plugins.providers, plugins.files) == ({}, {})
    assert plugins.manager.get_plugins() == set()
    assert "Broken lacks" in plugins.quarantined[0].reason


def test_a_module_that_was_there_before_is_left_alone(folder: Path) -> None:
    discover(write(folder, acme=PROVIDER))
    before = sys.modules[MODULE_PREFIX + "acme"]
    (folder / "acme.py").write_text("1 / 0  # longer than the byte code that is cached")
    assert discover(folder).quarantined
    assert sys.modules[MODULE_PREFIX + "acme"] is before
