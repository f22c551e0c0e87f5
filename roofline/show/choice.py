"""The picture that suits a grid, by its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roofline.show.heatmaps import plot_heatmap
from roofline.show.lines import plot_line
from roofline.show.views import DRAW, figure_of, free

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

#: Values of the shorter axis up to which two axes are lines and not a map.
_FEW = 4


def plot_grid(
    data: xr.Dataset,
    figure: str | None = None,
    *,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A grid of one or two axes as the picture that suits it.

    Two axes of numbers of which the shorter has more than four values are a heat map with the regions of what bounds
    it; everything else is lines, in bands where there are draws.

    Parameters
    ----------
    data : Dataset
        From :func:`roofline.sweep`, or a part of one.
    figure : str, optional
        Variable to draw. Default: `tokens_per_s` or `samples_per_s`.
    title : str, optional
    size : (float, float), optional
        Width and height (inches) of a new figure.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    BadWorkload, UnknownName
        As :func:`roofline.show.lines.plot_line`.
    """
    figure = figure_of("plot", data, figure)
    axes = free(data)
    numbers = all(data[name].dtype.kind in "iuf" for name in axes)
    if len(axes) == 2 and numbers and data.sizes.get(DRAW, 1) == 1 and min(data.sizes[n] for n in axes) > _FEW:
        return plot_heatmap(data, figure=figure, title=title, size=size, ax=ax)
    return plot_line(data, figure=figure, title=title, size=size, ax=ax)
