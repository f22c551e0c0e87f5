"""Heat maps: a figure over two axes as colour, and what bounds each cell as regions with names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.face import FLAG, TEXT, optional, takes
from roofline.show import canvas, regions, scales
from roofline.show.views import View, view

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

#: Cells beyond which they are one bitmap in an SVG.
_BITMAP = 2000

#: How cells that are no answers are hatched: those that do not fit over their colour, impossible ones without any.
_NO_FIT: dict[str, Any] = {"facecolor": (1.0, 1.0, 1.0, 0.55), "edgecolor": "0.25", "hatch": "////"}
_IMPOSSIBLE: dict[str, Any] = {"facecolor": "0.93", "edgecolor": "0.6", "hatch": "xxxx"}


@canvas.picture
@takes(
    **dict.fromkeys(("x", "y", "figure", "title"), optional(TEXT)),
    bounds=FLAG,
    ax=optional(canvas.AXES),
)
def plot_heatmap(
    data: xr.Dataset,
    x: str | None = None,
    y: str | None = None,
    figure: str | None = None,
    *,
    bounds: bool = True,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A figure of a grid over two axes as colour, with the regions of what bounds it.

    Each cell is one point of the grid; nothing is interpolated. Lines run between cells that different things bound,
    and each region has its name in it, or, where there is no room for it, a number that the key explains. It is the
    `bound` of the grid, whatever the figure: of a language model, that of the longer of prefill and decode. Cells that
    do not fit into the memory are hatched over their colour; impossible ones are hatched without any.

    Parameters
    ----------
    data : Dataset
        From :func:`roofline.sweep`, or a part of one.
    x, y : str, optional
        Axes of the grid. Default: those with several values; numbers along x before words, long axes before short.
    figure : str, optional
        Variable to draw. Default: `tokens_per_s` or `samples_per_s`.
    bounds : bool, optional
        Whether to draw the regions.
    title : str, optional
        Default: what is the same at all points.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes
        Its figure has the scale of the colours as further axes.

    Raises
    ------
    BadWorkload, UnknownName
        For data that are no grid, an axis or a figure that it does not have, other than two free axes, and where there
        is nothing to draw.
    """
    seen = view("heatmap", data, figure, {"x": x, "y": y}, needs=2)
    canvas.matplotlib()
    from matplotlib.lines import Line2D

    page = canvas.axes(ax, canvas.sized(size, canvas.USUAL))
    scale = canvas.scale(page)
    across, up = seen.axes
    scales.grid_axis(page, True, across, scale)
    scales.grid_axis(page, False, up, scale)
    corners = (across.edges(), up.edges())
    entries = _cells(page, seen, corners, scale)
    title = seen.title if title is None else title
    if title:
        canvas.title(page, title, 10 * scale)
    below = 33 * scale if ax is None else None
    bounds = bounds and bool(seen.bounds)
    if bounds:
        entries.append((Line2D([], [], color="black", linewidth=1.1 * scale), "what bounds most of the time"))
    canvas.key(page, entries, 7.5 * scale, below)
    _settle(page, seen)
    if bounds:
        codes = np.where(seen.possible, seen.bound, regions.NONE).T
        numbered = regions.draw(page, corners, codes, seen.bounds, scale)
        if numbered:
            canvas.key(page, [*entries, *numbered], 7.5 * scale, below)
    return page


def _cells(page: Axes, seen: View, corners: tuple[np.ndarray, np.ndarray], scale: float) -> list[tuple[Any, str]]:
    """Draw the cells and the scale of their colours; returns what hatching stands for."""
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.patches import Patch

    values = np.where(seen.known, seen.values, np.nan).T
    finite = values[np.isfinite(values)]
    norm = (LogNorm if scales.wide(values) else Normalize)(float(finite.min()), float(finite.max()))
    mesh = page.pcolormesh(
        *corners, np.ma.masked_invalid(values), norm=norm, cmap="viridis", rasterized=values.size > _BITMAP
    )
    page.set_xlim(*corners[0][[0, -1]])
    page.set_ylim(*corners[1][[0, -1]])
    bar = page.figure.colorbar(mesh, ax=page, pad=0.02)
    bar.ax.tick_params(labelsize=8 * scale)
    if scales.wide(values):
        scales.log_ticks(bar.ax.yaxis, values)
    bar.ax.yaxis.set_major_formatter(scales.written(seen.figure, seen.unit))
    bar.ax.set_ylabel(canvas.plain(seen.label_with_unit, 80), fontsize=9 * scale, parse_math=False)
    entries: list[tuple[Any, str]] = []
    for where, style, words in (
        (seen.known & ~seen.fits, _NO_FIT, "does not fit into the memory"),
        (~seen.possible, _IMPOSSIBLE, "impossible"),
    ):
        if where.any():
            page.add_collection(_hatched(where.T, corners, style))
            entries.append((Patch(**style, linewidth=0.5), words))
    return entries


def _hatched(where: np.ndarray, corners: tuple[np.ndarray, np.ndarray], style: dict[str, Any]) -> Any:
    """Cells as hatched bands, a band for each run of them along a row."""
    from matplotlib.collections import PolyCollection

    x, y = corners
    bands = []
    for row, held in enumerate(where):
        turns = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(np.int8)))
        for start, end in turns.reshape(-1, 2):
            left, right, low, high = x[start], x[end], y[row], y[row + 1]
            bands.append([(left, low), (right, low), (right, high), (left, high)])
    return PolyCollection(bands, **style, linewidths=0, antialiaseds=False, zorder=2)


def _settle(page: Axes, seen: View) -> None:
    """Lay the page out, and give its axes the ticks that there is room for."""
    page.figure.draw_without_rendering()  # type: ignore[union-attr]
    scales.settle(page, True, seen.axes[0])
    scales.settle(page, False, seen.axes[1])
    page.figure.draw_without_rendering()  # type: ignore[union-attr]  # with these ticks
