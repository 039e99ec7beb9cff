"""`make docs`: writes the tables of the documentation that come from the code.

A table is between `<!-- from the code: NAME -->` and `<!-- end -->`; `tests/test_docs.py` proves it current.
"""

from __future__ import annotations

import ast
import configparser
import enum
import functools
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import marshmallow

from crmgate import hookspecs
from crmgate import provider as provider_module
from crmgate.config import CoreSettings
from crmgate.errors import Code, ProviderError
from crmgate.plugin_host.admission import PROVIDER_HOOKS, REQUIRED_HOOKS
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.plugin_kit.mapping import LABELS, SILENT
from crmgate.sandbox.page import MODES
from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.schemas.names import TABLE
from crmgate.web.codes import ProblemCode

DOCS = Path(__file__).parent
CODE = DOCS.parent / "crmgate"
PARTS = ("operators", "delivery", "plugin_host", "config", "store", "plugin_kit", "sources")
"""The rooms whose modules the page of the architecture lists."""
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
    "crmgate.sources": "plugins",
    "crmgate.testing": "tests",
    "crmgate.testing.contract": "tests",
    "crmgate.testing.espocrm": "tests",
    "crmgate.testing.bitrix24": "tests",
    "crmgate.testing.hubspot": "tests",
    "crmgate.testing.smtp": "tests",
    "crmgate.testing.webhook": "tests",
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
    yield f"| `delivery` | {' | '.join(f'`{crm.delivery}`' for crm in crms)} |"
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


def helpers() -> Iterator[str]:
    """Every method of `CRMProvider` that a plugin uses, then the other names of `crmgate.provider`."""
    public = ((name, member) for name, member in vars(provider_module.CRMProvider).items() if not name.startswith("_"))
    for name, member in public:
        if isinstance(member, property) or inspect.isfunction(member):
            yield from helper(name, member)
    for name in provider_module.__all__:
        member = getattr(provider_module, name)
        if name != "CRMProvider" and (inspect.isfunction(member) or inspect.isclass(member)):
            yield from helper(name, member)


def helper(name: str, member: Any) -> Iterator[str]:
    """Heading with the signature, if it says anything, and the docstring."""
    plain = (
        isinstance(member, property) or issubclass_of(member, enum.Enum, marshmallow.Schema, Protocol) or bare(member)
    )
    yield f"### `{name}{'' if plain else signature(member)}`"
    yield ""
    yield inspect.getdoc(member) or ""
    yield ""


def testing() -> Iterator[str]:
    """Every name of `crmgate.testing`, and the methods of the fakes that their authors and tests use."""
    module = importlib.import_module("crmgate.testing")
    for name in module.__all__:
        member = getattr(module, name)
        yield from helper(name, member)
        if name.startswith("Fake"):
            of_fake = ((one, value) for one, value in vars(member).items() if not one.startswith("_"))
            methods = [
                (one, value) for one, value in of_fake if isinstance(value, property) or inspect.isfunction(value)
            ]
            for one, value in methods:
                plain = "" if isinstance(value, property) else signature(value)
                words = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
                yield f"- `{name}.{one}{plain}`: {words}"
            yield ""


def bare(member: Any) -> bool:
    """Whether it is a class without a constructor of its own."""
    return inspect.isclass(member) and not inspect.isfunction(member.__init__)


def issubclass_of(member: Any, *kinds: Any) -> bool:
    return inspect.isclass(member) and any(kind in member.__mro__ for kind in kinds)


def signature(function: Any) -> str:
    """The signature without `self`, and without the addresses of default values."""
    text = str(inspect.signature(function)).replace("(self, ", "(").replace("(self)", "()")
    text = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", text)
    text = re.sub(r"<class '[\w.]*?(\w+)'>", r"\1", text)
    text = re.sub(r"<(\w+\.\w+): [^>]*>", r"\1", text)
    text = text.replace(": float = <factory>", ": float = ...")
    text = re.sub(r"<factory>|mappingproxy\(\{\}\)", "{}", text)
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text).replace("'", '"')
    return text.removesuffix(" -> None") if inspect.isclass(function) else text


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


def field_names() -> Iterator[str]:
    yield "| field | English | Turkish | Russian | others |"
    yield "|---|---|---|---|---|"
    for field, names in TABLE.items():
        cells = (", ".join(filter(None, map(str.strip, text.split(",")))) for text in names)
        yield f"| `{field}` | {' | '.join(cells)} |"


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


@functools.cache
def rules() -> dict[str, configparser.SectionProxy]:
    """The contracts of import-linter by their names in setup.cfg."""
    config = configparser.ConfigParser()
    config.read(DOCS.parent / "setup.cfg")
    prefix = "importlinter:contract:"
    return {name.removeprefix(prefix): config[name] for name in config.sections() if name.startswith(prefix)}


def rooms() -> Iterator[str]:
    """The layers of setup.cfg from the top, each room with its docstring and what the contracts let it import."""
    layers = [[room.strip() for room in layer.split("|")] for layer in lines_of(rules()["layers"], "layers")]
    yield "| layer | room | what it is | may import |"
    yield "|---|---|---|---|"
    yield f"| | `plugins/*` | Plugins for CRMs, and listeners. | {may_import('plugins', set())} |"
    for index, layer in enumerate(layers):
        lower = {f"crmgate.{room}" for below in layers[index + 1 :] for room in below}
        number = len(layers) - index
        for room in layer:
            text = may_import(f"crmgate.{room}", lower).replace("LOWER", below_of(number))
            yield f"| {number} | `{room}` | {summary(room)} | {text} |"


def below_of(number: int) -> str:
    return {1: "nothing of crmgate", 2: "layer 1"}.get(number, f"layers 1 to {number - 1}")


def may_import(room: str, lower: set[str]) -> str:
    """The rooms that a room may import: LOWER stands for the lower layers, without those that a contract forbids."""
    denied = set[str]()
    for contract in rules().values():
        exceptions = [line.partition(" -> ") for line in lines_of(contract, "ignore_imports")]
        allowed = {imported for importer, _, imported in exceptions if importer.startswith(room)}
        if room in lines_of(contract, "source_modules"):
            if "crmgate.*" in lines_of(contract, "forbidden_modules"):
                return f"only {names(allowed | ({'crmgate.hookimpl'} if room == 'plugins' else set()))}"
            denied |= {*lines_of(contract, "forbidden_modules")}
        if room in lines_of(contract, "modules"):
            denied |= {*lines_of(contract, "modules")} - {".".join(target.split(".")[:2]) for target in allowed}
    return "LOWER" + (f", but not {names(lower & denied)}" if lower & denied else "")


def parts() -> Iterator[str]:
    yield "| module | what it is |"
    yield "|---|---|"
    for room in PARTS:
        modules = [path.stem for path in (CODE / room).glob("[a-z]*.py")]
        modules += [path.parent.name for path in (CODE / room).glob("[a-z]*/__init__.py")]
        for name in sorted(modules):
            yield f"| `{room}.{name}` | {summary(f'{room}/{name}')} |"


def import_rules() -> Iterator[str]:
    """The contracts beside the layers, in words."""
    for name, contract in rules().items():
        if name != "layers":
            yield f"- **{contract['name']}.** {explained(contract)}"


def explained(contract: configparser.SectionProxy) -> str:
    allowed = [line.partition(" -> ") for line in lines_of(contract, "ignore_imports")]
    if contract["type"] == "independence":
        text = f"None of {names(lines_of(contract, 'modules'))} imports another"
        pairs = [f"`{short(importer)}` may import `{short(imported)}`" for importer, _, imported in allowed]
        return "; ".join([text, *pairs]) + "."
    sources, targets = (names(lines_of(contract, f"{part}_modules")) for part in ("source", "forbidden"))
    exceptions = names(imported for _, _, imported in allowed)
    text = f"{sources} may not import {targets.replace('`*`', 'a room')}"
    return f"{text}, except {exceptions}." if exceptions else f"{text}."


def lines_of(contract: configparser.SectionProxy, option: str) -> list[str]:
    return [line for line in contract.get(option, "").split("\n") if line]


def names(modules: Any) -> str:
    return ", ".join(f"`{short(module)}`" for module in sorted(modules))


def short(module: str) -> str:
    return module.removeprefix("crmgate.")


def summary(module: str) -> str:
    """The first sentence of a module's docstring."""
    path = CODE / module
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return re.split(r"(?<=\.)\s", " ".join(docstring.split("\n\n")[0].split()))[0]


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "core_settings": core_settings,
    "plugin_settings": plugin_settings,
    "listener_settings": listener_settings,
    "alert_settings": alert_settings,
    "sandbox_settings": sandbox_settings,
    "sandbox_modes": sandbox_modes,
    "matrix": matrix,
    "hooks": hooks,
    "helpers": helpers,
    "testing": testing,
    "public_names": public_names,
    "errors": errors,
    "facts": facts,
    "field_names": field_names,
    "problems": problems,
    "rooms": rooms,
    "parts": parts,
    "import_rules": import_rules,
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
