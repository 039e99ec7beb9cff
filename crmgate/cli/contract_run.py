"""Runs the contract test of a plugin in a process of its own, so that a check that hangs can be ended.

`python -m crmgate.cli.contract_run PLUGIN TEST` writes one line of JSON before each check and one after it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from crmgate.cli.checkup import Finding
from crmgate.testing.contract import Contract
from crmgate.testing.contract.applies import NotApplicable

Check = tuple[type[Contract], str]


def main() -> None:
    """Run the checks and report each of them on the standard output. What a plugin prints goes to the error output."""
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for event in _events(*map(Path, sys.argv[1:])):
        reports.write(json.dumps(event) + "\n")
    reports.flush()
    os._exit(0)  # not `sys.exit`, which waits for threads that a plugin left behind


def _events(file: Path, test: Path) -> Iterator[dict[str, Any]]:
    """`begin` before each check with its number and the number of checks, `finding` after it."""
    checks, problem = _checks(file, test)
    if problem:
        yield {"finding": asdict(problem)}
    for number, (kind, name) in enumerate(checks, 1):
        yield {"begin": f"{kind.__name__}.{name}", "number": number, "of": len(checks)}
        yield {"finding": asdict(_run(kind, name))}


def _checks(file: Path, test: Path) -> tuple[list[Check], Finding | None]:
    """The checks in `test` whose plugin is `file`. Every exception of the import is a problem."""
    try:
        module = _imported(test)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() and pytest.skip() too
        return [], Finding("contract", test.name, False, f"{type(error).__name__} at import: {error}")
    classes = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Contract)]
    about = [kind for kind in classes if (of := _subject(kind)) and file.resolve() in (of, *of.parents)]
    if not about:
        detail = f"it has no subclass of ProviderContract whose plugin is {file}."
        return [], Finding("contract", test.name, False, detail)
    return [(kind, name) for kind in about for name in _names(kind)], None


def _names(kind: type[Contract]) -> list[str]:
    """The checks of a contract, also those that do not apply to its plugin."""
    found = {name: getattr(kind, name) for name in dir(kind) if name.startswith("test")}
    return sorted(name for name, check in found.items() if callable(check) or isinstance(check, NotApplicable))


def _subject(kind: type[Contract]) -> Path | None:
    """The file of the plugin that a contract class tests; None if it names no plugin."""
    plugin = getattr(kind, "plugin", None)
    source = inspect.getsourcefile(plugin) if isinstance(plugin, type) else plugin
    return Path(source).resolve() if source else None


def _imported(test: Path) -> ModuleType:
    """Import the test module as pytest does: by its dotted name below the first folder that is not a package."""
    test = test.resolve()
    root, parts = test.parent, [test.stem]
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    with _on_path(root):
        return importlib.import_module(".".join(parts))


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _run(kind: type[Contract], name: str) -> Finding:
    """Run one test of the contract on a new instance with its own fake CRM. Needs no pytest."""
    check = f"{kind.__name__}.{name}"
    test = getattr(kind, name)
    if isinstance(test, NotApplicable):
        return Finding("contract", check, None, test.reason)
    if inspect.signature(test).parameters.keys() != {"self"}:
        return Finding("contract", check, None, "it takes fixtures: run it with pytest.")
    try:
        _call(kind(), name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the exceptions of pytest.skip and pytest.fail are not subclasses of Exception
        return Finding("contract", check, None if _is_skip(error) else False, _message(error))
    return Finding("contract", check, True)


def _call(instance: Any, name: str) -> None:
    instance.setup_method()
    try:
        getattr(instance, name)()
    finally:
        instance.teardown_method()


def _is_skip(error: BaseException) -> bool:
    return isinstance(error, unittest.SkipTest) or type(error).__name__ == "Skipped"


def _message(error: BaseException) -> str:
    text = str(error)
    return text if text and isinstance(error, AssertionError | unittest.SkipTest) else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    main()
