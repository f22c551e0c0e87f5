"""A figure along an axis, for each chip of the page: 200 points, and the interval at some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import units
from roofline.base.errors import RooflineError, UnknownName
from roofline.catalog.load import Model
from roofline.estimates.estimate import estimate
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.explorer.answering import Answer, Column
from roofline.explorer.knobs import span
from roofline.models.llm import LanguageModel
from roofline.study import variables

if TYPE_CHECKING:
    import pandas as pd

#: Points of a line, and those of them that an interval is made at.
POINTS, KNOTS = 200, 25

#: The probability that an interval holds.
LEVEL = 0.9

#: How far a size is followed either way of what is asked.
_REACH = 32.0

#: Sizes that a line may run over, of a language model and of a recommendation model; beside every figure of a chip.
SIZES = {
    True: ("batch", "prompt", "output", "tp", "usable_memory"),
    False: ("batch", "devices", "skew", "repeat", "usable_memory"),
}

#: Powers of two that a plan is tried at; tables are placed anew at each, which takes its time.
_WIDTHS = tuple(2**n for n in range(9))
_PLACED = _WIDTHS[:5]


@dataclass(frozen=True)
class Line:
    """A figure of one chip along an axis.

    Attributes
    ----------
    x, y : ndarray
        SI; shape (points,).
    fits : ndarray of bool
        Whether the model fits into the memory there.
    knots, low, high : ndarray
        Where the interval was made, and its ends.
    here : (float, float) or None
        The present point.
    unit : str
        Of x; empty for numbers without one.
    problem : str
        Why there is no line; empty where there is.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    fits: np.ndarray
    knots: np.ndarray
    low: np.ndarray
    high: np.ndarray
    here: tuple[float, float] | None
    unit: str = ""
    problem: str = ""


def usual(model: Model) -> tuple[str, str]:
    """The axis and the figure of a line where nothing is chosen."""
    if not isinstance(model, LanguageModel):
        return "batch", "samples_per_s"
    return "batch", "tokens_per_s"


def figure_of(answer: Answer) -> str:
    """The figure that the line and the tornado show.

    Raises
    ------
    UnknownName
        For one that the model has not.
    """
    assert answer.model is not None
    name = answer.state.y or usual(answer.model)[1]
    est = next((column.est for column in answer.columns if column.est is not None), None)
    if est is not None and name not in (*est.FIGURES, *est.EXTRA):
        raise UnknownName("figure", name, [*est.FIGURES, *est.EXTRA])
    return name


def line(answer: Answer, column: Column, x: str, y: str) -> Line:
    """A figure of one chip along an axis; what cannot be had is told in it."""
    assert answer.model is not None
    nothing = np.empty(0)
    empty = Line(column.label, nothing, nothing, nothing.astype(bool), nothing, nothing, nothing, None)
    if column.est is None or column.chip is None:
        return Line(**{**vars(empty), "problem": column.problem})
    try:
        return _line(answer.model, answer.state.asked, column, x, y)
    except RooflineError as error:
        return Line(**{**vars(empty), "problem": str(error)})


def _line(model: Model, asked: Mapping[str, Any], column: Column, x: str, y: str) -> Line:
    est, chip = column.est, column.chip
    assert est is not None
    assert chip is not None
    sized = x in SIZES[isinstance(model, LanguageModel)]
    unit, present = "", 0.0
    if sized:
        found = variables.variable(est, asked, x, what="line")
        present, values = found.present, _values(found, model, asked, column, x)
    else:
        path = chip.path(x)
        number = chip.number(path)
        unit, present = units.DIMENSIONS[number.dimension][0], float(number.value)
        low, high, whole = span(chip, path)
        values = variables.Variable(path, present, low, high, whole, unit, of_chip=True).points(low, high, POINTS)

    def at(points: np.ndarray) -> Any:
        options = dict(asked)
        if isinstance(est, RecommendationEstimate) and est.request.placement is not None:
            options["placement"] = est.request.placement  # the tables stay where they are
        if sized:
            options[x] = points.astype(int) if x not in ("skew", "repeat", "usable_memory") else points
            return estimate(model, chip, check=False, **options)
        return estimate(model, chip.what_if({x: points}), check=False, **options)

    if x == "devices":
        return _one_by_one(model, asked, column, values, y)
    along = at(values)
    heights = np.broadcast_to(np.asarray(getattr(along, y), float), values.shape)
    some = np.unique(np.linspace(0, len(values) - 1, min(KNOTS, len(values))).round().astype(int))
    low, high = at(values[some]).intervals([y], LEVEL)[y]
    return Line(
        column.label,
        values,
        heights,
        np.broadcast_to(np.asarray(along.fits, bool), values.shape),
        values[some],
        np.broadcast_to(np.asarray(low, float), some.shape),
        np.broadcast_to(np.asarray(high, float), some.shape),
        (present, float(getattr(est, y))) if column.fits else None,
        unit,
    )


def _one_by_one(model: Model, asked: Mapping[str, Any], column: Column, values: np.ndarray, y: str) -> Line:
    """The line over the number of chips of a recommendation model: its tables are placed anew at each."""
    assert column.chip is not None
    assert column.est is not None
    found = [estimate(model, column.chip, check=False, **{**asked, "devices": int(value)}) for value in values]
    ends = np.array([one.interval(LEVEL, y) for one in found], dtype=float)
    heights = np.array([float(getattr(one, y)) for one in found])
    fits = np.array([bool(one.fits) for one in found])
    here = (float(column.est.devices), float(getattr(column.est, y))) if column.fits else None
    return Line(column.label, values, heights, fits, values, ends[:, 0], ends[:, 1], here)


def _values(found: variables.Variable, model: Model, asked: Mapping[str, Any], column: Column, x: str) -> np.ndarray:
    """The values of a size that a line runs over: near what is asked, within what there can be."""
    if x in variables.PLAN or x == "devices":
        tried = _PLACED if x == "devices" else _WIDTHS
        return np.array([width for width in tried if _possible(model, column, {**asked, x: width})], dtype=float)
    reach = 4 * _REACH if x == "batch" else _REACH
    low, high = max(found.low, found.present / reach), min(found.high, found.present * reach)
    if x in ("skew", "repeat", "usable_memory"):
        low, high = found.low, found.high
    return found.points(low, max(high, low), POINTS)


def _possible(model: Model, column: Column, options: Mapping[str, Any]) -> bool:
    assert column.chip is not None
    try:
        estimate(model, column.chip, check=False, **options)
    except RooflineError:
        return False
    return True


def frame(lines: list[Line], x: str, y: str) -> pd.DataFrame:
    """The lines as rows: chip, the axis, the figure, whether it fits, and the interval where there is one."""
    import pandas as pd

    parts = []
    for one in lines:
        ends = pd.DataFrame({x: one.knots, "low_90": one.low, "high_90": one.high})
        part = pd.DataFrame({"chip": one.label, x: one.x, y: one.y, "fits": one.fits})
        parts.append(part.merge(ends, on=x, how="left"))
    return pd.concat(parts, ignore_index=True)
