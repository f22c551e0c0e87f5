"""How many queries a recommendation server holds within limits, and how many servers a load wants, over chips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, DoesNotFit, NotKnown, UnknownName, shown
from roofline.base.face import NUMBER
from roofline.catalog.load import Name, as_chip
from roofline.hardware.chip import Chip
from roofline.models.recommender import Recommender
from roofline.serving.queries import largest_rate, server_of
from roofline.serving.query_runs import QueryRun
from roofline.serving.traffic import Traffic

if TYPE_CHECKING:
    import pandas as pd

#: The most pairs of a batch that are tried unless told: what a server takes at a time is a choice between throughput
#: and latency.
BATCHES = (256, 1024, 4096, 16384, 65536, 262144)

#: What a plan may be the least of, and the column that says how much.
OBJECTIVES = {"chips": "chips", "watts": "power_w", "usd": "usd_per_hour"}

_COLUMNS = (
    "chip", "devices", "max_batch", "rate", "rate_per_chip", "saturation_rate", "p50_s", "p99_s", "batch", "servers",
    "chips", "power_w", "usd_per_hour",
)  # fmt: skip


def query_capacity(
    model: Recommender,
    chips: Chip | Name | Sequence[Chip | Name],
    traffic: Traffic,
    *,
    slo: Mapping[str, float],
    share: float = 0.99,
    max_batch: float | Sequence[float] = BATCHES,
    devices: int | Sequence[int] = 1,
    objective: str = "chips",
    **options: Any,
) -> pd.DataFrame:
    """The largest rate of queries that chips hold within limits, and what serves the traffic's rate at the least.

    Parameters
    ----------
    model : Recommender
    chips : chip, or list of them
    traffic : Traffic
        Queries of `pairs`; its rate is the load to serve.
    slo : dict of str to float
        Limits (s) of ``latency_s`` and ``queue_s``.
    share : float
        Of the queries that must stay within them: 0.99 for "p99 holds".
    max_batch : number or list
        Most pairs of a batch; all that are given are tried, those above the memory's room left out.
    devices : int or list
        Chips of a server; all that are given are tried.
    objective : str
        What there is to be least of, of all servers together: ``"chips"``, ``"watts"`` or ``"usd"`` (an hour).
    **options
        As for :func:`roofline.serving.queries.simulate_queries`.

    Returns
    -------
    DataFrame
        A row for each chip and number of chips a server, with the batch limit that holds most: `rate` (queries per
        second of a server), `rate_per_chip`, `saturation_rate` (offline), percentiles at that rate, `servers` and
        `chips` for the traffic's rate, their `power_w` (servers included) and `usd_per_hour` (NaN where no price is
        known). The best first. ``attrs["runs"]`` has the runs, ``attrs["why"]`` says of what is left out why.

    Raises
    ------
    BadWorkload, UnknownName
    """
    import pandas as pd

    if objective not in OBJECTIVES:
        raise UnknownName("objective", objective if isinstance(objective, str) else shown(objective), OBJECTIVES)
    if not (NUMBER.holds(share) and 0 < share < 1):
        raise BadWorkload(f"capacity: share: expected a share of the queries such as 0.99, found {shown(share)}")
    if not isinstance(traffic.rate, float) or traffic.pairs is None:
        raise BadWorkload(f"capacity: expected traffic of pairs at one rate, found {traffic!r}")
    rows, runs, why = [], [], []
    for chip in [as_chip(one) for one in _several(chips)]:
        for count in _several(devices):
            tried = []
            for most in _several(max_batch):
                asked = {"devices": count, "max_batch": most, "slo": slo, **options}
                try:
                    server, limits, seed = server_of(model, chip, asked)
                    run = QueryRun(server, traffic, traffic.drawn(seed), limits, seed)
                    tried.append(largest_rate(run, share))
                except (DoesNotFit, BadWorkload) as error:
                    why.append(f"{chip.name}, devices={count}, max_batch={most:g}: {str(error).splitlines()[0]}")
            if tried:
                best = max(tried, key=lambda one: float(one.traffic.rate))
                rows.append(_row(best, traffic.rate))
                runs.append(best)
    if not rows:
        raise BadWorkload("capacity: nothing holds the limits: " + ("; ".join(why[:3]) or "there is no chip"))
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    least = OBJECTIVES[objective]
    order = table.sort_values([least, "rate_per_chip"], ascending=[True, False], na_position="last").index
    table = table.loc[order].reset_index(drop=True)
    table.attrs |= {"why": "; ".join(why), "runs": [runs[i] for i in order]}
    return table


def _row(run: QueryRun, load: float) -> dict[str, Any]:
    rate, devices = float(run.traffic.rate), run.server.devices
    servers = max(1, math.ceil(load / rate))
    est = run.server.at(run.batch)
    return {
        "chip": run.server.chip.name,
        "devices": devices,
        "max_batch": int(run.server.policy.max_batch),
        "rate": rate,
        "rate_per_chip": rate / devices,
        "saturation_rate": run.saturation_rate,
        "p50_s": run.latency_s.p50,
        "p99_s": run.latency_s.p99,
        "batch": run.batch,
        "servers": servers,
        "chips": servers * devices,
        "power_w": servers * _known(est, "power_w"),
        "usd_per_hour": servers * _known(est, "usd_per_million_samples") * float(est.samples_per_s) * 3.6e-3,
    }


def _known(est: Any, figure: str) -> float:
    try:
        return float(getattr(est, figure))
    except NotKnown:
        return math.nan


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | range | np.ndarray) else [value]
