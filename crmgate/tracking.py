"""Tracking codes: short names of operations for people, made from the ids and read back."""

from __future__ import annotations

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans("OIL", "011")
"""Letters that Crockford's Base32 reads as digits."""


def code(operation_id: str) -> str:
    """`CG-XXXX-XXXX` from the first 40 bits of the id, in Crockford's Base32 (no I, L, O, U)."""
    number = int(operation_id[:10], 16)
    letters = "".join([_CROCKFORD[number >> shift & 31] for shift in range(35, -1, -5)])
    return f"CG-{letters[:4]}-{letters[4:]}"


def id_prefix(written: str) -> str:
    """First ten digits of the ids with this tracking code, as people write it; empty if the code is invalid."""
    letters = written.upper().replace("-", "").replace(" ", "").translate(_READ_AS)
    text = letters.removeprefix("CG")
    if len(text) != 8 or text == letters or any(letter not in _CROCKFORD for letter in text):
        return ""
    number = 0
    for letter in text:
        number = number << 5 | _CROCKFORD.index(letter)
    return f"{number:010x}"
