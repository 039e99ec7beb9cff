"""Behaviour of a portal that a test can switch. Evidence: the vendor's server modules and REST documentation."""

from __future__ import annotations

from crmgate.testing.bitrix24.wire import VendorError


class Switches:
    """Each plain attribute is an option of the portal."""

    def __init__(self) -> None:
        self.enforce_required = False
        """Whether mandatory user fields are enforced over REST: a setting of the portal, off after the installation."""
        self.check_sources = False
        """Whether an unknown `sourceId` is refused. A real portal stores it and shows it blank."""
        self.time_in_time_limits = False
        """Whether OPERATION_TIME_LIMIT has a `time`. In a real portal it has none."""
        self.utf8mb3 = False
        """Whether the database cuts texts at the first character above U+FFFF. The answer to a write shows all."""
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
