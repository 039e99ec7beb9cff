"""Logging to standard error, one line an event. Payloads and CRM answers are never logged, anywhere."""

from __future__ import annotations

import logging
import sys
import time


def configure(level: str) -> None:
    """Send the log of crmgate to standard error; times are UTC. Calling it again changes the level only."""
    _silence_urllib3()
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


def _silence_urllib3() -> None:
    """Its messages hold addresses, and the address of a Bitrix24 webhook is a credential."""
    urllib3 = logging.getLogger("urllib3")
    urllib3.addHandler(logging.NullHandler())
    urllib3.propagate = False
