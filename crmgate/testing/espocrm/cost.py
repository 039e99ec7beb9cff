"""Additional response times with a large table of leads. Measured on EspoCRM 9.2.7 with MariaDB.

| leads | `email or phone` | `equals` | check for duplicates at a create |
|---|---|---|---|
| 5,000 | 0.09 s | 0.02 s | |
| 20,000 | 0.24 s | 0.02 s | |
| 50,000 | 0.57 s | 0.02 s | |
| 200,000 | 2.3 to 4.0 s | 0.02 s | 0.9 to 1.5 s; 0.04 s with X-Skip-Duplicate-Check |
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from crmgate.testing.server import Request

OR_SECONDS_PER_LEAD = 12e-6
CHECK_SECONDS_PER_LEAD = 6e-6
LEADS = "/api/v1/Lead"


def seconds(request: Request, leads: int) -> float:
    """Additional seconds that a request takes with this number of leads, compared with a few."""
    if request.path != LEADS:
        return 0.0
    if request.method == "POST":
        return 0.0 if request.header("X-Skip-Duplicate-Check") == "true" else leads * CHECK_SECONDS_PER_LEAD
    return leads * OR_SECONDS_PER_LEAD if request.method == "GET" and _has_or(request.query) else 0.0


def _has_or(query: str) -> bool:
    return any(name.endswith("[type]") and value == "or" for name, value in parse_qsl(query))
