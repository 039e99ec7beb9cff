"""Write a new plugin from the template: the provider, its contract test and its page; or a package with these."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from crmgate import __version__
from crmgate.config import CoreSettings
from crmgate.plugin_host.loader import plugin_name, shipped_folder

TEMPLATE = Path(__file__).parent / "template"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
CLASSES = re.compile(r"(?<=Fake)Acme|(?<=Test)Acme|Acme(?=Provider)")
LONGEST = 30


def check_name(name: str) -> None:
    """Check the name of a new plugin. Raises `click.BadParameter` with the reason if it cannot be used."""
    if reason := _refusal(name):
        raise click.BadParameter(f"{name!r} cannot be the name of a plugin. {reason}", param_hint="NAME")


def _refusal(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        return (
            f"It takes lower-case letters, digits and single underscores, a letter first, up to {LONGEST} characters."
        )
    prefix = name.replace("_", "").upper() + "_"
    if taken := [setting for setting in CoreSettings().fields if setting.startswith(prefix)]:
        return f"Its settings would look like the gateway's own ({', '.join(taken)})."
    if name in {plugin_name(path) for path in shipped_folder().iterdir()}:
        return "A plugin of that name comes with crmgate, and the new one would replace it."
    return ""


def rendered(name: str, plugins_dir: Path) -> dict[Path, str]:
    """The text of each file of a new plugin by its path, relative to the working directory where possible."""
    plugin = _relative(plugins_dir) / f"{name}.py"
    return {
        plugin: _filled("acme.py", name, plugin),
        Path("tests/plugins") / f"test_{name}.py": _filled("test_acme.py", name, plugin),
        Path("docs/plugins") / f"{name}.md": _filled("acme.md", name, plugin),
    }


def package(name: str) -> dict[Path, str]:
    """The text of each file of a package with a new plugin, in a folder of the working directory, by its path."""
    folder, module = Path(f"crmgate-{_hyphens(name)}"), f"crmgate_{name}.py"
    test = _filled("test_acme.py", name, Path(module)).replace("parents[2]", "parents[1]")
    least, below = _versions()
    project = _filled("package.toml", name, Path(module)).replace("NEXT_VERSION", below).replace("VERSION", least)
    return {
        folder / "pyproject.toml": project,
        folder / module: _filled("acme.py", name, Path(module)),
        folder / "tests" / f"test_{name}.py": test,
        folder / "README.md": _filled("acme.md", name, Path(module)),
        folder / ".github/workflows/test.yml": _filled("package.yml", name, Path(module)),
    }


def next_steps(name: str, paths: Sequence[str], settings: Sequence[str], *, package: bool) -> list[str]:
    """What the author does next. `paths` are those of the written files, `settings` the names of address and key."""
    plugin, test = paths[1:3] if package else paths[:2]
    steps = [
        f"pytest {test}   (it passes as it is: {plugin} talks to an imaginary CRM)",
        f"Make {plugin} say what the CRM's reference says, and the fake CRM in {test} answer like it",
        f"crmgate plugins check {plugin} --test {test}" if package else f"crmgate plugins check {plugin}",
    ]
    if package:
        steps.append(f"pip install ./{Path(plugin).parent}   (crmgate finds it by its entry point)")
    url, key = settings
    return [*steps, f"{url}=https://... {key}=... crmgate plugins try {name}   (with a test account)"]


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


def _versions() -> tuple[str, str]:
    """The minor version of crmgate, and the next one: until 1.0 a minor version may change the contract."""
    major, minor, *_ = __version__.split(".")
    return f"{major}.{minor}", f"{major}.{int(minor) + 1}"


def _relative(folder: Path) -> Path:
    """`folder` relative to the working directory, so that the test finds the plugin after a move of the project."""
    try:
        return folder.resolve().relative_to(Path.cwd())
    except ValueError:
        return folder.resolve()


def _filled(template: str, name: str, plugin: Path) -> str:
    words = name.replace("_", " ").title()
    text = (TEMPLATE / template).read_text(encoding="utf-8").replace("plugins/acme.py", plugin.as_posix())
    text = text.replace("crmgate-acme", f"crmgate-{_hyphens(name)}")
    text = CLASSES.sub(words.replace(" ", ""), text)
    return text.replace("Acme", words).replace("acme", name).replace("ACME", name.upper())


def write(files: Mapping[Path, str]) -> None:
    """Write all files, or none and raise `click.ClickException` if one exists or cannot be written."""
    if existing := [str(path) for path in files if path.exists() or path.is_symlink()]:
        raise click.ClickException(f"nothing was written: there is already {', '.join(existing)}.")
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink()
        raise click.ClickException(f"{error.filename}: {error.strerror}. Nothing was written.") from None
