"""Where the files of chips and models lie: the user's folders, plug-in packages, the built-in ones."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from roofline.base.errors import UnknownName, closest
from roofline.catalog import plugins
from roofline.catalog.plugins import CLOCK_STEP_NS, Plugin

HERE = Path(__file__).parents[1]
MODEL_ENDINGS = (".json", ".toml")

_BUILT_IN = {
    "chips": [HERE / "chips"],
    "models": [HERE / "models" / "configs", HERE / "models" / "recommenders"],
}

Stamp = tuple[int, int]

#: Where files come from, and those of each folder, by name.
_Listed = list[tuple[str, dict[str, Path]]]

_listed: dict[tuple[Path, tuple[str, ...]], tuple[tuple[int, ...], dict[str, Path]]] = {}
_found: dict[str, tuple[_Listed, dict[str, tuple[str, Path]]]] = {}

_NO_FILES: dict[str, Path] = {}


def stamp_of(path: Path) -> Stamp:
    """What changes when a file does."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def _folders(what: str) -> Iterator[tuple[str, Path]]:
    """The folders that may hold chips or models, as (origin, folder), the most particular first."""
    for text in os.environ.get(f"ROOFLINE_{what.upper()}", "").split(os.pathsep):
        if text:
            yield f"ROOFLINE_{what.upper()}", Path(text).expanduser()
    import platformdirs

    yield "user", Path(platformdirs.user_data_dir("roofline", appauthor=False)) / what
    for plugin in _plugins(f"roofline.{what}"):
        for folder in plugins.folders(plugin, what):
            yield f"plug-in {plugin.name}", folder
    for folder in _BUILT_IN[what]:
        yield "built in", folder


def _plugins(group: str) -> tuple[Plugin, ...]:
    """The plug-ins of a group; looked for again only when a folder that Python imports from has changed."""
    return plugins.found(group, plugins.environment())


def files_of(what: str) -> dict[str, tuple[str, Path]]:
    """Name (file stem, lower case) -> (origin, path); the first folder that has a name wins."""
    endings = (".toml",) if what == "chips" else MODEL_ENDINGS
    listed = [(origin, _files_in(folder, endings)) for origin, folder in _folders(what)]
    known = _found.get(what)
    if known is not None and _same(known[0], listed):
        return known[1]
    found: dict[str, tuple[str, Path]] = {}
    for origin, files in listed:
        for name, path in files.items():
            found.setdefault(name, (origin, path))
    _found[what] = (listed, found)
    return found


def _same(known: _Listed, listed: _Listed) -> bool:
    """Whether they are the very lists: a folder that has not changed gives the same one again."""
    return len(known) == len(listed) and all(a[0] == b[0] and a[1] is b[1] for a, b in zip(known, listed, strict=True))


def _files_in(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Name -> path of a folder's files; the folder is read again only when it is another one or has changed."""
    try:
        status = os.stat(folder)
        state = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        known = _listed.get((folder, endings))
        if known is not None and known[0] == state:
            return known[1]
        now = time.time_ns()
        entries = list(os.scandir(folder))
        names = sorted(entry.name for entry in entries if entry.is_file())
        linked = any(entry.is_symlink() for entry in entries)  # what a link leads to changes unseen
    except OSError:
        return _NO_FILES  # no such folder, or not for us to read
    files: dict[str, Path] = {}
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending.lower() in endings and not name.startswith((".", "_")):
            files.setdefault(stem.lower(), folder / name)
    if not linked and now - max(status.st_mtime_ns, status.st_ctime_ns) > CLOCK_STEP_NS:
        _listed[folder, endings] = (state, files)
    return files


def existing(text: str, what: str, pattern: str) -> Path:
    """The path that somebody typed, if there is such a file; else the names beside it."""
    try:
        path = Path(text).expanduser()
        if path.is_file():
            return path
        inside = sorted(p.name for p in path.glob(pattern) if p.is_file()) if path.is_dir() else None
        beside = [p.name for p in path.parent.glob(pattern) if p.is_file()]
    except (OSError, RuntimeError, ValueError):  # a name too long, no such user, no permission
        inside, beside = None, []
    if inside is not None:
        held = f"it holds {', '.join(inside[:8])}" if inside else f"it holds no {pattern}"
        raise UnknownName(what, text, (), f"(that is a folder, expected a file; {held})")
    near = closest(os.path.basename(text), beside, 1)
    if near:
        raise UnknownName(what, text, (), f"(beside it lies {near[0]!r})")
    raise UnknownName(what, text, beside)


def missing_folders(what: str) -> str:
    """A sentence for an error where the user's variable names no folder."""
    variable = f"ROOFLINE_{what.upper()}"
    named = [text for text in os.environ.get(variable, "").split(os.pathsep) if text]
    missing = [text for text in named if not Path(text).is_dir()]
    return f" ({variable} names what is no folder: {', '.join(missing)})" if missing else ""
