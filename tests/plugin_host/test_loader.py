"""Plugins: a broken one is set aside and says why, only the active one is called, none leaks what a visitor typed."""

from __future__ import annotations

import logging
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crmgate import hookspecs
from crmgate.errors import (
    AuthFailed,
    Code,
    ConfigError,
    OutcomeUnknown,
    OutOfTime,
    PluginError,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.model import Activity, Delivered, Kind, Lead, Operation, Rate, State
from crmgate.plugin_host.caller import HOOKS, HookCaller
from crmgate.plugin_host.loader import MODULE_PREFIX, REQUIRED_HOOKS, Plugins, discover, shipped_folder
from crmgate.plugin_kit.settings import LOCAL_HOSTS
from tests.listeners import notify_at_the_end

CANARY = "c4n4ry"
PERSON = Lead(first_name=CANARY, email=f"{CANARY}@example.com", phone="+905321234567")
LEAD = Operation("8b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4", Kind.CREATE_LEAD, PERSON.to_dict(), 0.0)
CLICK = Operation("9b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4", Kind.CREATE_MINIMAL_LEAD, Activity("telegram").to_dict(), 0.0)

PROVIDER = """
from crmgate import hookimpl
from crmgate.errors import *
from crmgate.model import Check, Connection, Delivered, Rate
from crmgate.provider import CRMProvider, ProviderSettings, secret, web_address


class Acme(CRMProvider):
    name = "acme"
    label = "Acme CRM"

    class Settings(ProviderSettings):
        ACME_KEY = secret(load_default="acme-secret")

    @hookimpl
    def create_lead(self, lead, operation):
        return Delivered(self.name, lead.first_name)

    @hookimpl
    def create_minimal_lead(self, activity, operation):
        return Delivered(self.name, activity.channel)

    @hookimpl
    def find_lead(self, operation):
        return None

    @hookimpl
    def test_connection(self):
        return Connection(self.name, True, 1.0, (Check("ping", True),))
"""
LISTENER = """
from crmgate import hookimpl

heard = []

@hookimpl
def operation_dead(operation):
    heard.append(operation.id)
"""


@pytest.fixture(autouse=True)
def _leave_no_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith((MODULE_PREFIX, "acme_dist")):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "plugins"
    path.mkdir()
    return path


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


def variant(*changes: tuple[str, str], source: str = PROVIDER) -> str:
    """`source` with some of its text replaced."""
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return source


def choose(plugins: Plugins, name: str = "acme", **environ: str) -> HookCaller:
    return plugins.choose(name, environ, 1.0, LOCAL_HOSTS)


def acme(folder: Path, body: str = "", hook: str = "create_lead") -> HookCaller:
    """The provider of `PROVIDER`, with `body` in place of what one of its hooks does."""
    head, _, rest = PROVIDER.partition(f"def {hook}(")
    signature, _, rest = rest.partition("\n")
    tail = rest.partition("\n\n")[2]
    text = f"{head}def {hook}({signature}\n{textwrap.indent(textwrap.dedent(body).strip(), ' ' * 8)}\n\n{tail}"
    plugins = discover(write(folder, acme=text))
    assert plugins.quarantined == []
    return choose(plugins)


# -- quarantine --------------------------------------------------------------------------------------------------------

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
        "there is no hook 'zzz'.", "Hooks that exist: create_lead, ",
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
    "rate as a number": (
        variant(("label =", "rate = 10; label =")), "Acme.rate is of type int.", "Write Rate(per_second=2, burst=50,",
    ),
    "rate of text": (
        variant(("label =", "rate = Rate('2', 50, 10); label =")), "Acme.rate is Rate(per_second='2',", "Write",
    ),
    "rate that never has enough": (
        variant(("label =", "rate = Rate(2, 5, 10); label =")), "Acme.rate is Rate(per_second=2,", "at most burst",
    ),
    "unknown fact": (
        variant(('label =', 'lead_fields = {"emial": "x", "custom_a": "y"}; lead_values = {"sauce": {}}; label =')),
        "Acme maps 'emial', 'sauce', which is no fact of a lead.", "Facts that exist: first_name, ",
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
    told = "the plugin failed to start: KeyError in acme.py:" if rate == "{}[1]" else "Write Rate(per_second=2, burst"
    assert problem.startswith("CRM_PROVIDER, got 'acme': ")
    assert told in problem


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


# -- what is loaded ----------------------------------------------------------------------------------------------------


def test_dataclasses_with_postponed_annotations_load(folder: Path) -> None:
    text = """
        from __future__ import annotations
        from dataclasses import KW_ONLY, dataclass
        from typing import ClassVar
        from crmgate import hookimpl

        @dataclass
        class Tally:
            _: KW_ONLY
            kinds: ClassVar[list[str]] = []
            seen: int = 0

        tally = Tally(seen=1)

        @hookimpl
        def operation_dead(operation):
            tally.seen += 1
    """
    plugins = discover(write(folder, tally=text))
    assert plugins.quarantined == []
    notify_at_the_end(plugins, "operation_dead", operation=LEAD)
    assert sys.modules[MODULE_PREFIX + "tally"].tally.seen == 2


def test_files_that_are_no_plugins_are_skipped(folder: Path) -> None:
    write(folder, _base="1 / 0", acme=PROVIDER)
    (folder / ".hidden.py").write_text("1 / 0")
    (folder / "notes.txt").write_text("1 / 0")
    for name in ("_package", ".package", "acme.old", "data"):
        (folder / name).mkdir()
        (folder / name / ("x.py" if name == "data" else "__init__.py")).write_text("1 / 0")
    plugins = discover(folder)
    assert (list(plugins.providers), plugins.quarantined, plugins.notes) == (["acme"], [], [])


def test_base_classes_and_aliases_and_imported_classes_are_no_providers(folder: Path) -> None:
    text = (
        variant(("class Acme(CRMProvider)", "class _Base(CRMProvider)")) + "\nclass Acme(_Base): pass\nAlias = Acme\n"
    )
    plugins = discover(write(folder, acme=text))
    assert plugins.quarantined == []
    assert {name: cls.__name__ for name, cls in plugins.providers.items()} == {"acme": "Acme"}


def test_one_file_may_hold_several_providers_and_listeners(folder: Path) -> None:
    text = PROVIDER + "\nclass Other(Acme):\n    name = 'other'\n" + LISTENER
    plugins = discover(write(folder, two=text))
    assert plugins.quarantined == []
    assert sorted(plugins.providers) == ["acme", "other"]
    notify_at_the_end(plugins, "operation_dead", operation=LEAD)
    assert sys.modules[MODULE_PREFIX + "two"].heard == [LEAD.id]


def test_the_list_of_allowed_files_is_kept(folder: Path) -> None:
    plugins = discover(write(folder, acme=PROVIDER, evil="1 / 0"), allowed=("acme", "absent"))
    assert (list(plugins.providers), plugins.quarantined) == (["acme"], [])
    assert plugins.notes == [
        "PLUGINS_ALLOWED leaves out evil.py.",
        "PLUGINS_ALLOWED names 'absent', but no file and no folder has that name.",
    ]
    with pytest.raises(ConfigError, match=r"Found: acme\. PLUGINS_ALLOWED leaves out evil\.py\."):
        choose(plugins, "evil")


# -- plugins that come with crmgate ------------------------------------------------------------------------------------

OWN = variant(("Acme CRM", "My Acme CRM"))


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A folder of plugins that come with crmgate."""
    path = tmp_path / "shipped"
    path.mkdir()
    return write(path, acme=PROVIDER, beta=variant(('"acme"', '"beta"')))


def test_the_users_folder_adds_to_the_plugins_that_come_with_crmgate(folder: Path, shipped: Path) -> None:
    plugins = discover(write(folder, gamma=variant(('"acme"', '"gamma"'))), shipped=shipped)
    assert (sorted(plugins.providers), plugins.quarantined, plugins.notes) == (["acme", "beta", "gamma"], [], [])


@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_plugin_of_the_user_replaces_the_shipped_one_of_its_name(folder: Path, shipped: Path, form: str) -> None:
    path = folder / "acme.py"
    if form == "folder":
        (folder / "acme").mkdir()
        path = folder / "acme/__init__.py"
    path.write_text(OWN)
    plugins = discover(folder, shipped=shipped)
    assert plugins.providers["acme"].label == "My Acme CRM"
    assert sorted(plugins.providers) == ["acme", "beta"]
    plugin = path if form == "file" else path.parent
    assert (plugins.quarantined, plugins.notes) == ([], [f"{plugin} replaces the plugin acme that comes with crmgate."])


def test_a_broken_plugin_of_the_user_is_not_replaced_by_the_shipped_one(folder: Path, shipped: Path) -> None:
    plugins = discover(write(folder, acme="1 / 0"), shipped=shipped)
    assert list(plugins.providers) == ["beta"]
    with pytest.raises(ConfigError, match=r"Its file cannot be used: .*acme\.py: ZeroDivisionError"):
        choose(plugins)


def test_a_provider_of_the_user_wins_over_a_shipped_one_in_another_file(folder: Path, shipped: Path) -> None:
    plugins = discover(write(folder, mine=OWN), shipped=shipped)
    assert plugins.providers["acme"].label == "My Acme CRM"
    [error] = plugins.quarantined
    assert error.file == str(shipped / "acme.py")
    assert error.reason == f"the provider 'acme' is already defined by {folder / 'mine.py'}."


def test_a_folder_that_is_the_shipped_one_is_loaded_once(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shipped)
    for folder in (shipped, tmp_path / "link"):
        plugins = discover(folder, shipped=shipped)
        assert (sorted(plugins.providers), plugins.quarantined, plugins.notes) == (["acme", "beta"], [], [])


def test_the_list_of_allowed_plugins_counts_for_shipped_ones_too(folder: Path, shipped: Path) -> None:
    plugins = discover(write(folder, gamma=variant(('"acme"', '"gamma"'))), ("beta", "gamma"), shipped=shipped)
    assert sorted(plugins.providers) == ["beta", "gamma"]
    assert plugins.notes == ["PLUGINS_ALLOWED leaves out acme.py."]


def test_shipped_plugins_of_a_stranger_are_refused(
    folder: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shipped / "acme.py").chmod(0o666)
    [error] = discover(folder, shipped=shipped).quarantined
    assert "every user can write" in error.reason


def test_the_shipped_folder_of_a_checkout_is_at_its_top() -> None:
    assert shipped_folder() == Path(__file__).parents[2] / "plugins"


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    plugins = discover(tmp_path / "nowhere")
    with pytest.raises(ConfigError) as caught:
        choose(plugins)
    assert caught.value.problems == (
        "CRM_PROVIDER, got 'acme': there is no such plugin. Found: none. "
        f"PLUGINS_DIR, got '{tmp_path / 'nowhere'}': there is no such folder.",
    )


def test_an_unknown_provider_is_told_which_there_are(folder: Path) -> None:
    plugins = discover(write(folder, b=variant(('"acme"', '"beta"')), a=PROVIDER, c="1 / 0"))
    with pytest.raises(ConfigError) as caught:
        choose(plugins, "espocrm")
    assert caught.value.problems == (
        "CRM_PROVIDER, got 'espocrm': there is no such plugin. Found: acme, beta. "
        f"Set aside as unusable: {folder / 'c.py'}.",
    )


def test_an_unconfigured_provider_lists_every_missing_setting(folder: Path) -> None:
    extra = "ACME_URL = web_address(required=True); ACME_USER = secret(required=True); ACME_KEY"
    plugins = discover(write(folder, acme=variant(("ACME_KEY", extra))))
    with pytest.raises(ConfigError) as caught:
        choose(plugins, ACME_MAP_NONSENSE="x")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "ACME_URL", "ACME_USER", "ACME_MAP_NONSENSE",
    ]  # fmt: skip
    assert plugins.manager.get_plugins() == set()


def test_a_provider_that_fails_to_start_says_where_but_not_what(folder: Path) -> None:
    text = (
        PROVIDER
        + """
    def __init__(self, environ, **options):
        super().__init__(environ, **options)
        raise KeyError(self.settings["ACME_KEY"])
"""
    )
    plugins = discover(write(folder, acme=text))
    with pytest.raises(ConfigError) as caught:
        choose(plugins, ACME_KEY=CANARY)
    [problem] = caught.value.problems
    assert problem.startswith("CRM_PROVIDER, got 'acme': the plugin failed to start: KeyError in acme.py:")
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


# -- folders -----------------------------------------------------------------------------------------------------------

PARTS = {
    "__init__.py": "from .provider import Acme, operation_dead\n",
    "provider.py": variant(
        ("from crmgate import hookimpl", "from .words import hello, heard\nfrom crmgate import hookimpl"),
        ("lead.first_name)", "hello(lead))"),
    ) + LISTENER.replace("heard = []", ""),
    "words.py": "heard = []\n\ndef hello(lead):\n    return f'hello {lead.first_name}'\n",
}  # fmt: skip


def write_parts(folder: Path, name: str = "acme", **changed: str) -> Path:
    """A plugin that is a folder; `changed` are other texts of its files, by their names without `.py`."""
    (folder / name).mkdir()
    for file, text in (PARTS | {f"{stem}.py": text for stem, text in changed.items()}).items():
        (folder / name / file).write_text(textwrap.dedent(text))
    return folder


def test_a_folder_is_a_plugin_of_several_files(folder: Path) -> None:
    plugins = discover(write_parts(folder))
    assert (plugins.quarantined, plugins.files) == ([], {"acme": str(folder / "acme")})
    assert choose(plugins).deliver(LEAD, 1.0) == Delivered("acme", f"hello {CANARY}")


def test_a_folder_read_again_is_read_whole(folder: Path) -> None:
    first = discover(write_parts(folder))
    (folder / "acme" / "words.py").write_text("heard = None\n\ndef hello(lead):\n    return 'good evening'\n")
    second = discover(folder)
    assert choose(second).deliver(LEAD, 1.0).record_id == "good evening"
    assert choose(first).deliver(LEAD, 1.0).record_id == f"hello {CANARY}"


@pytest.mark.parametrize("allowed", [("acme",), ("other",)])
def test_a_folder_is_allowed_by_its_name(folder: Path, allowed: tuple[str, ...]) -> None:
    plugins = discover(write_parts(write(folder, other="1 / 0" if "acme" in allowed else LISTENER)), allowed)
    assert plugins.quarantined == []
    assert [*plugins.providers] == [name for name in allowed if name == "acme"]
    assert plugins.notes == [f"PLUGINS_ALLOWED leaves out {'other.py' if 'acme' in allowed else 'acme'}."]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def (", "words.py, line 1: invalid syntax."),
        ("1 / 0", "ZeroDivisionError at import"),
        ("import no_such_package", "import failed: No module named 'no_such_package'."),
        ("heard = []", "import failed: cannot import name 'hello'"),
    ],
)
def test_a_folder_with_one_broken_file_is_set_aside_whole(folder: Path, text: str, reason: str) -> None:
    before = dict(sys.modules)
    plugins = discover(write_parts(folder, words=text))
    [error] = plugins.quarantined
    assert error.file == str(folder / "acme")
    assert reason in error.reason
    assert (plugins.providers, plugins.manager.get_plugins()) == ({}, set())
    assert not [name for name in sys.modules.keys() - before.keys() if name.startswith(MODULE_PREFIX)]
    with pytest.raises(ConfigError, match="Its file cannot be used"):
        choose(plugins)


def test_a_folder_that_gets_broken_leaves_what_was_loaded_alone(folder: Path) -> None:
    crm = choose(discover(write_parts(folder)))
    before = {name: module for name, module in sys.modules.items() if f"{name}.".startswith(MODULE_PREFIX + "acme.")}
    assert len(before) == len(PARTS)
    (folder / "acme" / "provider.py").write_text("from .words import hello\n1 / 0")
    assert discover(folder).quarantined
    assert before.items() <= sys.modules.items()
    assert crm.deliver(LEAD, 1.0).record_id == f"hello {CANARY}"


def test_a_folder_goes_before_a_file_of_its_name(folder: Path) -> None:
    """A file that an update left behind must not run instead of the folder that replaced it."""
    plugins = discover(write_parts(write(folder, acme="1 / 0")))
    [error] = plugins.quarantined
    assert error.file == str(folder / "acme.py")
    assert f"the folder {folder / 'acme'} has the same name" in error.reason
    assert choose(plugins).deliver(LEAD, 1.0).record_id == f"hello {CANARY}"


def test_a_mistake_in_any_file_of_a_folder_is_told_by_its_place(folder: Path) -> None:
    text = "heard = []\n\ndef hello(lead):\n    return {}[lead.email]\n"
    error = failing(lambda: choose(discover(write_parts(folder, words=text))).deliver(LEAD, 1.0))
    assert error.detail == "KeyError in words.py:4"


def test_a_mistake_in_the_first_file_of_a_folder_is_told_with_the_folder(folder: Path) -> None:
    text = PROVIDER.replace("lead.first_name", "{}[lead.email]")
    error = failing(lambda: choose(discover(write_parts(folder, __init__=text))).deliver(LEAD, 1.0))
    assert error.detail.startswith("KeyError in acme/__init__.py:")


# -- entry points ------------------------------------------------------------------------------------------------------


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a package with entry points on the path, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(text: str, distribution: str = "acme_dist", **entries: str) -> None:
        (site / f"{distribution}.py").write_text(text)
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {target}\n" for name, target in entries.items())
        (info / "entry_points.txt").write_text(f"[crmgate.plugins]\n{lines}")

    return put


def test_a_provider_comes_from_an_entry_point(folder: Path, install: Callable[..., None]) -> None:
    install(PROVIDER + LISTENER, acme="acme_dist")
    plugins = discover(folder, allowed=("something_else",))
    assert plugins.quarantined == []
    assert plugins.files == {"acme": "entry point acme"}
    assert choose(plugins).deliver(LEAD, 1.0) == Delivered("acme", CANARY)
    notify_at_the_end(plugins, "operation_dead", operation=LEAD)
    assert sys.modules["acme_dist"].heard == [LEAD.id]


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        ("raise SystemExit(3)", "acme_dist", "SystemExit at import: 3."),
        ("1 / 0", "acme_dist", "ZeroDivisionError at import"),
        ("import no_such_package", "acme_dist", "import failed: No module named 'no_such_package'."),
        ("def (", "acme_dist", "line 1: invalid syntax."),
        ("x = 1", "acme_dist:x", "it names no module."),
        ("x = 1", "acme_dist:y", "AttributeError at import"),
        ("x = 1", "acme_dist_absent", "import failed: No module named 'acme_dist_absent'."),
        ("x = 1", "acme_dist", "it implements nothing."),
    ],
)
def test_a_broken_entry_point_is_set_aside(
    folder: Path, install: Callable[..., None], text: str, target: str, reason: str
) -> None:
    install(text, acme=target)
    plugins = discover(write(folder, healthy=variant(('"acme"', '"healthy"'))))
    [error] = plugins.quarantined
    assert error.file == "entry point acme"
    assert reason in error.reason
    assert list(plugins.providers) == ["healthy"]
    assert "acme_dist" not in sys.modules
    with pytest.raises(ConfigError, match="Its file cannot be used: entry point acme: "):
        choose(plugins)


def test_a_module_that_others_use_stays_when_its_entry_point_is_refused(
    folder: Path, install: Callable[..., None]
) -> None:
    install("", json="json")
    assert discover(folder).quarantined[0].reason == "it implements nothing."
    assert "json" in sys.modules


def test_two_entry_points_to_one_module_or_of_one_name(folder: Path, install: Callable[..., None]) -> None:
    install(LISTENER, first="acme_dist", second="acme_dist")
    install(LISTENER, distribution="acme_dist_two", first="acme_dist_two")
    plugins = discover(folder)
    assert [(error.file, error.reason) for error in plugins.quarantined] == [
        ("entry point first", "it is loaded twice."),
        ("entry point second", "it is loaded twice."),
    ]


# -- calling the active provider ---------------------------------------------------------------------------------------


def test_each_kind_goes_to_its_hook_with_its_payload(folder: Path) -> None:
    crm = acme(folder, "return Delivered(self.name, lead.first_name)")
    assert (crm.name, crm.label) == ("acme", "Acme CRM")
    assert crm.deliver(LEAD, 1.0) == Delivered("acme", CANARY)
    assert crm.deliver(CLICK, 1.0) == Delivered("acme", "telegram")
    assert crm.find(LEAD, 1.0) is None
    assert crm.test_connection(1.0).connected


def test_only_the_active_provider_is_called(folder: Path) -> None:
    others = {name: variant(('"acme"', f'"{name}"')) for name in ("alpha", "zeta")}
    plugins = discover(write(folder, acme=PROVIDER, **others))
    crms = {name: choose(plugins, name) for name in ("zeta", "acme", "alpha")}  # each chosen after another was
    for name, crm in crms.items():
        assert (crm.deliver(LEAD, 1.0).provider, crm.test_connection(1.0).provider) == (name, name)


def test_a_provider_chosen_again_listens_once_and_both_still_work(folder: Path) -> None:
    text = (
        PROVIDER
        + "\n    heard = []\n\n    @hookimpl\n    def operation_dead(self, operation): self.heard.append(self)\n"
    )
    plugins = discover(write(folder, acme=text))
    for crm in [choose(plugins), choose(plugins)]:
        assert crm.deliver(LEAD, 1.0).provider == "acme"
    notify_at_the_end(plugins, "operation_dead", operation=LEAD)
    assert len(plugins.providers["acme"].heard) == 1  # type: ignore[attr-defined]


def test_two_applications_in_one_process_share_nothing(folder: Path) -> None:
    write(folder, acme=PROVIDER, listener=LISTENER)
    first, second = discover(folder), discover(folder)
    assert first.manager is not second.manager
    assert first.providers["acme"] is not second.providers["acme"]
    choose(first)
    assert not any(first.manager.is_registered(plugin) for plugin in second.manager.get_plugins())
    notify_at_the_end(first, "operation_dead", operation=LEAD)
    heard = {id(plugin): plugin.heard for plugins in (first, second) for plugin in plugins.manager.get_plugins()
             if hasattr(plugin, "heard")}  # fmt: skip
    assert sorted(heard.values()) == [[], [LEAD.id]]


@pytest.mark.parametrize("hook", ["create_lead", "find_lead"])
@pytest.mark.parametrize("body", ["return {'id': 1}", "return 'c4n4ry'", "return False", "return 0", "return object()"])
def test_garbage_from_a_hook_is_a_plugin_bug(folder: Path, hook: str, body: str) -> None:
    crm = acme(folder, body, hook)
    error = failing(lambda: crm.deliver(LEAD, 1.0) if hook == "create_lead" else crm.find(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    assert f"{hook} returned " in error.detail


def test_nothing_from_a_create_is_a_plugin_bug(folder: Path) -> None:
    error = failing(lambda: acme(folder, "return None").deliver(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    assert error.detail == "create_lead returned NoneType instead of Delivered"


def failing(call: Callable[[], object]) -> ProviderError:
    """The error of a call, signed by the provider; it and its traceback show nothing of a visitor and no secret."""
    with pytest.raises(ProviderError) as caught:
        call()
    error = caught.value
    assert (error.provider, error.operation) in {("acme", LEAD.id), ("acme", CLICK.id)}
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = f"{error}{error!r}{error.args}{vars(error)}" + "".join(traceback.format_exception_only(error))
    assert CANARY not in shown
    assert "acme-secret" not in shown
    return error


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError(lead.email)",
        "return {}[lead.first_name]",
        "assert not lead.email, lead.email",
        "return int(lead.first_name)",
        "raise RuntimeError(self.settings['ACME_KEY'])",
        "try:\n    raise ValueError(lead.email)\nexcept ValueError as e:\n    raise KeyError(lead.phone) from e",
        "import json\nreturn json.loads(lead.email)",
        "return lead.no_such_attribute",
        "def f(): f()\nf()",
    ],
)
def test_the_text_of_an_unforeseen_exception_is_never_told(
    folder: Path, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    crm = acme(folder, body)
    error = failing(lambda: crm.deliver(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    name, _, place = error.detail.partition(" in ")
    assert name.endswith("Error")
    assert place.startswith("acme.py:"), "the plugin's own line, not the library's that it called"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        ("Unavailable('x acme-secret y', status=503)", Unavailable),
        ("RateLimited('acme-secret', retry_after=7)", RateLimited),
        ("AuthFailed('key acme-secret refused')", AuthFailed),
        ("Rejected(fields={'phone': 'acme-secret'}, vendor_code='acme-secret')", Rejected),
    ],
)
def test_a_providers_own_error_passes_without_secrets_and_without_its_past(
    folder: Path, raised: str, kind: type[ProviderError]
) -> None:
    body = f"try:\n    raise ValueError(lead.email)\nexcept ValueError as error:\n    raise {raised} from error"
    error = failing(lambda: acme(folder, body).deliver(LEAD, 1.0))
    assert type(error) is kind
    assert "***" in f"{error}{getattr(error, 'fields', '')}"
    assert (error.status, error.retry_after) in {(503, None), (None, 7), (None, None)}


QUOTED = {
    "whole": "cannot store ada@example.org of Ada Augusta Lovelace, +905321234567: my GPA is 3.8",
    "in another case": "ADA@EXAMPLE.ORG, LOVELACE",
    "escaped": "ada%40example.org, \\u015eahin, O&#x27;Hara &amp; Sons",
    "a phone as people write it": "(0532) 123 45 67 / 0090-532-123-4567 / 5321234567 / %2B905321234567",
    "a word of a name": "'Augusta' is too long",
}


@pytest.mark.parametrize("text", QUOTED.values(), ids=QUOTED)
def test_an_error_that_quotes_the_visitor_is_masked(folder: Path, text: str) -> None:
    lead = {
        "first_name": "Ada Augusta", "last_name": "Lovelace", "email": "ada@example.org", "phone": "+905321234567",
        "additional_info": "my GPA is 3.8", "city": "Şahin", "custom": {"company": "O'Hara & Sons"},
    }  # fmt: skip
    body = f"from crmgate.errors import Rejected; text = {text!r}"
    raised = "raise Rejected(text, fields={'emailAddress': text}, vendor_code=text)"
    crm = acme(folder, f"{body}; {raised}")
    error = failing(lambda: crm.deliver(Operation(LEAD.id, Kind.CREATE_LEAD, lead, 0.0), 1.0))
    assert isinstance(error, Rejected)
    assert list(error.fields) == ["emailAddress"]
    for shown in (error.detail, error.vendor_code, error.fields["emailAddress"]):
        assert "…" in shown
        assert not [word for word in ("ada@", "lovelace", "augusta", "0532", "532", "gpa", "015e", "hara", "ada%40")
                    if word in shown.lower()], shown  # fmt: skip


def test_an_error_keeps_what_the_visitor_did_not_type(folder: Path) -> None:
    text = "field emailAddress (valid) of lead 6b03b0155fea3963a, error 40012345678, retry in 30 s"
    crm = acme(folder, f"from crmgate.errors import Rejected; raise Rejected({text!r})")
    lead = {"first_name": "Al", "email": "ada@example.org", "phone": "+905321234567", "city": "mail"}
    assert failing(lambda: crm.deliver(Operation(LEAD.id, Kind.CREATE_LEAD, lead, 0.0), 1.0)).detail == text


@pytest.mark.parametrize("kind", [Kind.UPDATE_LEAD, Kind.LOG_ACTIVITY])
def test_an_operation_without_a_hook_is_unsupported(folder: Path, kind: Kind) -> None:
    crm = acme(folder, "return None")
    error = failing(lambda: crm.deliver(Operation(LEAD.id, kind, {}, 0.0), 1.0))
    assert (type(error), error.code) == (Unsupported, Code.UNSUPPORTED)


def test_an_operation_of_a_newer_version_is_left_to_a_person(folder: Path) -> None:
    crm, newer = acme(folder, "return None"), Operation(LEAD.id, Kind.read("newer_kind"), {}, 0.0)
    for call in (crm.deliver, crm.find):
        error = failing(lambda call=call: call(newer, 1.0))  # type: ignore[misc]
        assert (type(error), error.code) == (Unsupported, Code.UNSUPPORTED)
        assert "a newer version of crmgate made this operation (newer_kind): update this one" in error.detail


def test_a_payload_that_is_no_lead_is_an_error_of_the_delivery(folder: Path) -> None:
    crm = acme(folder, "return None")
    error = failing(
        lambda: crm.deliver(Operation(LEAD.id, Kind.CREATE_LEAD, {"utm": {"source": []}, "consent": 5}, 0.0), 1)
    )
    assert error.code == Code.PLUGIN_BUG


def test_a_hook_works_inside_the_time_budget(folder: Path) -> None:
    crm = acme(folder, "self.request('GET', 'http://127.0.0.1:1')")
    error = failing(lambda: crm.deliver(LEAD, 0.0))
    assert (type(error), error.code) == (OutOfTime, Code.OUT_OF_TIME)
    assert failing(lambda: crm.deliver(LEAD, 1.0)).code == Code.CONNECTION_FAILED


EXITS = {
    "raise SystemExit": "SystemExit",
    "import sys; sys.exit(3)": "SystemExit",
    "raise GeneratorExit": "GeneratorExit",
    "class Odd(BaseException): ...\nraise Odd(operation.id)": "Odd",
    "import asyncio; raise asyncio.CancelledError": "CancelledError",
}


@pytest.mark.parametrize("hook", ["create_lead", "find_lead"])
@pytest.mark.parametrize(("body", "name"), EXITS.items())
def test_an_exit_inside_a_hook_is_a_plugin_bug(folder: Path, hook: str, body: str, name: str) -> None:
    crm = acme(folder, body, hook)
    error = failing(lambda: crm.deliver(LEAD, 1.0) if hook == "create_lead" else crm.find(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    assert error.detail.startswith(f"{name} in acme.py:")


@pytest.mark.parametrize(("body", "name"), EXITS.items())
def test_an_exit_inside_a_connection_test_is_a_failed_check(folder: Path, body: str, name: str) -> None:
    [check] = acme(folder, body.replace("operation.id", "0"), "test_connection").test_connection(1.0).checks
    assert not check.ok
    assert check.detail.startswith(f"{name} in acme.py:")


def test_ctrl_c_inside_a_hook_passes(folder: Path) -> None:
    crm = acme(folder, "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(10)")
    with pytest.raises(KeyboardInterrupt):
        crm.deliver(LEAD, 1.0)


def test_an_exit_by_a_signal_handler_inside_a_hook_passes(folder: Path) -> None:
    """A web server ends its workers this way; swallowing it would keep them alive."""
    crm = acme(folder, "import os, signal, time; os.kill(os.getpid(), signal.SIGUSR1); time.sleep(10)")
    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(1))
    try:
        with pytest.raises(SystemExit):
            crm.deliver(LEAD, 1.0)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_that_a_plugin_raises_on_another_thread_is_a_plugin_bug(folder: Path) -> None:
    """A request or a delivery runs on such a thread; signals do not."""
    crm = acme(folder, "raise KeyboardInterrupt")
    with ThreadPoolExecutor(1) as pool:
        error = failing(lambda: pool.submit(crm.deliver, LEAD, 1.0).result(10))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)


UNBELIEVABLE = {
    "self.name, 77": "record_id is of type int instead of str",
    "self.name, None": "record_id is of type NoneType instead of str",
    "self.name, b'77'": "record_id is of type bytes instead of str",
    "self.name, ' '": "record_id is empty",
    "'other', '77'": "provider is not 'acme'",
    "None, '77'": "provider is of type NoneType instead of str",
    "self.name, '77', url=None": "url is of type NoneType instead of str",
}


@pytest.mark.parametrize("hook", ["create_lead", "find_lead"])
@pytest.mark.parametrize(("arguments", "fault"), UNBELIEVABLE.items())
def test_a_confirmation_that_cannot_be_believed_is_a_plugin_bug(
    folder: Path, hook: str, arguments: str, fault: str
) -> None:
    crm = acme(folder, f"return Delivered({arguments})", hook)
    error = failing(lambda: crm.deliver(LEAD, 1.0) if hook == "create_lead" else crm.find(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    assert error.detail == f"{hook} returned a Delivered whose {fault}"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("raise AuthFailed('key acme-secret refused')", "bad_credentials: key *** refused"),
        ("raise KeyError('acme-secret')", "KeyError in acme.py:"),
        ("return None", "test_connection returned NoneType instead of Connection"),
        ("return Delivered('a', 'b')", "test_connection returned Delivered instead of Connection"),
        ("return Connection(self.name, False, 0.0, (Check('key', False, 'acme-secret is wrong'),))", "*** is wrong"),
    ],
)
def test_a_connection_test_never_raises_and_shows_no_secret(folder: Path, body: str, detail: str) -> None:
    connection = acme(folder, body, "test_connection").test_connection(1.0)
    assert (connection.provider, connection.connected) == ("acme", False)
    [check] = connection.checks
    assert not check.ok
    assert detail in check.detail
    assert "acme-secret" not in repr(connection)


# -- listeners ---------------------------------------------------------------------------------------------------------

RAISING = variant(("heard.append(operation.id)", "raise ValueError(operation.lead.email)"), source=LISTENER)


def test_a_listener_that_raises_disturbs_no_other(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugins = discover(write(folder, a=LISTENER, b=RAISING, c=LISTENER))
    notify_at_the_end(plugins, "operation_dead", operation=LEAD)
    assert [sys.modules[MODULE_PREFIX + name].heard for name in "ac"] == [[LEAD.id], [LEAD.id]]
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"listener operation_dead of {folder / 'b.py'} failed: ValueError in b.py:8"
    assert record.exc_info is None
    assert CANARY not in caplog.text


def test_listeners_of_the_active_provider_hear_too(folder: Path) -> None:
    text = (
        PROVIDER + "\n    @hookimpl\n    def operation_delivered(self, operation, delivered): self.last = delivered\n"
    )
    plugins = discover(write(folder, acme=text))
    crm = choose(plugins)
    notify_at_the_end(plugins, "operation_delivered", operation=LEAD, delivered=Delivered("acme", "1"))
    assert crm._provider.last == Delivered("acme", "1")  # type: ignore[attr-defined]


def test_listeners_take_the_arguments_they_want(folder: Path) -> None:
    text = """
        from crmgate import hookimpl
        import builtins

        @hookimpl{options}
        def operation_delivered({arguments}):
            sink.append("{name}")
    """
    files = {
        name: text.format(name=name, arguments=arguments, options=options)
        for name, arguments, options in (
            ("a", "delivered", ""), ("b", "", ""), ("d", "operation", ""),
            ("c", "operation, delivered", "(tryfirst=True)"),
        )
    }  # fmt: skip
    plugins = discover(write(folder, **files))
    sink: list[str] = []
    for name in files:
        vars(sys.modules[MODULE_PREFIX + name])["sink"] = sink
    notify_at_the_end(plugins, "operation_delivered", operation=LEAD, delivered=Delivered("acme", "1"))
    assert sorted(sink) == ["a", "b", "c", "d"]  # each on a thread of its own


def test_a_dead_letter_is_told_as_it_is(folder: Path) -> None:
    plugins = discover(write(folder, a=LISTENER))
    dead = Operation(LEAD.id, Kind.CREATE_LEAD, {}, 0.0, State.DEAD)
    notify_at_the_end(plugins, "operation_dead", operation=dead)
    assert sys.modules[MODULE_PREFIX + "a"].heard == [LEAD.id]


# -- the specification -------------------------------------------------------------------------------------------------


def test_every_hook_is_documented_and_the_required_ones_exist() -> None:
    assert set(REQUIRED_HOOKS) <= set(HOOKS)
    for name in HOOKS:
        assert getattr(hookspecs, name).__doc__


def test_calling_a_specification_by_itself_is_a_mistake() -> None:
    lead: Any = PERSON
    for call in (
        lambda: hookspecs.create_lead(lead, LEAD),
        lambda: hookspecs.create_minimal_lead(Activity(), LEAD),
        lambda: hookspecs.find_lead(LEAD),
        hookspecs.test_connection,
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_a_plugin_error_has_its_parts() -> None:
    error = PluginError("a.py", "It is broken.", "Mend it.")
    assert (error.file, error.reason, error.remedy) == ("a.py", "It is broken.", "Mend it.")
