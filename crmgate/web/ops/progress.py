"""The progress of a job, with its rate and the time left."""

from __future__ import annotations

from dataclasses import dataclass

from crmgate.operators.retries import Job
from crmgate.store.entries import JobState


@dataclass(frozen=True, slots=True)
class Progress:
    """A job with the dead letters that it checks per second, and the seconds left; 0 while they are unknown.

    `waits`: it runs, but nothing is sent to the CRM now.
    """

    job: Job
    running: bool
    share: int
    rate: float
    left: float
    took: float
    waits: bool


def progress(job: Job, now: float, *, shut: bool) -> Progress:
    """The progress of `job` at the time `now`, in seconds since the epoch. `shut`: nothing is sent to the CRM."""
    running = job.state == JobState.RUNNING
    took = max((now if running else job.ended_at) - job.started_at, 0.0)
    rate = job.seen / took if took >= 1 else 0.0
    left = (job.total - job.seen) / rate if running and rate and not shut else 0.0
    share = 100 if not job.total else min(100, job.seen * 100 // job.total)
    return Progress(job, running, share, rate, max(left, 0.0), took, running and shut)
