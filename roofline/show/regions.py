"""Regions of a heat map: lines between cells of different kinds, and a name in each region that has room for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.show import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The code of cells that are of no kind.
NONE = 255

#: Regions that are named, and places that are tried for a name.
_NAMED, _TRIED = 40, 1500

#: Room that a name is given, of its own size: as much as there is.
_ROOM = (1.8, 1.4, 1.15, 1.0)


def draw(
    page: Axes, corners: tuple[np.ndarray, np.ndarray], codes: np.ndarray, words: Sequence[str], scale: float
) -> list[tuple[Any, str]]:
    """Draw the lines between regions, and their names; returns the numbers that stand for names without room.

    Parameters
    ----------
    page : Axes
        Laid out, with its limits.
    corners : (array, array)
        The edges of the columns and of the rows.
    codes : ndarray
        Of each cell, a row of it a row of the picture; :data:`NONE` for no kind.
    words : sequence of str
        The name of each code.
    scale : float
        How much larger than usual text is.
    """
    canvas.matplotlib()
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    lines = borders(corners, codes)
    if lines:
        page.add_collection(LineCollection(lines, colors="white", linewidths=2.6 * scale, zorder=3))
        page.add_collection(LineCollection(lines, colors="black", linewidths=1.1 * scale, zorder=4))
    numbers: dict[str, str] = {}
    text = {"fontsize": 7.5 * scale, "ha": "center", "va": "center"}
    edges = _edges_on_the_page(page, corners)
    for code, cells in _parts(codes):
        name = words[code] if code < len(words) else ""
        if not name:
            continue
        number = numbers.get(name, str(len(numbers) + 1))
        for label in (name, name.replace(":", ":\n"), number):
            spot = _room(edges, cells, *canvas.extent(page, label, **text))
            if spot is not None:
                where = page.transData.inverted().transform(np.array(spot) * page.figure.dpi / 72)
                canvas.write(page, label, where, (0, 0), "black", **text)
                if label == number:
                    numbers[name] = number
                break
    return [
        (Line2D([], [], linestyle="", marker=f"${number}$", color="black", markersize=5 * scale), name)
        for name, number in numbers.items()
    ]


def borders(corners: tuple[np.ndarray, np.ndarray], codes: np.ndarray) -> list[Any]:
    """The edges between neighbouring cells of different codes, each as two ends."""
    x, y = corners
    lines: list[Any] = []
    for row, column in np.argwhere(codes[:, 1:] != codes[:, :-1]):
        lines.append([(x[column + 1], y[row]), (x[column + 1], y[row + 1])])
    for row, column in np.argwhere(codes[1:] != codes[:-1]):
        lines.append([(x[column], y[row + 1]), (x[column + 1], y[row + 1])])
    return lines


def _parts(codes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The connected parts of each kind, the largest first: their code, and which cells are theirs."""
    from scipy import ndimage

    found = []
    for code in np.unique(codes[codes != NONE]).tolist():
        labels, count = ndimage.label(codes == code)
        sizes = np.bincount(labels.ravel())[1:]
        found += [(int(sizes[i]), code, labels, i + 1) for i in range(count)]
    found.sort(key=lambda part: -part[0])
    for _, code, labels, i in found[:_NAMED]:
        yield code, labels == i


def _edges_on_the_page(page: Axes, corners: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Where the edges of columns and rows stand, in typographic points."""
    x, y = corners
    points = 72 / page.figure.dpi
    across = page.transData.transform(np.column_stack([x, np.full(len(x), y[0])]))[:, 0] * points
    up = page.transData.transform(np.column_stack([np.full(len(y), x[0]), y]))[:, 1] * points
    return across, up


def _room(
    edges: tuple[np.ndarray, np.ndarray], cells: np.ndarray, width: float, height: float
) -> tuple[float, float] | None:
    """The middle of a box of this size inside a region, with as much room around as there is, near the region's
    middle; None where it has no place.
    """
    across, up = edges
    rows, columns = np.nonzero(cells)
    # A box may have its middle in a cell, or, where cells are small, between two of them.
    x = np.concatenate([(across[columns] + across[columns + 1]) / 2, across[columns]])
    y = np.concatenate([(up[rows] + up[rows + 1]) / 2, (up[rows] + up[rows + 1]) / 2])
    far = np.hypot(x - x.mean(), y - y.mean())
    order = np.argsort(far, kind="stable")
    order = order[:: max(1, len(order) // _TRIED)]
    outside = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), dtype=int)
    outside[1:, 1:] = (~cells).cumsum(axis=0).cumsum(axis=1)
    for more in _ROOM:
        left, right, low, high = (
            np.searchsorted(ends, at + side * length * more / 2, side="right") - 1
            for ends, at, length, side in (
                (across, x[order], width, -1),
                (across, x[order], width, 1),
                (up, y[order], height, -1),
                (up, y[order], height, 1),
            )
        )
        inside = (left >= 0) & (low >= 0) & (right < cells.shape[1]) & (high < cells.shape[0])
        i, j, k, n = (np.where(inside, one, 0) for one in (low, high + 1, left, right + 1))
        free = inside & (outside[j, n] - outside[i, n] - outside[j, k] + outside[i, k] == 0)
        if free.any():
            best = order[int(np.argmax(free))]
            return float(x[best]), float(y[best])
    return None
