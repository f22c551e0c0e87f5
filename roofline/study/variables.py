"""What is varied: a figure of the chip by its path, or a number among the options of the workload; and its limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from roofline.base import units
from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.face import NUMBER
from roofline.estimates.inference import Phase
from roofline.hardware import ranges, variants
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving.server import ServingEstimate
from roofline.serving.steady import MOST_SPREAD
from roofline.study.asked import answer
from roofline.work.sizes import MOST_REPEAT, MOST_SKEW

#: The options that are numbers: of a language model, of a server of one, and of a recommendation model.
_LANGUAGE = ("batch", "prompt", "output", "prefix", "tp", "pp", "ep", "dp", "usable_memory")
_SERVER = ("concurrency", *_LANGUAGE[1:], "chunk")
_RECOMMENDATION = ("batch", "devices", "skew", "repeat", "usable_memory")

#: How a model is split over chips: few of the whole numbers divide it.
PLAN = ("tp", "pp", "ep", "dp")

#: How many are answered at a time.
_IN_FLIGHT = ("batch", "concurrency")

#: Options that are no whole numbers.
_SHARES = ("skew", "repeat", "usable_memory")

#: The largest batch, and the most chips of a plan, that are tried where nothing else sets an end.
_MOST_BATCH, _MOST_CHIPS = 2**24, 1024

#: A what-if goes so far from the present value, either way (see :func:`roofline.hardware.variants.changed`).
_FARTHEST = 1e9 * (1 - 1e-9)


@dataclass(frozen=True)
class Variable:
    """One thing that is varied.

    Attributes
    ----------
    name : str
        The figure's own path (``memory.hbm.bandwidth``), or the option.
    present : float
        Its value now, in SI units.
    low, high : float
        The least and the most that it may be.
    whole : bool
        Whether only whole numbers will do.
    unit : str
        The SI unit; empty for numbers without one.
    of_chip : bool
        Whether it is a figure of the chip.
    """

    name: str
    present: float
    low: float
    high: float
    whole: bool
    unit: str
    of_chip: bool

    def text(self, value: float, digits: int = 5) -> str:
        """A value with its unit, as people write it."""
        return f"{value:,.0f}" if self.whole else units.text(value, self.unit, digits)

    def points(self, low: float, high: float, count: int) -> np.ndarray:
        """At most so many values from low to high, both included: evenly apart by ratio, or by size where one is 0."""
        if self.whole and high - low < count:
            return np.arange(low, high + 1)
        values = np.geomspace(low, high, count) if low > 0 else np.linspace(low, high, count)
        values[0], values[-1] = low, high
        return np.unique(np.round(values)) if self.whole else values


def variable(
    base: Any, options: Mapping[str, Any], name: Any, low: Any = None, high: Any = None, *, what: str
) -> Variable:
    """What is varied, with its present value and its limits.

    Parameters
    ----------
    base : Estimate
        The estimate that it is varied from.
    options : mapping
        What that was asked with.
    name : str
        A figure of the chip by its path, or an option of the workload that is a number.
    low, high : number or str, optional
        Narrower limits: SI numbers, or for a chip's figure text as in a what-if. Default: what a what-if allows, and
        what the model and the memory do.
    what : str
        Who asks, for errors.

    Raises
    ------
    UnknownName
        For what is neither a figure nor an option.
    BadWorkload
        For limits that it cannot have, and arrays.
    """
    if not isinstance(name, str):
        raise BadWorkload(
            f"{what}: vary: expected a figure of the chip or an option of the workload, found {shown(name)}"
        )
    if np.shape(base.time_s):
        raise BadWorkload(f"{what}: expected one point, found arrays: sweep and estimate do arrays")
    known = _known(base)
    found = _option(base, name, what) if name in known else _figure(base.chip, name, known, what)
    ends = [_end(what, base.chip, found, end, given) for end, given in (("low", low), ("high", high))]
    least, most = (own if end is None else end for own, end in zip((found.low, found.high), ends, strict=True))
    if not least <= most:
        raise BadWorkload(
            f"{what}: expected low <= high for {found.name}, found {found.text(least)} and {found.text(most)}"
        )
    return Variable(found.name, found.present, least, most, found.whole, found.unit, found.of_chip)


def _known(base: Any) -> tuple[str, ...]:
    if isinstance(base, ServingEstimate):
        return _SERVER
    return _LANGUAGE if isinstance(base.model, LanguageModel) else _RECOMMENDATION


def _option(base: Any, name: str, what: str) -> Variable:
    r = base.request
    given = getattr(r.plan if name in PLAN else r, "batch" if name == "concurrency" else name)
    if given is None:
        raise BadWorkload(
            f"{what}: each table of {base.model.name} has a {name} of its own; give {name}= to begin with"
        )
    present = float(given)
    least, most = 1.0, float(_MOST_CHIPS)
    if name in _IN_FLIGHT:
        least = float(max(r.plan.dp, r.devices))
        most = float(min(base.memory.largest_batch, _MOST_BATCH)) or _MOST_BATCH
    elif name == "prompt":
        least = max(r.prefix + 1.0, _least_mean(r, "prompt_sd"))
        most = float(base.model.max_positions - r.output)
    elif name == "output":
        least, most = max(1.0, _least_mean(r, "output_sd")), float(base.model.max_positions - r.prompt)
    elif name == "chunk":
        most = float(max(base.model.max_positions, r.chunk))
    elif name == "prefix":
        least, most = 0.0, r.prompt - 1.0
    elif name == "devices":
        most = float(min(r.batch, _MOST_CHIPS))
    elif name == "skew":
        least, most = 0.0, MOST_SKEW
    elif name == "repeat":
        least, most = 0.0, MOST_REPEAT
    elif name == "usable_memory":
        least, most = 1e-3, 1.0
    return Variable(name, present, least, max(most, least), name not in _SHARES, "", of_chip=False)


def _least_mean(request: Any, spread: str) -> float:
    """The shortest mean that lengths with the spread of a server's may have."""
    return float(math.ceil(getattr(request, spread, 0.0) / MOST_SPREAD))


def _figure(chip: Chip, name: str, options: tuple[str, ...], what: str) -> Variable:
    try:
        path = chip.path(name)
    except UnknownName as error:
        if "." in name:
            raise
        raise UnknownName(f"figure of {chip.name} or option", name, [*options, *error.known]) from None
    number = chip.number(path)
    if ranges.is_spread(path):
        raise BadWorkload(f"{what}: {path} is the doubt of a class, which moves intervals and no figure")
    present, allowed = float(number.value), ranges.of(path, number.dimension)
    least, most = allowed.least, allowed.most
    if present > 0:
        least, most = max(least, present / _FARTHEST), min(most, present * _FARTHEST)
        least, most = (_last_allowed(chip, path, present, end, allowed.whole) for end in (least, most))
    unit = units.DIMENSIONS[number.dimension][0]
    return Variable(path, present, least, most, allowed.whole, unit, of_chip=True)


def _last_allowed(chip: Chip, path: str, inside: float, end: float, whole: bool) -> float:
    """The end of a figure's range, or how far towards it a what-if can go: what follows it has ranges too."""
    if whole:
        end = math.ceil(end) if end < inside else math.floor(end)
    if allowed(chip, path, end):
        return end
    for _ in range(50):
        middle = math.sqrt(inside * end)
        middle = float(round(middle)) if whole else middle
        inside, end = (middle, end) if allowed(chip, path, middle) else (inside, middle)
    return inside


def allowed(chip: Chip, path: str, value: float) -> bool:
    """Whether a what-if may give this value to the figure."""
    try:
        if path in chip.drivers:  # what follows it has limits, too
            chip.what_if({path: value})
        else:
            variants.changed(path, value, chip.number(path))
    except BadWorkload:
        return False
    return True


def _end(what: str, chip: Chip, found: Variable, end: str, given: Any) -> float | None:
    """A limit that a caller sets, in SI units."""
    if given is None:
        if found.low <= 0 < found.present or found.present > 0 or not found.of_chip:
            return None
        raise BadWorkload(f"{what}: {found.name} is 0 on {chip.name}: give {end}=, and both above 0")
    if found.of_chip:
        changed = chip.what_if({found.name: given})[found.name]
        if np.ndim(changed):
            raise BadWorkload(f"{what}: {end}: expected one {found.unit or 'number'}, found {shown(given)}")
        value = float(changed)
        if value == 0:
            raise BadWorkload(f"{what}: {end}: expected a positive {found.unit or 'number'} for {found.name}, found 0")
        return value
    if not NUMBER.holds(given) or not found.low <= given <= max(
        found.high, _MOST_BATCH if found.name in _IN_FLIGHT else 0
    ):
        raise BadWorkload(
            f"{what}: {end}: expected {found.name} from {found.text(found.low)} to {found.text(found.high)}, "
            f"found {shown(given)}"
        )
    if found.whole and given != int(given):
        raise BadWorkload(f"{what}: {end}: expected a whole number for {found.name}, found {shown(given)}")
    return float(given)


def varied(base: Any, options: Mapping[str, Any], values: Mapping[Variable, Any]) -> Any:
    """The estimate with other values of some variables: numbers, or arrays that broadcast.

    Points that do not fit are marked in ``fits``. Tables that were placed stay where they are, on as many chips.
    """
    changes = {one.name: value for one, value in values.items() if one.of_chip}
    asked = {one.name: _whole(value) if one.whole else value for one, value in values.items() if not one.of_chip}
    chip = base.chip.what_if(changes) if changes else base.chip
    if base.request.placement is not None and "devices" not in asked:
        asked["placement"] = base.request.placement
    return answer(base.model, chip, {**options, **asked})


def _whole(value: Any) -> Any:
    return int(value) if np.ndim(value) == 0 else value


def possible(base: Any, options: Mapping[str, Any], of: Variable, values: np.ndarray) -> np.ndarray:
    """Those of the values that a workload can have: a plan splits a model only in some ways."""
    if of.name not in PLAN:
        return values
    fine = []
    for value in values:
        try:
            varied(base, options, {of: value})
        except BadWorkload:
            continue
        fine.append(value)
    return np.array(fine)


def figure_named(what: str, est: Any, name: str | None) -> str:
    """A figure of the estimate; by default its rate.

    Raises
    ------
    BadWorkload
        With the figures that there are.
    """
    if name is None:
        return "tokens_per_s" if isinstance(est.model, LanguageModel) else "samples_per_s"
    if name not in est.FIGURES and name not in est.EXTRA:
        raise BadWorkload(f"{what}: no figure {shown(name)}; there are {', '.join([*est.FIGURES, *est.EXTRA])}")
    return name


def unit_of(est: Any, figure: str) -> str:
    """The SI unit of a figure of the estimate."""
    return str({**est.FIGURES, **est.EXTRA}[figure])


def figure_text(est: Any, figure: str, value: float) -> str:
    """A value of a figure of the estimate with its unit, as people write it."""
    unit = unit_of(est, figure)
    if unit in ("s", "W", "B", "J"):
        return units.text(float(value), unit, 4)
    return f"{value:,.0f} {unit}" if abs(value) >= 1000 else f"{value:.4g} {unit}".rstrip()


def less_is_better(figure: str) -> bool:
    """Whether little of a figure is wanted: a time, a power, a price."""
    return (
        (figure.endswith("_s") and "_per_s" not in figure)
        or figure.endswith("power_w")
        or figure.startswith(("usd_", "co2_"))
    )


def phases(est: Any) -> dict[str, Phase]:
    """The phases of an estimate by name."""
    if isinstance(est, ServingEstimate):
        return {"a decoding pass": est.decoding, "a mixed pass": est.mixed}
    return dict(zip(est.PHASES if isinstance(est.model, LanguageModel) else ("batch",), est.phases, strict=True))
