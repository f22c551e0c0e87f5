"""How much of what embedding bags look up the cache or scratchpad serves, bag by bag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roofline.base.errors import RooflineError
from roofline.estimates import inference
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.kernels.lookups import INDEX_BYTES

if TYPE_CHECKING:
    import pandas as pd

_MEMORY, _CACHE = (inference.COST.index(name) for name in ("memory_bytes", "cache_bytes"))


def hit_rates(est: RecommendationEstimate) -> pd.DataFrame:
    """The share of the rows that each embedding bag finds in the last level before main memory.

    Parameters
    ----------
    est : RecommendationEstimate
        Of one point; of chips that wait for each other, the one that has the most to do.

    Returns
    -------
    DataFrame
        One row a bag: `op`; `tables`; `lookups` (rows that a chip looks up in a batch); `row_bytes` (all that it
        reads of them); `memory_bytes` (how much of that main memory serves); `hit_rate` (the rest, as a share).

    Raises
    ------
    RooflineError
        For an estimate of arrays.
    """
    import numpy as np
    import pandas as pd

    if np.shape(est.time_s):
        raise RooflineError("hit rates are of one point; take one from the sweep and estimate it alone")
    rows = []
    for op, values in zip(est.step.workload, est.step.costs, strict=True):
        if op.kernel != "embedding_bag":
            continue
        a = op.args
        lookups = a["batch"] * a["tables"] * a["pooling"]
        # Indices and results stream through the cache besides, as the kernel counts them; what of these spills into
        # main memory is none of the rows'.
        streams = lookups * INDEX_BYTES + a["batch"] * a["tables"] * a["dim"] * a["out_width"]
        read = float(values[_CACHE]) - streams
        spilled = max(0.0, streams - float(est.chip.machine["cache_capacity"]))
        missed = min(max(0.0, float(values[_MEMORY]) - spilled), read)
        rows.append(
            {
                "op": op.name,
                "tables": float(a["tables"]),
                "lookups": op.count * lookups,
                "row_bytes": op.count * read,
                "memory_bytes": op.count * missed,
                "hit_rate": 1.0 - missed / read if read else 0.0,
            }
        )
    return pd.DataFrame.from_records(rows, columns=["op", "tables", "lookups", "row_bytes", "memory_bytes", "hit_rate"])
