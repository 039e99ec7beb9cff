"""What the published description of the API says of an answer: the tests' way to hold the gateway to it."""

from __future__ import annotations

import copy
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from crmgate.web import answers


class Published:
    """The OpenAPI document as a judge. Members of answers that it does not name are faults here."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._components = copy.deepcopy(document["components"])
        for name, schema in self._components["schemas"].items():
            if hasattr(answers, f"{name}Schema"):
                schema["additionalProperties"] = False

    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Path, method and operation, of them all."""
        paths = self.document["paths"].items()
        return [(path, method, op) for path, ways in paths for method, op in ways.items() if method != "parameters"]

    def response(self, path: str, method: str, status: int) -> dict[str, Any]:
        """What is said of a status; fails where nothing is."""
        known = self.document["paths"][path][method.lower()]["responses"]
        assert str(status) in known, f"{method} {path} answered {status}, but only {', '.join(known)} are documented"
        found: dict[str, Any] = known[str(status)]
        return found

    def check(self, path: str, method: str, answer: Any) -> None:
        """Status, media type, body and the headers that each answer of this status has to have."""
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
        """Whether `value` is as `schema` of the document says."""
        whole = {**schema, "components": self._components}
        Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)
