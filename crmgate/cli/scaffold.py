"""A new plugin from the template: the provider, its contract test and its page, with the name put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import click

from crmgate.config import CoreSettings

TEMPLATE = Path(__file__).parent / "template"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
CLASSES = re.compile(r"(?<=Fake)Acme|(?<=Test)Acme|Acme(?=Provider)")
LONGEST = 30


def check_name(name: str) -> None:
    """Refuse a name that no file, class or setting could have. Raises `click.BadParameter`."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        told = (
            f"It takes lower-case letters, digits and single underscores, a letter first, up to {LONGEST} characters."
        )
        raise click.BadParameter(f"{name!r} cannot be the name of a plugin. {told}", param_hint="NAME")
    prefix = name.replace("_", "").upper() + "_"
    if taken := [setting for setting in CoreSettings().fields if setting.startswith(prefix)]:
        told = f"Its settings would look like the gateway's own ({', '.join(taken)})."
        raise click.BadParameter(f"{name!r} cannot be the name of a plugin. {told}", param_hint="NAME")


def rendered(name: str, plugins_dir: Path) -> dict[Path, str]:
    """The files of a new plugin by their paths: below the working directory, the plugin in `plugins_dir`."""
    plugin = _relative(plugins_dir) / f"{name}.py"
    return {
        plugin: _filled("acme.py", name, plugin),
        Path("tests/plugins") / f"test_{name}.py": _filled("test_acme.py", name, plugin),
        Path("docs/plugins") / f"{name}.md": _filled("acme.md", name, plugin),
    }


def _relative(folder: Path) -> Path:
    """The test finds the plugin from where it lies itself, so that the project can be moved."""
    try:
        return folder.resolve().relative_to(Path.cwd())
    except ValueError:
        return folder.resolve()


def _filled(template: str, name: str, plugin: Path) -> str:
    words = name.replace("_", " ").title()
    text = (TEMPLATE / template).read_text(encoding="utf-8").replace("plugins/acme.py", plugin.as_posix())
    text = CLASSES.sub(words.replace(" ", ""), text)
    return text.replace("Acme", words).replace("acme", name).replace("ACME", name.upper())


def write(files: Mapping[Path, str]) -> None:
    """Write all the files or none. Raises `click.ClickException`, also when one is there already."""
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
