"""The pictures of a grid as methods of its Dataset: ``grid.roofline.line(x="batch", hue="chip")``.

The face of the package hands this to the room of studies, which registers it and knows no pictures. Nothing here loads
a drawing library before something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roofline.study.datasets import RooflineAccessor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Size = tuple[float, float] | None


class GridAccessor(RooflineAccessor):
    """What a sweep's Dataset offers besides: its codes in words, and its pictures, each an Axes of matplotlib.

    Each picture takes `title`, `size` (inches) and `ax`; ``ax.figure.savefig("grid.png")`` writes it.
    """

    def plot(
        self,
        figure: str | None = None,
        *,
        title: str | None = None,
        size: Size = None,
        ax: Axes | None = None,
    ) -> Axes:
        """The picture that suits the grid's axes: bands over draws, else a heat map, or lines.

        Two axes of numbers, the shorter one of more than a few, are a heat map; see
        :func:`roofline.show.choice.plot_grid`.
        """
        from roofline.show.choice import plot_grid

        return plot_grid(self._data, figure, title=title, size=size, ax=ax)

    def line(
        self,
        x: str | None = None,
        hue: str | None = None,
        figure: str | None = None,
        *,
        title: str | None = None,
        size: Size = None,
        ax: Axes | None = None,
    ) -> Axes:
        """A figure along one axis, a line for each value of a second; see :func:`roofline.show.lines.plot_line`."""
        from roofline.show.lines import plot_line

        return plot_line(self._data, x, hue, figure, title=title, size=size, ax=ax)

    def band(
        self,
        x: str | None = None,
        hue: str | None = None,
        figure: str | None = None,
        *,
        title: str | None = None,
        size: Size = None,
        ax: Axes | None = None,
    ) -> Axes:
        """The median of the draws in bands of 50 % and 90 % of them; see :func:`roofline.show.lines.plot_band`."""
        from roofline.show.lines import plot_band

        return plot_band(self._data, x, hue, figure, title=title, size=size, ax=ax)

    def heatmap(
        self,
        x: str | None = None,
        y: str | None = None,
        figure: str | None = None,
        *,
        bounds: bool = True,
        title: str | None = None,
        size: Size = None,
        ax: Axes | None = None,
    ) -> Axes:
        """A figure over two axes, and what bounds each cell; see :func:`roofline.show.heatmaps.plot_heatmap`."""
        from roofline.show.heatmaps import plot_heatmap

        return plot_heatmap(self._data, x, y, figure, bounds=bounds, title=title, size=size, ax=ax)

    def pareto(
        self,
        maximise: str | Sequence[str] = (),
        minimise: str | Sequence[str] = (),
        *,
        title: str | None = None,
        size: Size = None,
        ax: Axes | None = None,
    ) -> Axes:
        """The points that no other beats, and the others; see :func:`roofline.show.grids.plot_pareto`."""
        from roofline.show.grids import plot_pareto

        return plot_pareto(self._data, maximise, minimise, title=title, size=size, ax=ax)
