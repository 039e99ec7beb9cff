"""Checks answers of the gateway against the published OpenAPI document."""

from __future__ import annotations

import copy
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from crmgate.web import answers, answers_of_many, operator_answers


class Published:
    """Validates answers against the OpenAPI document. Unknown members of answers are errors."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._components = copy.deepcopy(document["components"])
        for name, schema in self._components["schemas"].items():
            if any(hasattr(module, f"{name}Schema") for module in (answers, answers_of_many, operator_answers)):
                schema["additionalProperties"] = False

    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Path, method and operation of every route."""
        paths = self.document["paths"].items()
        return [(path, method, op) for path, ways in paths for method, op in ways.items() if method != "parameters"]

    def response(self, path: str, method: str, status: int) -> dict[str, Any]:
        """The description of a status; fails if the document has none."""
        known = self.document["paths"][path][method.lower()]["responses"]
        assert str(status) in known, f"{method} {path} answered {status}, but only {', '.join(known)} are documented"
        found: dict[str, Any] = known[str(status)]
        return found

    def check(self, path: str, method: str, answer: Any) -> None:
        """Check the status, media type, body and required headers of an answer."""
        documented = self.response(path, method, answer.status_code)
        assert "X-Request-ID" in documented["headers"]
        assert answer.headers["X-Request-ID"]
        assert answer.data is not None  # also reads an answer that is sent while it is made, to its end
        if "content" not in documented:
            return
        assert answer.mimetype in documented["content"], f"{method} {path} answered {answer.mimetype}"
        if answer.is_json:
            self.valid(answer.json, documented["content"][answer.mimetype].get("schema", {}))

    def valid(self, value: Any, schema: dict[str, Any]) -> None:
        """Check that `value` matches `schema` of the document."""
        whole = {**schema, "components": self._components}
        Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)
