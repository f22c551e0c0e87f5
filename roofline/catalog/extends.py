"""``extends``: the table of a chip's file with those of the chips that it is a variant of merged in."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from roofline.base import tomlfile
from roofline.base.errors import BadDescriptor, UnknownName, shown
from roofline.base.tomlfile import Table
from roofline.catalog.places import Stamp, files_of, stamp_of

#: What a variant says for itself, or not at all.
_NOT_INHERITED = ("name", "title", "aliases", "extends", "without", "note", "status")

#: Chips that one may extend, one after the other.
_LONGEST_CHAIN = 8


@dataclass
class Sources:
    """What a chip was made of.

    Attributes
    ----------
    files : dict of Path to Stamp
        Every file that was read, as it stood.
    parents : list of (Path, str, Path)
        A file, the name of the chip that it extends, and where that was found.
    """

    files: dict[Path, Stamp] = field(default_factory=dict)
    parents: list[tuple[Path, str, Path]] = field(default_factory=list)


@functools.lru_cache(maxsize=256)
def read(path: Path, stamp: Stamp) -> tuple[Table, str]:
    """A parsed file, which several others may extend (not to be changed), and the digest of its content."""
    return tomlfile.read_with_digest(path)


def parsed(path: Path, stamp: Stamp) -> Table:
    """A parsed file, which several others may extend: not to be changed."""
    return read(path, stamp)[0]


@functools.lru_cache(maxsize=256)
def _filled(path: Path, stamp: Stamp) -> Table:
    """The same, each figure a table with its own source and kind."""
    from roofline.hardware import provenance

    return provenance.filled(parsed(path, stamp), str(path))


def merged(path: Path, sources: Sources, seen: tuple[str, ...] = ()) -> tuple[Table, dict[str, str]]:
    """The table of a file with its parents' merged in, and which figures came from which parent.

    Parameters
    ----------
    path : Path
    sources : Sources
        Is told every file that was read, and what it extends.
    seen : tuple of str
        The chips that were extended on the way here.

    Raises
    ------
    BadDescriptor
        When a file cannot be read, or what it extends or leaves out does not exist.
    """
    stamp = sources.files[path] = stamp_of(path)
    raw = _filled(path, stamp)
    parent: str = raw.get("extends", "")
    without = raw.get("without", [])
    if not isinstance(without, list) or not all(isinstance(key, str) for key in without):
        raise BadDescriptor(str(path), [f"without: expected a list of keys in quotes, found {shown(without)}"])
    if not parent:
        if without:
            raise BadDescriptor(str(path), ["without: only a chip that extends another can leave something out"])
        return raw, {}
    source = _parent_file(path, parent, seen)
    sources.parents.append((path, parent, source))
    base, inherited = merged(source, sources, (*seen, parent))
    kept = {k: v for k, v in base.items() if k not in _NOT_INHERITED}
    for dropped in without:
        known = set(_tables_and_figures(kept))
        if dropped not in known:
            raise BadDescriptor(str(path), [f"without: {UnknownName('inherited key', dropped, known)}"])
        kept = _drop(kept, dropped)
    if without:
        kept = _without_lost_defaults(kept, raw)
    whole = {"status": base.get("status"), **_merge(kept, raw)}
    mine = set(_figure_paths(raw))
    return whole, {p: inherited.get(p, parent) for p in _figure_paths(kept) if p not in mine}


def _parent_file(path: Path, parent: object, seen: tuple[str, ...]) -> Path:
    """The file of the chip that the one in `path` extends: beside it, or known by name."""

    def refused(why: str) -> BadDescriptor:
        return BadDescriptor(str(path), [f"extends: {why}"])

    if not isinstance(parent, str) or os.sep in parent:
        raise refused(f"expected the name of a chip, found {shown(parent)}")
    if len(seen) > _LONGEST_CHAIN or parent in seen:
        raise refused(f"goes round in a circle: {' -> '.join((*seen, parent))}")
    if parent == path.stem:
        raise refused(f"the chip {parent!r} extends itself")
    source = path.parent / f"{parent}.toml"
    if not os.path.isfile(source):  # nor is a name that no file could have
        known = files_of("chips")
        if parent.lower() not in known:
            raise refused(str(UnknownName("chip", parent, [*known, *(p.stem for p in path.parent.glob("*.toml"))])))
        source = known[parent.lower()][1]
    if source.resolve() == path.resolve():
        raise refused(f"the chip {parent!r} extends itself")
    return source


def _merge(base: Table, over: Table) -> Table:
    """`over` laid upon `base`; a figure (a table with a value) is replaced whole."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and "value" not in value and "value" not in old:
            out[key] = _merge(old, value)
        else:
            out[key] = value
    return out


def _without_lost_defaults(kept: Table, raw: Table) -> Table:
    """What is inherited but the default stacks that went: those of which neither parent nor child has figures now."""
    known = {path.split(".")[1] for path in (*_figure_paths(kept), *_figure_paths(raw)) if path.startswith("stack.")}
    defaults = kept.get("default_stack")
    if not isinstance(defaults, dict):
        return kept
    left = {
        key: one
        for key, one in defaults.items()
        if not isinstance(one, dict) or {part.strip() for part in str(one.get("value")).split("+")} <= known
    }
    return {**kept, "default_stack": left}


def _drop(raw: Table, dropped: str) -> Table:
    """The raw descriptor without one table or figure."""
    key, _, rest = dropped.partition(".")
    if not rest:
        return {k: v for k, v in raw.items() if k != key}
    return {**raw, key: _drop(raw[key], rest)}


def _tables_and_figures(raw: Table, prefix: str = "") -> Iterator[str]:
    """The paths of everything that a chip can be without."""
    for key, value in raw.items():
        if isinstance(value, dict):
            yield prefix + key
            if "value" not in value:
                yield from _tables_and_figures(value, f"{prefix}{key}.")


def _figure_paths(raw: Table, prefix: str = "") -> Iterator[str]:
    for key, value in raw.items():
        if isinstance(value, dict):
            if "value" in value:
                yield prefix + key
            else:
                yield from _figure_paths(value, f"{prefix}{key}.")
