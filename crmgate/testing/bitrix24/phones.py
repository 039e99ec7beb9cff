"""Compares phones and email addresses as the search for duplicates does, and validates addresses.

Evidence: the vendor's server modules; https://apidocs.bitrix24.com/api-reference/crm/duplicates/crm-duplicate-find-by-comm.html
"""

from __future__ import annotations

import re

from crmgate.testing.bitrix24.wire import text

_EMAIL = re.compile(r"[^\s@\"]+@(?:[^\s@.\"]+\.)+[^\s@.\"]{2,20}")


def comparable(kind: str, value: object) -> str:
    """Comparable form of a phone (`kind` PHONE) or an email address: equal for equal ones."""
    return _phone(text(value)) if kind == "PHONE" else text(value).strip().lower()


def _phone(value: str) -> str:
    """Digits only; an international or trunk prefix is cut, and 8 counts as 7 from 10 digits."""
    digits = re.sub(r"\D", "", value)
    for prefix in ("011", "00", "0"):
        if digits.startswith(prefix):
            return digits.removeprefix(prefix)
    return f"7{digits[1:]}" if digits.startswith("8") and len(digits) >= 10 else digits


def valid_email(value: object) -> bool:
    """Whether a portal accepts an address: no quoted local part, and a top-level domain of at most 20 characters."""
    return _EMAIL.fullmatch(text(value).strip()) is not None
