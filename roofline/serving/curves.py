"""Runs over an axis of the traffic, as a Dataset: what first tokens cost at every rate."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from roofline.base.cpus import available
from roofline.serving.percentiles import STATISTICS, Percentiles
from roofline.serving.runs import FIGURES, SEEN, Run

if TYPE_CHECKING:
    import xarray as xr

#: What a Dataset has of each run, beside its distributions.
COLUMNS = ("requests_per_s", "tokens_per_s", "tokens_per_s_per_chip", "goodput", "slo_attainment", "cached_share")


def dataset(name: str, values: np.ndarray, runs: Sequence[Run]) -> xr.Dataset:
    """Runs, one for each value of an axis, as a Dataset over it; ``attrs["runs"]`` has the runs themselves.

    `ttft_s`, `tpot_s`, `itl_s` and `e2e_s` have a further axis, `statistic`: mean, p50, p90, p99; NaN where no request
    was answered.
    """
    import xarray as xr

    together(runs)
    out: dict[str, object] = {
        one: (name, np.array([getattr(run, one) for run in runs]), {"units": FIGURES[one]}) for one in COLUMNS
    }
    out["saturated"] = (name, np.array([run.saturated for run in runs]))
    out["bound"] = (name, np.array([run.bound for run in runs]))
    for one in SEEN:
        rows = [[_or_nan(getattr(run, one), part) for part in STATISTICS] for run in runs]
        out[one] = ((name, "statistic"), np.array(rows), {"units": "s"})
    units = {"units": "1/s"} if name == "rate" else {}
    return xr.Dataset(out, {name: (name, values, units), "statistic": list(STATISTICS)}, {"runs": list(runs)})


def together(runs: Sequence[Run]) -> None:
    """Run all of them, some at the same time: the compiled loop lets other threads work."""
    if runs:
        runs[0].table  # noqa: B018  made once, for all
    with ThreadPoolExecutor(available()) as pool:
        list(pool.map(lambda run: run.outcome, runs))


def _or_nan(found: Percentiles, part: str) -> float:
    return float(getattr(found, part)) if found.count else float("nan")
