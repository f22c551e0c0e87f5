"""The points of a grid that no other point beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.face import TEXT, Kind, several, takes

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: Points that are compared with the frontier so far at a time.
_BLOCK = 512

_NAMES = Kind("the names of variables", lambda value: isinstance(value, str) or several(TEXT).holds(value))


@takes(maximise=_NAMES, minimise=_NAMES)
def pareto(data: xr.Dataset, *, maximise: Sequence[str] = (), minimise: Sequence[str] = ()) -> pd.DataFrame:
    """The points of a sweep that no other point beats on every objective; points that do not fit are left out.

    Parameters
    ----------
    data : xarray.Dataset
        From :func:`sweep`.
    maximise, minimise : sequence of str
        Variables, such as ``maximise=["tokens_per_s_per_chip"], minimise=["tpot_s"]``.

    Returns
    -------
    DataFrame
        One row a point of the frontier, with its coordinates and all variables, sorted by the first objective. Points
        that are equal in every objective beat each other not, and stay together.

    Raises
    ------
    BadWorkload
        For data that are no sweep, and for objectives that are missing, no numbers, or not a number at some point.

    Notes
    -----
    One or two objectives take the time of a sort. With more of them each point is compared with the frontier, so time
    grows with the number of points times that of the frontier's.
    """
    import xarray as xr

    if not isinstance(data, xr.Dataset):
        raise BadWorkload(f"pareto: expected an xarray.Dataset, as sweep returns it, found {type(data).__name__}")
    maximise, minimise = ([given] if isinstance(given, str) else list(given) for given in (maximise, minimise))
    objectives = [*maximise, *minimise]
    if not objectives:
        raise BadWorkload("pareto: name at least one variable to maximise or minimise")
    for name in objectives:
        if name not in data.data_vars:
            raise BadWorkload(f"pareto: the sweep has no {name!r}; it has {', '.join(map(str, data.data_vars))}")
        if data[name].dtype.kind not in "iuf":
            raise BadWorkload(f"pareto: {name} is no number to maximise or minimise")
        missing = int(np.isnan(data[name]).sum())
        if missing:
            raise BadWorkload(f"pareto: {name} is not a number at {missing:,} points; leave them out first")
    frame = (data if data.dims else data.expand_dims("point")).to_dataframe().reset_index()
    if "fits" in frame:
        frame = frame[frame["fits"].astype(bool)]
    signs = np.array([-1.0] * len(maximise) + [1.0] * len(minimise))
    return frame.iloc[unbeaten(frame[objectives].to_numpy(dtype=float) * signs)].reset_index(drop=True)


def unbeaten(points: np.ndarray) -> np.ndarray:
    """The rows that no other row is at or below everywhere and below somewhere, sorted by their columns in turn.

    Parameters
    ----------
    points : ndarray
        Shape (points, objectives), each objective to be made small; no NaN.

    Returns
    -------
    ndarray
        Their indices; equal rows all stay, in the order in which they come.
    """
    order = np.lexsort(points.T[::-1])
    ranked = points[order]
    kept = _staircase(ranked) if points.shape[1] <= 2 else _in_blocks(ranked)
    found: np.ndarray = order[kept]
    return found


def _staircase(ranked: np.ndarray) -> np.ndarray:
    """Which of the sorted rows are unbeaten, of one or two columns: one pass, with the best second column so far."""
    first, last = ranked[:, 0], ranked[:, -1]
    starts = np.flatnonzero(np.append(True, first[1:] != first[:-1])[: len(first)])  # where the first column grows
    group = np.searchsorted(starts, np.arange(len(first)), side="right") - 1
    least = last[starts]  # of each group, its first row's
    before = np.append(np.inf, np.minimum.accumulate(least))[: len(least)]
    # Infinity beats nothing, and nothing is before the first group.
    leading = (least < before) | (np.arange(len(least)) == 0)
    kept: np.ndarray = leading[group] & (last == least[group])
    return kept


def _in_blocks(ranked: np.ndarray) -> np.ndarray:
    """The same for any number of columns: what precedes a row in the order is all that can beat it."""
    rows, back = np.unique(ranked + 0.0, axis=0, return_inverse=True)  # -0.0 is 0.0
    columns = np.ascontiguousarray(rows[:, 1:].T)  # by the first, earlier rows are nowhere above later ones
    fine = np.zeros(len(rows), dtype=bool)
    front = np.empty((len(columns), 0))
    for start in range(0, len(rows), _BLOCK):
        block = columns[:, start : start + _BLOCK]
        left = np.ones(block.shape[1], dtype=bool)
        for some in range(0, front.shape[1], _BLOCK):
            left[left] = ~_below(front[:, some : some + _BLOCK], block[:, left]).any(axis=0)
        own = block[:, left]
        left[left] = ~np.triu(_below(own, own), 1).any(axis=0)
        fine[start : start + _BLOCK] = left
        front = np.concatenate([front, block[:, left]], axis=1)
    kept: np.ndarray = fine[back.reshape(-1)]
    return kept


def _below(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each one (first axis) is in no column above each other one (second axis)."""
    below: np.ndarray = ones[0][:, None] <= others[0]
    for one, other in zip(ones[1:], others[1:], strict=True):
        below &= one[:, None] <= other
    return below
