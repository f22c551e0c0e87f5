"""Packages that bring chips or models: entry points, found again only when what is installed has changed.

Asking `importlib.metadata` opens a file of every installed distribution, and its import alone takes as long as half of
numpy's. So its answer is kept in the user's cache folder, under what tells that something was installed or removed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

from roofline.base import kept
from roofline.base.errors import shown

#: The coarsest clock of a file system: a folder that changed less long ago may change again unseen.
CLOCK_STEP_NS = 3_000_000_000

#: The groups of entry points that name folders of chips and of models.
GROUPS = ("roofline.chips", "roofline.models")

#: Environments whose plug-ins are kept; the oldest give way.
_MOST_KEPT = 16

#: Endings of the folders in which `importlib.metadata` finds what is installed.
_METADATA = (".dist-info", ".egg-info", ".egg")

#: What :func:`found` depends on: the folders that Python imports from, and what changes when they do.
Environment = tuple[tuple[str, tuple[int, ...]], ...]


class Plugin(NamedTuple):
    """An entry point: its name, and the package or module whose folder holds the files."""

    name: str
    value: str


def environment() -> Environment:
    """The folders that Python imports from, as they are now."""
    return tuple((place, _state(place)) for place in sys.path)


def _state(place: str) -> tuple[int, ...]:
    try:
        status = os.stat(place or os.curdir)
    except (OSError, ValueError):
        return ()
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=8)
def found(group: str, where: Environment) -> tuple[Plugin, ...]:
    """The plug-ins of a group; none, and a warning, where the list of what is installed cannot be read."""
    key = _key(where)
    path = kept.folder() / "plug-ins.json"
    known: dict[str, dict[str, list[list[str]]]] = {}
    with contextlib.suppress(ValueError, TypeError, LookupError):
        lines = kept.read_lines(path, __name__) if key else None
        known = json.loads(lines[0]) if lines else {}
        if key in known:
            return tuple(Plugin(name, value) for name, value in known[key][group])
    try:
        from importlib.metadata import entry_points

        groups = {one: [[point.name, point.value] for point in entry_points(group=one)] for one in {*GROUPS, group}}
    except Exception as error:  # a package whose list of entry points cannot be read
        warn("all plug-ins", group.rpartition(".")[2], error)
        return ()
    if key:
        kept.write_lines(path, __name__, [json.dumps(dict([*known.items(), (key, groups)][-_MOST_KEPT:]))])
    return tuple(Plugin(name, value) for name, value in groups[group])


def _key(where: Environment) -> str:
    """What tells one set of installed packages from another; empty where that cannot be told for sure.

    A folder without metadata of any package, as that of a script, may change as it likes.
    """
    if any(hasattr(f, "find_distributions") for f in sys.meta_path if f is not importlib.machinery.PathFinder):
        return ""  # packages come from elsewhere than folders
    parts: list[object] = []
    for place, state in where:
        names = []
        with contextlib.suppress(OSError):
            names = sorted(name for name in os.listdir(place or os.curdir) if name.endswith(_METADATA))
        if names or (state and not os.path.isdir(place or os.curdir)):
            if time.time_ns() - max(state[2:], default=0) < CLOCK_STEP_NS:
                return ""
            parts.append((os.path.abspath(place), state, names))
    return kept.digest(repr(parts).encode())


def folders(plugin: Plugin, what: str) -> list[Path]:
    """The folders of a plug-in; none, and a warning, where it is broken or half removed: the others go on."""
    try:
        spec = importlib.util.find_spec(plugin.value.partition(":")[0])  # imports the packages around it
        if spec is None:
            raise ModuleNotFoundError(f"there is no {plugin.value!r}")
        named = list(spec.submodule_search_locations or ())
        if not named and spec.has_location and spec.origin:
            named = [os.path.dirname(spec.origin)]
        places = [Path(place) for place in named]
        if not any(place.is_dir() for place in places):
            raise FileNotFoundError(f"{plugin.value!r} has no folder")
    except (Exception, SystemExit) as error:
        warn(f"plug-in {plugin.name} ({plugin.value})", what, error)
        return []
    return places


def warn(whose: str, what: str, error: BaseException) -> None:
    """Say once that chips or models are left out, and why."""
    warn_once(whose, what, " ".join(f"{type(error).__name__}: {error}".split()))


@functools.cache
def warn_once(whose: str, what: str, why: str) -> None:
    """The same, the reason as text."""
    warnings.warn(f"the {what} of {whose} are left out: {shown(why)[1:-1]}", stacklevel=3)
