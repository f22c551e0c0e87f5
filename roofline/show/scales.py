"""Axes of pictures: where their values stand, how they are written, and whether equal ratios are equal steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import units
from roofline.show import canvas
from roofline.show.quantities import ratio, si

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: A figure that spans more than this has a logarithmic scale.
_WIDE = 30.0

#: One that spans less than this has ticks within its decades.
_DECADES = 300.0

#: Values of an axis that have a tick each, where there is room for them.
_TICKS = 16


@dataclass(frozen=True, eq=False)
class Scale:
    """One axis of a picture.

    Attributes
    ----------
    name, label : str
        The axis of the grid, and what it is called, with its unit.
    places : ndarray
        Where its values stand, ascending: the numbers themselves, or 0, 1, 2 ... for words.
    texts, names : list of str
        Each value as a tick writes it, and as a key does.
    numeric, log : bool
        Whether the values are numbers, and whether equal ratios of them are equal steps.
    order : ndarray
        The indices of the values in the grid, in the order of `places`.
    write : callable
        From a number along the axis to its text.
    """

    name: str
    label: str
    places: np.ndarray
    texts: list[str]
    names: list[str]
    numeric: bool
    log: bool
    order: np.ndarray
    write: Callable[[float], str]

    def __len__(self) -> int:
        return len(self.places)

    def edges(self) -> np.ndarray:
        """The ends of cells around the values: halfway between two of them, as far beyond the first and the last."""
        at = np.log(self.places) if self.log else self.places
        if len(at) == 1:
            half = 0.5 if not self.numeric else np.log(2) / 2 if self.log else max(abs(at[0]), 1.0) / 2
            found = at[0] + half * np.array([-1.0, 1.0])
        else:
            between = (at[1:] + at[:-1]) / 2
            found = np.concatenate([[2 * at[0] - between[0]], between, [2 * at[-1] - between[-1]]])
        return np.asarray(np.exp(found) if self.log else found)


def scale_of(values: xr.DataArray) -> Scale:
    """The scale of an axis of a grid."""
    name, found = str(values.name), values.to_numpy()
    numeric = found.dtype.kind in "iuf"
    order = np.argsort(found, kind="stable") if numeric else np.arange(len(found))
    found = found[order]
    unit, label = str(values.attrs.get("units", "")), str(values.attrs.get("long_name", name))
    bare = unit in ("", "1") or "figure" in values.attrs
    return Scale(
        name=name,
        label=label if bare else f"{label} ({unit})",
        places=found.astype(float) if numeric else np.arange(len(found), dtype=float),
        texts=[tick(values, value) for value in found.tolist()],
        names=[coordinate(values, value) for value in found.tolist()],
        numeric=numeric,
        log=numeric and _by_ratios(found.astype(float)),
        order=order,
        write=lambda value: tick(values, value),
    )


def _by_ratios(values: np.ndarray) -> bool:
    """Whether the values are powers of two, or spread over their range more evenly by ratios than by differences."""
    if len(values) < 3 or values.min() <= 0:
        return False
    if _powers_of_two(values):
        return True
    steps = [np.diff(one) for one in (values, np.log(values))]
    uneven = [float(np.std(one) / np.mean(one)) for one in steps]
    return bool(values.max() >= 8 * values.min() and uneven[1] < uneven[0])


def tick(values: xr.DataArray, value: object) -> str:
    """A value of an axis by itself: ``1,024``, ``2 TB/s``, ``x1.1``, ``bf16``."""
    unit = str(values.attrs.get("units", ""))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if "figure" in values.attrs:
        return f"x{value:.4g}" if unit == "1" else units.text(value, unit, 4)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def coordinate(values: xr.DataArray, value: object) -> str:
    """A value of an axis with its name: ``batch=64``, ``clock x1.1``; models and chips are known by theirs."""
    name = str(values.name)
    if name in ("model", "chip"):
        return str(value)
    text = tick(values, value)
    return f"{name} {text}" if "figure" in values.attrs else f"{name}={text or 'plain'}"


# On the page --------------------------------------------------------------------------------------------------------


def wide(values: np.ndarray) -> bool:
    """Whether a figure's values want a logarithmic scale."""
    values = values[np.isfinite(values)]
    return bool(len(values) and values.min() > 0 and values.max() > _WIDE * values.min())


def written(name: str, unit: str = "") -> Any:
    """What writes the values of a figure at ticks: with prefixes where they are seconds or large."""
    if unit == "s" or (name.endswith("_s") and "per_s" not in name):
        return lambda v, _: units.text(v, "s", 3)
    return lambda v, _: si(v) if abs(v) >= 1e4 else ratio(v)


def figure_axis(axis: Axis, name: str, label: str, values: np.ndarray, scale: float, unit: str = "") -> None:
    """An axis of a picture that a figure is drawn along."""
    if wide(values):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
        log_ticks(axis, values)
    axis.set_major_formatter(written(name, unit))
    axis.set_label_text(canvas.plain(label, 80), fontsize=9 * scale, parse_math=False)
    axis.set_tick_params(labelsize=8.5 * scale)


def log_ticks(axis: Axis, values: np.ndarray) -> None:
    """Ticks of a logarithmic axis: at 1, 2 and 5 where there are few decades, and none between them written."""
    canvas.matplotlib()
    from matplotlib.ticker import LogLocator, NullFormatter

    few = np.nanmax(values) < _DECADES * np.nanmin(values)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    axis.set_minor_formatter(NullFormatter())


def grid_axis(page: Axes, across: bool, one: Scale, size: float) -> None:
    """An axis of a picture that an axis of the grid is drawn along; its ticks come with :func:`settle`."""
    axis = page.xaxis if across else page.yaxis
    if one.log:
        page.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_label_text(canvas.plain(one.label, 80), fontsize=9 * size, parse_math=False)
    axis.set_tick_params(labelsize=8.5 * size)
    _ticks(page, across, one, range(0, len(one), -(-len(one) // _TICKS)))


def settle(page: Axes, across: bool, one: Scale) -> None:
    """Write as many values of an axis as stand apart on the page, evenly chosen; words that do not are turned.

    The page was laid out.
    """
    axis = page.xaxis if across else page.yaxis
    if one.numeric and len(one) > _TICKS and not _powers_of_two(one.places):
        return _round_ticks(axis, one)
    size = axis.get_tick_params().get("labelsize", 8.5)
    sides = [canvas.extent(page, canvas.plain(text, 24), fontsize=size)[0 if across else 1] for text in one.texts]
    at = _on_the_page(page, across, one)
    fitting = (shown for step in range(1, len(one)) if _apart(at, sides, shown := range(0, len(one), step), across))
    shown = next(fitting, range(1))
    if across and not one.numeric and len(shown) < len(one):  # none of these can be guessed from the others
        _ticks(page, across, one, range(len(one)))
        for label in axis.get_ticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
        return None
    return _ticks(page, across, one, shown)


def _round_ticks(axis: Axis, one: Scale) -> None:
    """Ticks at round numbers, for many values that are none."""
    canvas.matplotlib()
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8) if one.log else MaxNLocator(6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: one.write(value))


def _powers_of_two(values: np.ndarray) -> bool:
    return bool(values.min() > 0 and np.all(np.log2(values) % 1 == 0))


def _on_the_page(page: Axes, across: bool, one: Scale) -> np.ndarray:
    """Where the values stand, in typographic points."""
    ends = page.get_ylim() if across else page.get_xlim()
    other = np.full(len(one), ends[0])
    spots = np.column_stack([one.places, other] if across else [other, one.places])
    found: np.ndarray = page.transData.transform(spots)[:, 0 if across else 1] * 72 / page.figure.dpi
    return found


def _apart(at: np.ndarray, sides: Sequence[float], shown: Sequence[int], across: bool) -> bool:
    """Whether the texts of these values stand apart, and are no more than a reader takes in."""
    half = np.array([sides[i] for i in shown]) / 2
    gaps = np.abs(np.diff(at[list(shown)]))
    return len(shown) <= _TICKS and bool(np.all(gaps >= half[1:] + half[:-1] + (5 if across else 0)))


def _ticks(page: Axes, across: bool, one: Scale, shown: Sequence[int]) -> None:
    axis = page.xaxis if across else page.yaxis
    axis.set_ticks([], minor=True)
    axis.set_ticks([one.places[i] for i in shown], [canvas.plain(one.texts[i], 24) for i in shown], parse_math=False)
