"""The form of a sweep's result: its variables, their types and attributes, and the Dataset that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.estimates import questions
from roofline.study.axes import Axis
from roofline.study.definition import Grid
from roofline.study.slabs import WHY

if TYPE_CHECKING:
    import xarray as xr

#: What the figures are called on an axis of a picture.
_NAMES = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "time_s": "time",
    "tokens_per_s": "output tokens",
    "tokens_per_s_per_chip": "output tokens, per chip",
    "total_tokens_per_s": "prompt and output tokens",
    "decode_tokens_per_s": "output tokens while decoding",
    "requests_per_s": "requests answered",
    "latency_s": "latency of a batch",
    "samples_per_s": "samples",
    "samples_per_s_per_chip": "samples, per chip",
    "pipelined_samples_per_s": "samples, batches overlapped",
    "lower_s": "lower bound of the time",
    "upper_s": "upper bound of the time",
    "active": "requests in flight",
    "mfu": "model FLOP utilisation",
    "mbu": "memory bandwidth utilisation",
    "kv_tokens": "tokens that the KV cache has room for",
}

#: Type and meaning of the variables that are no figures.
_MARKS = {
    "fits": (np.bool_, "fits into the memory"),
    "bound": (np.uint8, "what bounds it"),
    "possible": (np.bool_, "the workload can be put to the chip at all"),
    "why": (np.uint8, "what stands against it"),
}


def variables(grid: Grid) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The type and the attributes of each variable of a grid, in order."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {
        name: (np.float64, {"units": unit, "long_name": _NAMES.get(name, name)}) for name, unit in grid.figures.items()
    }
    words = {"bound": (*grid.bounds, "none"), "why": tuple(WHY)}
    for name, (kind, said) in _MARKS.items():
        attrs: dict[str, Any] = {"long_name": said}
        if name in words:
            attrs["flag_values"] = np.arange(len(words[name]), dtype=np.uint8)
            attrs["flag_meanings"] = " ".join(words[name])
        found[name] = (kind, attrs)
    return found


def empty(grid: Grid, name: str) -> Any:
    """What a variable holds where nothing has been computed yet."""
    return {"fits": False, "bound": len(grid.bounds), "possible": False, "why": len(WHY) - 1}.get(name, np.nan)


def single(grid: Grid) -> dict[str, str]:
    """The names of the model and the chip where there is one of each: coordinates without a dimension."""
    dims = {axis.name for axis in grid.axes}
    both = {"model": grid.models[0].name, "chip": grid.chips[0].name}
    return {name: label for name, label in both.items() if name not in dims}


def attributes(grid: Grid) -> dict[str, object]:
    """What is said of the whole: what was asked for beside the axes."""
    fixed = {**grid.fixed, **grid.changes} | ({"draws": grid.draws, "seed": grid.seed} if grid.draws else {})
    fixed |= {"model_error": True} if grid.model_error else {}
    asked = ", ".join(f"{name}={value}" for name, value in fixed.items())
    return {"source": f"roofline {version('roofline')}", "options": asked}


def dataset(grid: Grid, columns: dict[str, np.ndarray]) -> xr.Dataset:
    """The columns of a grid, each of the grid's shape, as a Dataset."""
    import xarray as xr

    dims = [axis.name for axis in grid.axes]
    data = {name: _variable(dims, columns[name], attrs) for name, (_, attrs) in variables(grid).items()}
    register()
    coords = {axis.name: _coordinate(axis) for axis in grid.axes}
    alone = {name: _variable((), np.array(label)) for name, label in single(grid).items()}
    return xr.Dataset(data, coords={**coords, **alone}, attrs=attributes(grid))


def _variable(dims: Sequence[str], values: np.ndarray, attrs: dict[str, object] | None = None) -> xr.Variable:
    """An array as it is: where xarray is to look what else it could be, it loads dask and pint if they are there."""
    import xarray as xr

    return xr.Variable(dims, values, attrs, fastpath=True)


def _coordinate(axis: Axis) -> xr.Variable:
    """The labels of an axis; those that are numbers as an index, which xarray takes as it is, too."""
    import pandas as pd

    labels = axis.labels
    return _variable((axis.name,), pd.Index(labels) if labels.dtype.kind in "if" else labels, axis.attrs)


class RooflineAccessor:
    """What a sweep's Dataset offers besides: ``grid.roofline.bound_text()``."""

    def __init__(self, data: xr.Dataset) -> None:
        self._data = data

    def bound_text(self) -> xr.DataArray:
        """What bounds each point, in words such as ``memory:hbm``; ``none`` where the point is impossible."""
        return self._texts("bound")

    def why_text(self) -> xr.DataArray:
        """What stands against each point, a sentence; empty where nothing does."""
        return self._texts("why").copy(data=np.array([WHY.get(w, w) for w in self._words("why")])[self._data["why"]])

    def _words(self, name: str) -> list[str]:
        words: list[str] = str(self._data[name].attrs["flag_meanings"]).split(" ")
        return words

    def _texts(self, name: str) -> xr.DataArray:
        if name not in self._data or "flag_meanings" not in self._data[name].attrs:
            raise BadWorkload(f"expected a Dataset as sweep returns it, with a variable {name!r} of codes")
        codes = self._data[name]
        return codes.copy(data=np.array(self._words(name))[codes.values]).assign_attrs(
            {key: value for key, value in codes.attrs.items() if not key.startswith("flag_")}
        )


def register() -> None:
    """Give every Dataset the accessor ``.roofline``, that with the pictures; once a process."""
    import xarray as xr

    if not hasattr(xr.Dataset, "roofline"):
        accessor = questions.ANSWERS["accessor"]()
        xr.register_dataset_accessor("roofline")(accessor)  # type: ignore[no-untyped-call]
