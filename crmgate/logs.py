"""Logging to standard error, one line an event. Payloads and CRM answers are never logged, anywhere."""

from __future__ import annotations

import logging
import sys
import time


def configure(level: str) -> None:
    """Send the log of crmgate to standard error; times are UTC. Calling it again changes the level only."""
    logger = logging.getLogger("crmgate")
    logger.setLevel(level)
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.propagate = False
