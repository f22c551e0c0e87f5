"""What a sweep asks, checked and complete, and how its grid is cut into slabs.

A slab is a part of the grid that is estimated at once: the axes that no array can hold have one value in it, of the
others as many as make a slab of about :data:`MOST` points. What is one value is a plain number there, and costs nothing
a point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.catalog.load import Model
from roofline.estimates import one_pass
from roofline.estimates.inference import bound_names
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving.server import ServingEstimate
from roofline.study.axes import Axis

#: Points of a slab, about.
MOST = 2**17

#: A slice of each axis.
Slab = tuple[slice, ...]

#: Numeric axes from the one that is cut last: workload sizes vary few operators each, a split and a chip's figures all.
_INNER = ("batch", "concurrency", "prompt", "output", "prefix", "skew", "repeat", "usable_memory")

#: Units of what an estimate knows beside its headline figures.
_MORE = {
    "lower_s": "s",
    "upper_s": "s",
    "mfu": "1",
    "mbu": "1",
    "active": "requests",
    "time_s": "s",
    "kv_tokens": "tokens",
}


@dataclass(frozen=True, eq=False)
class Grid:
    """A sweep's question.

    Attributes
    ----------
    models, chips : tuple
    axes : tuple of Axis
        Every axis, in the order of the dimensions of the result.
    fixed : dict
        Options of one value.
    changes : dict
        Chip figures of one value, as for a what-if.
    draws : int
        Draws of the uncertain figures; 0 for none.
    seed : int
        Of the draws.
    serving : bool
        Whether it is a server's steady state that is asked for.
    figures : dict of str to str
        The figures that are kept, with their units.
    model_error : bool
        Whether each draw has an error of the model, too.
    """

    models: tuple[Model, ...]
    chips: tuple[Chip, ...]
    axes: tuple[Axis, ...]
    fixed: dict[str, Any]
    changes: dict[str, Any]
    draws: int
    seed: int
    serving: bool
    figures: dict[str, str]
    model_error: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return tuple(map(len, self.axes))

    @property
    def size(self) -> int:
        """Points."""
        return math.prod(self.shape)

    @property
    def bounds(self) -> tuple[str, ...]:
        """What can bound a phase on any of the chips; codes count them."""
        return tuple(dict.fromkeys(name for chip in self.chips for name in bound_names(chip)))

    def lengths(self) -> tuple[int, ...]:
        """Points of a slab along each axis: 1 for what no array can hold, and together about :data:`MOST`."""
        found = [1] * len(self.axes)
        if self._placing:
            return tuple(found)
        room = MOST
        for i in sorted((i for i, axis in enumerate(self.axes) if axis.numeric), key=self._depth):
            size = len(self.axes[i])
            pieces = math.ceil(size / max(1, min(room, size)))
            found[i] = math.ceil(size / pieces)
            room //= found[i]
        return tuple(found)

    @property
    def _placing(self) -> bool:
        """Whether tables are placed anew at every point, so that no two points can be estimated together."""
        axis = next((axis.values for axis in self.axes if axis.name == "placement"), ())
        return "auto" in (self.fixed.get("placement"), *axis)

    @property
    def order(self) -> tuple[int, ...]:
        """The axes as a slab has them: the workload's last, so that points that share a chip lie side by side."""
        places = range(len(self.axes))
        return tuple(sorted(places, key=lambda i: (self.axes[i].kind == "size", i)))

    def _depth(self, i: int) -> tuple[int, int]:
        axis = self.axes[i]
        if axis.name in _INNER:
            return _INNER.index(axis.name), i
        return len(_INNER) + ("size", "figure", "draw").index(axis.kind), -i


@dataclass(frozen=True)
class Cut:
    """A grid's shape, and the length of its slabs along each axis."""

    shape: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Slabs along each axis."""
        return tuple(math.ceil(size / length) for size, length in zip(self.shape, self.lengths, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def place(self, index: int) -> tuple[int, ...]:
        """Where a slab is among the slabs, along each axis."""
        return tuple(int(i) for i in np.unravel_index(index, self.counts)) if self.counts else ()

    def slab(self, index: int) -> Slab:
        """The slices of a slab."""
        sides = zip(self.place(index), self.lengths, self.shape, strict=True)
        return tuple(slice(i * length, min((i + 1) * length, size)) for i, length, size in sides)

    @property
    def first(self) -> Slab:
        """The first point, as a slab."""
        return (slice(0, 1),) * len(self.shape)


def size_of(slab: Slab) -> int:
    """Points of a slab."""
    return math.prod(side.stop - side.start for side in slab)


def kind_of(model: Model, serving: bool) -> type:
    """The kind of estimate that a model gets."""
    if isinstance(model, LanguageModel):
        return ServingEstimate if serving else one_pass.kind_of(model)
    return RecommendationEstimate


def units_of(kind: Any) -> dict[str, str]:
    """Every figure that a kind of estimate can put into a grid, with its unit; its headline figures first."""
    more = getattr(kind, "EXTRA", {}) | {name: unit for name, unit in _MORE.items() if hasattr(kind, name)}
    return {**kind.FIGURES, **{name: unit for name, unit in more.items() if name not in kind.FIGURES}}


def figures_of(models: Sequence[Model], serving: bool, wanted: Any) -> dict[str, str]:
    """The figures that a grid keeps, with their units: those that are wanted, else the headline figures and bounds.

    Raises
    ------
    UnknownName
        For one that none of the models has.
    """
    kinds = list(dict.fromkeys(kind_of(model, serving) for model in models))
    known: dict[str, str] = {}
    for kind in kinds:
        known |= {name: unit for name, unit in units_of(kind).items() if name not in known}
    if wanted is None:
        headline = [name for kind in kinds for name in kind.FIGURES]  # type: ignore[attr-defined]
        ends = [name for name in ("lower_s", "upper_s", "active") if name in known]
        return {name: known[name] for name in dict.fromkeys([*headline, *ends])}
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise BadWorkload(f"sweep: figures: expected names such as ['tpot_s'], found {shown(wanted)}")
    for name in names:
        if name not in known:
            raise UnknownName("figure of these estimates", name, tuple(known))
    return {name: known[name] for name in names}
