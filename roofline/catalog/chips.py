"""The chips that are known by name: each read once, kept from one start to the next, and read again when it changes."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadDescriptor, UnknownName
from roofline.catalog.places import Stamp, files_of, missing_folders, stamp_of
from roofline.catalog.shelf import Shelf

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip

_Files = dict[Path, Stamp]

_loaded: dict[Path, tuple[Chip, _Files]] = {}
_rows: dict[Path, tuple[dict[str, Any], _Files]] = {}
_shelves: dict[Path, Shelf] = {}


def named(text: str) -> Chip:
    """The chip of a name or an alias.

    Raises
    ------
    UnknownName
        With the closest names.
    BadDescriptor
        When its file is not a valid descriptor.
    """
    files = files_of("chips")
    key = text.strip().lower()
    if key not in files:
        aliases = _aliases(tuple((k, p, stamp_of(p)) for k, (_, p) in files.items()))
        key = aliases.get(squash(text), ("", ""))[0]
        if not key:
            known = [*files, *(alias for _, alias in aliases.values())]
            raise UnknownName("chip", text, known, f"(roofline chips lists them){missing_folders('chips')}")
    path = files[key][1]
    known_chip = _loaded.get(path)
    if known_chip is not None and _unchanged(known_chip[1]):
        return known_chip[0]
    chip = _fetched(path)
    _save([path])
    return chip


def squash(text: str) -> str:
    """A name as it is looked for: small letters and digits alone."""
    return "".join(c for c in text.lower() if c.isalnum())


def records() -> list[dict[str, Any]]:
    """All chips that can be loaded by name, as plain records; see :func:`roofline.list_chips`."""
    rows: list[dict[str, Any]] = []
    files = sorted(files_of("chips").items())
    for stem, (origin, path) in files:
        try:
            rows.append({"name": stem, **_row(path), "origin": origin})
        except BadDescriptor as error:
            rows.append({"name": stem, "error": str(error), "origin": origin})
    _save(path for _, (_, path) in files)
    return rows


def _row(path: Path) -> dict[str, Any]:
    """How the chip of a file stands in the list of chips."""
    known = _rows.get(path)
    if known is None or not _unchanged(known[1]):
        shelf = _shelf(path)
        files = shelf.files(path)
        if files is None:
            _fetched(path)
            known = _rows[path]
        else:
            known = _rows[path] = (shelf.row(path), files)
    return known[0]


def _fetched(path: Path) -> Chip:
    """The chip of a file: from the shelf where it was made of what lies there now, else read."""
    shelf = _shelf(path)
    files = shelf.files(path)
    chip = None if files is None else shelf.chip(path)
    if files is None or chip is None:
        from roofline.catalog.descriptors import read_with_sources
        from roofline.catalog.extends import Sources

        sources = Sources()
        chip = read_with_sources(path, sources)
        files = sources.files
        row = _row_of(chip)
        shelf.put(path, chip, row, sources)
        _rows[path] = (row, files)
    _loaded[path] = (chip, files)
    return chip


def _row_of(chip: Chip) -> dict[str, object]:
    eight = [chip.peak(d) for d in ("fp8", "int8") if d in chip.dtypes]
    sixteen = [chip.peak(d) for d in ("bf16", "fp16") if d in chip.dtypes]
    return {
        "title": chip.title,
        "vendor": chip.vendor,
        "family": chip.family,
        "year": chip.year,
        "status": chip.status,
        "flops_16bit": max(sixteen, default=None),
        "flops_8bit": max(eight, default=None),
        "memory_bytes": chip.level(chip.main_level, "capacity"),
        "memory_Bps": chip.level(chip.main_level, "bandwidth"),
        "tdp_W": chip.get("power.tdp"),
    }


@functools.lru_cache(maxsize=4)
def _aliases(files: tuple[tuple[str, Path, Stamp], ...]) -> dict[str, tuple[str, str]]:
    """Every spelling of every chip -> its file stem, and the spelling as it is written."""
    found: dict[str, tuple[str, str]] = {}
    for stem, path, stamp in files:
        try:
            names = _spellings(path, stamp)
        except BadDescriptor:
            continue  # a broken file of the user's must not hide the other chips; loading it by name says why
        for spelling in (stem, *names):
            if squash(spelling):
                found.setdefault(squash(spelling), (stem, spelling.strip()))
    _save(path for _, path, _ in files)
    return found


def _spellings(path: Path, stamp: Stamp) -> list[str]:
    """What the file of a chip calls it."""
    shelf = _shelf(path)
    kept = shelf.spellings(path, stamp)
    if kept is not None:
        return kept
    from roofline.catalog.extends import read

    raw, digest = read(path, stamp)
    aliases, title, vendor = raw.get("aliases", []), raw.get("title", ""), raw.get("vendor", "")
    named = [raw.get("name", ""), *(aliases if isinstance(aliases, list) else [])]
    if isinstance(title, str) and isinstance(vendor, str):
        named += [title, title.removeprefix(vendor)]
    spellings = [spelling for spelling in named if isinstance(spelling, str)]
    shelf.put_spellings(path, digest, spellings)
    return spellings


def _unchanged(files: _Files) -> bool:
    return all(stamp_of(file) == stamp for file, stamp in files.items())


def _shelf(path: Path) -> Shelf:
    folder = path.parent
    if folder not in _shelves:
        _shelves[folder] = Shelf(folder)
    return _shelves[folder]


def _save(paths: Iterable[Path]) -> None:
    for folder in {path.parent for path in paths}:
        if folder in _shelves:
            _shelves[folder].save()
