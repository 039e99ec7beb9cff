"""A recording of a trial: a folder with the settings and the results, and a file for the requests of each step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crmgate.plugin_host.trial.data import TrialData
from crmgate.plugin_host.trial.exchanges import Exchange
from crmgate.plugin_host.trial.masking import ORIGIN, Masker, shape
from crmgate.plugin_host.trial.steps import TrialStep
from crmgate.plugin_kit.settings import secret_names
from crmgate.provider import CRMProvider

FORMAT = 1
INDEX = "recording.json"
_STEP_FILE = re.compile(r"\d\d-[a-z-]+\.json")
_POLICIES = ("on_duplicate", "on_rejected_field", "on_update")


class UnusableRecording(Exception):
    """A folder cannot be written or read as a recording; the text says why."""


@dataclass(frozen=True)
class Recording:
    """What was recorded. `at` is the time of the operations in seconds since the epoch.

    `settings` reach the address `ORIGIN` instead of the CRM. `results` has `ok` of each step by its name.
    """

    plugin: str
    at: float
    settings: Mapping[str, str]
    policies: Mapping[str, str]
    results: Mapping[str, bool | None]
    exchanges: Mapping[str, Sequence[Exchange]] = field(default_factory=dict)

    @classmethod
    def made(
        cls, provider: CRMProvider, environ: Mapping[str, str], sample: TrialData, steps: Sequence[TrialStep]
    ) -> Recording:  # fmt: skip
        """The recording of a trial, without secrets and personal data. `environ` has the settings of the provider."""
        given = _given(provider, environ)
        secret = set(secret_names(provider.Settings))
        secrets = [given[name] for name in secret & given.keys()]
        masker = Masker(sample, secrets, [value for name, value in given.items() if name not in secret])
        masker.learn(one for step in steps for one in step.exchanges)
        settings = {name: shape(value) if name in secret else masker.text(value) for name, value in given.items()}
        policies = {name: getattr(provider, name) for name in _POLICIES}
        exchanges = {step.name: [masker.exchange(one) for one in step.exchanges] for step in steps}
        return cls(provider.name, sample.at, settings, policies, {step.name: step.ok for step in steps}, exchanges)

    def write(self, folder: Path) -> list[Path]:
        """Write the files and return their paths; those of an earlier recording are removed.

        Raises `OSError`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for path in [path for path in folder.iterdir() if _STEP_FILE.fullmatch(path.name)]:
            path.unlink()
        index = {
            "format": FORMAT, "plugin": self.plugin, "at": self.at, "settings": self.settings,
            "policies": self.policies, "results": self.results,
        }  # fmt: skip
        written = [_write(folder / INDEX, index)]
        for number, (step, exchanges) in enumerate(self.exchanges.items(), 1):
            if exchanges:
                data = {"step": step, "exchanges": [one.to_dict() for one in exchanges]}
                written.append(_write(folder / f"{number:02}-{step.replace(' ', '-')}.json", data))
        return written

    @classmethod
    def read(cls, folder: Path) -> Recording:
        """The recording in a folder. Raises `UnusableRecording`."""
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            steps = [json.loads(path.read_text(encoding="utf-8")) for path in _step_files(folder)]
            if index["format"] != FORMAT:
                raise UnusableRecording(f"{folder}: its format is {index['format']}; this version reads {FORMAT}.")
            exchanges = {step["step"]: [Exchange.from_dict(one) for one in step["exchanges"]] for step in steps}
            return cls(**{name: index[name] for name in _INDEXED}, exchanges=exchanges)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnusableRecording(f"{folder}: it has no readable recording ({type(error).__name__}).") from error


_INDEXED = ("plugin", "at", "settings", "policies", "results")


def check_folder(folder: Path) -> None:
    """Refuse a folder with anything that is no recording. Raises `UnusableRecording`."""
    try:
        there = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnusableRecording(f"{folder}: {error.strerror}.") from None
    if stray := [name for name in there if name != INDEX and not _STEP_FILE.fullmatch(name)]:
        raise UnusableRecording(f"{folder}: it has other files, such as {stray[0]}. Name a new folder.")


def _step_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if _STEP_FILE.fullmatch(path.name))


def _write(path: Path, data: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _given(provider: CRMProvider, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of a provider as texts: those that are set, and default addresses."""
    schema, own = provider.Settings(), f"{provider.name.upper()}_"
    given = {name: value for name, value in environ.items() if re.match(rf"{own}(MAP|VALUES)_", name)}
    for name, declared in schema.fields.items():
        text = environ.get(name, "").strip()
        value = provider.settings.get(name)
        if text:
            given[name] = text
        elif value and (declared.metadata.get("address") or declared.metadata.get("secret")):
            given[name] = str(value)  # a default address, or a secret of a file
    return given


__all__ = ["ORIGIN", "Recording", "UnusableRecording", "check_folder"]
