"""The figures of a chip as sliders: those that matter most first, each with its range and its source."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roofline.base import units
from roofline.base.errors import RooflineError
from roofline.hardware import ranges
from roofline.hardware.chip import Chip
from roofline.hardware.number import Number
from roofline.show.report import figure_text
from roofline.study.variables import allowed

if TYPE_CHECKING:
    import pandas as pd

#: Steps of a slider from end to end.
STEPS = 1000

#: How far a slider reaches either way of the descriptor's value.
REACH = 4.0

#: Sliders of each group at most, and the elasticity below which a figure matters to nobody.
MOST, LEAST = 14, 1e-3

#: Figures that stand among the sliders whatever they move: what fits is no figure of speed.
_ALWAYS = ("memory.main.bandwidth", "memory.main.capacity", "clock")

#: Figures that have sliders before it is known what matters.
_FIRST = ("engines.matrix.", "memory.", "links.", "clock")

#: Digits of the values that a slider stops at.
_DIGITS = 3


@dataclass(frozen=True)
class Knob:
    """One figure of a chip under a slider.

    Attributes
    ----------
    path : str
        The figure's own path.
    low, high : float
        The ends of the slider, SI.
    whole : bool
        Whether only whole numbers will do.
    number : Number
        The figure as the descriptor has it, on the stack that is asked about.
    elasticity : float
        Percent of the result for a percent of it; 0 where it moves nothing.
    """

    path: str
    low: float
    high: float
    whole: bool
    number: Number
    elasticity: float

    @property
    def parameter(self) -> bool:
        """Whether it is a parameter of the cost model rather than a figure of the hardware."""
        return self.path.startswith(("efficiency.", "latency."))

    def position(self, value: float) -> int:
        """Where a value stands on the slider, 0 to :data:`STEPS`: evenly by ratio."""
        value = min(max(value, self.low), self.high)
        return round(STEPS * math.log(value / self.low) / math.log(self.high / self.low))

    def at(self, position: int) -> str:
        """The value at a place of the slider, as a what-if takes it; round but for the descriptor's own."""
        value = self.low * (self.high / self.low) ** (min(max(position, 0), STEPS) / STEPS)
        value = round(value) if self.whole else float(f"{value:.{_DIGITS}g}")
        return _text(self.number, min(max(value, self.low), self.high)).replace(",", "")


def knobs(base: Chip, table: pd.DataFrame | None, changed: Iterable[str] = ()) -> list[Knob]:
    """The sliders of a chip, those that matter most first: of the hardware, then of the cost model.

    Parameters
    ----------
    base : Chip
        As its descriptor has it, on the stack that is asked about, without what-ifs.
    table : DataFrame, optional
        From :func:`roofline.sensitivity`; without, the figures of the hardware in the order of the descriptor.
    changed : iterable of str
        Figures that a what-if has changed, which keep their sliders whatever they move.
    """
    moves = {} if table is None else {str(path): float(value) for path, value in table["elasticity"].items()}
    if table is None:
        moves = {path: 0.0 for path in base.numbers if path.startswith(_FIRST)}
    wanted = [path for path, moved in moves.items() if table is None or abs(moved) >= LEAST]
    hardware = [path for path in wanted if not _is_parameter(path)]
    extra = [path for path in (_path(base, name) for name in (*_ALWAYS, *changed)) if path]
    chosen = dict.fromkeys([*hardware[:MOST], *extra, *[path for path in wanted if _is_parameter(path)][:MOST]])
    made = (_knob(base, path, moves.get(path, 0.0)) for path in chosen)
    found = [knob for knob in made if knob is not None]
    return sorted(found, key=lambda one: (one.parameter, -abs(one.elasticity)))


def _is_parameter(path: str) -> bool:
    return path.startswith(("efficiency.", "latency."))


def _path(chip: Chip, name: str) -> str:
    """The figure's own path; empty where the chip has no such figure."""
    try:
        return chip.path(name)
    except RooflineError:
        return ""


def _knob(base: Chip, path: str, elasticity: float) -> Knob | None:
    number = base.number(path)
    value = float(number.value)
    if not value > 0 or ranges.is_spread(path):
        return None
    low, high, whole = span(base, path)
    return Knob(path, low, high, whole, number, elasticity) if low < high else None


def span(chip: Chip, path: str, reach: float = REACH) -> tuple[float, float, bool]:
    """How far a figure may be taken either way of its value, at most `reach` times; and whether it is counted."""
    number = chip.number(path)
    value, limits = float(number.value), ranges.of(path, number.dimension)
    ends = []
    for factor, limit in ((1 / reach, limits.least), (reach, limits.most)):
        far = max(value * factor, limit) if factor < 1 else min(value * factor, limit)
        if limits.whole:
            far = math.ceil(far) if factor < 1 else math.floor(far)
        for _ in range(8):  # what follows a figure has limits too
            if far > 0 and allowed(chip, path, far):
                break
            far = math.sqrt(value * max(far, value / reach))
            far = float(round(far)) if limits.whole else far
        else:
            far = value
        ends.append(far)
    return ends[0], ends[1], limits.whole


def described(chip: Chip, knob: Knob) -> dict[str, object]:
    """A slider as the page draws it.

    Parameters
    ----------
    chip : Chip
        With its what-ifs: where the slider stands.
    knob : Knob
    """
    number, present = knob.number, float(chip[knob.path])
    own = float(number.value)
    believed = ""
    if number.low is not None and number.high is not None:
        believed = f"{_text(number, number.low)} to {_text(number, number.high)}"
    return {
        "path": knob.path,
        "parameter": knob.parameter,
        "at": knob.position(present),
        "own": knob.position(own),
        "steps": STEPS,
        "text": figure_text(chip, knob.path, present),
        "ownText": _text(number, own),
        "changed": not math.isclose(present, own, rel_tol=1e-12),
        "believed": believed,
        "ofOneCore": of_one_core(chip, knob.path),
        "kind": number.kind,
        "from": number.inherited,
        "source": number.source,
        "note": number.note,
        "moves": f"{knob.elasticity:+.2g} %" if knob.elasticity else "",
    }


def of_one_core(chip: Chip, path: str) -> bool:
    """Whether a figure is that of one core, where its descriptor gives a memory level core by core."""
    room, _, rest = path.partition(".")
    level, _, what = rest.partition(".")
    return room == "memory" and what in ("capacity", "bandwidth") and chip.flags.get(f"memory.{level}.per") == "core"


def _text(number: Number, value: float) -> str:
    return units.text(value, units.DIMENSIONS[number.dimension][0], 5)
