"""Reading a chip's file: its figures checked, what it inherits marked, and its family's behind them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadDescriptor, closest
from roofline.catalog import extends
from roofline.catalog.places import HERE, Stamp, stamp_of
from roofline.hardware import variants
from roofline.hardware.chip import Chip
from roofline.hardware.machine import SPREADS
from roofline.work import op

if TYPE_CHECKING:
    from roofline.hardware.number import Number


def read_chip(path: Path) -> Chip:
    """Read one descriptor file, following ``extends``.

    Raises
    ------
    BadDescriptor
        For anything wrong with it or with what it extends.
    """
    return read_with_sources(path, extends.Sources())


def read_with_sources(path: Path, sources: extends.Sources) -> Chip:
    """Read one descriptor as :func:`read_chip`; `sources` is told every file that went into it, as it stands."""
    from roofline.hardware import descriptor

    raw, inherited = extends.merged(path, sources)
    numbers = descriptor.validate(raw, str(path))
    own = {p: n.of(inherited[p]) if p in inherited else n for p, n in numbers.items()}
    scenarios = descriptor.scenarios(raw, str(path), numbers)
    family = _family_file(raw["family"])
    stamp = sources.files[family] = stamp_of(family)
    defaults = _read_family(raw["family"], family, stamp)
    problems = _unknown_parameters(own, defaults)
    if problems:
        raise BadDescriptor(str(path), problems)
    return Chip(
        name=raw["name"],
        title=raw.get("title") or raw["name"],
        vendor=raw["vendor"],
        family=raw["family"],
        status=raw["status"],
        year=raw["year"],
        numbers=own,
        defaults=defaults,
        flags=_flags(raw),
        aliases=tuple(raw.get("aliases", ())),
        note=raw.get("note", ""),
        calibration=raw.get("calibration", {}),
        default_stack=_default_stack(raw, own, inherited),
        scenarios=scenarios,
    )


def _default_stack(raw: dict[str, Any], own: dict[str, Number], inherited: dict[str, str]) -> dict[str, object]:
    """The stacks that are taken where none is named; of those inherited, the ones that suit this chip's own figures."""
    sources = raw.get("sources", {})
    default = {
        key: {**one, "source": sources.get(one["source"], one["source"])}
        for key, one in raw.get("default_stack", {}).items()
    }
    its = {path for path in own if path not in inherited}
    lent = {key: one for key, one in default.items() if f"default_stack.{key}" in inherited}
    kept = variants.still_best(lent, own, its)
    return {key: one for key, one in default.items() if key not in lent or key in kept}


def _flags(raw: dict[str, Any]) -> dict[str, Any]:
    """What a descriptor says that is no number."""
    levels = tuple(raw["memory"])
    flags: dict[str, Any] = {"levels": levels, "core": raw["cores"]["name"]}
    for level in levels:
        flags[f"memory.{level}.type"] = raw["memory"][level]["type"]
        flags[f"memory.{level}.per"] = raw["memory"][level].get("per", "chip")
    for link, table in raw.get("links", {}).items():
        for key in ("topology", "switch_reduction", "name"):
            if key in table:
                flags[f"links.{link}.{key}"] = table[key]
    if "process" in raw:
        flags |= {"process": raw["process"]["value"]}
        flags |= {f"process.{key}": raw["process"][key] for key in ("source", "kind", "note") if key in raw["process"]}
        flags["process.source"] = raw.get("sources", {}).get(flags["process.source"], flags["process.source"])
    return flags


def _unknown_parameters(own: dict[str, Number], defaults: dict[str, Number]) -> list[str]:
    """Efficiency figures that no operator or kernel would ever ask for."""
    paths = [p.split(".") for p in defaults if p.startswith("efficiency.")]
    operators = {p[1] for p in paths} | {n for n, f in vars(op).items() if callable(f) and n.islower() and n[0] != "_"}
    parameters = {p[-1] for p in paths} | {"launch_s", "spread", *SPREADS}
    problems = []
    for path in own:
        parts = path.split(".")
        parts = parts[2:] if parts[0] == "stack" else parts
        if parts[0] == "efficiency":
            for name, known, what in ((parts[1], operators, "operator"), (parts[-1], parameters, "parameter")):
                if name not in known:
                    near = closest(name, known, 1)
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    problems.append(f"{path}: unknown {what} {name!r}{hint}")
    return problems


def _family_file(family: str) -> Path:
    return HERE / "chips" / "families" / f"{family}.toml"


def _family(family: str) -> dict[str, Number]:
    """The figures that every chip of a family inherits."""
    path = _family_file(family)
    return _read_family(family, path, stamp_of(path))


@functools.lru_cache(maxsize=32)
def _read_family(family: str, path: Path, stamp: Stamp) -> dict[str, Number]:
    from roofline.hardware import descriptor, provenance
    from roofline.hardware.schema import FamilyDefaults

    raw = provenance.filled(extends.parsed(path, stamp), str(path), FamilyDefaults)
    numbers = descriptor.validate(raw, str(path), FamilyDefaults)
    return {p: n.of(f"family {family}") for p, n in numbers.items()}
