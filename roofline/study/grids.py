"""``sweep(models, chips, ...)``: many estimates at once, over a labelled grid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.units import text
from roofline.catalog.load import Model, as_chip, as_model
from roofline.estimates.request import LANGUAGE, RECOMMENDATION, flag, refuse_unknown
from roofline.hardware.chip import Chip
from roofline.serving.steady import SERVING
from roofline.study import asked, axes as axes_module, datasets
from roofline.study.axes import Axis
from roofline.study.clusters import checked, on_cluster
from roofline.study.definition import Cut, Grid, figures_of, size_of
from roofline.study.resources import memory_bytes
from roofline.study.running import in_threads, progress_bar
from roofline.study.slabs import Slabs
from roofline.study.stores import Store

if TYPE_CHECKING:
    import xarray as xr

#: Share of the free memory that a grid in memory may take.
_SHARE = 0.8

#: Arguments of an estimate that are none of a sweep's options, and what stands in their place.
_NO_OPTIONS = {
    "model": "models come first; several of them are an axis",
    "chip": "chips come second; several of them are an axis",
    "check": "points that do not fit are kept, and marked in `fits`",
}


def sweep(
    models: Model | str | Sequence[Model | str],
    chips: Chip | str | os.PathLike[str] | Sequence[Chip | str],
    *,
    draws: int = 0,
    seed: int = 0,
    model_error: bool = False,
    figures: Sequence[str] | None = None,
    to: str | os.PathLike[str] | None = None,
    client: object = None,
    progress: bool | None = None,
    **axes: object,
) -> xr.Dataset:
    """Estimates over a labelled grid of workloads, plans, chips, chip figures, software stacks and draws.

    Parameters
    ----------
    models : model, str or several
        As objects, names or paths; language and recommendation models may be mixed.
    chips : Chip, str or several
        As objects, names or paths.
    draws : int
        How many draws of the chips' uncertain figures to take, along an axis `draw` of its own; 0 for none. They are
        points of one scrambled Sobol sequence (:func:`roofline.hardware.uncertainty.sobol`) over all that is uncertain
        about any of the chips, the choice of a scenario too: the same at every point of the other axes, and on chips
        that have a figure in common. Best in powers of two.
    seed : int
        Of the draws.
    model_error : bool
        Whether each draw has an error of the model besides, as in an estimate's intervals
        (:meth:`roofline.estimates.figures.Estimate.interval`): one a draw and chip for all times and rates, as large at
        each point as the spread there, half of its variance in common to chips of one family, and one for what the chip
        draws. No time falls below the lower bound. `lower_s`, `upper_s`, `mfu`, `mbu`, `fits` and `bound` are those
        without. The draws are others than without.
    figures : sequence of str, optional
        The figures to keep, such as ``["tpot_s"]``; any attribute with a unit will do, `mfu` and `mbu` too. Default:
        the headline figures, `lower_s` and `upper_s`.
    to : path, optional
        A folder to write the result to, as a Zarr store of format 3, slab by slab: for grids past memory. A sweep that
        was stopped, however, goes on where it stopped when it is called again, and ends with the same bytes; of one
        that is complete nothing is computed. The Dataset that comes back is read from there as it is used.
    client : dask.distributed.Client, optional
        The cluster whose workers answer the slabs, and write them where `to` is given (a place that they all see).
    progress : bool, optional
        Whether to show a bar on stderr, or in a notebook. Default: where it takes long and somebody can see it.
    **axes : value, list, range or array
        Every list, range or array becomes an axis, in the order given; single values stay fixed.

        - The options of :func:`roofline.estimate`. One that only one family of models knows applies to that family
          alone: the figures of the other are the same all along it. With `concurrency` among them it is the steady
          state of :func:`roofline.serve` that is asked for, with the options of that.
        - `placement` and `host` of a recommendation model, by name; with ``placement="auto"`` tables are placed anew at
          every point, which takes its time.
        - ``stack=["", "vllm"]``: software stacks; ``""`` or ``"plain"`` is the chip's own figures, without any; None
          what is taken where none is named.
        - Figures of the chip by path, ``**{"memory.main.bandwidth": ["2 TB/s", "4 TB/s"], "clock": ["x0.9", "x1.1"]}``:
          texts with units, SI numbers, or factors of the chip's own value. They are a what-if on the chip, drawn and
          on its stack: see :meth:`roofline.Chip.what_if` for what follows what. ``memory.main`` is the main memory
          of whatever chip.

    Returns
    -------
    xarray.Dataset
        *Dimensions*: `model` and `chip` where several were given, then one per axis in the order given, then `draw`;
        none at all where everything is single. Coordinates have the dimensions' names and attributes `units` and
        `long_name`; those of chip figures are SI numbers, or, where every value is a factor, the factors (`units`
        ``1``); of a mixture, texts. The model and the chip are coordinates without a dimension where there is one.

        *Variables*, all of them over all dimensions:

        - the figures (float64; `units`, `long_name`): of a language model `ttft_s`, `tpot_s`, `time_s`,
          `tokens_per_s`, `tokens_per_s_per_chip`, `total_tokens_per_s`, `decode_tokens_per_s`; of a recommendation
          model `latency_s`, `samples_per_s`, `samples_per_s_per_chip`, `pipelined_samples_per_s`; of both `lower_s`
          and `upper_s`. Of a server `tokens_per_s`, `tokens_per_s_per_chip`, `total_tokens_per_s`, `requests_per_s`,
          `tpot_s`, `ttft_s`, `active`.
        - `fits` (bool): whether the model fits into the memory. Where it does not the figures stand all the same.
        - `bound` (uint8): a code, with its words in the attributes `flag_values` and `flag_meanings` as the CF
          conventions have them; ``grid.roofline.bound_text()`` is the same as texts.
        - `possible` (bool): False where no plan can do it: a tp that does not divide the heads, a prefix as long as
          the prompt, a context beyond the model's, a dtype, figure or stack that the chip does not have.
        - `why` (uint8): a code for what stands against it (0: nothing), likewise; ``grid.roofline.why_text()``.

        A figure is NaN where `possible` is False, where the model is of a family that does not have it, and, of those
        that cost something, where no price is known: a hole in a grid, as no Dataset goes without a value for a point.
        Nowhere else is anything NaN.

    Raises
    ------
    BadWorkload, UnknownName
        For options that no workload can have, for a value that its option or figure can never have, for an axis that
        is empty, not flat, or has a value twice, and where no point of the grid is possible. For a grid that exceeds
        the memory, with what it needs, and for a `to` where something else is, or another sweep, with what differs.

    Examples
    --------
    >>> import roofline as rl
    >>> grid = rl.sweep("llama-3.1-8b", ["h100-sxm", "mi300x"], batch=[1, 8], **{"clock": ["x0.9", "x1"]})
    >>> dict(grid.sizes)
    {'chip': 2, 'batch': 2, 'clock': 2}
    >>> grid["tpot_s"].attrs["units"]
    's'
    """
    grid = question(models, chips, draws, seed, figures, axes, model_error)
    cut = Cut(grid.shape, grid.lengths())
    client = None if client is None else checked(client)
    if to is not None:
        return _to_store(grid, cut, to, client, progress)
    return _in_memory(grid, cut, client, progress)


def _in_memory(grid: Grid, cut: Cut, client: Any, show: bool | None) -> xr.Dataset:
    kinds = {name: kind for name, (kind, _) in datasets.variables(grid).items()}
    needs, has = grid.size * sum(np.dtype(kind).itemsize for kind in kinds.values()), memory_bytes()
    if needs > _SHARE * has:
        raise BadWorkload(
            f"sweep: {grid.size:,} points need {text(needs, 'B', 3)} of memory, and {text(has, 'B', 3)} are free: "
            "give to='grid.zarr' to write them to disk, figures=[...] for less of them, or fewer points"
        )
    columns = {name: np.empty(grid.shape, kind) for name, kind in kinds.items()}

    def put(index: int, values: dict[str, Any]) -> None:
        slab = cut.slab(index)
        for name, column in columns.items():
            column[slab] = values[name]

    _run(grid, cut, range(len(cut)), put, client, show)
    if not columns["possible"].any():
        Slabs(grid).refuse(cut.first)
    return datasets.dataset(grid, columns)


def _to_store(grid: Grid, cut: Cut, path: Any, client: Any, show: bool | None) -> xr.Dataset:
    slabs = Slabs(grid)
    if not any(slabs.anything_possible(cut.slab(index)) for index in range(len(cut))):
        slabs.refuse(cut.first)
    store = Store(path, grid, cut)
    todo = store.begin()
    _run(grid, cut, todo, store if client else store.put, client, show)
    return store.end()


def _run(grid: Grid, cut: Cut, todo: Sequence[int], put: Any, client: Any, show: bool | None) -> None:
    done = grid.size - sum(size_of(cut.slab(index)) for index in todo)
    with progress_bar(grid.size, done, show, len(todo)) as told:
        if client is None:
            in_threads(grid, cut, todo, put, told)
        else:
            on_cluster(client, grid, cut, todo, put, told)


# What is asked ------------------------------------------------------------------------------------------------------


def question(
    models: Any, chips: Any, draws: Any, seed: Any, figures: Any, given: dict[str, Any], model_error: Any = False
) -> Grid:
    """What a sweep asks, from its arguments.

    Raises
    ------
    BadWorkload, UnknownName
        As :func:`sweep`.
    """
    model_axis = axes_module.named("model", models, as_model)
    chip_axis = axes_module.named("chip", chips, as_chip)
    loaded = chip_axis.values
    for chip in loaded:
        if any(isinstance(n.value, np.ndarray) for n in chip.numbers.values()):
            raise BadWorkload(f"sweep: {chip.title} has figures that are arrays; give each variant as a chip")
    serving = "concurrency" in given
    known = _known(model_axis.values, serving)
    options = {name: value for name, value in given.items() if not _is_figure(name, known, loaded)}
    _refuse(options, known, model_axis.values)
    found = [axis for axis, one in ((model_axis, models), (chip_axis, chips)) if not axes_module.is_one(one)]
    fixed: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if axes_module.several(value):
            figure = name not in options
            found.append(axes_module.figure(name, value, loaded) if figure else axes_module.option(name, value))
        elif name in options:
            fixed[name] = axes_module.single(name, value)
        else:
            axes_module.figure(name, [value], loaded)
            changes[name] = value
    _try(changes, found, loaded)
    if draws:
        found.append(axes_module.draws(draws, seed))
    elif flag("model_error", model_error):
        raise BadWorkload("sweep: model_error=True draws an error of the model: expected draws beside it, as draws=256")
    return Grid(
        model_axis.values,
        chip_axis.values,
        tuple(found),
        fixed,
        changes,
        int(draws),
        int(seed),
        serving,
        figures_of(model_axis.values, serving, figures),
        flag("model_error", model_error),
    )


def _try(changes: dict[str, object], found: Sequence[Axis], chips: Sequence[Chip]) -> None:
    """Make the what-ifs of every chip once, so that a value that its figure cannot have is told before anything else.

    Raises
    ------
    BadWorkload
    """
    figures = [axis for axis in found if axis.kind == "figure"]
    for chip in chips:
        own = [axis for axis in figures if axes_module.known_figure(axis.name, [chip])]
        first = {path: value for path, value in changes.items() if axes_module.known_figure(path, [chip])}
        first |= {axis.name: axis.on(chip)[0].item() for axis in own}
        if first:
            chip.what_if(first)
        for axis in own:
            chip.what_if({axis.name: axis.on(chip)})


def _known(models: Sequence[Model], serving: bool) -> tuple[str, ...]:
    """The options that any of the models knows."""
    for model in models if serving else ():
        asked.refuse_unserved("sweep", model)
    return axes_module.options_of(models, SERVING if serving else LANGUAGE, RECOMMENDATION)


def _is_figure(name: str, known: Sequence[str], chips: Sequence[Chip]) -> bool:
    """Whether an axis is a chip figure: its path has dots, or it is no option and a chip has it."""
    return name not in known and name not in _NO_OPTIONS and ("." in name or axes_module.known_figure(name, chips))


def _refuse(options: dict[str, object], known: tuple[str, ...], models: Sequence[Model]) -> None:
    for name, instead in _NO_OPTIONS.items():
        if name in options:
            raise BadWorkload(f"sweep: {name} is no option, found {name}={shown(options[name])}: {instead}")
    asked.refuse_misplaced("sweep", options, "concurrency" in options)
    refuse_unknown(options, known, " or ".join(model.name for model in models))


__all__ = ["question", "sweep"]
