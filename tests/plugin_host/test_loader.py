"""Which plugins are loaded: files, folders and installed packages."""

from __future__ import annotations

import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from crmgate.errors import (
    ConfigError,
)
from crmgate.model import Delivered
from crmgate.plugin_host.loader import MODULE_PREFIX, discover, shipped_folder
from tests.listeners import notify_at_the_end
from tests.plugin_host.rig import (
    CANARY,
    LEAD,
    LISTENER,
    PROVIDER,
    choose,
    failing,
    variant,
    write,
)

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


def test_only_plugins_of_the_user_are_read_again(folder: Path, shipped: Path) -> None:
    write(folder, gamma=variant(('"acme"', '"gamma"')))
    first, second = discover(folder, shipped=shipped), discover(folder, shipped=shipped)
    again = [name for name, provider in first.providers.items() if provider is not second.providers[name]]
    assert again == ["gamma"]


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


def test_a_folder_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    plugins = discover(tmp_path / "nowhere")
    with pytest.raises(ConfigError) as caught:
        choose(plugins)
    assert caught.value.problems == (
        "CRM_PROVIDER, got 'acme': there is no such plugin. Found: none. "
        f"PLUGINS_DIR, got '{tmp_path / 'nowhere'}': there is no such folder.",
    )


def test_an_unknown_provider_is_reported_with_the_known_ones(folder: Path) -> None:
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


def test_a_mistake_in_any_file_of_a_folder_is_reported_with_its_place(folder: Path) -> None:
    text = "heard = []\n\ndef hello(lead):\n    return {}[lead.email]\n"
    error = failing(lambda: choose(discover(write_parts(folder, words=text))).deliver(LEAD, 1.0))
    assert error.detail == "KeyError in words.py:4"


def test_a_mistake_in_the_first_file_of_a_folder_is_reported_with_the_folder(folder: Path) -> None:
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
