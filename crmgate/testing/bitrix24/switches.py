"""Behaviour of a portal that a test can switch. Evidence: the vendor's server modules and REST documentation."""

from __future__ import annotations

from typing import Any

from crmgate.testing.bitrix24.wire import VendorError

REAL: dict[str, Any] = {"normalise_comments": True, "row_ids_by_position": True, "outliving_timelines": True}
"""Switches whose default differs from a real portal, with their real values: `fake.configure(REAL)` sets them all."""


class Switches:
    """Each plain attribute is an option of the portal."""

    def __init__(self) -> None:
        self.normalise_comments = False
        """Whether `comments` is read as HTML, with its loss after a `<` (see `markup`). A real portal does."""
        self.row_ids_by_position = False
        """Whether the position of a row in a list `fm` is used as the id of a stored row. A real portal does so."""
        self.outliving_timelines = False
        """Whether an administrator may comment on a deleted lead, as in a real portal; others get ACCESS_DENIED."""
        self.enforce_required = False
        """Whether mandatory user fields are enforced over REST: a setting of the portal, off after the installation."""
        self.check_sources = False
        """Whether an unknown `sourceId` is refused. A real portal stores it and shows it blank."""
        self.time_in_time_limits = False
        """Whether OPERATION_TIME_LIMIT has a `time`. In a real portal it has none."""
        self.utf8mb3 = False
        """Whether the database cuts `title`, `name` and `comments` at a character above U+FFFF. The echo shows all."""
        self.subscribed = True
        """Whether the portal has the subscription that REST needs."""
        self.quota_refusal = ""
        """The text with which each new record is refused: the disk quota is used up, or the plan has no leads."""

    def must_be_subscribed(self) -> None:
        """Refuse every call of a portal without the subscription."""
        if not self.subscribed:
            raise VendorError("ACCESS_DENIED", "REST is available only by subscription.", 403)

    def must_have_room(self) -> None:
        """Refuse a new record once the quota is used up: no code, and a text in the language of the portal."""
        if self.quota_refusal:
            raise VendorError("", self.quota_refusal)
