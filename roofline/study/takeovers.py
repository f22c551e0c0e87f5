"""Where each bound takes over from another along one axis."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.face import TEXT, takes
from roofline.catalog.load import CHIP, MODEL, Model, as_chip, as_model
from roofline.hardware.chip import Chip
from roofline.study import asked, variables
from roofline.study.variables import Variable

if TYPE_CHECKING:
    import pandas as pd

#: Values of the first scan, and of each finer one between two of them.
_SCAN, _FINER = 2048, 64

#: How far from the present value a figure of the chip is followed, either way, where nobody says.
_FAR = 100.0

#: Neighbours nearer than this, relatively, are where the bound changes.
_NEAR = 1e-9


@takes(model=MODEL, chip=CHIP, vary=TEXT)
def takeovers(
    model: Model | str | os.PathLike[str],
    chip: Chip | str | os.PathLike[str],
    *,
    vary: str,
    low: Any = None,
    high: Any = None,
    **options: Any,
) -> pd.DataFrame:
    """What bounds each phase along one axis, and where one bound takes over from another.

    Parameters
    ----------
    model : LanguageModel, Recommender or str
        A model, or its name or path.
    chip : Chip or str
        A chip, or its name or path.
    vary : str
        A figure of the chip by its path, or an option that is a number, as for :func:`roofline.solve`.
    low, high : float or str, optional
        The range. Default: a hundred times less to a hundred times more of a chip's figure, as far as a what-if allows;
        what model and memory allow of an option.
    **options
        As for :func:`roofline.estimate`; a single point, which need not fit. With `concurrency` among them, or varied,
        the phases are the passes of a server, and they are as for :func:`roofline.serve`.

    Returns
    -------
    DataFrame
        One row a phase and a range, in order: `phase`, `start` and `end` (SI units; the last value of a range and the
        first of the next one are neighbours: whole numbers, or within 1e-9 of each other), `bound`, and `present`:
        whether the present value lies in it.

    Raises
    ------
    BadWorkload, UnknownName
        As :func:`roofline.solve`.

    Notes
    -----
    The bound of a phase is that of the operators with the largest share of its time. One array estimate scans 2,048
    values; a range narrower than a step of it can be missed.

    Examples
    --------
    >>> import roofline as rl
    >>> ranges = rl.takeovers("llama-3.1-8b", "h100-sxm", vary="batch")
    >>> ranges.loc[ranges["phase"] == "decode", "bound"].iloc[0]
    'memory:hbm'
    """
    import pandas as pd

    loaded = as_model(model)
    options = asked.settled("takeovers", loaded, options, [vary])
    base = asked.answer(loaded, as_chip(chip), options)
    one = variables.variable(base, options, vary, low, high, what="takeovers")
    least, most = one.low, one.high
    if one.of_chip and one.present > 0:
        least = max(least, one.present / _FAR) if low is None else least
        most = min(most, one.present * _FAR) if high is None else most
    values = variables.possible(base, options, one, one.points(least, most, _SCAN))
    rows = []
    for phase, bounds in _bounds(base, options, one, values).items():
        edges = np.flatnonzero(bounds[1:] != bounds[:-1])
        between = [_narrowed(base, options, one, phase, *values[edge : edge + 2]) for edge in edges]
        pairs = [pair for found in between for pair in found]
        starts = [float(values[0]), *(after for _, after, *_ in pairs)]
        ends = [*(before for before, *_ in pairs), float(values[-1])]
        names = [str(bounds[0]), *(bound for *_, bound in pairs)]
        for start, end, bound in zip(starts, ends, names, strict=True):
            rows.append((phase, start, end, bound, bool(start <= one.present <= end)))
    return pd.DataFrame(rows, columns=["phase", "start", "end", "bound", "present"])


def _bounds(base: object, options: dict[str, object], one: Variable, values: np.ndarray) -> dict[str, np.ndarray]:
    """What bounds each phase at each value."""
    est = variables.varied(base, options, {one: values})
    return {name: np.broadcast_to(phase.bound, values.shape) for name, phase in variables.phases(est).items()}


def _narrowed(
    base: object, options: dict[str, object], one: Variable, phase: str, before: float, after: float
) -> list[tuple[float, float, str]]:
    """The changes of bound between two values: the neighbours of each, and what bounds the phase after it."""
    apart = 1 if one.whole else _NEAR * abs(after)
    if after - before <= apart or one.name in variables.PLAN:
        return [(float(before), float(after), str(_bounds(base, options, one, np.array([after]))[phase][0]))]
    values = one.points(float(before), float(after), _FINER)
    bounds = _bounds(base, options, one, values)[phase]
    found = []
    for edge in np.flatnonzero(bounds[1:] != bounds[:-1]):
        found += _narrowed(base, options, one, phase, *values[edge : edge + 2])
    return found
