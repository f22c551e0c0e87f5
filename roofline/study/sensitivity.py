"""How much each figure of a chip moves a result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Unpack

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.face import NUMBER, TEXT, optional, takes
from roofline.catalog.load import CHIP, MODEL, Model, Name, as_chip, as_model
from roofline.estimates import stacks
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.study import asked
from roofline.study.variables import allowed

if TYPE_CHECKING:
    import pandas as pd

#: Figures that are changed in one estimate; each adds a value to every array.
_TOGETHER = 64

#: Elasticities below this are none.
_NOTHING = 1e-6


@takes(model=MODEL, chip=CHIP, figure=optional(TEXT))
def sensitivity(
    model: Model | Name,
    chip: Chip | Name,
    figure: str | None = None,
    step: float = 0.1,
    **options: Unpack[asked.Asked],
) -> pd.DataFrame:
    """How much each figure of the chip moves the result: elasticities, largest first.

    Every figure that a what-if can change is tried, those that the chip inherits from its family among them: rates,
    bandwidths, capacities, latencies, overheads, counts, efficiency parameters. ``clock`` and ``cores.count`` take the
    engines with them, as in :meth:`roofline.Chip.what_if`.

    Parameters
    ----------
    model : LanguageModel, Recommender or str
        A model, or its name or path.
    chip : Chip or str
        A chip, or its name or path.
    figure : str, optional
        Headline figure, or one of power and money; default: `tokens_per_s` or `samples_per_s`.
    step : float
        Relative change of each chip figure, up or down. Whole numbers change to the next one, and what can go no
        further (a share of 1) goes the other way; the elasticity is that of the change made.
    **options
        As for :func:`roofline.estimate`; with `concurrency` among them, as for :func:`roofline.serve`.

    Returns
    -------
    DataFrame
        Indexed by chip figure: `value` (SI), `elasticity` (percent of the result per percent of the figure), `changed`
        (the figure after the change), `result` (the result after it). Left out are figures that move nothing, that are
        zero, and the spreads, which move the interval alone.

    Raises
    ------
    BadWorkload
        For arrays, an unknown figure, and a step that is none.

    Examples
    --------
    >>> import roofline as rl
    >>> table = rl.sensitivity("llama-3.1-8b", "mtia-2i", figure="tpot_s", dtype="fp16")
    >>> bool(table.loc["memory.dram.bandwidth", "elasticity"] < 0)  # more of it takes less time
    True
    """
    import pandas as pd

    loaded = as_model(model)
    on, _ = stacks.chosen(loaded, as_chip(chip), options)  # the figures that are changed are those of the stack
    figure = (
        figure if figure is not None else ("tokens_per_s" if isinstance(loaded, LanguageModel) else "samples_per_s")
    )
    if not NUMBER.holds(step) or not 1e-6 <= abs(step) < 1:
        raise BadWorkload(f"sensitivity: expected a relative step such as 0.1, found {shown(step)}")
    settled = asked.settled("sensitivity", loaded, {name: v for name, v in options.items() if name != "check"})
    base = asked.answer(loaded, on, settled)
    if np.shape(base.time_s):
        raise BadWorkload("sensitivity: expected one point, found arrays; sweep and estimate do arrays")
    known = (*base.FIGURES, *base.EXTRA)
    if figure not in known:
        raise BadWorkload(f"sensitivity: no figure {shown(figure)}; there are {', '.join(known)}")
    if getattr(base.request, "placement", None) is not None:
        asked["placement"] = base.request.placement  # which arrays would not look for: the tables stay where they are
    before = float(getattr(base, figure))
    rows = []
    for block in _blocks(on, _changes(on, float(step))):
        after = getattr(asked.answer(loaded, varied(on, block), settled), figure)
        for (path, value), result in zip(block.items(), np.broadcast_to(after, (len(block),)), strict=True):
            elasticity = math.log(result / before) / math.log(value / on[path])
            if abs(elasticity) > _NOTHING:
                rows.append((path, on[path], elasticity, value, float(result)))
    table = pd.DataFrame(rows, columns=["figure", "value", "elasticity", "changed", "result"]).set_index("figure")
    return table.sort_values("elasticity", key=lambda e: e.abs(), ascending=False, kind="stable")


def _changes(chip: Chip, step: float) -> dict[str, float]:
    """The figures that a what-if can change, each with its value after the change."""
    found = {}
    for path in {**chip.defaults, **chip.numbers}:
        value = chip[path]
        if path.startswith("stack.") or "spread" in path or isinstance(value, np.ndarray) or not value:
            continue
        # Where it can be no part of a whole, the next whole one; and the other way where this one is closed.
        nearest = math.ceil if step > 0 else math.floor
        for new in (value * (1 + step), nearest(value * (1 + step)), value / (1 + step), value + 1):
            if new != value and allowed(chip, path, new):
                found[path] = new
                break
    return found


def _blocks(chip: Chip, changes: dict[str, float]) -> Iterator[dict[str, float]]:
    """The changes in groups that no figure follows another in, small enough for memory."""
    for path in chip.drivers:
        if path in changes:
            yield {path: changes[path]}
    others = [path for path in changes if path not in chip.drivers]
    for start in range(0, len(others), _TOGETHER):
        yield {path: changes[path] for path in others[start : start + _TOGETHER]}


def varied(chip: Chip, changes: dict[str, float]) -> Chip:
    """The chip with one array per figure, each with its own element changed: all the what-ifs are one estimate."""
    own = np.eye(len(changes), dtype=bool)
    varied = chip.what_if(
        {path: np.where(own[i], value, chip[path]) for i, (path, value) in enumerate(changes.items())}
    )
    # A family's figure must not come to outrank the chip's own.
    inherited = {path: number for path, number in varied.numbers.items() if path not in chip.numbers}
    numbers = {path: number for path, number in varied.numbers.items() if path in chip.numbers}
    return dataclasses.replace(varied, numbers=numbers, defaults={**chip.defaults, **inherited})
