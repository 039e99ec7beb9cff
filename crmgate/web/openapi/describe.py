"""`@Describe`: the description of a view for the OpenAPI document.

    @blueprint.get("/<operation_id>")
    @Describe("Read a submission", "Submissions", {200: ResponseDoc("Its status.", OperationSchema)},
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
    """A request body that works, and the status of the answer. `media` is the media type of the body."""

    title: str
    value: Any
    status: int = 201
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = JSON


@dataclass(frozen=True, slots=True)
class ResponseDoc:
    """A successful answer. Its example is built from the examples of the fields of `schema`.

    `headers` are names of `crmgate.web.openapi.document.HEADERS`; `also` has the other media types of the answer.
    """

    about: str
    schema: type[Schema] | None = None
    headers: tuple[str, ...] = ()
    status: str = ""
    """The member `status` in the example, if it differs from the schema's example."""
    media: str = JSON
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """The request body of a view: `schema` as JSON, with `forms` also with flat names and as an HTML form."""

    schema: type[Schema]
    examples: tuple[Example, ...] = ()
    forms: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Describe:
    """The description of a view, as its decorator.

    `token` is the required scope; `more_with_token` marks a public view that shows more with a token. `about` is the
    longer description; by default the docstring of the view.
    """

    summary: str
    tag: str
    answers: Mapping[int, ResponseDoc]
    _: KW_ONLY
    problems: Sequence[ProblemCode] = ()
    token: Scope | None = None
    more_with_token: bool = False
    parameters: Sequence[Parameter] = ()
    query: type[Schema] | None = None
    body: Body | None = None
    about: str = ""

    def __call__(self, view: View) -> View:
        """Attach the description to `view`, and return `view` unchanged."""
        view.described = self  # type: ignore[attr-defined]
        return view

    @property
    def every_problem(self) -> tuple[ProblemCode, ...]:
        """The problems of the view, those of its token, and `INTERNAL_ERROR`."""
        of_token = _OF_TOKENS if self.token else ()
        scarce = (ProblemCode.INSUFFICIENT_SCOPE,) if self.token == Scope.OPERATE else ()
        found = {*self.problems, *of_token, *scarce, ProblemCode.INTERNAL_ERROR}
        return tuple(code for code in ProblemCode if code in found)


def description_of(view: Callable[..., Any]) -> Describe | None:
    """The description of a view; None if it has none."""
    found: Describe | None = getattr(view, "described", None)
    return replace(found, about=found.about or inspect.getdoc(view) or "") if found else None
