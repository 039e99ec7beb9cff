"""Settings of the sources: `SOURCE_<NAME>_SECRET` switches the source `<name>` on, the others refine it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from crmgate.sources.model import Source
from crmgate.sources.tools import TOOLS, is_known, key

PARTS = {
    "SECRET": "Secret of the source: in the address as `?token=`, in `Authorization: Bearer`, or the key of signatures",
    "MAP": "Paths of fields in the body: `first_name=data.fields.0.value,...`; a comma in a path is %2C",
    "ID": "Header, or path in the body, with the id of the delivery",
    "TOOL": "Tool that sends, if it differs from the name of the source",
}
"""The settings of a source by the end of their names, with their help texts."""
_SECRET = re.compile(r"SOURCE_([A-Z][A-Z0-9_]{0,48})_SECRET")


def read_sources(environ: Mapping[str, str]) -> tuple[dict[str, Source], list[str]]:
    """The sources by their compared name, and the problems of their settings."""
    sources, problems = dict[str, Source](), list[str]()
    for setting, secret in environ.items():
        named = _SECRET.fullmatch(setting)
        if named and secret:
            _add(sources, problems, named[1], environ)
    return sources, problems


def _add(sources: dict[str, Source], problems: list[str], name: str, environ: Mapping[str, str]) -> None:
    secret, written, path, tool = (environ.get(f"SOURCE_{name}_{part}", "") for part in PARTS)
    paths, wrong = _paths(written)
    if wrong:
        problems.append(f"SOURCE_{name}_MAP, got {wrong!r}: it takes {PARTS['MAP']}.")
    if tool and not is_known(tool):
        problems.append(f"SOURCE_{name}_TOOL, got {tool!r}: it takes one of {', '.join(TOOLS)}.")
    if other := sources.get(key(name)):
        problems.append(f"SOURCE_{name}_SECRET: the source {other.name} has the same name without `_`.")
    sources[key(name)] = Source(name.lower(), secret, tool, paths, path)


def _paths(written: str) -> tuple[dict[str, str], str]:
    """The path by the name of each field, and the first entry that is wrong."""
    paths = dict[str, str]()
    for entry in filter(None, (part.strip() for part in written.split(","))):
        name, _, path = entry.partition("=")
        if not (name.strip() and path.strip()):
            return {}, entry
        paths[name.strip()] = unquote(path.strip())
    return paths, ""
