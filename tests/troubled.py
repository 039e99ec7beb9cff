"""A shipped plugin that misbehaves on request: a test lays a fuse, and the next `create_lead` burns it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.processes import ROOT

CLASSES = {"espocrm": "EspoCRM", "bitrix": "Bitrix"}
SOURCE = '''"""The shipped plugin, with a create_lead that burns fuses before it works."""

import time
from pathlib import Path

from crmgate import hookimpl
from crmgate.errors import Rejected
from crmgate.model import Delivered

from . import provider

FUSES = Path({fuses!r})


class Troubled(provider.{base}):
    """Each file in the folder of fuses is one trouble, by its name; its text says how much of it."""

    @hookimpl
    def create_lead(self, lead, operation):
        if burnt("exit") is not None:
            raise SystemExit(3)
        if (seconds := burnt("block")) is not None:
            time.sleep(float(seconds))
            (FUSES / "unblocked").touch()
        if (answer := burnt("answer")) is not None:
            return Delivered(*answer.split(","))
        if burnt("quote") is not None:
            raise Rejected(f"cannot store {{lead.email}}")
        return super().create_lead(lead, operation)


def burnt(name):
    """The text of a fuse, for one process alone; None if there is no such fuse."""
    try:
        text = (FUSES / name).read_text()
        (FUSES / name).unlink()
    except FileNotFoundError:
        return None
    return text
'''


class Troubled:
    """A folder of plugins with the troubled one in it, under the shipped one's name, and the folder of its fuses."""

    def __init__(self, folder: Path, provider: str) -> None:
        self.plugins, self.fuses = folder / "plugins", folder / "fuses"
        self.fuses.mkdir()
        shutil.copytree(ROOT / "plugins", self.plugins, ignore=shutil.ignore_patterns("__pycache__"))
        source = SOURCE.format(fuses=str(self.fuses), base=CLASSES[provider])
        (self.plugins / provider / "__init__.py").write_text(source)

    def lay(self, fuse: str, text: str = "") -> None:
        """Have the next `create_lead` burn a fuse; whole at once, since a plugin may be looking."""
        (self.fuses / f".{fuse}").write_text(text)
        (self.fuses / f".{fuse}").rename(self.fuses / fuse)

    def burnt(self, fuse: str) -> bool:
        """Whether a fuse that was laid is used up."""
        return not (self.fuses / fuse).exists()
