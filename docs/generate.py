"""`make docs`: writes the tables of the documentation that come from the code.

A table stands between `<!-- from the code: NAME -->` and `<!-- end -->`; `tests/test_docs.py` proves it current.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import marshmallow

from crmgate import hookspecs
from crmgate.config import CoreSettings
from crmgate.errors import Code, ProviderError
from crmgate.plugin_host.loader import PROVIDER_HOOKS, REQUIRED_HOOKS, Plugins, discover
from crmgate.plugin_kit.mapping import LABELS, SILENT
from crmgate.sandbox.page import MODES
from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.web.codes import ProblemCode

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


FEATURES = {
    "detects_duplicates": "knows a person again by email or phone (`CRM_ON_DUPLICATE`)",
    "moves_refused_fields": "moves a refused value into the description (`CRM_ON_REJECTED_FIELD`)",
    "unique_key": "can refuse a second record of the same operation by itself",
}
"""What `capabilities` may name beside hooks, in words."""


PUBLIC_MODULES = {
    "crmgate": "plugins",
    "crmgate.errors": "plugins",
    "crmgate.model": "plugins",
    "crmgate.provider": "plugins",
    "crmgate.listener": "plugins",
    "crmgate.testing": "tests",
    "crmgate.testing.contract": "tests",
    "crmgate.testing.espocrm": "tests",
    "crmgate.testing.bitrix24": "tests",
}
"""Modules that plugins may import, and modules that only tests of plugins import."""


@functools.cache
def shipped(name: str = "") -> Plugins:
    """The plugins that come with crmgate, or one of them."""
    return discover(DOCS.parent / "plugins", (name,) if name else ())


def core_settings() -> Iterator[str]:
    yield from settings_table(CoreSettings)


def plugin_settings() -> Iterator[str]:
    for name, provider in sorted(shipped().providers.items()):
        yield f"### {provider.label} (`CRM_PROVIDER={name}`)"
        yield ""
        yield from settings_table(provider.Settings)
        yield ""


def listener_settings() -> Iterator[str]:
    for where, listener in sorted(shipped().listeners.items()):
        yield f"### {listener.label or listener.__name__} (`plugins/{Path(where.rpartition(':')[0]).name}`)"
        yield ""
        yield from settings_table(listener.Settings)
        yield ""


def alert_settings() -> Iterator[str]:
    [listener] = shipped("alerts").listeners.values()
    yield from settings_table(listener.Settings)


def sandbox_settings() -> Iterator[str]:
    yield from settings_table(shipped("sandbox").providers["sandbox"].Settings)


def sandbox_modes() -> Iterator[str]:
    yield "| `mode` | button | what it does |"
    yield "|---|---|---|"
    for mode, (title, what) in MODES.items():
        yield f"| `{mode}` | {title} | {what} |"


def matrix() -> Iterator[str]:
    """Provider by capability: hooks that may be left out first, in the order of their specification."""
    crms = [provider for _, provider in sorted(shipped().providers.items())]
    hooks = [name for name in vars(hookspecs) if name in PROVIDER_HOOKS and name not in REQUIRED_HOOKS]
    features = {name for crm in crms for name in crm.capabilities} - PROVIDER_HOOKS
    yield f"| | {' | '.join(crm.label for crm in crms)} |"
    yield f"|---|{':-:|' * len(crms)}"
    for name in [*hooks, *sorted(features)]:
        words = f": {FEATURES[name]}" if name in FEATURES else ""
        yield f"| `{name}`{words} | {' | '.join('yes' if name in crm.capabilities else '' for crm in crms)} |"


def settings_table(schema: type[marshmallow.Schema]) -> Iterator[str]:
    yield "| setting | default | what it is, and what it takes |"
    yield "|---|---|---|"
    for name, field in schema().fields.items():
        takes = f" ({field.metadata['takes']})" if field.metadata.get("takes") else ""
        secret = " Secret: never shown." if field.metadata.get("secret") else ""
        yield f"| `{name}` | {default(field)} | {field.metadata.get('help', '')}{takes}.{secret} |"


def default(field: marshmallow.fields.Field[Any]) -> str:
    if field.required:
        return "**required**"
    value = field.load_default
    if value in (marshmallow.missing, None, "", ()):
        return ""
    return f"`{','.join(f'{item}' for item in value) if isinstance(value, tuple) else value}`"


def hooks() -> Iterator[str]:
    for name, function in vars(hookspecs).items():
        if hasattr(function, "crmgate_spec"):
            yield f"### `{name}{str(inspect.signature(function)).replace(chr(39), '')}`"
            yield ""
            yield inspect.getdoc(function) or ""
            yield ""


def public_names() -> Iterator[str]:
    yield "| module | for | names |"
    yield "|---|---|---|"
    for module, purpose in PUBLIC_MODULES.items():
        names = ", ".join(f"`{name}`" for name in importlib.import_module(module).__all__)
        yield f"| `{module}` | {purpose} | {names} |"


def errors() -> Iterator[str]:
    yield "| class | default code | raise it when |"
    yield "|---|---|---|"
    for kind in ProviderError.__subclasses__():
        words = " ".join((inspect.getdoc(kind) or "").split())
        yield f"| `{kind.__name__}` | `{kind.default_code}` | {words} |"
    yield ""
    yield "Codes: " + ", ".join(f"`{code}`" for code in Code) + "."


def facts() -> Iterator[str]:
    yield "| fact | label in the description |"
    yield "|---|---|"
    for name, label in LABELS.items():
        yield f"| `{name}` | {label} |"
    for name in SILENT:
        yield f"| `{name}` | |"


def problems() -> Iterator[str]:
    yield "| `type` | code | status | title |"
    yield "|---|---|---|---|"
    for problem in ProblemCode:
        yield f"| `{problem.uri}` | `{problem}` | {problem.status} | {problem.summary} |"
    for kind in (FieldCode, WarningCode):
        words = meanings(kind)
        yield from ("", (inspect.getdoc(kind) or "").split("\n")[0], "", "| code | meaning |", "|---|---|")
        for code in kind:
            yield f"| `{code}` | {words.get(code.name, '')} |"


def meanings(kind: type) -> dict[str, str]:
    """The strings below the members of an enumeration."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    return {
        member.targets[0].id: " ".join(text.value.value.split())
        for member, text in itertools.pairwise(body)
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr)
    }


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "core_settings": core_settings,
    "plugin_settings": plugin_settings,
    "listener_settings": listener_settings,
    "alert_settings": alert_settings,
    "sandbox_settings": sandbox_settings,
    "sandbox_modes": sandbox_modes,
    "matrix": matrix,
    "hooks": hooks,
    "public_names": public_names,
    "errors": errors,
    "facts": facts,
    "problems": problems,
}


def current(text: str) -> str:
    """A page with its tables as the code has them now."""
    return BLOCK.sub(lambda m: m[1] + "\n" + "\n".join(TABLES[m[2]]()).strip() + "\n\n" + m[3], text)


def pages() -> list[Path]:
    """Every page that has such a table."""
    return [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text())]


if __name__ == "__main__":
    for path in pages():
        path.write_text(current(path.read_text()))
        sys.stdout.write(f"{path}\n")
