"""Size of a run: which loads, how many rounds, and how much in each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import ROOT

CACHE = ROOT / ".bench"
"""Folder with the environments of the peers. Git ignores it."""


@dataclass(frozen=True)
class Options:
    """Numbers of a run. Each default is that of `make bench`; a trial sets smaller ones."""

    rounds: int = 3
    seconds: float = 8.0
    """Duration of one measurement of `accept`."""
    warm_up: float = 2.0
    """Seconds of load before such a measurement."""
    connections: int = 64
    operations: int = 2000
    """Number of operations of one round of `drain`."""
    concurrency: int = 32
    crm_seconds: float = 0.050
    """Time that the CRM of `drain` takes for a request."""
    hang: float = 30.0
    """Seconds for which the CRM of `brownout` hangs."""
    leads: int = 5000
    """Number of leads of `backlog`."""
    patience: float = 125.0
    """Longest time in seconds for which `backlog` measures; the rest is computed from the rate."""
    deliveries: int = 50_000
    """Number of operations of `cost`."""
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Numbers of waiting operations of `growth`."""
    samples: int = 300
    """Number of measured calls of `growth` in each round."""
    peers: bool = True
    """Whether contenders other than crmgate are measured."""
    folder: Path = field(default=CACHE)
    """Folder for processes and their logs; each load empties its own part."""
