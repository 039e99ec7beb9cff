"""A host whose clock is wrong, for the processes of a test: `tests/skew/sitecustomize.py` moves their clock."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("skew")


class SkewedHost:
    """The name and the clock of a host. Processes with its `env` run there."""

    def __init__(self, folder: Path, name: str, ahead: float = 0.0) -> None:
        self._file = folder / f"clock-of-{name}"
        self.env = {"PYTHONPATH": str(FOLDER), "SKEW_FILE": str(self._file), "SKEW_HOST": name}
        self.set(ahead)

    def set(self, ahead: float) -> None:
        """Set the clock `ahead` seconds ahead of the true time; less than before is a step back."""
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead))
        new.replace(self._file)  # whole at once: a process may read it now
        self.ahead = ahead
