"""Many estimates at once, over a labelled grid."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import as_numeric
from roofline.base.units import dtype_name
from roofline.catalog.load import Model, as_chip, as_model
from roofline.estimates.estimate import estimate
from roofline.estimates.language import LanguageEstimate
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.estimates.request import LANGUAGE, RECOMMENDATION, refuse_unknown
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender

if TYPE_CHECKING:
    import xarray as xr

#: Options that no array can hold: each of their values is an estimate of its own.
_WORDS = ("dtype", "weight_dtype", "kv_dtype", "table_dtype", "compiled")

#: Arguments of an estimate that are none of a sweep's options, and what stands in their place.
_NO_OPTIONS = {
    "model": "models come first; several of them are an axis",
    "chip": "chips come second; several of them are an axis",
    "check": "points that do not fit are kept, and marked in `fits`",
}


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
        Dimensions `model` and `chip` where several were given, then one per axis in the order given; none at all
        where everything is single. Variables: the headline figures, `lower_s`, `upper_s`, `bound`, `fits`; points that
        do not fit keep their figures, marked by ``fits = False``.

    Raises
    ------
    BadWorkload, UnknownName
        For options that no workload can have, and for an axis that is empty, not flat, or has a value twice.
    """
    model_list, chip_list = _several("model", models, as_model), _several("chip", chips, as_chip)
    if len({type(m) for m in model_list}) > 1:
        raise BadWorkload("sweep: language and recommendation models have different figures; sweep them apart")
    _refuse(options, model_list[0])
    fixed, axes = {}, {}
    for name, value in options.items():
        values = _axis(name, value)
        if values is None:
            fixed[name] = value.item() if isinstance(value, np.ndarray) else value
        else:
            axes[name] = values
    words = {name: values for name, values in axes.items() if name in _WORDS}
    numeric = {name: values for name, values in axes.items() if name not in _WORDS}
    arrays = {
        name: np.asarray(values).reshape([-1 if i == j else 1 for j in range(len(numeric))])
        for i, (name, values) in enumerate(numeric.items())
    }
    for chip in chip_list:
        if any(isinstance(n.value, np.ndarray) for n in chip.numbers.values()):
            raise BadWorkload(f"sweep: {chip.title} has figures that are arrays; give each variant as a chip")
    columns = _evaluate(model_list, chip_list, words, tuple(map(len, numeric.values())), {**fixed, **arrays})
    names = {"model": [m.name for m in model_list], "chip": [c.name for c in chip_list]}
    single = [name for name, given in (("model", models), ("chip", chips)) if _is_one(given)]
    return _labelled(columns, {**names, **words, **numeric}, single, axes, model_list[0])


def estimate_units(model: Model) -> dict[str, str]:
    """Units of the headline figures of a model's estimates."""
    return (LanguageEstimate if isinstance(model, LanguageModel) else RecommendationEstimate).FIGURES


def _evaluate(
    models: list[Model],
    chips: list[Chip],
    words: dict[str, list[Any]],
    shape: tuple[int, ...],
    options: dict[str, Any],
) -> dict[str, np.ndarray]:
    """Each variable over models, chips, words and the `shape` of numeric axes; an estimate for each of the former."""
    outer: list[list[Any]] = [models, chips, *words.values()]
    columns: dict[str, np.ndarray] = {}
    for index in itertools.product(*(range(len(values)) for values in outer)):
        model, chip, *spoken = (values[i] for values, i in zip(outer, index, strict=True))
        est = estimate(model, chip, check=False, **options, **dict(zip(words, spoken, strict=True)))
        point = est.figures() | {"lower_s": est.lower_s, "upper_s": est.upper_s, "bound": est.bound, "fits": est.fits}
        for name, value in point.items():
            if name not in columns:
                kind = {"fits": bool, "bound": object}.get(name, float)
                columns[name] = np.empty((*map(len, outer), *shape), dtype=kind)
            columns[name][index] = np.broadcast_to(value, shape)
    return columns


def _labelled(
    columns: dict[str, np.ndarray], labels: dict[str, list[Any]], single: list[str], axes: dict[str, Any], model: Model
) -> xr.Dataset:
    """The columns as a Dataset. One model and one chip are no axes; dimensions come in the order of the options."""
    import xarray as xr

    units = {**estimate_units(model), "lower_s": "s", "upper_s": "s"}
    data = xr.Dataset(
        {n: (list(labels), values, {"units": units[n]} if n in units else {}) for n, values in columns.items()},
        coords=labels,
    )
    data = data.squeeze(single)
    return data.transpose(*[d for d in ("model", "chip") if d in data.dims], *axes) if data.dims else data


# What is given ------------------------------------------------------------------------------------------------------


def _is_one(given: Any) -> bool:
    return isinstance(given, str | os.PathLike | LanguageModel | Recommender | Chip)


def _several(what: str, given: Any, load: Callable[[Any], Any]) -> list[Any]:
    """The models or chips that were given, one or several; no two of one name."""
    try:
        items = [given] if _is_one(given) else list(given)
    except TypeError:
        raise BadWorkload(f"sweep: expected a {what}, its name or its path, or several, found {shown(given)}") from None
    if not items:
        raise BadWorkload(f"sweep: expected at least one {what}, found {shown(given)}")
    loaded = [load(item) for item in items]
    _refuse_twice(what, [one.name for one in loaded])
    return loaded


def _refuse(options: dict[str, Any], model: Model) -> None:
    for name, instead in _NO_OPTIONS.items():
        if name in options:
            raise BadWorkload(f"sweep: {name} is no option, found {name}={shown(options[name])}: {instead}")
    known = LANGUAGE if isinstance(model, LanguageModel) else RECOMMENDATION
    refuse_unknown(options, known, model.name)


def _axis(name: str, value: Any) -> list[Any] | None:
    """The values of an axis; None for a single value."""
    if not (isinstance(value, list | tuple | range) or hasattr(value, "__array__")):
        return None
    array = np.asarray(as_numeric(value, f"sweep: {name}"))
    if array.ndim == 0:
        return None
    if array.ndim > 1:
        raise BadWorkload(
            f"sweep: an axis is a flat list, found {name} of shape {array.shape}; give each dimension an option"
        )
    if not array.size:
        raise BadWorkload(f"sweep: the axis {name} is empty")
    values = list(value)
    if name in _WORDS and name != "compiled":
        _refuse_twice(name, [None if word is None else dtype_name(word) for word in values])
    elif array.dtype.kind in "biuf":
        _refuse_twice(name, array.tolist())
    return values


def _refuse_twice(axis: str, labels: list[Any]) -> None:
    """Two points of one name could not be told apart."""
    twice = [label for label, times in Counter(labels).items() if times > 1]
    if twice:
        found = ", ".join(f"{label:g}" if isinstance(label, float) else str(label) for label in twice)
        raise BadWorkload(f"sweep: the axis {axis} has {found} more than once; each value makes one coordinate")
