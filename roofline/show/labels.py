"""Labels of a roofline: each where it covers nothing, with a leader that runs through nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import units
from roofline.show import canvas, room
from roofline.show.canvas import Spot
from roofline.show.outline import Outline
from roofline.show.quantities import ratio

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType as Colour

#: Points beyond which those that lie on one spot are counted once: room is sought on the page, not in the data.
_CROWD = 5000

#: The colour of what belongs to the only chip of a picture.
INK = "#333333"


class Page(room.Room):
    """The axes as a page that labels are put on.

    Parameters
    ----------
    ax : Axes
        With its lines and limits; the page was laid out.
    marks : DataFrame, optional
        The points: `intensity`, `attained` and `area` of the mark (square typographic points).
    scale : float
        How much larger than usual text is.
    """

    def __init__(self, ax: Axes, marks: pd.DataFrame | None, scale: float) -> None:
        self.ax, self.points, self.scale = ax, 72 / ax.figure.dpi, scale
        self.text = {"fontsize": 7.5 * scale}
        super().__init__(np.array(ax.bbox.extents) * self.points)
        for line in ax.lines:
            spots = self.at(np.column_stack([line.get_xdata(), line.get_ydata()]))
            self.take(room.LINE, room.along(spots, 1.0))
            if line.get_marker() == "o":
                self.take(room.POINT, room.boxes(spots, 2.5 * scale))
        if marks is not None and len(marks):
            spots = self.at(marks[["intensity", "attained"]].to_numpy(float))
            reach = np.sqrt(marks["area"].to_numpy(float)) / 2 - 0.5
            if len(spots) > _CROWD:
                _, first = np.unique(np.round(spots / 2), axis=0, return_index=True)
                spots, reach = spots[first], reach[first]
            self.take(room.POINT, room.boxes(spots, reach))
        legend = ax.get_legend()
        if legend is not None:
            self.take(room.LABEL, np.array([legend.get_window_extent().extents]) * self.points)

    @property
    def small(self) -> bool:
        """Whether the page is a column's, where not every label finds room."""
        return bool(self.frame[2] - self.frame[0] < 280 * self.scale)

    def at(self, spots: Any) -> np.ndarray:
        """Places in the data as places on the page."""
        return np.asarray(self.ax.transData.transform(spots), dtype=float) * self.points

    def back(self, place: object) -> Any:
        """A place on the page as one in the data."""
        return self.ax.transData.inverted().transform(np.asarray(place) / self.points)

    def size(self, text: str) -> tuple[float, float]:
        """Width and height of a label."""
        return canvas.extent(self.ax, text, **self.text)

    def write(self, text: str, spot: Spot, offset: Spot, colour: Colour, **options: object) -> None:
        """Put a label there."""
        canvas.write(self.ax, text, spot, offset, colour, **{**self.text, **options})


def of_slopes(page: Page, drawn: Outline) -> None:
    """Write each bandwidth along its slope, near the left end where that is free; main memory's rather below it."""
    left = page.ax.get_xlim()[0]
    for slope in drawn.slopes:
        text = f"{slope.name} {units.text(slope.value, 'B/s', 3)}"
        width, height = page.size(text)
        start, end = page.at([(left, left * slope.value), (10 * left, 10 * left * slope.value)])
        ahead = (end - start) / np.hypot(*(end - start))
        normal = np.array([-ahead[1], ahead[0]])
        below = slope is drawn.main and len(drawn.slopes) > 1
        best: tuple[float, Any, Any, float] = (np.inf, None, None, 1.0)
        for way in (w for w in np.arange(10.0, 260.0, 8.0) if 0.2 * w < best[0]):
            foot = start + way * ahead
            for side in (-1.0, 1.0) if below else (1.0, -1.0):
                middle = foot + side * (height / 2 + 2) * normal
                covers = room.along(np.array([middle, middle + width * ahead]), height / 2)
                cost = page.cost(covers) + 0.2 * way
                if cost < best[0]:
                    best = (cost, foot, covers, side)
        _, foot, covers, side = best
        page.take(room.LABEL, covers)
        turned = {"rotation": float(np.degrees(np.arctan2(ahead[1], ahead[0]))), "rotation_mode": "anchor"}
        over = "bottom" if side > 0 else "top"
        page.write(text, page.back(foot), 2 * side * normal, INK, va=over, **turned)


def of_ceilings(page: Page, drawn: Outline) -> None:
    """Name each ceiling, from the top; those of one height share a label."""
    named: dict[float, list[Any]] = {}
    for ceiling in drawn.ceilings:
        named.setdefault(ceiling.value, []).append(ceiling)
    for height, same in named.items():
        engines = list(dict.fromkeys(c.engine for c in same))
        text = f"{', '.join(c.name for c in same)} {' and '.join(engines)} {units.text(height, 'FLOP/s', 4)}"
        if page.small:
            text = f"{', '.join(c.name for c in same)} {units.text(height, 'FLOP/s', 3)}"
        ridge = next((r for r in map(drawn.ridge, same) if r and r < page.ax.get_xlim()[1]), None)
        _of_ceiling(page, text + (f", ridge {ratio(ridge)}" if ridge else ""), height)


def _of_ceiling(page: Page, text: str, height: float) -> None:
    """Write what a ceiling is on its line, as far to the right as it covers nothing, on a ground of its own."""
    width, tall = page.size(text)
    right, y = page.frame[2] - 4, page.at((1.0, height))[1]
    found = []
    for shift in np.arange(0.0, max(right - page.frame[0] - width, 1.0), 6.0):
        for bottom in (y + 2.5, y - 2.5 - tall):
            box = np.array([[right - shift - width, bottom, right - shift, bottom + tall]])
            found.append((page.cost(box) + 0.2 * shift + (bottom < y), right - shift - width, bottom))
    _, left, bottom = min(found)
    around = [[left - 2, bottom - 1.5, left + width + 2, bottom + tall + 1.5]]  # with its ground
    page.take(room.LABEL, np.array(around))
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.3}
    spot = (page.back((left, y))[0], height)
    page.write(text, spot, (0, bottom - y), INK, ha="left", va="bottom", zorder=5, bbox=ground)


def of_point(page: Page, text: str, spot: Spot, area: float, colour: Colour) -> None:
    """Put a label at the nearest place around its mark where it covers no other label and no point; else nowhere.

    Its leader, from the rim of the mark, crosses no label either.
    """
    width, height = page.size(text)
    middle, reach = page.at(spot), np.sqrt(area) / 2
    best: tuple[float, Any, Any, Any] = (room.LABEL, None, None, None)
    for radius in (max(r * page.scale, reach + 3) for r in (8, 18, 30, 44, 60, 80, 105)):
        if radius >= best[0]:
            break
        for angle in np.radians(
            [0, 180, -35, 35, -145, 145, -20, 20, -160, 160, -55, 55, -125, 125, -75, 75, -105, 105]
        ):
            way = np.array([np.cos(angle), np.sin(angle)])
            offset = radius * way
            x, y = middle + offset - (0 if offset[0] >= 0 else width, height / 2)
            box = np.array([[x, y, x + width, y + height]])
            short = radius < reach + 10
            leader = np.empty((0, 4)) if short else room.along(np.array([middle + reach * way, middle + offset]), 0.5)
            cost = page.cost(box) + radius
            if cost < best[0] and (cost := cost + page.cost(leader)) < best[0]:
                best = (cost, offset, box, leader)
    _, offset, box, leader = best
    if offset is None:
        return
    page.take(room.LABEL, box)
    page.take(room.LABEL, leader)
    side = "left" if offset[0] >= 0 else "right"
    line = {
        "arrowstyle": "-",
        "color": colour,
        "linewidth": 0.5 * page.scale,
        "shrinkA": 0,
        "shrinkB": reach,
        "relpos": (0.0 if side == "left" else 1.0, 0.5),
    }
    page.write(text, spot, offset, colour, ha=side, va="center", arrowprops=line if len(leader) else None)


def at_the_end(page: Page, ends: list[tuple[float, str, Colour]]) -> None:
    """Names beside the right end of lines, pushed apart where the ends are close, each with a leader to its own.

    Parameters
    ----------
    page : Page
    ends : list of (float, str, colour)
        Height (FLOP/s), name and colour of each line.
    """
    tall = page.size("Xg")[1]
    free = page.frame[3] - page.frame[1]
    smaller = min(1.0, free / (1.05 * tall * len(ends)))
    ends = sorted(((height, text, canvas.dark(colour)) for height, text, colour in ends), key=lambda end: end[0])
    wanted = page.at([(1.0, height) for height, *_ in ends])[:, 1]
    placed = room.apart(wanted, 1.05 * tall * smaller, page.frame[1] + tall / 2, page.frame[3] - tall / 2)
    for (height, text, colour), at, y in zip(ends, placed, wanted, strict=True):
        where = (page.ax.get_xlim()[1], height)
        # In the layout, unlike other labels: the page makes room for them.
        page.ax.annotate(
            text,
            where,
            xytext=(16 * page.scale, at - y),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=page.text["fontsize"] * smaller,
            parse_math=False,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0.0, 0.5),
            },
        )
