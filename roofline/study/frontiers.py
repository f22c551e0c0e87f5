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
    Two and three objectives take the time of a sort, n log n; each further one a factor of log n at most.

    Examples
    --------
    >>> import roofline as rl
    >>> grid = rl.sweep("llama-3.1-8b", "h100-sxm", batch=[1, 8, 64])
    >>> rl.pareto(grid, maximise="tokens_per_s", minimise="tpot_s")["batch"].tolist()
    [64, 8, 1]
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
    data = data if data.dims else data.expand_dims("point")
    shape = tuple(data.sizes.values())
    possible = np.ones(np.prod(shape, dtype=int), dtype=bool)
    if "possible" in data:
        possible = _flat(data, "possible") != np.False_  # what `where` took away is no longer False either
    columns = np.stack([_flat(data, name) for name in objectives], axis=1).astype(float)
    for name, column in zip(objectives, columns.T, strict=True):
        missing = int((np.isnan(column) & possible).sum())
        if missing:
            raise BadWorkload(f"pareto: {name} is not a number at {missing:,} points; leave them out first")
    counted = np.flatnonzero(possible & _flat(data, "fits").astype(bool) if "fits" in data else possible)
    signs = np.array([-1.0] * len(maximise) + [1.0] * len(minimise))
    return _rows(data, counted[unbeaten(columns[counted] * signs)])


def usual_objectives(data: xr.Dataset) -> tuple[list[str], list[str]]:
    """What is maximised and minimised where nothing is named: the rate per chip, and the latency."""
    tokens = "tokens_per_s_per_chip" in data
    return ["tokens_per_s_per_chip" if tokens else "samples_per_s_per_chip"], ["tpot_s" if tokens else "latency_s"]


def _flat(data: xr.Dataset, name: str) -> np.ndarray:
    """A variable at every point of the grid, one after the other."""
    values = data[name].broadcast_like(data).transpose(*data.dims).to_numpy()
    flat: np.ndarray = values.reshape(-1)
    return flat


def _rows(data: xr.Dataset, points: np.ndarray) -> pd.DataFrame:
    """Points of the grid as rows, with their coordinates first: of the grid no more becomes a table."""
    import pandas as pd

    places = dict(zip(data.dims, np.unravel_index(points, tuple(data.sizes.values())), strict=True))
    columns = {dim: data[dim].to_numpy()[place] for dim, place in places.items()}
    for name, values in data.variables.items():
        if name not in columns:
            own = values.to_numpy()
            columns[name] = own[tuple(places[dim] for dim in values.dims)] if own.ndim else np.full(len(points), own)
    return pd.DataFrame({str(name): values for name, values in columns.items()})


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

    Notes
    -----
    By moocore (M. Lopez-Ibanez and others): of n points, n log n for two and three objectives (Kung, Luccio and
    Preparata, J. ACM 22, 1975), and their divide and conquer, n (log n)^(k-2), for k of them.
    """
    if not len(points):
        return np.empty(0, dtype=np.intp)
    import moocore

    # Ranks stand for the values: all that counts is their order, and no infinity is left for a library to trip over.
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in points.T], axis=1).astype(float)
    kept = np.flatnonzero(moocore.is_nondominated(ranks, keep_weakly=True))
    found: np.ndarray = kept[np.lexsort(ranks[kept].T[::-1])]
    return found
