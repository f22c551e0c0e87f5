"""The points of a grid that no other point beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from roofline.base.errors import BadWorkload

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


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
        One row a point of the frontier, with its coordinates and all variables, sorted by the first objective.
    """
    maximise, minimise = ([v] if isinstance(v, str) else list(v) for v in (maximise, minimise))
    objectives = [*maximise, *minimise]
    if not objectives:
        raise BadWorkload("pareto: name at least one variable to maximise or minimise")
    for name in objectives:
        if name not in data:
            raise BadWorkload(f"pareto: the sweep has no {name!r}; it has {', '.join(map(str, data.data_vars))}")
        if data[name].dtype.kind not in "iuf":
            raise BadWorkload(f"pareto: {name} is no number to maximise or minimise")
    frame = data.to_dataframe().reset_index()
    frame = frame[frame["fits"].astype(bool)]
    signs = np.array([-1.0] * len(maximise) + [1.0] * len(minimise))
    points = frame[objectives].to_numpy(dtype=float) * signs
    order = np.lexsort(points.T[::-1])
    kept: list[int] = []
    for i in order:  # sorted by the first objective: only points kept so far can dominate
        if not any(np.all(points[k] <= points[i]) and np.any(points[k] < points[i]) for k in kept):
            kept.append(int(i))
    return frame.iloc[kept].reset_index(drop=True)
