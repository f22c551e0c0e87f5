"""What takes longer than a step of a slider: which figures matter, and what no other plan beats. Asks the studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roofline.base.errors import RooflineError
from roofline.catalog.load import Model
from roofline.explorer.answering import Answer, Column
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.study.frontiers import pareto, usual_objectives
from roofline.study.grids import sweep
from roofline.study.sensitivity import sensitivity

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: Batches that a frontier goes through, and the widths of its plans.
_BATCHES = {True: tuple(2**n for n in range(12)), False: tuple(2**n for n in range(5, 18))}
_WIDTHS = (1, 2, 4, 8, 16)


def moved_by(model: Model, chip: Chip, figure: str, asked: dict[str, Any]) -> pd.DataFrame | None:
    """How much each figure of a chip moves a result; None where the question cannot be answered."""
    try:
        return sensitivity(model, chip, figure, **asked)
    except RooflineError:
        return None


@dataclass(frozen=True)
class Frontier:
    """The plans and batches of one chip, and those that no other beats.

    Attributes
    ----------
    x, y : str
        The latency and the rate per chip that are traded.
    grid : Dataset
        All points, over the width of the plan and the batch.
    best : DataFrame
        The points of the frontier, by latency.
    """

    label: str
    x: str
    y: str
    grid: xr.Dataset
    best: pd.DataFrame


def frontier(answer: Answer, column: Column, told: Callable[[], None]) -> Frontier | None:
    """The frontier of one chip over widths of a plan and batches; None where no point fits.

    Parameters
    ----------
    answer : Answer
    column : Column
    told : callable
        Called after each width; what it raises ends the work.
    """
    import xarray as xr

    model = answer.model
    assert model is not None
    assert column.chip is not None
    language = isinstance(model, LanguageModel)
    width = "tp" if language else "devices"
    kept = (pair for pair in answer.state.options if pair[0] not in ("batch", "placement", width))
    asked: dict[str, Any] = {**dict(kept), "batch": list(_BATCHES[language])}
    parts = []
    for wide in widths(column.chip):
        try:
            grid = sweep(model, column.chip, progress=False, **{**asked, width: [wide]})
        except RooflineError:
            told()
            continue
        parts.append(grid)
        told()
    if not parts:
        return None
    together: dict[str, Any] = {"join": "exact", "combine_attrs": "override", "compat": "override"}
    grid = xr.concat(parts, dim=width, data_vars="all", coords="minimal", **together)
    much, little = usual_objectives(grid)
    best = pareto(grid, maximise=much, minimise=little)
    if best.empty:
        return None
    return Frontier(column.label, little[0], much[0], grid, best.sort_values(little[0], ignore_index=True))


def widths(chip: Chip) -> tuple[int, ...]:
    """The widths of a plan that a frontier tries: 1 alone where chips reach no other."""
    return _WIDTHS if chip.has_links else _WIDTHS[:1]


def steps(columns: list[Column]) -> int:
    """How many times the frontiers of these tell that they got on."""
    return sum(len(widths(column.chip)) for column in columns if column.chip is not None)


def frontiers(answer: Answer, told: Callable[[], None]) -> Iterator[Frontier]:
    """The frontiers of all chips of an answer."""
    for column in answer.columns:
        if column.chip is not None:
            found = frontier(answer, column, told)
            if found is not None:
                yield found
