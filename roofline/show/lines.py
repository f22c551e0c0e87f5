"""Lines: a figure along an axis, one line for each value of another, with bands where there are draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.face import TEXT, optional, takes
from roofline.base.numeric import quantiles
from roofline.show import canvas, scales
from roofline.show.scales import Scale
from roofline.show.views import DRAW, View, view

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType as Colour

#: Lines that a reader can still tell apart.
_MOST_LINES = 24

#: Marks along one line; of more points only the line is drawn.
_MOST_MARKS = 40

#: The bands of draws: the middle half, and nine in ten.
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

#: How far words are spread for the lines of one place (of the distance between two of them).
_DODGE = 0.6

#: What the key calls the marks of points that are no answers.
_NO_FIT, _IMPOSSIBLE = "does not fit into the memory", "impossible"

_ARGUMENTS = {
    **dict.fromkeys(("x", "hue", "figure", "title"), optional(TEXT)),
    "ax": optional(canvas.AXES),
}


@canvas.picture
@takes(**_ARGUMENTS)
def plot_line(
    data: xr.Dataset,
    x: str | None = None,
    hue: str | None = None,
    figure: str | None = None,
    *,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A figure of a grid along one axis, with a line for each value of a second one.

    Points that do not fit into the memory are hollow, and the line is dotted there; impossible ones are crosses at the
    foot, and the line stops beside them. Where the grid has draws of uncertain figures the line is their median, in
    bands that hold 50 % and 90 % of them; a point in which half of them do not fit counts as one that does not.

    Parameters
    ----------
    data : Dataset
        From :func:`roofline.sweep`, or a part of one.
    x, hue : str, optional
        Axes of the grid. Default: those with several values; numbers along x before words, long axes before short.
    figure : str, optional
        Variable to draw. Default: `tokens_per_s` or `samples_per_s`.
    title : str, optional
        Default: what is the same at all points.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    BadWorkload, UnknownName
        For data that are no grid, an axis or a figure that it does not have, more free axes than two, and where there
        is nothing to draw.
    """
    seen = view("line", data, figure, {"x": x, "hue": hue}, draws=True)
    return _draw(seen, title, size, ax)


@canvas.picture
@takes(**_ARGUMENTS)
def plot_band(
    data: xr.Dataset,
    x: str | None = None,
    hue: str | None = None,
    figure: str | None = None,
    *,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The median of a figure's draws along an axis, in bands that hold 50 % and 90 % of them; else as `plot_line`.

    Raises
    ------
    BadWorkload, UnknownName
        As :func:`plot_line`, and for a grid without draws.
    """
    if getattr(data, "sizes", {}).get(DRAW, 1) < 2:
        raise BadWorkload("band: expected a grid with draws of uncertain figures, found none: sweep(..., draws=256)")
    seen = view("band", data, figure, {"x": x, "hue": hue}, draws=True)
    return _draw(seen, title, size, ax)


def _draw(seen: View, title: str | None, size: tuple[float, float] | None, ax: Axes | None) -> Axes:
    across, hue = seen.axes[0], seen.axes[1] if len(seen.axes) > 1 else None
    lines = 1 if hue is None else len(hue)
    if hue is not None and lines > _MOST_LINES:
        fewer = f"grid.isel({hue.name}=slice(None, None, {-(-lines // 8)}))"
        raise BadWorkload(
            f"line: expected at most {_MOST_LINES} lines, found {lines} values of {hue.name}: "
            f"take fewer, such as {fewer}, or a heat map"
        )
    shape = (len(across), lines)
    drawn = seen.values.ndim > len(seen.axes)
    samples = seen.values.reshape(*shape, -1)
    # A point of which some draws have no figure has none: bands over the rest would be those of another question.
    known, possible = (np.asarray(one.reshape(*shape, -1).all(axis=-1)) for one in (seen.known, seen.possible))
    fits = seen.fits.reshape(*shape, -1).mean(axis=-1) >= 0.5
    values = np.array(quantiles(np.moveaxis(samples, -1, 0), *_QUANTILES)) if drawn else samples[..., 0][None]
    values = np.where(known, values, np.nan)

    page = canvas.axes(ax, canvas.sized(size, canvas.USUAL))
    scale = canvas.scale(page)
    scales.grid_axis(page, True, across, scale)
    scales.figure_axis(page.yaxis, seen.figure, seen.label_with_unit, values, scale, seen.unit)
    colours = _colours(hue)
    entries: list[tuple[object, str]] = []
    for i, colour in enumerate(colours):
        if not known[:, i].any() and possible[:, i].all():
            continue  # its model has no such figure, or no price is known
        places = across.places + (0 if across.numeric else _DODGE * ((i + 0.5) / lines - 0.5))
        mark = _line(page, places, values[:, :, i], known[:, i], fits[:, i], colour, scale, across.numeric)
        entries.append((mark, hue.names[i] if hue is not None else seen.label))
        _crosses(page, places[~possible[:, i]], i, colour, scale)
    entries = entries if hue is not None else []
    entries += _key(known & ~fits, ~possible, seen.values.shape[-1] if drawn else 0, scale)
    _finish(page, across, title if title is not None else seen.title, entries, scale, own=ax is None)
    return page


def _colours(hue: Scale | None) -> list[Colour]:
    """A colour for each line: of many numbers from dark to light, of the rest such as everybody tells apart."""
    count = 1 if hue is None else len(hue)
    if hue is not None and hue.numeric and count > len(canvas.COLOURS):
        return [canvas.matplotlib().colormaps["viridis"](share) for share in np.linspace(0.0, 0.9, count)]
    return list(canvas.palette()[:count])


def _line(
    page: Axes,
    x: np.ndarray,
    values: np.ndarray,
    known: np.ndarray,
    fits: np.ndarray,
    colour: Colour,
    scale: float,
    joined: bool,
) -> Any:
    """Draw one line, or the median of draws in its bands; solid and full where the points fit."""
    middle = values[len(values) // 2]
    if len(values) > 1:
        for low, high, alpha, width in ((0, -1, 0.14, 1.6), (1, -2, 0.28, 4.5)):
            if joined:
                page.fill_between(x, values[low], values[high], color=colour, alpha=alpha, linewidth=0)
            else:
                page.vlines(x, values[low], values[high], color=colour, alpha=2 * alpha, linewidth=width * scale)
    few = known.sum() <= _MOST_MARKS or not joined
    marks: dict[str, Any] = {"marker": "o", "markersize": 3.6 * scale} if few else {}
    style: dict[str, Any] = {"color": colour, "zorder": 4}
    solid, dotted = ("-", ":") if joined else ("none", "none")
    (line,) = page.plot(x, np.where(fits, middle, np.nan), linestyle=solid, linewidth=1.4 * scale, **style, **marks)
    beside = known & ~fits
    if beside.any():
        # The figures stand there all the same: a dotted line runs to each such point and from it, over no gap.
        reached = beside | np.append(beside[1:], False) | np.append(False, beside[:-1])
        page.plot(x, np.where(reached, middle, np.nan), linestyle=dotted, linewidth=1.0 * scale, **style)
        step = max(1, int(beside.sum()) // _MOST_MARKS)
        page.plot(
            x[beside][::step],
            middle[beside][::step],
            "o",
            markersize=4 * scale,
            markerfacecolor="white",
            markeredgecolor=colour,
            zorder=5,
        )
    return line


def _crosses(page: Axes, x: np.ndarray, row: int, colour: Colour, scale: float) -> None:
    """Mark impossible points at the foot of the picture: they have no figure, and so no height."""
    if len(x):
        x = x[:: max(1, len(x) // _MOST_MARKS)]
        foot = np.full(len(x), 0.025 + 0.03 * row)
        page.plot(x, foot, "x", color=colour, markersize=4 * scale, transform=page.get_xaxis_transform(), zorder=5)


def _key(beside: np.ndarray, impossible: np.ndarray, draws: int, scale: float) -> list[tuple[Any, str]]:
    """What bands, hollow marks and crosses stand for, where there are any."""
    canvas.matplotlib()
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def mark(form: str) -> Line2D:
        hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": "0.3"}
        return Line2D([], [], color="0.3", linestyle="", marker=form, markersize=4 * scale, **hollow)

    found: list[tuple[Any, str]] = []
    if draws:
        found += [
            (Patch(color="0.3", alpha=0.42, linewidth=0), f"50 % of {draws:,} draws"),
            (Patch(color="0.3", alpha=0.14, linewidth=0), "90 %"),
        ]
    if beside.any():
        found.append((mark("o"), f"{_NO_FIT} (half of the draws)" if draws else _NO_FIT))
    if impossible.any():
        found.append((mark("x"), _IMPOSSIBLE))
    return found


def _finish(page: Axes, across: Scale, title: str, entries: list[tuple[object, str]], scale: float, own: bool) -> None:
    """Limits, rules, title, key, and ticks as the page has room for them."""
    if not across.numeric:
        page.set_xlim(-0.6, len(across) - 0.4)
    if page.get_yscale() == "linear":
        page.set_ylim(bottom=0)
    page.grid(True, which="major", color="0.9", linewidth=0.7)
    page.set_axisbelow(True)
    if title:
        canvas.title(page, title, 10 * scale)
    canvas.key(page, entries, 7.5 * scale, 33 * scale if own else None)
    page.figure.draw_without_rendering()  # type: ignore[union-attr]  # how wide the page is becomes settled
    scales.settle(page, True, across)
