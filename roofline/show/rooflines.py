"""Rooflines: what chips can do as lines, what operators attain as points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.face import TEXT, optional, takes
from roofline.catalog.load import as_chip
from roofline.show import canvas, frames, labels
from roofline.show.outline import Figure, Outline, outline
from roofline.show.quantities import ratio, si

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType as Colour, LineStyleType as Dash

    from roofline.hardware.chip import Chip

#: Shares of the time: one, or a column of them.
Share = TypeVar("Share", float, "pd.Series[Any]")

#: Marks by class of operator, and what the key calls them; what is in no class comes last.
MARKS = {
    "gemm": ("o", "product"), "attention": ("s", "attention"), "mla_attention": ("s", "attention"),
    "sparse_attention": ("s", "attention"), "index_scores": ("s", "attention"), "recurrence": ("P", "recurrence"),
    "moe": ("D", "experts"), "embedding_bag": ("^", "embedding bag"), "": ("v", "other operator"),
}  # fmt: skip

#: Shares of the time that the key shows the size of.
_KEY_SHARES = (0.02, 0.2)

#: Points beyond which a mark is a dot of a cloud: no rim, more see-through, one bitmap in an SVG.
_CLOUD = 2000

#: Lines whose figures differ by less lie on each other on any page.
_SAME = 0.04

#: Dashes that tell apart what colours no longer do.
_DASHES: tuple[Dash, ...] = ("-", "-.", ":")


@canvas.picture
@takes(
    dtypes=optional(canvas.NAMES),
    levels=optional(canvas.NAMES),
    label_share=canvas.SHARE,
    title=optional(TEXT),
    ax=optional(canvas.AXES),
)
def plot_roofline(
    *chips: Any,
    dtypes: Sequence[str] | None = None,
    levels: Sequence[str] | None = None,
    ops: Any = None,
    label_share: float = 0.08,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Log-log roofline of one or several chips, with operators as points.

    Parameters
    ----------
    *chips : Chip, str or estimate
        Chips, or their names or paths. One shows every memory level; several show main memory only, unless `levels`
        says otherwise. An estimate stands for its chip, its operators and a title that says what was asked.
    dtypes : sequence of str, optional
        Ceilings to draw. Default: the matrix engine's 16-bit and 8-bit rates and the vector engine's (one chip), the
        16-bit rate (several).
    levels : sequence of str, optional
        Memory levels to draw; ``"main"`` and ``"cache"`` are understood on every chip.
    ops : DataFrame, Phase, estimate, or dict of the first two, optional
        Breakdowns such as ``est.decode.ops``; points at (intensity, attained FLOP/s) sized by their share of time.
        Columns `op`, `intensity`, `flops`, `time_s`, `share`; `kind` is optional.
    label_share : float, optional
        Operators with at least this share of the time are labelled, once however many points they have; a label that
        finds no free place is left out.
    title : str, optional
        Above the picture.
    size : (float, float), optional
        Width and height (inches) of a new figure; text and marks go with it.
    ax : Axes, optional
        Where to draw; default: a new figure. The names of several chips stand at its right.

    Returns
    -------
    Axes
        ``ax.figure.savefig("roofline.svg")`` writes PNG, SVG or PDF by the ending.

    Raises
    ------
    BadWorkload
        Without a chip, for a dtype that a chip has no rate for, or for `ops` that are no breakdown.

    Examples
    --------
    >>> import roofline as rl
    >>> est = rl.estimate("llama-3.1-8b", "h100-sxm", batch=16)
    >>> rl.plot_roofline(est).get_xscale()
    'log'
    """
    if not chips:
        raise BadWorkload("plot_roofline needs at least one chip")
    if any(frames.is_estimate(one) for one in chips):
        if len(chips) > 1 or ops is not None:
            raise BadWorkload("plot_roofline: an estimate stands for its chip and its operators; draw it alone")
        ops, chips = chips[0], (chips[0].chip,)
    if frames.is_estimate(ops) and title is None:
        from roofline.show.words import heading

        title = heading(ops)
    drawn = tuple(as_chip(chip) for chip in chips)
    for chip in drawn:
        if any(isinstance(n.value, np.ndarray) for n in chip.numbers.values()):
            raise BadWorkload(
                f"{chip.title}: figures that are arrays have no one roofline; draw each variant as a chip"
            )
    dtypes = [dtypes] if isinstance(dtypes, str) else dtypes
    levels = [levels] if isinstance(levels, str) else levels
    outlines = [outline(chip, dtypes, levels, len(drawn) == 1) for chip in drawn]
    points = frames.points(ops)
    usual = canvas.USUAL if len(drawn) == 1 else _page_for(outlines)
    page = canvas.axes(ax, canvas.sized(size, usual))
    if title is None:
        title = _title(drawn, usual_lines=dtypes is None and levels is None)
    return _draw(page, outlines, points, label_share, title, own=ax is None)


def _title(chips: Sequence[Chip], usual_lines: bool) -> str:
    if len(chips) == 1:
        return chips[0].title
    which = ", ".join(c.name for c in chips) if len(chips) <= 5 else f"{len(chips)} chips"
    return which + (": the 16-bit rate and main memory" if usual_lines else "")


def _page_for(outlines: Sequence[Outline]) -> tuple[float, float]:
    """A page with room beside the lines for the names of all of them."""
    names = sum(len(one.ceilings) for one in outlines)
    return canvas.USUAL[0] + 0.8, max(canvas.USUAL[1], 0.14 * names + 1.0)


def _draw(
    ax: Axes, outlines: list[Outline], points: pd.DataFrame | None, label_share: float, title: str, own: bool
) -> Axes:
    scale, alone = canvas.scale(ax), len(outlines) == 1
    x = _span(outlines, points)
    if alone:
        _draw_alone(ax, outlines[0], x, scale)
        ends = []
    else:
        ends = _draw_several(ax, outlines, x, scale)
    _frame(ax, x, points, scale)
    marks = None if points is None else points.assign(area=_area(points["share"], scale, len(points)))
    names = [] if marks is None else _draw_points(ax, marks, label_share, 0 if alone else len(outlines), scale)
    _key(ax, marks, outlines, scale, own)
    canvas.title(ax, title, 10 * scale, beside=len(outlines) > 1)
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # where things are on the page is settled only now
    page = labels.Page(ax, marks, scale)
    if not alone:
        labels.at_the_end(page, ends)
        if names:  # beside those of the lines, which the axes made room for
            ax.figure.draw_without_rendering()  # type: ignore[union-attr]
            page = labels.Page(ax, marks, scale)
    if alone:
        labels.of_slopes(page, outlines[0])
        if page.small:  # too small for every label: those of the lines first
            labels.of_ceilings(page, outlines[0])
    for text, spot, area, colour in names:
        labels.of_point(page, text, spot, area, colour)
    if alone and not page.small:
        labels.of_ceilings(page, outlines[0])  # last: a ceiling is long, and its label can go anywhere
    return ax


def _span(outlines: Sequence[Outline], points: pd.DataFrame | None) -> np.ndarray:
    ridges = [float(np.max(one.chip.ridge_point(d))) for one in outlines for d in one.chip.dtypes]
    low, high = 0.3, max(ridges) * 16  # right of the ridge point stands what the ceiling is called
    if points is not None and len(points):
        low, high = min(low, points["intensity"].min() / 2), max(high, points["intensity"].max() * 2)
    return np.geomspace(low, high, 400)


def _frame(ax: Axes, x: np.ndarray, points: pd.DataFrame | None, scale: float) -> None:
    """Axes, their names and numbers, and how far they go."""
    ax.set(xscale="log", yscale="log", xlim=(x[0], x[-1]))
    heights = [float(v) for line in ax.lines for v in (np.min(line.get_ydata()), np.max(line.get_ydata()))]
    attained = "attainable FLOP/s"
    if points is not None and len(points):
        heights.append(0.5 * float(points["attained"].min()))
        attained = "attainable (lines) and\nattained (points) FLOP/s"
    ax.set_ylim(min(heights), 4 * max(heights))
    ax.set_xlabel("arithmetic intensity (FLOP/byte)", fontsize=9 * scale)
    ax.set_ylabel(attained, fontsize=9 * scale)
    ax.tick_params(labelsize=8.5 * scale)
    ax.xaxis.set_major_formatter(lambda value, _: ratio(value))
    ax.yaxis.set_major_formatter(lambda value, _: si(value) if value >= 1e3 else ratio(value))
    ax.grid(True, which="major", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)


def _slope(one: Outline, slope: Figure, x: np.ndarray, rate: str = "value") -> tuple[np.ndarray, np.ndarray]:
    """A slope and the highest ceiling after it, at their values or at an end of their ranges."""
    return x, np.minimum(x * getattr(slope, rate), getattr(one.top, rate))


def _bands(ax: Axes, one: Outline, x: np.ndarray, colour: Colour) -> None:
    """What the ranges of the figures allow."""
    for slope in one.slopes:
        if slope.ranges or one.top.ranges:
            under, over = _slope(one, slope, x, "low")[1], _slope(one, slope, x, "high")[1]
            ax.fill_between(x, under, over, color=colour, alpha=0.12, linewidth=0, zorder=1)
    for ceiling in one.ceilings:
        if ceiling.ranges and ceiling.value != one.top.value:
            ends = [ceiling.value / one.steepest, x[-1]]
            ax.fill_between(ends, ceiling.low, ceiling.high, color=colour, alpha=0.08, linewidth=0, zorder=1)


def _ridges(ax: Axes, one: Outline, x: np.ndarray, colour: Colour, scale: float) -> None:
    """A ring where a matrix ceiling meets main memory's slope."""
    for ceiling in one.ceilings:
        ridge = one.ridge(ceiling)
        if ridge is not None and ridge < x[-1]:
            ax.plot(
                [ridge],
                [ceiling.value],
                marker="o",
                markersize=4.5 * scale,
                color="white",
                markeredgecolor=colour,
                zorder=4,
            )


def _draw_alone(ax: Axes, one: Outline, x: np.ndarray, scale: float) -> None:
    """The lines of the only chip: main memory solid and thick, the levels nearer to the cores dashed."""
    for n, slope in enumerate(one.slopes):
        style: Dash = "-" if slope.name == one.chip.main_level else (0, (5, 1.5 + n))
        width = (1.8 if slope.name == one.chip.main_level else 1.1) * scale
        ax.plot(*_slope(one, slope, x), linestyle=style, color=labels.INK, linewidth=width, zorder=3)
    for ceiling in one.ceilings:
        width = (1.6 if ceiling.value == one.top.value else 1.0) * scale
        ax.plot(
            [ceiling.value / one.steepest, x[-1]], [ceiling.value] * 2, "-", color=labels.INK, linewidth=width, zorder=3
        )
    _bands(ax, one, x, labels.INK)
    _ridges(ax, one, x, labels.INK, scale)


def _draw_several(
    ax: Axes, outlines: Sequence[Outline], x: np.ndarray, scale: float
) -> list[tuple[float, str, Colour]]:
    """The lines of several chips, a colour each; returns height, name and colour of every ceiling.

    Lines that lie on each other take turns along their way, so that each shows.
    """
    colours = canvas.palette()
    looks = [(colours[i % len(colours)], _DASHES[i // len(colours) % len(_DASHES)]) for i in range(len(outlines))]
    slopes = [(i, slope) for i, one in enumerate(outlines) for slope in one.slopes]
    ceilings = [(i, ceiling) for i, one in enumerate(outlines) for ceiling in one.ceilings]
    for (i, slope), turn in zip(slopes, _turns([s.value for _, s in slopes]), strict=True):
        one, (colour, dash) = outlines[i], looks[i]
        main = slope.name == one.chip.main_level
        start, end = (x[0], x[0] * slope.value), (one.top.value / slope.value, one.top.value)
        ax.plot(
            *zip(start, end, strict=True),
            color=colour,
            linewidth=(1.6 if main else 1.0) * scale,
            zorder=3,
            linestyle=_dashed(turn, dash if main else (0, (5, 1.5))),
        )
    for (i, ceiling), turn in zip(ceilings, _turns([c.value for _, c in ceilings]), strict=True):
        one, (colour, dash) = outlines[i], looks[i]
        ends = [x[-1], ceiling.value / one.steepest]  # from the right, where those that take turns start together
        ax.plot(ends, [ceiling.value] * 2, color=colour, linewidth=1.6 * scale, zorder=3, linestyle=_dashed(turn, dash))
    for one, (colour, _) in zip(outlines, looks, strict=True):
        _bands(ax, one, x, colour)
        _ridges(ax, one, x, colour, scale)
    return [(ceiling.value, _end(outlines[i], ceiling), looks[i][0]) for i, ceiling in ceilings]


def _end(one: Outline, ceiling: Figure) -> str:
    """What stands at the end of a ceiling among those of other chips."""
    ridge = one.ridge(ceiling)
    return f"{canvas.plain(one.chip.name)} {ceiling.name}" + (f", ridge {ratio(ridge)}" if ridge else "")


def _turns(values: Sequence[float]) -> list[tuple[int, int]]:
    """Of each line, its place among those it lies on, and how many these are."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    groups: list[list[int]] = []
    for i in order:
        if groups and values[i] <= values[groups[-1][0]] * (1 + _SAME):
            groups[-1].append(i)
        else:
            groups.append([i])
    found = {i: (sorted(group).index(i), len(group)) for group in groups for i in group}
    return [found[i] for i in range(len(values))]


def _dashed(turn: tuple[int, int], usual: Dash, length: float = 3.0) -> Dash:
    """The dash of a line that takes turns with others, in widths of the line; alone, the usual one."""
    place, count = turn
    if count == 1:
        return usual
    return ((count - place) % count * length, (length, (count - 1) * length))


def _area(share: Share, scale: float, count: int = 1) -> Share:
    """Area of a point's mark (square typographic points), among so many of them."""
    return ((14 if count <= _CLOUD else 4) + 420 * share) * scale**2


def _shapes(marks: pd.DataFrame) -> tuple[pd.Series[Any], dict[str, str]]:
    """The mark of each point, and what each mark stands for, in the order of the key; nothing if no class is told."""
    import pandas as pd

    kinds = marks["kind"].astype(str) if "kind" in marks else pd.Series("", index=marks.index)
    kinds = kinds.where(kinds.isin(MARKS), "")
    if (kinds == "").all():
        return kinds.map(lambda _: "o"), {}
    present = set(kinds)
    return kinds.map({kind: shape for kind, (shape, _) in MARKS.items()}), {
        shape: name for kind, (shape, name) in MARKS.items() if kind in present
    }


def _colour_of(marks: pd.DataFrame, first: int) -> dict[str, Colour]:
    """A colour for each series, after those of the chips."""
    colours = canvas.palette()
    return {name: colours[(first + i) % len(colours)] for i, name in enumerate(marks["series"].unique())}


def _draw_points(
    ax: Axes, marks: pd.DataFrame, label_share: float, first: int, scale: float
) -> list[tuple[str, tuple[float, float], float, Any]]:
    """Draw the points, the largest at the bottom; returns the labels: text, place, area of the mark and colour.

    A label stands for an operator of a series, at its largest point; the longest time comes first.
    """
    colours, (shapes, _) = _colour_of(marks, first), _shapes(marks)
    cloud = len(marks) > _CLOUD
    ordered = marks.assign(shape=shapes).sort_values("share", ascending=False, kind="stable")
    key: Any
    for key, group in ordered.groupby(["series", "shape"], sort=False):
        series, shape = key
        ax.scatter(
            group["intensity"],
            group["attained"],
            s=group["area"],
            color=colours[series],
            marker=shape,
            alpha=0.4 if cloud else 0.75,
            edgecolor="white",
            linewidth=0 if cloud else 0.6 * scale,
            rasterized=cloud,
            zorder=6,
        )
    by_op = ordered.groupby(["series", "op"], sort=False)
    shares = by_op["share"].agg(["sum", "size"])
    found = []
    long = shares[shares["sum"] >= label_share].sort_values("sum", ascending=False, kind="stable")
    for key, (share, count) in long.iterrows():
        series, op = key
        largest = by_op.get_group(key).iloc[0]
        several = f" ({int(count):,} points)" if count > 1 else ""
        text = f"{canvas.plain(op, 32)} {share:.0%}{several}"
        found.append((text, (largest["intensity"], largest["attained"]), float(largest["area"]), colours[series]))
    return found


def _key(ax: Axes, marks: pd.DataFrame | None, outlines: Sequence[Outline], scale: float, own: bool) -> None:
    """What colours, marks and sizes mean, and which lines are which level where several are drawn."""
    from matplotlib.lines import Line2D

    def mark(shape: str, colour: Colour, area: float) -> Any:
        return Line2D([], [], linestyle="", marker=shape, color=colour, markersize=np.sqrt(area), markeredgewidth=0)

    entries: list[tuple[object, str]] = []
    several = len(outlines) > 1
    if several and any(len(one.slopes) > 1 for one in outlines):
        inner: Dash = (0, (5, 1.5))
        entries += [
            (Line2D([], [], color="0.4", linewidth=1.6 * scale), "main memory"),
            (Line2D([], [], color="0.4", linewidth=scale, linestyle=inner), "other levels"),
        ]
    if marks is not None and len(marks):
        colours = _colour_of(marks, len(outlines) if several else 0)
        entries += [(mark("o", c, 40 * scale**2), name) for name, c in colours.items() if name]
        shapes = _shapes(marks)[1]
        entries += [(mark(shape, "0.45", 30 * scale**2), name) for shape, name in shapes.items()]
        usual, sizes = next(iter(shapes), "o"), _KEY_SHARES if len(marks["share"].unique()) > 1 else ()
        entries += [(mark(usual, "0.45", _area(share, scale)), f"{share:.0%} of the time") for share in sizes]
    canvas.key(ax, entries, 7.5 * scale, 33 * scale if own else None)


__all__ = ["plot_roofline"]
