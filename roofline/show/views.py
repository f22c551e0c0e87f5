"""A grid as a picture sees it: one figure over one or two axes, with what fits and what is possible.

Which axes a picture has and what is wrong with those asked for is settled here; how they are drawn, elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roofline.base.errors import BadWorkload, UnknownName
from roofline.show.report import LABELS
from roofline.show.scales import Scale, coordinate, scale_of, tick

if TYPE_CHECKING:
    import xarray as xr

#: The axis of the draws of uncertain figures.
DRAW = "draw"

#: Variables of a sweep that are no figures.
MARKS = ("fits", "bound", "possible", "why")

#: What is drawn of a sweep where no figure is named.
_USUAL = ("tokens_per_s", "samples_per_s")

#: Points of a picture at most: more than a page has dots, and no more than a moment's work.
MOST = 4_000_000


@dataclass(frozen=True, eq=False)
class View:
    """One figure of a grid over the axes of a picture.

    Attributes
    ----------
    figure, label, label_with_unit, unit : str
        The figure, what it is called, the same with its unit, and the unit.
    axes : tuple of Scale
        One for each dimension of the arrays; the draws have none.
    values : ndarray
        The figure; the draws, if any, are the last dimension.
    fits, possible : ndarray
        Of the same shape.
    bound : ndarray
        What bounds each point, as an index into `bounds`.
    bounds : tuple of str
    title : str
        What is the same at all points.
    """

    figure: str
    label: str
    label_with_unit: str
    unit: str
    axes: tuple[Scale, ...]
    values: np.ndarray
    fits: np.ndarray
    possible: np.ndarray
    bound: np.ndarray
    bounds: tuple[str, ...]
    title: str

    @property
    def known(self) -> np.ndarray:
        """Where there is a number: the point is possible, and its model and chip have such a figure."""
        found: np.ndarray = self.possible & np.isfinite(self.values)
        return found


def view(
    what: str,
    data: xr.Dataset,
    figure: str | None,
    asked: Mapping[str, str | None],
    *,
    needs: int = 1,
    draws: bool = False,
) -> View:
    """A figure of a grid over the axes that a picture has.

    Parameters
    ----------
    what : str
        The picture, for messages.
    data : Dataset
        From :func:`roofline.sweep`, or a part of one.
    figure : str, optional
        Default: the rate.
    asked : mapping of str to str or None
        Role -> axis, such as ``{"x": "batch", "hue": None}``; None leaves the choice, or the role empty.
    needs : int
        How many of the roles must have an axis.
    draws : bool
        Whether the picture can show draws.

    Raises
    ------
    BadWorkload, UnknownName
        For data that are no grid, a figure or an axis that is not there, more axes than the picture has, more points
        than a page, and a figure that has no number anywhere.
    """
    figure = figure_of(what, data, figure)
    drawn = draws and data.sizes.get(DRAW, 1) > 1
    names = _axes(what, data, dict(asked), needs, drawn)
    dims = [*names, *([DRAW] if drawn else [])]
    part = data[[figure, *(mark for mark in MARKS if mark in data)]]
    part = part.isel({dim: 0 for dim in map(str, part.dims) if dim not in dims})
    part = part.expand_dims([name for name in dims if name not in part.dims])
    scales = tuple(scale_of(part[name]) for name in names)
    part = part.isel({scale.name: scale.order for scale in scales})
    shape = tuple(part.sizes[dim] for dim in dims)
    if np.prod(shape) > MOST:
        raise BadWorkload(
            f"{what}: expected at most {MOST:,} points, found {np.prod(shape):,}: take fewer, such as "
            f"grid.isel({dims[0]}=slice(None, None, 10))"
        )
    values = part[figure].broadcast_like(part).transpose(*dims).to_numpy().astype(float)
    # What `Dataset.where` took away is neither True nor False any more, and has no number: it is no point.
    fits = _mark(part, "fits", dims, shape) == np.True_
    possible = _mark(part, "possible", dims, shape) != np.False_
    codes = np.nan_to_num(_mark(part, "bound", dims, shape).astype(float), nan=255).astype(np.uint8)
    bounds = tuple(str(part["bound"].attrs.get("flag_meanings", "")).split()) if "bound" in part else ()
    found = View(
        figure,
        called(data, figure),
        label_of(data, figure),
        str(part[figure].attrs.get("units", "")),
        scales,
        values,
        fits,
        possible,
        codes,
        bounds,
        common(data, dims),
    )
    if not found.known.any():
        why = "no point of it is possible" if not possible.any() else f"{figure} has no number at any of its points"
        raise BadWorkload(f"{what}: there is nothing to draw of this grid: {why}")
    return found


def figure_of(what: str, data: object, figure: object) -> str:
    """The figure that is drawn: the one named, else the rate.

    Raises
    ------
    BadWorkload, UnknownName
    """
    import xarray as xr

    if not isinstance(data, xr.Dataset):
        raise BadWorkload(f"{what}: expected an xarray.Dataset, as sweep returns it, found {type(data).__name__}")
    known = [str(name) for name in data.data_vars if name not in MARKS and data[name].dtype.kind in "iuf"]
    if not known:
        raise BadWorkload(
            f"{what}: expected a grid with figures, found {', '.join(map(str, data.data_vars)) or 'none'}"
        )
    if figure is None:
        some = [name for name in (*_USUAL, *known) if name in known and bool(data[name].notnull().any())]
        return some[0] if some else known[0]
    if figure not in known:
        raise UnknownName("figure of the grid", str(figure), known)
    return str(figure)


def called(data: xr.Dataset, figure: str) -> str:
    """What a figure is called."""
    return LABELS.get(figure, str(data[figure].attrs.get("long_name", figure)))


def label_of(data: xr.Dataset, figure: str) -> str:
    """The name of an axis along which a figure is drawn, with its unit; seconds stand at the ticks."""
    unit = str(data[figure].attrs.get("units", ""))
    return called(data, figure) + (f" ({unit})" if unit not in ("s", "1", "") else "")


def is_time(figure: str) -> bool:
    """Whether a figure is in seconds, by its name."""
    return figure.endswith("_s") and "per_s" not in figure


def free(data: xr.Dataset) -> list[str]:
    """The axes of a grid that have several values, the draws left out."""
    return [str(dim) for dim, size in data.sizes.items() if size > 1 and dim != DRAW]


def _axes(what: str, data: xr.Dataset, asked: dict[str, str | None], needs: int, drawn: bool) -> list[str]:
    """The axes of the picture by role, those not asked for chosen among the free ones: numbers and long ones first."""
    known = [str(name) for name in data.coords if name != DRAW]
    for role, name in asked.items():
        if name is not None and name not in known:
            raise UnknownName(f"axis of the grid ({role}=)", str(name), known)
    given = [name for name in asked.values() if name is not None]
    if len(set(given)) < len(given):
        raise BadWorkload(
            f"{what}: expected an axis of its own for each of {' and '.join(asked)}, found {given[0]!r} for both"
        )
    rest = [name for name in free(data) if name not in given]
    if not drawn and data.sizes.get(DRAW, 1) > 1:
        rest.append(DRAW)
    order = sorted((n for n in rest if n != DRAW), key=lambda n: (data[n].dtype.kind not in "iuf", -data.sizes[n]))
    for role in asked:
        if asked[role] is None and order:
            asked[role] = order.pop(0)
    names = [name for name in asked.values() if name is not None]
    rest = [name for name in rest if name not in names]
    if rest:
        raise BadWorkload(_too_many(what, data, list(asked), names, rest))
    while len(names) < needs:
        single = [name for name in known if name not in names]
        if needs > 1 or not single:
            found, instead = ", ".join(free(data)) or "none", "; line draws one" if needs > 1 else ""
            raise BadWorkload(f"{what}: expected {needs} axes of several values, found {found}{instead}")
        names.append("chip" if "chip" in single else single[0])
    return names


def _too_many(what: str, data: xr.Dataset, roles: list[str], names: list[str], rest: list[str]) -> str:
    first = {name: data[name].to_numpy()[0].item() for name in rest}
    fixed = ", ".join(f"{name}={value!r}" for name, value in first.items())
    if not all(name.isidentifier() for name in rest):
        fixed = "{" + ", ".join(f"{name!r}: {value!r}" for name, value in first.items()) + "}"
    lines = " ".join(_option(data[name], value) for name, value in first.items() if name != DRAW)
    return (
        f"{what}: {' and '.join(roles)} have {' and '.join(names)}; too many axes are free beside: "
        f"{', '.join(f'{name} ({data.sizes[name]} values)' for name in rest)}. Fix them: grid.sel({fixed})"
        + (f", or {lines} in the command" if lines else "")
    )


def _option(values: xr.DataArray, value: object) -> str:
    """How the command line fixes an axis."""
    name = str(values.name)
    if name in ("model", "chip"):
        return f"--chip {value} alone" if name == "chip" else f"{value} alone"
    return f"-a {name}={value if 'figure' not in values.attrs else tick(values, value).replace(' ', '')}"


def _mark(part: xr.Dataset, name: str, dims: list[str], shape: tuple[int, ...]) -> np.ndarray:
    if name not in part:
        return np.ones(shape, dtype=bool)
    found: np.ndarray = part[name].broadcast_like(part).transpose(*dims).to_numpy()
    return found


def common(data: xr.Dataset, dims: list[str]) -> str:
    """What all points have in common: the model and the chip, then the options."""
    same = {
        str(name): data[name].to_numpy().reshape(-1)[0].item()
        for name in data.coords
        if name not in dims and data[name].size == 1
    }
    both = " on ".join(str(same.pop(name)) for name in ("model", "chip") if name in same)
    asked = [part for part in str(data.attrs.get("options", "")).split(", ") if part and not part.startswith("seed=")]
    fixed = [coordinate(data[name], value) for name, value in same.items()]
    return "\n".join(line for line in (both, ", ".join([*fixed, *asked])) if line)
