"""``capacity(model, chips, traffic, slo=...)``: the largest rate that servers hold, and what serves a load at least.

Of every chip and every plan (tensor, pipeline and expert parallelism, limits of a pass) one replica is simulated at
ever higher rates, by bisection, until too few requests are answered within the limits or the queue grows. Replicas
are then added until the load is served.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, DoesNotFit, UnknownName, shown
from roofline.base.face import FLAG, NUMBER, Kind, takes
from roofline.catalog.load import CHIP, MODEL, Model, Name, as_chip, as_model
from roofline.estimates.request import refuse_unknown, whole
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving import apart as pools
from roofline.serving.preparing import prepared
from roofline.serving.query_capacity import query_capacity
from roofline.serving.runs import Run, known
from roofline.serving.settings import limits
from roofline.serving.simulation import OPTIONS, TRAFFIC
from roofline.serving.traffic import Traffic
from roofline.work.parallel import Plan

if TYPE_CHECKING:
    import pandas as pd

#: What a plan may be the least of, and the column that says how much.
OBJECTIVES = {"chips": "chips", "watts": "power_w", "usd": "usd_per_hour"}

#: What is looked for, and may be given as a list of what to try.
TRIED = ("tp", "pp", "ep", "dtype", "kv_dtype", "stack", "chunk", "max_seqs")

#: Widest tensor parallelism unless told, doublings of the rate, and how near the largest rate comes.
_WIDEST, _DOUBLINGS, _NEAR = 8, 20, 1.02

_COLUMNS = (
    "chip", "tp", "pp", "ep", "dtype", "stack", "chunk", "max_seqs", "rate", "rate_per_chip", "tokens_per_s_per_chip",
    "ttft_p99_s", "tpot_p99_s", "bound", "replicas", "decode_chip", "decode_tp", "decode_replicas", "chips", "power_w",
    "usd_per_hour",
)  # fmt: skip

CHIPS = Kind(
    "a chip or its name, or a list of them",
    lambda value: (
        CHIP.holds(value) or (isinstance(value, list | tuple) and bool(value) and all(map(CHIP.holds, value)))
    ),
)


@takes(model=MODEL, chips=CHIPS, traffic=TRAFFIC, apart=FLAG)
def capacity(
    model: Model | Name,
    chips: Chip | Name | Sequence[Chip | Name],
    traffic: Traffic,
    *,
    slo: Mapping[str, float],
    share: float = 0.99,
    objective: str = "chips",
    apart: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """The largest rate that servers hold within limits, and the plan that serves a load at the least.

    Parameters
    ----------
    model : LanguageModel, Recommender or str
        Of a recommendation model see :func:`roofline.serving.query_capacity.query_capacity`.
    chips : chip, or list of them
        Chips, their names or paths.
    traffic : Traffic
        What requests are like; its rate is the load to serve.
    slo : dict of str to float
        Limits (s) of ``ttft_s``, ``tpot_s`` and ``e2e_s``.
    share : float
        Of all requests that must be answered within them: 0.99 for "p99 holds".
    objective : str
        What there is to be least of, of all replicas together: ``"chips"``, ``"watts"`` or ``"usd"`` (an hour).
    apart : bool
        Whether pools that read and pools that decode are tried too, on every pair of the chips and plans.
    **options
        As for :func:`roofline.simulate`, without `replicas`, `dp` and `router`. Of `tp` (default 1, 2, 4 and 8, as far
        as they suit the model), `pp`, `ep`, `dtype`, `kv_dtype`, `stack`, `chunk` and `max_seqs` all are tried that are
        given in a list.

    Returns
    -------
    DataFrame
        A row for each plan that holds the limits: `rate` (requests per second of one replica), `rate_per_chip`,
        percentiles at that rate, what bound it, and for the traffic's rate `replicas`, `chips`, `power_w` (servers
        included, at the wall) and `usd_per_hour` (NaN where no price is known). Where others decode, `decode_chip`,
        `decode_tp` and `decode_replicas` say on what and how many; `rate` is then the traffic's own. The best first.
        ``attrs["runs"]`` has the runs at those rates, ``attrs["why"]`` says of each plan that is left out why.

    Raises
    ------
    BadWorkload, UnknownName
        For what cannot be asked.

    Examples
    --------
    >>> import roofline as rl
    >>> traffic = rl.Traffic(rate=4, prompt=512, output=64, requests=50)
    >>> plans = rl.capacity("llama-3.1-8b", "h100-sxm", traffic, slo={"ttft_s": 0.5}, tp=1)
    >>> plans["chips"].tolist()
    [1]
    """
    loaded = as_model(model)
    if not isinstance(loaded, LanguageModel):
        return query_capacity(loaded, chips, traffic, slo=slo, share=share, objective=objective, **options)
    import pandas as pd

    within = limits(slo)
    if not within:
        raise BadWorkload('capacity: expected limits such as slo={"ttft_s": 0.5}, found none')
    if not isinstance(objective, str) or objective not in OBJECTIVES:
        raise UnknownName("objective", objective if isinstance(objective, str) else shown(objective), OBJECTIVES)
    if not (NUMBER.holds(share) and 0 < share < 1):
        raise BadWorkload(f"capacity: share: expected a share of the requests such as 0.99, found {shown(share)}")
    if traffic.axis is not None or traffic.drawn().concurrency:
        raise BadWorkload(f"capacity: expected traffic at one rate, found {traffic!r}")
    names = [name for name in OPTIONS if name not in ("replicas", "dp", "router", "slo", "prefill", "decode")]
    refuse_unknown(options, tuple(names), f"capacity({loaded.name})")
    seed = options.pop("seed", 0)
    drawn, rows, runs, why = traffic.drawn(seed), [], [], []
    sides: list[tuple[pools.Side | None, pools.Side | None]] = []
    load = _rate(drawn.arrival_s)
    for chip, asked in itertools.product([as_chip(one) for one in _several(chips)], _plans(loaded, options)):
        plan = ", ".join(f"{name}={value}" for name, value in asked.items() if name in TRIED and value is not None)
        if asked["tp"] * asked["pp"] > 1 and not chip.has_links:
            continue
        try:
            setting = prepared(loaded, chip, [drawn], dict(asked))
        except DoesNotFit as error:
            why.append(f"{chip.name}, {plan}: {str(error).splitlines()[0]}")
            continue
        run = Run(setting, drawn, traffic, slo=within, seed=seed)
        if apart:
            sides.append((pools.reading(run, share, largest_rate), pools.decoding(run, share, largest_rate)))
        found = largest_rate(run, share)
        if found is None:
            why.append(f"{chip.name}, {plan}: not within the limits however few requests come")
            continue
        rows.append(_row(found, load))
        runs.append(found)
    if sides:
        readers, decoders = ([side for side in one if side is not None] for one in zip(*sides, strict=True))
        together = pools.systems(run, readers, decoders, load, share)
        rows += [_row_apart(one) for one in together]
        runs += together
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    order = table.sort_values([OBJECTIVES[objective], "rate_per_chip"], ascending=[True, False]).index
    table = table.loc[order].reset_index(drop=True)
    table.attrs |= {"why": "; ".join(why), "runs": [runs[i] for i in order]}
    return table


def largest_rate(run: Run, share: float) -> Run | None:
    """The run of the same requests at the largest rate that is held, within 2 %; None where none is."""

    def holds(factor: float) -> Run | None:
        tried = run.sped_up(factor)
        return tried if not tried.saturated and tried.slo_attainment >= share else None

    best, low, high, factor = None, 0.0, 0.0, 1.0
    for _ in range(_DOUBLINGS):
        found = holds(factor)
        if found is not None:
            best, low = found, factor
        else:
            high = factor
        if low and high:
            break
        factor = factor * 2 if low else factor / 2
    while best is not None and high > _NEAR * low:
        factor = math.sqrt(low * high)
        found = holds(factor)
        if found is not None:
            best, low = found, factor
        else:
            high = factor
    return best


def _plans(model: LanguageModel, options: dict[str, Any]) -> list[dict[str, Any]]:
    """The plans to try, each as options of a simulation: those that suit the model.

    Raises
    ------
    BadWorkload
        Where none does.
    """
    widths = [2**i for i in range(int(math.log2(_WIDEST)) + 1)]
    tried = {"tp": options.get("tp", widths), "pp": options.get("pp", 1), "ep": options.get("ep", 1)}
    tried |= {name: options[name] for name in TRIED if name in options}
    fixed = {name: value for name, value in options.items() if name not in tried}
    every = [dict(zip(tried, values, strict=True)) for values in itertools.product(*map(_several, tried.values()))]
    suit = []
    for one in every:
        degrees = {name: whole(f"capacity: {name}", one[name]) for name in ("tp", "pp", "ep")}
        if Plan(**degrees).suits(model):
            suit.append({**one, **degrees, **fixed})
    if not suit:
        Plan(**{name: every[0][name] for name in ("tp", "pp", "ep")}).check(model)
    return suit


def _rate(arrival_s: np.ndarray) -> float:
    """Requests per second of arrivals."""
    n, span = len(arrival_s), float(np.ptp(arrival_s)) if len(arrival_s) else 0.0
    if n < 2 or span <= 0:
        raise BadWorkload(f"capacity: expected traffic of several requests over some time, found {n:,}")
    return (n - 1) / span


def _row(run: Run, load: float) -> dict[str, Any]:
    """Of replicas of which one holds the requests of a run, as many as a load takes."""
    rate = _rate(run.drawn.arrival_s)
    replicas = max(1, math.ceil(load / rate - 1e-9))
    return {
        **_plan(run, run.sped_up(load / (replicas * rate)), replicas),
        "rate": rate,
        "rate_per_chip": rate / run.devices,
        "replicas": replicas,
        "decode_chip": "",
        "decode_tp": 0,
        "decode_replicas": 0,
    }


def _row_apart(run: Run) -> dict[str, Any]:
    """Of pools apart that serve the load together."""
    rate, (reads, decodes) = _rate(run.drawn.arrival_s), run.setting.pools
    return {
        **_plan(run, run, 1),
        "rate": rate,
        "rate_per_chip": rate / run.devices,
        "replicas": reads.servers.replicas // reads.servers.lanes,
        "decode_chip": decodes.static.chip.name.partition("[")[0],
        "decode_tp": int(decodes.static.request.plan.tp),
        "decode_replicas": decodes.servers.replicas // decodes.servers.lanes,
    }


def _plan(run: Run, loaded: Run, times: int) -> dict[str, Any]:
    """What is said of a run's first pool and of what its requests saw, and what so many systems take at the load."""
    plan, policy = run.plan, run.policy
    spent = {name: known(loaded, name) for name in ("power_w", "usd_per_hour")}
    return {
        "chip": run.chip.name.partition("[")[0],
        "tp": int(plan.tp),
        "pp": int(plan.pp),
        "ep": int(plan.ep),
        "dtype": run.setting.static.request.dtype,
        "stack": run.chip.stack,
        "chunk": policy.chunk,
        "max_seqs": policy.max_seqs,
        "tokens_per_s_per_chip": run.tokens_per_s_per_chip,
        "ttft_p99_s": run.ttft_s.p99,
        "tpot_p99_s": run.tpot_s.p99 if run.tpot_s.count else math.nan,
        "bound": run.bound,
        "chips": times * run.devices,
        **{name: math.nan if value is None else times * value for name, value in spent.items()},
    }


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | range | np.ndarray) else [value]
