"""Many estimates at once, over a labelled grid."""

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
