"""What is wrong with a submission, or with an edit of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crmgate.errors import CrmgateError
from crmgate.schemas.codes import FieldCode


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault. `field` is a dotted path; `message` never repeats what was sent."""

    field: str
    code: FieldCode
    message: str


class InvalidFields(CrmgateError):
    """Some fields cannot be accepted, and so nothing is: `errors` names each of them."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__(", ".join(error.code for error in self.errors))  # no names: the sender may have chosen them
