"""Bars: where the time goes, and which figure of a chip moves a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import units
from roofline.base.errors import BadWorkload, shown
from roofline.base.face import TEXT, optional, takes
from roofline.show import canvas, frames
from roofline.show.quantities import ratio

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType as Colour

#: Least length of a bar, of the longest.
_VISIBLE = 0.01

#: Thickness of a bar, of the distance between two.
_THICK = 0.62

_NEEDED = ("op", "time_s", "share", "bound")


@canvas.picture
@takes(labels=optional(canvas.NAMES), smallest=canvas.SHARE, title=optional(TEXT), ax=optional(canvas.AXES))
def plot_breakdown(
    *phases: Any,
    labels: Sequence[str] | None = None,
    smallest: float = 0.02,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Where the time goes: one horizontal bar per phase, its operators as segments.

    Parameters
    ----------
    *phases : DataFrame, Phase or estimate
        Breakdowns such as ``est.prefill.ops`` and ``est.decode.ops``. An estimate stands for all its phases, and for
        a title that says what was asked.
    labels : sequence of str, optional
        Names of the bars.
    smallest : float, optional
        Operators below this share are drawn together as "other".
    title : str, optional
        Above the picture.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes
        Of matplotlib: ``.figure.savefig(path)`` writes PNG, SVG or PDF by the ending.

    Raises
    ------
    BadWorkload
        Without a breakdown, for what is none, or for another number of labels than of bars.

    Examples
    --------
    >>> import roofline as rl
    >>> est = rl.estimate("llama-3.1-8b", "h100-sxm", batch=16)
    >>> rl.plot_breakdown(est).get_xlabel()
    'share of the time'
    """
    if not phases:
        raise BadWorkload("plot_breakdown needs at least one breakdown")
    if title is None and len(phases) == 1 and frames.is_estimate(phases[0]):
        from roofline.show.words import heading

        title = heading(phases[0])
    bars = [
        (name or f"phase {i + 1}", frame)
        for i, phase in enumerate(phases)
        for name, frame in frames.named("plot_breakdown", phase, _NEEDED).items()
    ]
    if labels is not None:
        if isinstance(labels, str) or len(labels) != len(bars):
            raise BadWorkload(f"labels: expected {len(bars)} names, one a bar, found {shown(labels)}")
        bars = [(str(name), frame) for name, (_, frame) in zip(labels, bars, strict=True)]
    rows = [segments(frame, smallest) for _, frame in bars]
    colours = colours_of(name for row in rows for name, *_ in row)
    usual = (canvas.USUAL[0], 1.0 + 0.62 * len(bars) + 0.19 * (len(colours) + 4) / 4)
    page = canvas.axes(ax, canvas.sized(size, usual))
    scale = canvas.scale(page) if ax is not None or size is not None else 1.0
    return _draw(page, bars, rows, colours, title, scale, own=ax is None)


def segments(frame: pd.DataFrame, smallest: float) -> list[tuple[str, float, str]]:
    """Name, share and bound of each segment of a bar, the longest first; operators of one name are one segment."""
    shares: dict[str, float] = {}
    bounds: dict[str, str] = {}
    rows = zip(frame["op"].tolist(), frame["share"].tolist(), frame["bound"].tolist(), strict=True)
    for op, share, bound in sorted(rows, key=lambda row: -row[1]):
        name = str(op)
        shares[name] = shares.get(name, 0.0) + float(share)
        bounds.setdefault(name, str(bound))
    longest = sorted(shares.items(), key=lambda one: -one[1])
    found = [(name, share, bounds[name]) for name, share in longest if share >= smallest]
    rest = 1.0 - sum(share for _, share, _ in found)
    return [*found, ("other", rest, "")] if rest > 1e-9 else found


def colours_of(names: Any) -> dict[str, Colour]:
    """A colour for each operator, the same in every bar; what is drawn together is grey."""
    maps = canvas.matplotlib().colormaps
    colours = [c for name in ("tab20", "tab20b") for c in maps[name].colors if len(set(c)) > 1]  # no grey
    told = [name for name in dict.fromkeys(names) if name != "other"]
    return {name: colours[i % len(colours)] for i, name in enumerate(told)} | {"other": "0.8"}


def _draw(
    ax: Axes,
    bars: Sequence[tuple[str, pd.DataFrame]],
    segments: Sequence[Any],
    colours: Mapping[str, Colour],
    title: str | None,
    scale: float,
    own: bool,
) -> Axes:
    drawn: dict[str, Any] = {}
    for i, row in enumerate(segments):
        left = 0.0
        for name, share, _ in row:
            bar = ax.barh(i, share, left=left, height=_THICK, color=colours[name], edgecolor="white", linewidth=0.8)
            drawn.setdefault(name, bar)
            left += share
    names = [f"{canvas.plain(name, 24)}\n{units.text(float(f['time_s'].sum()), 's', 3)}" for name, f in bars]
    ax.set_yticks(range(len(bars)), names, fontsize=9 * scale, parse_math=False)
    ax.set_ylim(len(bars) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_xlabel("share of the time", fontsize=9 * scale)
    ax.tick_params(axis="x", labelsize=8.5 * scale)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(left=False)
    if title:
        canvas.title(ax, title, 10 * scale)
    told = [name for name in drawn if name != "other"] + ["other"] * ("other" in drawn)
    canvas.key(ax, [(drawn[name], canvas.plain(name, 32)) for name in told], 7.5 * scale, 33 * scale)
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # how long a segment is on the page is settled now
    for i, row in enumerate(segments):
        _name_segments(ax, i, row, scale)
    return ax


def _name_segments(ax: Axes, row: int, segments: Sequence[tuple[str, float, str]], scale: float) -> None:
    """Write into each segment what fits: its share and what bounds it, its share, or nothing."""
    points = 72 / ax.figure.dpi
    wide, tall = ax.bbox.width * points, _THICK * ax.bbox.height * points / abs(np.diff(ax.get_ylim()).item())
    left = 0.0
    for _, share, bound in segments:
        for text in (f"{share:.0%}\n{bound}" if bound else f"{share:.0%}", f"{share:.0%}"):
            width, height = canvas.extent(ax, text, fontsize=7 * scale)
            if width + 3 <= share * wide and height <= tall:
                ax.text(left + share / 2, row, text, ha="center", va="center", fontsize=7 * scale, parse_math=False)
                break
        left += share


@canvas.picture
@takes(figure=TEXT, most=canvas.COUNT, title=optional(TEXT), ax=optional(canvas.AXES))
def plot_sensitivity(
    table: pd.DataFrame,
    figure: str = "the result",
    *,
    most: int = 16,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A tornado: how many percent a result moves for a percent of each figure of the chip, the largest on top.

    Parameters
    ----------
    table : DataFrame
        From :func:`roofline.sensitivity`: `elasticity`, indexed by figure.
    figure : str, optional
        The result, for the axis.
    most : int, optional
        Bars to draw at most.
    title : str, optional
        Above the picture.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes
        Of matplotlib: ``.figure.savefig(path)`` writes PNG, SVG or PDF by the ending.

    Raises
    ------
    BadWorkload
        For a table without elasticities, or without rows.

    Examples
    --------
    >>> import roofline as rl
    >>> table = rl.sensitivity("llama-3.1-8b", "h100-sxm", figure="tpot_s", batch=16)
    >>> rl.plot_sensitivity(table, "TPOT", most=8).get_xlabel()
    'percent of TPOT for a percent of the figure'
    """
    if "elasticity" not in getattr(table, "columns", ()):
        raise BadWorkload(f"plot_sensitivity: expected a table from sensitivity, found {shown(table)}")
    if table.empty:
        raise BadWorkload("plot_sensitivity: no figure moves the result: there is nothing to draw")
    rows = table["elasticity"].sort_values(key=abs, ascending=False, kind="stable").head(most)
    rows = rows[rows.abs() >= _VISIBLE * rows.abs().max()]
    page = canvas.axes(ax, canvas.sized(size, (canvas.USUAL[0], 1.1 + 0.24 * len(rows))))
    scale = canvas.scale(page) if ax is not None or size is not None else 1.0
    colours = [canvas.COLOURS[0] if value > 0 else canvas.COLOURS[1] for value in rows]
    page.barh(range(len(rows)), rows, color=colours, height=0.66)
    page.axvline(0, color="0.3", linewidth=0.8)
    page.set_yticks(range(len(rows)), [canvas.plain(path) for path in rows.index], fontsize=8 * scale, parse_math=False)
    page.set_ylim(len(rows) - 0.4, -0.6)
    # Half of the axes, the names beside them taken off, holds the longest bar and what is written at its end.
    names, ends = (
        max(canvas.extent(page, text, fontsize=height * scale)[0] for text in texts)
        for texts, height in ((rows.index, 8), ([f"{value:+.2g}" for value in rows], 7.5))
    )
    both = (rows < 0).any() and (rows > 0).any()
    half = max(72 * page.figure.get_size_inches()[0] - names - 12, 72) / (2 if both else 1)  # type: ignore[union-attr]
    reach = max(abs(float(v)) for v in rows) * max(1.25, half / max(half - ends - 6, half / 4))
    page.set_xlim(-reach if (rows < 0).any() else 0, reach if (rows > 0).any() else 0)
    for i, value in enumerate(rows):
        canvas.write(
            page,
            f"{value:+.2g}",
            (value, i),
            (3 if value > 0 else -3, 0),
            "0.2",
            fontsize=7.5 * scale,
            ha="left" if value > 0 else "right",
            va="center",
        )
    says = f"percent of {canvas.plain(figure)} for a percent of the figure"
    if canvas.extent(page, says, fontsize=9 * scale)[0] > (2 if both else 1) * half:
        says = says.replace(" for", "\nfor")
    page.set_xlabel(says, fontsize=9 * scale, parse_math=False)
    page.xaxis.set_major_formatter(lambda v, _: ratio(v) if v else "0")
    page.tick_params(axis="x", labelsize=8.5 * scale)
    page.tick_params(axis="y", left=False)
    page.spines[["top", "right"]].set_visible(False)
    if title:
        canvas.title(page, title, 10 * scale, share=0.66, beside=True)
    return page


@canvas.picture
@takes(most=canvas.COUNT, title=optional(TEXT), ax=optional(canvas.AXES))
def plot_indices(
    table: pd.DataFrame,
    *,
    most: int = 16,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Sobol indices: how much of the doubt of a result each thing in doubt accounts for, the largest on top.

    Dark bars are the indices of the first order, light ones the total indices; lines are their 95 % confidence
    intervals. What the estimate of an index has below 0 is drawn from 0.

    Parameters
    ----------
    table : DataFrame
        From :func:`roofline.indices`: `first`, `first_error`, `total`, `total_error`, indexed by what is in doubt.
    most : int, optional
        Things to draw at most.
    title : str, optional
        Above the picture.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes
        Of matplotlib: ``.figure.savefig(path)`` writes PNG, SVG or PDF by the ending.

    Raises
    ------
    BadWorkload
        For a table without indices, or without rows.

    Examples
    --------
    >>> import roofline as rl
    >>> shares = rl.indices("llama-3.1-8b", "artemis", dtype="fp16", draws=16)
    >>> rl.plot_indices(shares).get_xlabel()
    'share of the variance of tokens_per_s'
    """
    missing = {"first", "first_error", "total", "total_error"} - set(getattr(table, "columns", ()))
    if missing:
        raise BadWorkload(f"plot_indices: expected a table from indices, found {shown(table)}")
    rows = table.head(most)
    rows = rows[rows["total"] >= _VISIBLE * rows["total"].max()] if len(rows) else rows
    if rows.empty:
        raise BadWorkload("plot_indices: nothing in doubt moves the result: there is nothing to draw")
    page = canvas.axes(ax, canvas.sized(size, (canvas.USUAL[0], 1.4 + 0.3 * len(rows))))
    scale = canvas.scale(page) if ax is not None or size is not None else 1.0
    entries: list[tuple[object, str]] = []
    for name, says, shift, colour in (("total", "total", -0.17, "#9CC7E4"), ("first", "first order", 0.17, "")):
        places, values, errors = np.arange(len(rows)) + shift, rows[name].clip(lower=0), rows[f"{name}_error"]
        bars = page.barh(places, values, height=0.34, color=colour or canvas.COLOURS[0])
        page.hlines(places, (values - errors).clip(lower=0), values + errors, color="0.25", linewidth=0.9 * scale)
        entries.insert(0, (bars, says))
    page.set_yticks(range(len(rows)), [canvas.plain(name) for name in rows.index], fontsize=8 * scale, parse_math=False)
    page.set_ylim(len(rows) - 0.4, -0.6)
    page.set_xlim(0, None)
    page.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    page.tick_params(axis="x", labelsize=8.5 * scale)
    page.tick_params(axis="y", left=False)
    page.spines[["top", "right"]].set_visible(False)
    if title:
        canvas.title(page, title, 10 * scale, share=0.66, beside=True)
    canvas.name_below(
        page, f"share of the variance of {canvas.plain(table.attrs.get('figure', 'the result'))}", 9 * scale
    )
    canvas.key(page, entries, 7.5 * scale, None)  # in the corner where the bars are short
    return page
