"""Where the files of chips and models lie: the user's folders, plug-in packages, the built-in ones."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from roofline.base.errors import UnknownName, closest, shown

HERE = Path(__file__).parents[1]
MODEL_ENDINGS = (".json", ".toml")

#: The coarsest clock of a file system: a folder that changed less long ago may change again unseen.
CLOCK_STEP_NS = 3_000_000_000

Stamp = tuple[int, int]

_listed: dict[tuple[Path, tuple[str, ...]], tuple[tuple[int, ...], dict[str, Path]]] = {}


def stamp_of(path: Path) -> Stamp:
    """What changes when a file does."""
    try:
        status = path.stat()
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
    for entry in _plugins(f"roofline.{what}"):
        for folder in _plugin_folders(entry, what):
            yield f"plug-in {entry.name}", folder
    if what == "chips":
        yield "built in", HERE / "chips"
    else:
        yield "built in", HERE / "models" / "configs"
        yield "built in", HERE / "models" / "recommenders"


def _plugin_folders(entry: EntryPoint, what: str) -> list[Path]:
    """The folders of a plug-in; none, and a warning, where it is broken or half removed: the others go on."""
    try:
        spec = importlib.util.find_spec(entry.value.partition(":")[0])  # imports the packages around it
        if spec is None:
            raise ModuleNotFoundError(f"there is no {entry.value!r}")
        named = list(spec.submodule_search_locations or ())
        if not named and spec.has_location and spec.origin:
            named = [os.path.dirname(spec.origin)]
        folders = [Path(place) for place in named]
        if not any(folder.is_dir() for folder in folders):
            raise FileNotFoundError(f"{entry.value!r} has no folder")
    except (Exception, SystemExit) as error:
        _warn(f"plug-in {entry.name} ({entry.value})", what, error)
        return []
    return folders


def _warn(whose: str, what: str, error: BaseException) -> None:
    _warn_once(whose, what, " ".join(f"{type(error).__name__}: {error}".split()))


@functools.cache
def _warn_once(whose: str, what: str, why: str) -> None:
    warnings.warn(f"the {what} of {whose} are left out: {shown(why)[1:-1]}", stacklevel=3)


def _plugins(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group; looked for again only when a folder that Python imports from has changed."""
    return _entry_points(group, tuple((place, stamp_of(Path(place))) for place in sys.path))


@functools.lru_cache(maxsize=8)
def _entry_points(group: str, places: tuple[tuple[str, Stamp], ...]) -> tuple[EntryPoint, ...]:
    try:
        return tuple(entry_points(group=group))
    except Exception as error:  # a package whose list of entry points cannot be read
        _warn("all plug-ins", group.rpartition(".")[2], error)
        return ()


def files_of(what: str) -> dict[str, tuple[str, Path]]:
    """Name (file stem, lower case) -> (origin, path); the first folder that has a name wins."""
    endings = (".toml",) if what == "chips" else MODEL_ENDINGS
    found: dict[str, tuple[str, Path]] = {}
    for origin, folder in _folders(what):
        for name, path in _files_in(folder, endings).items():
            found.setdefault(name, (origin, path))
    return found


def _files_in(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Name -> path of a folder's files; the folder is read again only when it is another one or has changed."""
    try:
        status = folder.stat()
        state = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        known = _listed.get((folder, endings))
        if known is not None and known[0] == state:
            return known[1]
        now = time.time_ns()
        entries = list(os.scandir(folder))
        names = sorted(entry.name for entry in entries if entry.is_file())
        linked = any(entry.is_symlink() for entry in entries)  # what a link leads to changes unseen
    except OSError:
        return {}  # no such folder, or not for us to read
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
