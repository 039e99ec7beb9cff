"""Errors of a submission, or of an edit of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crmgate.errors import CrmgateError
from crmgate.schemas.codes import FieldCode


@dataclass(frozen=True, slots=True)
class FieldError:
    """An error in one field. `field` is a dotted path; `message` never contains the sent value."""

    field: str
    code: FieldCode
    message: str


class InvalidFields(CrmgateError):
    """The submission is refused because of the fields in `errors`."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__(", ".join(error.code for error in self.errors))  # no field names: they are the sender's input
