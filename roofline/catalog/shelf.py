"""Chips as they were read, kept in the user's cache folder: a start that finds them there reads no TOML.

What is kept is what checking a file came to, under the digest of every file that went into it: a file that changed by a
single byte is read again, and so is every chip that extends it. One shelf holds the chips of one folder: a line that
says what each was made of, then a line of figures for each, which is looked into only for the chip that is wanted.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.base import kept, tomlfile
from roofline.base.errors import BadDescriptor
from roofline.catalog.places import HERE, Stamp, files_of, stamp_of

if TYPE_CHECKING:
    from roofline.catalog.extends import Sources
    from roofline.hardware.chip import Chip

#: Shelves that are kept; the oldest give way.
MOST_SHELVES = 32

#: What decides what a chip's file comes to: these rooms, and the list of operators that have efficiency parameters.
_MAKERS = ("base", "catalog", "hardware", "work/op.py")


class Shelf:
    """The chips of one folder that are kept, by the names of their files.

    Parameters
    ----------
    folder : Path
        Where the chips' files lie.
    """

    def __init__(self, folder: Path) -> None:
        name = kept.digest(os.fsencode(os.path.abspath(folder)))[:16]
        self._path = kept.folder() / f"chips-{name}.json"
        self._names, self._chips, self._lines = self._kept()
        self._changed = False

    def _kept(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
        """What each chip is called, what it was made of, and its figures; nothing where no file can be trusted."""
        with contextlib.suppress(ValueError, TypeError, LookupError):
            lines = kept.read_lines(self._path, made_by()) if made_by() else None
            if lines is not None:
                names, chips = json.loads(lines[0])
                return names, chips, dict(zip(chips, lines[1:], strict=True))
        return {}, {}, {}

    def spellings(self, path: Path, stamp: Stamp) -> list[str] | None:
        """What the chip of a file is called, where the file is as it was when that was kept."""
        digest, spellings = self._names.get(path.name, ("", None))
        return spellings if digest and digest == _digest(os.path.abspath(path), stamp) else None

    def files(self, path: Path) -> dict[Path, Stamp] | None:
        """The files that a kept chip was made of, as they stand; None where it is not kept, or would be another now."""
        digests, parents, _ = self._chips.get(path.name, ({}, (), {}))
        stamps = {file: stamp_of(Path(file)) for file in digests}
        same = all(_digest(file, stamp) == digests[file] for file, stamp in stamps.items())
        if not stamps or not same or not all(_is_found(*parent) for parent in parents):
            return None
        return {Path(file): stamp for file, stamp in stamps.items()}

    def row(self, path: Path) -> dict[str, Any]:
        """How a chip stands in the list of chips; to be asked where :meth:`files` are the same."""
        return dict(self._chips[path.name][2])

    def chip(self, path: Path) -> Chip | None:
        """A chip with the very figures that were read; to be asked where :meth:`files` are the same."""
        from roofline.catalog.packed import unpacked

        with contextlib.suppress(ValueError, TypeError, LookupError):
            return unpacked(json.loads(self._lines[path.name]))
        return None

    def put_spellings(self, path: Path, digest: str, spellings: list[str]) -> None:
        """Keep what a chip is called, for as long as its file stays as it is."""
        self._names[path.name] = [digest, spellings]
        self._changed = True

    def put(self, path: Path, chip: Chip, row: dict[str, Any], sources: Sources) -> None:
        """Keep a chip that was read, how it stands in the list, and what it was made of."""
        from roofline.catalog.extends import read
        from roofline.catalog.packed import packed

        with contextlib.suppress(ValueError, TypeError):  # what JSON has no form for
            line = json.dumps(packed(chip), allow_nan=False, separators=(",", ":"))
            digests = {os.path.abspath(file): read(file, stamp)[1] for file, stamp in sources.files.items()}
            parents = [[os.path.abspath(file), name, os.path.abspath(found)] for file, name, found in sources.parents]
            self._chips[path.name], self._lines[path.name] = [digests, parents, row], line
            self._changed = True

    def save(self) -> None:
        """Write what is new here, beside what other processes have put there meanwhile."""
        if not self._changed or not made_by():
            return
        names, chips, lines = self._kept()
        names, chips, lines = names | self._names, chips | self._chips, lines | self._lines
        if not self._path.exists():
            _make_room(self._path.parent)
        index = json.dumps([names, chips], allow_nan=False)
        kept.write_lines(self._path, made_by(), [index, *(lines[name] for name in chips)])
        self._changed = False


@functools.cache
def made_by() -> str:
    """The digest of the code that a chip's figures come from; empty where that cannot be read, and nothing is kept."""
    try:
        files = [file for maker in _MAKERS for file in _code(HERE / maker)]
        return kept.digest(b"\0".join(file.read_bytes() for file in files))
    except OSError:
        return ""


def _code(maker: Path) -> list[Path]:
    """The code of a room, or the one file."""
    return [maker] if maker.suffix else [maker / name for name in sorted(os.listdir(maker)) if name.endswith(".py")]


@functools.lru_cache(maxsize=512)
def _digest(path: str, stamp: Stamp) -> str:
    """The digest of a file's content; empty for what cannot be read."""
    try:
        return kept.digest(tomlfile.content(Path(path)))
    except BadDescriptor:
        return ""


def _is_found(file: str, name: str, found: str) -> bool:
    """Whether a chip that the one in `file` extends would still be found in the same place."""
    beside = os.path.join(os.path.dirname(file), f"{name}.toml")
    if found == beside or os.path.isfile(beside):
        return found == beside
    known = files_of("chips").get(name.lower())
    return known is not None and os.path.abspath(known[1]) == found


def _make_room(folder: Path) -> None:
    """Take the oldest shelves away, where there are as many as may be."""
    with contextlib.suppress(OSError):
        shelves = sorted(folder.glob("chips-*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in shelves[: max(0, len(shelves) - MOST_SHELVES + 1)]:
            path.unlink(missing_ok=True)
