"""`@Describe`: what the description of the API says about a view, beside the view itself.

    @blueprint.get("/<operation_id>")
    @Describe("Look up a submission", "Submissions", {200: ResponseDoc("How far it is", OperationSchema)},
              problems=[ProblemCode.NOT_FOUND])
    def show(operation_id): ...

The docstring of the view is its longer description.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, TypeVar

from marshmallow import Schema

from crmgate.store.tokens import Scope
from crmgate.web.codes import ProblemCode

JSON = "application/json"
_OF_TOKENS = (ProblemCode.TOKEN_REQUIRED, ProblemCode.INVALID_TOKEN, ProblemCode.SERVICE_UNAVAILABLE)

View = TypeVar("View", bound=Callable[..., Any])
Parameter = Mapping[str, Any]
"""A parameter object of OpenAPI."""


@dataclass(frozen=True, slots=True)
class Example:
    """A request that works as it stands, and what is answered. `media` is how the body is sent."""

    title: str
    value: Any
    status: int = 201
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = JSON


@dataclass(frozen=True, slots=True)
class ResponseDoc:
    """An answer that is no problem. Its example is made from those of the fields of `schema`.

    `headers` are names of `crmgate.web.openapi.document.HEADERS`, `also` other media types that it may have.
    """

    about: str
    schema: type[Schema] | None = None
    headers: tuple[str, ...] = ()
    status: str = ""
    """The `status` in the example, where it is another one."""
    media: str = JSON
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """What a view reads: `schema` as JSON, and with `forms` under flat names and as an HTML form, too."""

    schema: type[Schema]
    examples: tuple[Example, ...] = ()
    forms: bool = False


@dataclass(frozen=True, slots=True)
class Describe:
    """What is known of a view, as its decorator.

    `token` is the scope that it takes, `told_more` says that it tells more to one with a token. The docstring of the
    view is its longer description unless `about` is given.
    """

    summary: str
    tag: str
    answers: Mapping[int, ResponseDoc]
    _: KW_ONLY
    problems: Sequence[ProblemCode] = ()
    token: Scope | None = None
    told_more: bool = False
    parameters: Sequence[Parameter] = ()
    query: type[Schema] | None = None
    body: Body | None = None
    about: str = ""

    def __call__(self, view: View) -> View:
        """Note it at the view, which stays as it is."""
        view.described = self  # type: ignore[attr-defined]
        return view

    @property
    def every_problem(self) -> tuple[ProblemCode, ...]:
        """Those of the view, those of its token, and what can happen anywhere."""
        of_token = _OF_TOKENS if self.token else ()
        scarce = (ProblemCode.INSUFFICIENT_SCOPE,) if self.token == Scope.OPERATE else ()
        found = {*self.problems, *of_token, *scarce, ProblemCode.INTERNAL_ERROR}
        return tuple(code for code in ProblemCode if code in found)


def description_of(view: Callable[..., Any]) -> Describe | None:
    """What was said of a view; None where nothing was."""
    found: Describe | None = getattr(view, "described", None)
    return replace(found, about=found.about or inspect.getdoc(view) or "") if found else None
