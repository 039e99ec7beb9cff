"""Bitrix24 without the vendor's limit of two requests a second, which is a lead every two seconds.

The fake portal has no such limit, and a thousand kills in an hour take more leads than that to hit.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("chaos_bitrix", Path(__file__).parents[3] / "plugins" / "bitrix.py")
assert _spec is not None
assert _spec.loader is not None
_shipped = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shipped)


class Unlimited(_shipped.Bitrix):  # type: ignore[misc, name-defined]
    """The shipped plugin in everything else."""

    rate = None
