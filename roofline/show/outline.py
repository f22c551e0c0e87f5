"""What of a chip a roofline shows: its slopes, its ceilings and the ridge points where they meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roofline.base import units

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip


@dataclass(frozen=True)
class Figure:
    """A bandwidth or a peak that is drawn, with its range: B/s or FLOP/s of the whole chip."""

    name: str  # of the memory level, or the dtype
    engine: str  # "matrix" or "vector"; "" for a memory level
    value: float
    low: float
    high: float

    @property
    def ranges(self) -> bool:
        """Whether sources disagree on it, or it is an estimate."""
        return self.high > self.low


@dataclass(frozen=True)
class Outline:
    """One chip's lines. Ceilings come from the top, slopes from the core outward."""

    chip: Chip
    slopes: tuple[Figure, ...]
    ceilings: tuple[Figure, ...]

    @property
    def top(self) -> Figure:
        """The highest ceiling."""
        return self.ceilings[0]

    @property
    def main(self) -> Figure | None:
        """The slope of main memory, where it is drawn."""
        return next((s for s in self.slopes if s.name == self.chip.main_level), None)

    @property
    def steepest(self) -> float:
        """The largest bandwidth: where a ceiling starts."""
        return max(s.value for s in self.slopes)

    def ridge(self, ceiling: Figure) -> float | None:
        """The ridge point of a matrix ceiling with main memory (FLOP/B); None where one of them is not there."""
        return ceiling.value / self.main.value if self.main and ceiling.engine == "matrix" else None


def outline(chip: Chip, dtypes: Sequence[str] | None, levels: Sequence[str] | None, alone: bool) -> Outline:
    """The lines of a chip: those asked for, or the usual ones of a chip that stands alone or among others.

    Raises
    ------
    BadWorkload
        For a dtype that the chip has no rate for.
    UnknownName
        For a memory level that it has not.
    """
    ceilings = []
    for asked in dtypes or _usual_dtypes(chip, alone):
        chip.peak(asked)  # raises for a dtype the chip has not
        dtype = units.dtype_name(asked)
        engine = "matrix" if f"engines.matrix.{dtype}" in chip.numbers else "vector"
        ceilings.append(Figure(dtype, engine, *_band(chip, f"engines.{engine}.{dtype}")))
    slopes = [Figure(name, "", *_band(chip, f"memory.{name}.bandwidth")) for name in _levels(chip, levels, alone)]
    return Outline(chip, tuple(slopes), tuple(sorted(ceilings, key=lambda c: -c.value)))


def _levels(chip: Chip, asked: Sequence[str] | None, alone: bool) -> list[str]:
    if asked:
        known = {"main": chip.main_level, "cache": chip.cache_level}
        return list(dict.fromkeys(known.get(v, v) for v in asked))
    if alone:
        return [v for v in chip.levels if chip.get(f"memory.{v}.bandwidth") is not None]
    return [chip.main_level]


def _usual_dtypes(chip: Chip, alone: bool) -> list[str]:
    wide = chip.widest_matrix
    if not alone:
        return [wide]
    narrow = next((d for d in ("fp8", "int8") if d in chip.dtypes), None)
    vector = next((d for d in ("fp32", "fp16") if f"engines.vector.{d}" in chip.numbers and d not in chip.dtypes), None)
    return [d for d in (wide, narrow, vector) if d is not None]


def _band(chip: Chip, path: str) -> tuple[float, float, float]:
    """Value, low and high of a figure, summed over the cores where it is given per core."""
    number = chip.number(path)
    parts = path.split(".")
    per_core = parts[0] == "memory" and chip.flags.get(f"memory.{parts[1]}.per") == "core"
    scale = float(np.mean(chip["cores.count"])) if per_core else 1.0
    value = float(np.mean(number.value))
    return value * scale, (number.low or value) * scale, (number.high or value) * scale
