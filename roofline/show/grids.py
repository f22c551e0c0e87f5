"""Many points against each other: predicted against measured, and the frontier of a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.face import TEXT, optional, takes
from roofline.show import canvas, scales, views
from roofline.study import frontiers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes


@canvas.picture
def plot_validation(rows: pd.DataFrame, title: str = "", ax: Axes | None = None) -> Axes:
    """Predicted against measured times, log-log, one colour an operator class, with lines at 0.5, 1 and 2.

    Parameters
    ----------
    rows : DataFrame
        Columns `class`, `measured_s` and `predicted_s` (s); see :attr:`roofline.fidelity.validation.Validation.rows`.
    title : str, optional
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    BadWorkload
        Without a row.
    """
    if rows.empty:
        raise BadWorkload("plot_validation needs at least one row")
    ax = canvas.axes(ax, (7.2, 6.4))
    palette = canvas.palette()
    both = rows[["measured_s", "predicted_s"]].to_numpy(float) * 1e6
    ends = np.array([0.8 * both.min(), 1.25 * both.max()])
    for factor, style in ((1.0, "-"), (0.5, ":"), (2.0, ":")):
        ax.plot(ends, ends * factor, style, color="0.35", linewidth=0.9, zorder=3)
    names = list(rows["class"].unique())
    colour = {name: palette[i % len(palette)] for i, name in enumerate(names)}
    mixed = rows.sample(frac=1.0, random_state=0)  # no class on top of the others
    ax.scatter(
        mixed["measured_s"] * 1e6,
        mixed["predicted_s"] * 1e6,
        s=5,
        c=[colour[n] for n in mixed["class"]],
        alpha=0.4,
        linewidths=0,
        rasterized=True,
    )
    for name in names:
        label = f"{canvas.plain(name)} ({(rows['class'] == name).sum():,})"
        ax.scatter([], [], s=14, color=colour[name], label=label)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*ends)
    ax.set_ylim(*ends)
    ax.set_aspect("equal")
    ax.set_xlabel("measured (us)")
    ax.set_ylabel("predicted (us)")
    if title:
        canvas.title(ax, title, 10)
    ax.grid(True, which="major", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    for text in ax.legend(fontsize=7, frameon=False, loc="upper left").get_texts():
        text.set_parse_math(False)
    return ax


@canvas.picture
def plot_frontier(
    points: pd.DataFrame,
    best: pd.DataFrame,
    x: str,
    y: str,
    *,
    names: list[str] | None = None,
    labels: dict[str, str] | None = None,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """All points of a grid by two of its figures, and those that no other beats, joined and named.

    Parameters
    ----------
    points : DataFrame
        The grid, one row a point, with columns `x` and `y`; those that have `fits` False are hollow.
    best : DataFrame
        Its frontier, from :func:`roofline.pareto`.
    x, y : str
        The two figures.
    names : list of str, optional
        Columns that name a point of the frontier: the axes of the grid.
    labels : dict of str to str, optional
        What to call the figures, with their units.
    title : str, optional
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    BadWorkload
        For a frontier without points, or figures that are not there.
    """
    for frame in (points, best):
        missing = {x, y} - set(frame.columns)
        if missing:
            raise BadWorkload(
                f"plot_frontier: no column {', '.join(sorted(missing))}; there are {', '.join(map(str, frame.columns))}"
            )
    if best.empty:
        raise BadWorkload("plot_frontier: the frontier has no points: nothing in the grid fits")
    page = canvas.axes(ax, canvas.sized(size, canvas.USUAL))
    scale = canvas.scale(page)
    fits = points["fits"].to_numpy(bool) if "fits" in points else np.ones(len(points), dtype=bool)
    dots: dict[str, Any] = {"s": 9 * scale**2, "rasterized": len(points) > 2000}
    cloud = page.scatter(points[x][fits], points[y][fits], color="0.72", linewidths=0, **dots)
    entries = [(cloud, "the other points")]
    if not fits.all():
        hollow: dict[str, Any] = {"facecolors": "white", "edgecolors": "0.72", "linewidths": 0.8 * scale, "zorder": 0.5}
        entries.append((page.scatter(points[x][~fits], points[y][~fits], **hollow, **dots), "does not fit"))
    ordered = best.sort_values([x, y], kind="stable")
    (line,) = page.plot(
        ordered[x], ordered[y], "o-", color=canvas.COLOURS[0], linewidth=1.4 * scale, markersize=4 * scale, zorder=4
    )
    for axis, name in ((page.xaxis, x), (page.yaxis, y)):
        scales.figure_axis(axis, name, (labels or {}).get(name, name), points[name].to_numpy(float), scale)
    page.grid(True, which="major", color="0.9", linewidth=0.7)
    page.set_axisbelow(True)
    if title:
        canvas.title(page, title, 10 * scale)
    same = [name for name in names or [] if len(best) > 1 and len(best[name].unique()) == 1]
    every = ", ".join(_coordinate(name, best.iloc[0][name]) for name in same)
    canvas.key(
        page,
        [(line, "no other point beats it" + (f": {every}" if same else "")), *entries],
        7.5 * scale,
        33 * scale if ax is None else None,
    )
    page.figure.draw_without_rendering()  # type: ignore[union-attr]
    _name_points(page, ordered, x, y, [name for name in names or [] if name not in same], scale)
    return page


@canvas.picture
@takes(title=optional(TEXT), ax=optional(canvas.AXES))
def plot_pareto(
    data: xr.Dataset,
    maximise: str | Sequence[str] = (),
    minimise: str | Sequence[str] = (),
    *,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The points of a sweep that no other beats, joined and named, among all that are possible.

    The first two objectives are drawn against each other, a time across; points that do not fit are hollow and no part
    of the frontier.

    Parameters
    ----------
    data : Dataset
        From :func:`roofline.sweep`.
    maximise, minimise : str or sequence of str
        Objectives, as for :func:`roofline.pareto`. Default: the rate per chip, and the latency.
    title : str, optional
        Default: what is the same at all points.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    BadWorkload
        As :func:`roofline.pareto`, for fewer than two objectives, and where nothing fits.
    """
    views.figure_of("pareto", data, None)
    much, little = ([given] if isinstance(given, str) else list(given) for given in (maximise, minimise))
    if not much and not little:
        much, little = frontiers.usual_objectives(data)
    best = frontiers.pareto(data, maximise=much, minimise=little)
    wanted = [*much, *little]
    if len(wanted) < 2:
        raise BadWorkload(f"pareto: expected two figures to draw against each other, found {', '.join(wanted)}")
    y, x = wanted[0], next((name for name in wanted[1:] if views.is_time(name)), wanted[1])
    axes = [str(name) for name in data.dims if data.sizes[name] > 1]
    every = data[list({x: 0, y: 0, "fits": 0, "possible": 0} & data.data_vars.keys())]
    frame = every.to_dataframe().reset_index() if data.dims else best
    frame = frame[frame["possible"] != np.False_] if "possible" in frame else frame
    labels = {name: views.label_of(data, name) for name in (x, y)}
    title = title if title is not None else views.common(data, axes)
    return plot_frontier(frame, best, x, y, names=axes, labels=labels, title=title, size=size, ax=ax)


def _name_points(ax: Axes, best: pd.DataFrame, x: str, y: str, names: list[str], scale: float) -> None:
    """Write beside the points of the frontier what they are, from both ends inward, where there is room."""
    from roofline.show import labels, room

    if not names:
        return
    page = labels.Page(ax, None, scale)
    spots = best[[x, y]].to_numpy(float)
    page.take(room.POINT, room.boxes(page.at(spots), 3 * scale))
    page.take(room.LABEL, room.along(page.at(spots), 1.0))  # a name over the frontier would hide it
    order = [i for pair in zip(range(len(best)), range(len(best))[::-1], strict=True) for i in pair]
    for i in dict.fromkeys(order):
        text = ", ".join(_coordinate(name, best.iloc[i][name]) for name in names)
        labels.of_point(page, canvas.plain(text, 60), spots[i], (4 * scale) ** 2, "0.25")


def _coordinate(name: str, value: object) -> str:
    if name in ("model", "chip"):
        return str(value)
    return f"{name}={value:g}" if isinstance(value, int | float | np.number) else f"{name}={value}"
