"""Classes of crmgate and of the shipped plugins: short inheritance chains, and one class for each public name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAX_DEPTH = 3
DEEPER = {
    "crmgate.errors.Unsettled": "the errors are one family, and an except clause needs each step of it",
    "crmgate.cli.template.test_acme.TestAcme": "pytest collects the checks of a contract from its base classes",
}
"""Classes whose chain may be longer, with the reason."""


@dataclass
class Module:
    """The classes of a file with their bases, and what it imports: local name -> module and name."""

    path: Path
    classes: dict[str, list[str]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


@cache
def modules() -> dict[str, Module]:
    files = [path for folder in ("crmgate", "plugins") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {dotted(path): parsed(path) for path in files}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def parsed(path: Path) -> Module:
    package = dotted(path) if path.stem == "__init__" else dotted(path).rpartition(".")[0]
    module = Module(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            module.imports |= {name.asname or name.name: (source, name.name) for name in node.names}
    module.classes |= dict(classes_in(ast.parse(path.read_text()), ""))
    return module


def classes_in(tree: ast.AST, outer: str) -> Iterator[tuple[str, list[str]]]:
    """Classes by qualified name, each with its bases; also classes inside classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield outer + node.name, [ast.unparse(base).partition("[")[0] for base in node.bases]
            yield from classes_in(node, f"{outer}{node.name}.")


def origin(module: str, name: str) -> tuple[str, str] | None:
    """The module and the name of an own class that `module` calls `name`; None: it is somebody else's."""
    if module not in modules():
        return None
    if name in modules()[module].classes:
        return module, name
    first, _, rest = name.partition(".")
    if first not in modules()[module].imports:
        return None
    source, found = modules()[module].imports[first]
    inner = f"{source}.{found}"
    return origin(inner, rest) if inner in modules() else origin(source, f"{found}.{rest}" if rest else found)


def depth(module: str, name: str) -> int:
    """Length of the longest chain of own classes that ends with this one."""
    bases = (origin(module, base) for base in modules()[module].classes[name])
    return 1 + max((depth(*base) for base in bases if base), default=0)


def depths() -> Mapping[str, int]:
    return {f"{module}.{name}": depth(module, name) for module, found in modules().items() for name in found.classes}


def test_the_walk_follows_imports_and_relative_imports() -> None:
    assert origin("plugins.espocrm.provider", "EspoSettings") == ("plugins.espocrm.api", "EspoSettings")
    found = depths()
    assert found["plugins.espocrm.provider.EspoCRM"] == 2
    assert found["plugins.sandbox.Sandbox.Settings"] == 2, "a class inside a class, with a base that is re-exported"
    assert found["crmgate.testing.contract.ProviderContract"] == 3


def test_no_inheritance_chain_is_longer_than_three_classes() -> None:
    deep = {name: found for name, found in depths().items() if found > MAX_DEPTH}
    hint = "give the class a part that it uses, instead of another base class"
    assert deep.keys() == DEEPER.keys(), f"{hint}: {deep}"


def test_no_two_public_classes_have_one_name() -> None:
    places = defaultdict[str, list[Path]](list)
    for module in modules().values():
        for name in module.classes:
            if not any(part.startswith("_") for part in name.split(".")):
                places[name].append(module.path.relative_to(ROOT))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    found = [f"{name} is in {' and in '.join(map(str, paths))}" for name, paths in twice.items()]
    assert not twice, f"rename one class of each pair: {'; '.join(found)}"
