"""Many estimates at once: labelled grids, sensitivities, frontiers, inverse questions.

All of it is one mechanism: an argument, or a figure of the chip, that is an array.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.catalog.load import Model, load_chip, load_model
from roofline.estimates.estimate import estimate
from roofline.estimates.language import LanguageEstimate
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_TEXT_OPTIONS = ("dtype", "weight_dtype", "kv_dtype", "table_dtype")


def _several(value: Any, load: Any, kinds: Any) -> list[Any]:
    items = list(value) if not isinstance(value, str | os.PathLike | kinds) else [value]
    if not items:
        raise BadWorkload("sweep: expected at least one model and one chip")
    return [item if isinstance(item, kinds) else load(item) for item in items]


def sweep(
    models: Model | str | Sequence[Model | str],
    chips: Chip | str | os.PathLike[str] | Sequence[Chip | str],
    **options: Any,
) -> xr.Dataset:
    """Estimates over a labelled grid.

    Parameters
    ----------
    models, chips
        One or several of each, as objects, names or paths. Models of one kind: language or recommendation.
    **options
        As for :func:`roofline.estimate`. Every list or array becomes an axis; single values stay fixed.

    Returns
    -------
    xarray.Dataset
        Dimensions `model` and `chip` where several were given, then one per axis in the order given. Variables: the
        headline figures, `lower_s`, `upper_s`, `bound`, `fits`; points that do not fit keep their figures, marked by
        ``fits = False``.

    Raises
    ------
    BadWorkload
        For options that no workload can have.
    """
    import xarray as xr

    model_list = _several(models, load_model, LanguageModel | Recommender)
    chip_list = _several(chips, load_chip, Chip)
    if len({type(m) for m in model_list}) > 1:
        raise BadWorkload("sweep: language and recommendation models have different figures; sweep them apart")
    axes = {k: list(v) for k, v in options.items() if isinstance(v, list | tuple | range) or hasattr(v, "__array__")}
    fixed = {k: v for k, v in options.items() if k not in axes}
    for name, values in axes.items():
        if not values:
            raise BadWorkload(f"sweep: the axis {name} is empty")
    text_axes = {k: v for k, v in axes.items() if k in _TEXT_OPTIONS}
    numeric = {k: v for k, v in axes.items() if k not in text_axes}
    arrays = {
        name: np.asarray(values).reshape([-1 if i == j else 1 for j in range(len(numeric))])
        for i, (name, values) in enumerate(numeric.items())
    }
    shape = tuple(len(v) for v in numeric.values())
    outer = [len(model_list), len(chip_list), *(len(v) for v in text_axes.values())]
    columns: dict[str, np.ndarray] = {}
    for index in itertools.product(*(range(n) for n in outer)):
        words = {name: values[index[2 + i]] for i, (name, values) in enumerate(text_axes.items())}
        if any(isinstance(n.value, np.ndarray) for n in chip_list[index[1]].numbers.values()):
            title = chip_list[index[1]].title
            raise BadWorkload(f"sweep: {title} has figures that are arrays; give each variant as a chip")
        est = estimate(model_list[index[0]], chip_list[index[1]], check=False, **fixed, **words, **arrays)
        point = est.figures() | {"lower_s": est.lower_s, "upper_s": est.upper_s, "bound": est.bound, "fits": est.fits}
        for name, value in point.items():
            if name not in columns:
                kind = {"fits": bool, "bound": object}.get(name, float)
                columns[name] = np.empty((*outer, *shape), dtype=kind)
            columns[name][index] = np.broadcast_to(value, shape)
    dims = ["model", "chip", *text_axes, *numeric]
    coords = {"model": [m.name for m in model_list], "chip": [c.name for c in chip_list], **text_axes, **numeric}
    units = {**estimate_units(model_list[0]), "lower_s": "s", "upper_s": "s"}
    data = xr.Dataset(
        {name: (dims, values, {"units": units[name]} if name in units else {}) for name, values in columns.items()},
        coords=coords,
    )
    single = [
        d
        for d, given, kinds in (("model", models, LanguageModel | Recommender), ("chip", chips, Chip))
        if isinstance(given, str | os.PathLike | kinds)
    ]
    # One model and one chip are no axes, and dimensions come in the order the options were given.
    data = data.squeeze(single)
    return data.transpose(*[d for d in ("model", "chip") if d in data.dims], *axes)


def estimate_units(model: Model) -> dict[str, str]:
    """Units of the headline figures of a model's estimates."""
    from roofline.estimates.recommendation import RecommendationEstimate

    return (LanguageEstimate if isinstance(model, LanguageModel) else RecommendationEstimate).FIGURES


def sensitivity(
    model: Model | str, chip: Chip | str, figure: str | None = None, step: float = 0.1, **options: Any
) -> pd.DataFrame:
    """How much each figure of the chip moves the result: elasticities, largest first.

    Parameters
    ----------
    model, chip, **options
        As for :func:`roofline.estimate`.
    figure : str, optional
        Headline figure; default: `tokens_per_s` or `samples_per_s`.
    step : float
        Relative change of each chip figure.

    Returns
    -------
    DataFrame
        Indexed by chip figure: `value` (SI), `elasticity` (percent of the result per percent of the figure),
        `result` (the result after the change). Figures that move nothing are left out.
    """
    import pandas as pd

    chip = chip if isinstance(chip, Chip) else load_chip(chip)
    model = model if isinstance(model, LanguageModel | Recommender) else load_model(model)
    figure = figure or ("tokens_per_s" if isinstance(model, LanguageModel) else "samples_per_s")
    base = estimate(model, chip, check=False, **options)
    if not isinstance(step, int | float) or not 1e-6 <= abs(step) < 1:
        raise BadWorkload(f"sensitivity: expected a relative step such as 0.1, found {step!r}")
    if np.shape(base.time_s):
        raise BadWorkload("sensitivity: expected one point, found arrays; sweep and estimate do arrays")
    if figure not in base.FIGURES:
        raise BadWorkload(f"sensitivity: no figure {figure!r}; there are {', '.join(base.FIGURES)}")
    paths = [p for p, n in chip.numbers.items() if n.dimension in ("rate", "bandwidth", "capacity", "time") and n.value]
    paths = [p for p in paths if not p.endswith(".capacity") or p == f"memory.{chip.cache_level}.capacity"]
    if not paths:
        return pd.DataFrame(columns=["value", "elasticity", "result"])
    # One array per figure, each with its own element changed: all the what-ifs are one estimate.
    changes = {p: chip[p] * (1 + step * np.eye(len(paths))[i]) for i, p in enumerate(paths)}
    moved = np.broadcast_to(
        getattr(estimate(model, chip.what_if(changes), check=False, **options), figure), (len(paths),)
    )
    before = float(getattr(base, figure))
    table = pd.DataFrame(
        {
            "value": [chip[p] for p in paths],
            "elasticity": np.log(moved / before) / np.log1p(step),
            "result": moved,
        },
        index=pd.Index(paths, name="figure"),
    )
    table = table[table["elasticity"].abs() > 1e-6]
    return table.sort_values("elasticity", key=lambda e: e.abs(), ascending=False)


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


def fewest_chips(
    model: LanguageModel | str,
    chip: Chip | str,
    *,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    tokens_per_s: float | None = None,
    most: int = 64,
    **options: Any,
) -> pd.DataFrame:
    """How many chips serve a language model within latency and throughput targets.

    Every tensor-parallel width that divides the heads, up to `most`, is tried with batches in powers of two.

    Parameters
    ----------
    model, chip, **options
        As for :func:`roofline.estimate`, without `tp` and `batch`.
    ttft_s, tpot_s : float, optional
        Latency limits (s).
    tokens_per_s : float, optional
        Output tokens per second that the whole must reach; replicas are added until it does.
    most : int
        Widest tensor parallelism to try.

    Returns
    -------
    DataFrame
        The best batch for each width that meets the limits: tp, batch, replicas, chips, and the figures; fewest chips
        first. Empty when nothing meets them.
    """
    import pandas as pd

    served = model if isinstance(model, LanguageModel | Recommender) else load_model(model)
    if not isinstance(served, LanguageModel):
        raise BadWorkload(f"fewest_chips is for language models; {served.name} is none")
    for name in ("tp", "batch"):
        if name in options:
            raise BadWorkload(f"fewest_chips: {name} is what it looks for; leave it out")
    for name, limit in (("ttft_s", ttft_s), ("tpot_s", tpot_s), ("tokens_per_s", tokens_per_s), ("most", most)):
        if limit is not None and not (isinstance(limit, int | float) and limit > 0):
            raise BadWorkload(f"fewest_chips: {name}: expected a positive number, found {limit!r}")
    widths = [t for t in (2**i for i in range(int(np.log2(most)) + 1)) if served.heads % t == 0]
    grid = sweep(served, chip, tp=widths, batch=[2**i for i in range(13)], **options)
    frame = grid.to_dataframe().reset_index()
    good = frame["fits"].astype(bool)
    for limit, column in ((ttft_s, "ttft_s"), (tpot_s, "tpot_s")):
        if limit is not None:
            good &= frame[column] <= limit
    frame = frame[good].sort_values("tokens_per_s", ascending=False).drop_duplicates("tp")
    replicas = np.ceil((tokens_per_s or 0) / frame["tokens_per_s"]).clip(lower=1)
    frame = frame.assign(replicas=replicas.astype(int), chips=(replicas * frame["tp"]).astype(int))
    columns = ["tp", "batch", "replicas", "chips", "ttft_s", "tpot_s", "tokens_per_s", "tokens_per_s_per_chip", "bound"]
    return pd.DataFrame(frame[columns].sort_values(["chips", "tpot_s"]).reset_index(drop=True))
