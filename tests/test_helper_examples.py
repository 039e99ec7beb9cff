"""docs/plugins/helpers.md: the examples run as one program, and each helper is in one of them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from crmgate import provider
from crmgate.provider import CRMProvider

PAGE = (Path(__file__).parents[1] / "docs" / "plugins" / "helpers.md").read_text()
EXAMPLES = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
HELPERS = [
    name
    for name, member in vars(CRMProvider).items()
    if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
]
OTHERS = {"Answer", "Mapped", "Update", "TokenStore"}
"""Names for annotations: the helpers return them."""


def test_the_examples_run() -> None:
    names: dict[str, object] = {}
    exec(compile(EXAMPLES, "helpers.md", "exec"), names)


@pytest.mark.parametrize("name", [*HELPERS, "MAX_BODY", "settle_seconds", "tokens"])
def test_each_method_has_an_example(name: str) -> None:
    assert re.search(rf"(acme|club|self)\.{name}\b|^    {name} = |def {name}\(", EXAMPLES, re.MULTILINE)


@pytest.mark.parametrize("name", sorted({*provider.__all__} - OTHERS - {"validate", "MAX_MOVED"}))
def test_each_public_name_has_an_example(name: str) -> None:
    assert re.search(rf"\b{name}\b", EXAMPLES), f"docs/plugins/helpers.md: no example uses {name}"
