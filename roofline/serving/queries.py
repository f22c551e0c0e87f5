"""``simulate`` of a recommendation model: queries at a rate, and the largest rate whose percentile holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.face import NUMBER
from roofline.estimates.request import RecommendationOptions, refuse_unknown
from roofline.hardware.chip import Chip
from roofline.models.recommender import Recommender
from roofline.serving import percentiles
from roofline.serving.batching import WORKERS, Service, estimated, policy_of
from roofline.serving.query_runs import FIGURES, SEEN, QueryRun, QueryServer
from roofline.serving.traffic import Traffic

if TYPE_CHECKING:
    import xarray as xr


class QueryOptions(RecommendationOptions, total=False):
    """What :func:`simulate_queries` takes beside model, chip and traffic, and says what each is."""

    window_s: float
    max_batch: float | None
    split: float | None
    workers: int
    jitter: float | None
    slo: Mapping[str, float] | None
    seed: int


#: The names of the options of a simulation of queries.
OPTIONS = tuple(name for name in QueryOptions.__annotations__ if name != "batch")

_BATCHING = ("window_s", "max_batch", "split", "workers", "jitter")

#: Runs that a search for the largest rate makes, each halving what is left; full batches that queries of one make, and
#: the most queries all the same.
_HALVINGS, _BATCHES, _LONGEST_RUN = 14, 400, 1_000_000


def simulate_queries(
    model: Recommender, chip: Chip, traffic: Traffic, **options: Unpack[QueryOptions]
) -> QueryRun | xr.Dataset:
    """What queries see of a recommendation server under load: :func:`roofline.simulate` of such a model.

    Parameters
    ----------
    model : Recommender
    chip : Chip
    traffic : Traffic
        Queries of `pairs`, such as ``Traffic(rate=60_000, pairs=rl.uniform(100, 440))``. Where its rate or concurrency
        is a list, the result is a Dataset over it.
    **options
        `window_s` (what the first query of a batch waits for others, 0), `max_batch` (most pairs of a batch, 8192),
        `split` (pairs above which a query is split; default `max_batch`), `workers` (batches in the pipeline at a time,
        4; with 1 each waits for the answer of the one before), `jitter` (standard deviation of the logarithm of a
        batch's time; default the serving process's), `slo` (limits of ``latency_s`` and ``queue_s``), `seed` (0); and
        those of :func:`roofline.estimate`: `devices`, `dtype`, `table_dtype`, `skew`, `placement`, `host` and so on.

    Raises
    ------
    BadWorkload, DoesNotFit, UnknownName
    """
    server, slo, seed = server_of(model, chip, options)
    if traffic.pairs is None:
        raise BadWorkload(
            f"simulate: {model.name} is a recommendation model: expected traffic of pairs, such as "
            f"Traffic(rate=1000, pairs=270), found {traffic!r}"
        )
    runs = [QueryRun(server, one, one.drawn(seed), slo, seed) for one in traffic.each()]
    return runs[0] if traffic.axis is None else dataset(*traffic.axis, runs)


def server_of(model: Recommender, chip: Chip, options: Mapping[str, Any]) -> tuple[QueryServer, dict[str, float], int]:
    """The server, the limits and the seed that options ask for.

    Raises
    ------
    BadWorkload, DoesNotFit, UnknownName
    """
    refuse_unknown(options, OPTIONS, f"simulate({model.name})")
    asked = dict(options)
    batching = {name: asked.pop(name, {"window_s": 0.0, "workers": WORKERS}.get(name)) for name in _BATCHING}
    slo, seed = limits(asked.pop("slo", None)), asked.pop("seed", 0)
    most = policy_of(**batching).max_batch
    devices = asked.get("devices", 1)
    if not (NUMBER.holds(devices) and devices <= most):
        raise BadWorkload(f"simulate: devices: expected one number of chips, at most max_batch, found {shown(devices)}")
    est = estimated(model, chip, most, asked)
    policy = policy_of(**batching, est=est)
    return QueryServer(model, chip, asked, policy, Service.of(est), int(devices)), slo, seed


def limits(slo: object) -> dict[str, float]:
    """The limits of an SLO (s), by what they limit; see :func:`roofline.serving.percentiles.limits`."""
    return percentiles.limits(slo, SEEN, '{"latency_s": 0.06}')


def dataset(name: str, values: np.ndarray, runs: Sequence[QueryRun]) -> xr.Dataset:
    """Runs, one for each value of an axis, as a Dataset over it; ``attrs["runs"]`` has the runs themselves.

    `latency_s` and `queue_s` have a further axis, `statistic`: mean, p50, p90, p99; NaN where no query was answered.
    """
    import xarray as xr

    out: dict[str, object] = {
        one: (name, np.array([getattr(run, one) for run in runs]), {"units": unit}) for one, unit in FIGURES.items()
    }
    out["saturated"] = (name, np.array([run.saturated for run in runs]))
    out["bound"] = (name, np.array([run.bound for run in runs]))
    for one in SEEN:
        rows = [
            [getattr(getattr(run, one), part) if run.answered else np.nan for part in percentiles.STATISTICS]
            for run in runs
        ]
        out[one] = ((name, "statistic"), np.array(rows), {"units": "s"})
    units = {"units": "1/s"} if name == "rate" else {}
    return xr.Dataset(
        out, {name: (name, values, units), "statistic": list(percentiles.STATISTICS)}, {"runs": list(runs)}
    )


# The largest rate ----------------------------------------------------------------------------------------------------


def largest_rate(run: QueryRun, share: float = 0.99) -> QueryRun:
    """The run at the largest rate at which a share of the queries stays within the limits, and the server keeps up.

    The same luck at every rate, so that it never rises as a limit tightens; found by halving, to one part in 16,384 of
    the rate at which the server saturates, which it does not exceed. Runs are made long enough for hundreds of batches.

    Parameters
    ----------
    run : QueryRun
        Of an open loop, with limits.
    share : float
        0.99 for "p99 holds".

    Raises
    ------
    BadWorkload
        Without limits, for a closed loop, and where even a nearly idle server breaks the limits.
    """
    if not run.slo:
        raise BadWorkload("capacity: expected limits, such as slo={'latency_s': 0.06}, found none")
    if run.drawn.concurrency:
        raise BadWorkload("capacity: expected traffic at a rate, found a closed loop")
    batches = _BATCHES * run.server.policy.max_batch / float(run.drawn.pairs.mean())
    requests = max(len(run.drawn), min(int(batches), _LONGEST_RUN))
    drawn = run.traffic.changed(rate=1.0, requests=requests, duration_s=None).drawn(run.seed)
    most = QueryRun(run.server, run.traffic, drawn, run.slo, run.seed, run.factor).saturation_rate

    def at(rate: float) -> QueryRun:
        faster = replace(drawn, arrival_s=drawn.arrival_s / rate)
        traffic = run.traffic.changed(rate=rate, requests=requests, duration_s=None)
        return QueryRun(run.server, traffic, faster, run.slo, run.seed, run.factor)

    def holds(one: QueryRun) -> bool:
        return one.slo_attainment >= share

    low, high = 0.0, 1.0
    best = at(most / 2**_HALVINGS)
    if not holds(best):
        raise BadWorkload(
            f"capacity: even at {best.traffic.rate:.3g} queries a second {share:.0%} do not stay within {run.slo}: "
            f"there p99 is {best.latency_s.p99:.3g} s"
        )
    for _ in range(_HALVINGS):
        middle = at(most * (low + high) / 2)
        if holds(middle):
            low, best = (low + high) / 2, middle
        else:
            high = (low + high) / 2
    return best


__all__ = ["QueryOptions", "largest_rate", "limits", "simulate_queries"]
