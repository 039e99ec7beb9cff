"""One run: start the site; repeat rounds of submissions with faults and a wait until all has settled; audit."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.auditor import (
    Complaint,
    Evidence,
    Note,
    Trial,
    audit,
    last_arrival,
    read_leads,
    read_letters,
    read_operations,
    statuses,
)
from tests.chaos.clients import Clients
from tests.chaos.faults import CREDENTIALS, Struck, Tormentor
from tests.chaos.site import Site
from tests.chaos.trials import PATIENCE as GIVEN_UP
from tests.chaos.trials import TROUBLES, Trouble, closed, run_trial
from tests.processes import Process

RECOVERY_LIMIT = 20.0
"""Seconds after the last fault within which every accepted submission has to be in the CRM."""
PATIENCE = 60.0
"""Seconds after the last fault before the run is given up."""
ROUND = 25
"""Kills after which the site is left alone until all has settled: then it is known how long that takes."""


@dataclass(frozen=True)
class Result:
    """The results of a run. `recoveries`: for each round the seconds from its last fault until no operation waited."""

    provider: str
    seed: int
    evidence: Evidence
    struck: tuple[Struck, ...]
    complaints: tuple[Complaint, ...]
    troubles: tuple[str, ...]
    recoveries: tuple[float, ...]
    limit: float
    seconds: float
    tails: str

    @property
    def kills(self) -> int:
        return sum(struck.fault.kill for struck in self.struck)

    @property
    def accepted(self) -> int:
        return sum(note.accepted for note in self.evidence.notes)

    @property
    def recovery(self) -> float:
        """The longest."""
        return max(self.recoveries, default=0.0)

    def count(self, what: str) -> int:
        return sum(complaint.what == what for complaint in self.complaints)

    def failures(self) -> list[str]:
        """Descriptions of everything that is wrong."""
        late = self.recovery > self.limit
        slow = [f"it took {self.recovery:.1f} s to recover, more than {self.limit:.0f} s"] if late else []
        slow += [
            f"{trial.name}: it took {trial.recovery:.1f} s to recover, more than {trial.limit:.0f} s"
            for trial in self.evidence.trials if trial.recovery > trial.limit
        ]  # fmt: skip
        unready = [
            f"{trial.name}: readyz was not ready afterwards" for trial in self.evidence.trials if not trial.ready
        ]
        return [*map(str, self.complaints), *self.troubles, *slow, *unready]

    def story(self) -> str:
        """Facts that help to understand a failure."""
        log = "\n".join(
            f"{_clock(s.began)} to {_clock(s.ended)} {s.target}: {s.fault.name}"
            for s in sorted(self.struck, key=lambda struck: struck.began)
        )
        failures = "\n".join(self.failures()[:50])
        again = f"python -m tests.chaos --provider {self.provider} --kills {self.kills} --seed {self.seed}"
        return f"{summary(self)}\nseed {self.seed}; again: {again}\n\n{failures}\n\n{log}\n\n{self.tails}"


def run(
    folder: Path, provider: str, *, kills: int, seed: int, pause: float, limit: float = RECOVERY_LIMIT,
    progress: Callable[[str], None] = lambda _: None, halt: threading.Event | None = None,
    trials: Sequence[Trouble] = TROUBLES, kind: type[Process] = Process,
) -> Result:  # fmt: skip
    """Torment a site, round after round, until `kills` processes were killed.

    `pause`: mean seconds between two faults of the same target; `limit`: seconds that a recovery may take. `halt`, once
    set, ends it early. `trials`: what strikes alone after that. `kind`: the class of the processes.
    """
    begun = time.monotonic()
    notes, struck, troubles, recoveries = list[Note](), list[Struck](), list[str](), list[float]()
    tried = list[Trial]()

    def killed() -> int:
        return sum(one.fault.kill for one in struck)

    def watch(clients: Clients, tormentor: Tormentor) -> None:
        sent = len(notes) + len(clients.notes)
        progress(f"{provider}: {killed() + tormentor.killed}/{kills} kills, {sent} submissions")
        if halt is not None and halt.is_set():
            tormentor.stop()

    with Site(folder, provider, kind) as site:
        while killed() < kills and not troubles and not (halt is not None and halt.is_set()):
            number = len(recoveries)
            special = closed(f"closed-{number}") if provider == "espocrm" else ()
            clients = Clients(lambda: site.url, seed, number, provider, special=special)
            tormentor = Tormentor(site, f"{seed} {number}", min(ROUND, kills - killed()), pause)
            recoveries.append(_round(site, clients, tormentor, watch))
            notes += clients.notes
            struck += tormentor.log
            troubles = [f"{name} ended by itself" for name in site.died] + [repr(error) for error in tormentor.errors]
            if recoveries[-1] > PATIENCE:
                break
        for number, trouble in enumerate(trials):
            given_up = bool(tried) and tried[-1].recovery > GIVEN_UP
            if troubles or given_up or (halt is not None and halt.is_set()):
                break
            progress(f"{provider}: {trouble.name}")
            trial, sent = run_trial(site, trouble, seed, number, slack=limit / RECOVERY_LIMIT)
            tried.append(trial)
            notes += sent
        evidence = Evidence(
            tuple(notes), read_leads(provider, site.database), read_operations(site.redis.url),
            read_letters(site.redis.url), tuple(tried),
        )  # fmt: skip
        complaints = audit(evidence)
        tails = site.tails() if complaints or troubles else ""
    return Result(
        provider, seed, evidence, tuple(struck), tuple(complaints), tuple(troubles), tuple(recoveries), limit,
        time.monotonic() - begun, tails,
    )  # fmt: skip


def _round(
    site: Site, clients: Clients, tormentor: Tormentor, watch: Callable[[Clients, Tormentor], None]
) -> float:  # fmt: skip
    """Faults, and then calm until all has settled: the seconds that this took."""
    clients.start()
    tormentor.start()
    while tormentor.busy:
        watch(clients, tormentor)
        time.sleep(0.1)
    over = time.monotonic()
    clients.finish()
    if {struck.fault for struck in tormentor.log} & set(CREDENTIALS):
        site.repair()  # the operation that tried the repaired credentials may have been killed at it
    while (clients.busy or not site.settled()) and time.monotonic() - over < PATIENCE:
        time.sleep(0.05)
    recovery = time.monotonic() - over
    clients.give_up()
    return recovery


def summary(result: Result) -> str:
    """The results of a run in one line."""
    answers = ", ".join(
        f"{count} x {status or 'none'}" for status, count in sorted(statuses(result.evidence.notes).items())
    )
    sent = len(result.evidence.notes)
    return (
        f"{result.provider}: {result.kills} kills, {len(result.struck)} faults, {sent} submissions,"
        f" {result.accepted} accepted ({answers}), {result.count('lost')} lost,"
        f" {result.count('duplicated')} duplicated,"
        f" {len(result.failures())} complaints, longest recovery {result.recovery:.1f} s, {result.seconds:.0f} s in all"
    )


def by_fault(result: Result) -> dict[str, tuple[int, float]]:
    """Number of times that each fault struck, and the longest recovery from it in seconds.

    That is the time from its end until the last submission was in the CRM that was under way during the fault. Faults
    overlap, so it holds what the next ones cost, too.
    """
    counts = Counter(struck.fault.name for struck in result.struck)
    longest = dict.fromkeys(counts, 0.0)
    for struck in result.struck:
        waited = last_arrival(result.evidence, struck.began, struck.ended) - struck.ended
        longest[struck.fault.name] = max(longest[struck.fault.name], waited)
    return {name: (counts[name], longest[name]) for name in sorted(counts)}


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
