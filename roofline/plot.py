"""Pictures: rooflines, breakdowns, sweeps. The only place that knows matplotlib; it draws results, it computes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline import units
from roofline.errors import BadWorkload

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from roofline.chip import Chip

# Okabe & Ito's colours: told apart by colour-blind readers and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = {"gemm": "o", "attention": "s", "mla_attention": "s", "moe": "D", "embedding_bag": "^"}


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # A figure of its own, without pyplot: no window, no global state, the same picture on every machine.
    figure = Figure(figsize=size, layout="constrained")
    figure.set_dpi(150)
    return figure.add_subplot()


def plot_roofline(
    *chips: Chip,
    dtypes: Sequence[str] | None = None,
    levels: Sequence[str] | None = None,
    ops: pd.DataFrame | Mapping[str, pd.DataFrame] | None = None,
    label_share: float = 0.04,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Log-log roofline of one or several chips, with operators as points.

    Parameters
    ----------
    *chips : Chip
        One chip shows every memory level; several show main memory only, unless `levels` says otherwise.
    dtypes : sequence of str, optional
        Ceilings to draw. Default: the matrix engine's 16-bit and 8-bit rates and the vector engine's (one chip), the
        16-bit rate (several).
    levels : sequence of str, optional
        Memory levels to draw; ``"main"`` and ``"cache"`` are understood on every chip.
    ops : DataFrame or dict of them, optional
        Breakdowns such as ``est.decode.ops``; points at (intensity, attained FLOP/s) sized by their share of time.
        Columns `op`, `intensity`, `flops`, `time_s`, `share`; `kind` is optional.
    label_share : float, optional
        Points with at least this share of the time are labelled.
    title : str, optional
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes
        ``ax.figure.savefig("roofline.svg")`` writes PNG, SVG or PDF by the ending.

    Raises
    ------
    BadWorkload
        Without a chip, or for a dtype that a chip has no rate for.
    """
    if not chips:
        raise BadWorkload("plot_roofline needs at least one chip")
    ax = _axes(ax, (7.2, 4.6))
    points = _points(ops)
    x = _span(chips, points)
    for i, chip in enumerate(chips):
        colour = COLOURS[i % len(COLOURS)] if len(chips) > 1 else "#333333"
        _draw_chip(ax, chip, x, colour, alone=len(chips) == 1, dtypes=dtypes, levels=levels)
    if points is not None:
        _draw_points(ax, points, label_share, first=0 if len(chips) == 1 else len(chips))
    ax.set(xscale="log", yscale="log", xlim=(x[0], x[-1]))
    ax.set_xlabel("arithmetic intensity (FLOP/byte)")
    ax.set_ylabel("attainable FLOP/s")
    ax.yaxis.set_major_formatter(lambda value, _: units.text(value, "", 3).strip() if value < 1e3 else _short(value))
    ax.grid(True, which="major", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.set_title(title if title is not None else " and ".join(c.title for c in chips), fontsize=10)
    if len(chips) > 1 or (points is not None and len(set(points["series"])) > 1):
        ax.legend(loc="lower right", fontsize=8, frameon=False)
    return ax


def _short(value: float) -> str:
    return units.text(value, "FLOP/s", 3).removesuffix("FLOP/s")


def _points(ops: Any) -> pd.DataFrame | None:
    import pandas as pd

    if ops is None:
        return None
    frames = ops if isinstance(ops, Mapping) else {"": ops}
    tables = []
    for series, frame in frames.items():
        missing = {"op", "intensity", "flops", "time_s", "share"} - set(frame.columns)
        if missing:
            raise BadWorkload(f"ops: expected the columns of est.decode.ops, missing {', '.join(sorted(missing))}")
        tables.append(frame.assign(series=series))
    table = pd.concat(tables, ignore_index=True)
    # Operators without arithmetic (copies, collectives, overheads) have no place on log axes.
    return table[(table["flops"] > 0) & (table["intensity"] > 0) & (table["time_s"] > 0)]


def _span(chips: Sequence[Chip], points: pd.DataFrame | None) -> np.ndarray:
    ridges = [float(np.max(c.ridge_point(d))) for c in chips for d in c.dtypes]
    low, high = 0.3, max(ridges) * 8
    if points is not None and len(points):
        low, high = min(low, points["intensity"].min() / 2), max(high, points["intensity"].max() * 2)
    return np.geomspace(low, high, 400)


def _band(chip: Chip, path: str) -> tuple[float, float, float]:
    """Value, low and high of a figure, summed over the cores where it is given per core."""
    number = chip.number(path)
    parts = path.split(".")
    scale = 1.0
    if parts[0] == "memory" and chip.flags.get(f"memory.{parts[1]}.per") == "core":
        scale = float(np.mean(chip["cores.count"]))
    value = float(np.mean(number.value))
    return value * scale, (number.low or value) * scale, (number.high or value) * scale


def _draw_chip(
    ax: Axes,
    chip: Chip,
    x: np.ndarray,
    colour: str,
    alone: bool,
    dtypes: Sequence[str] | None,
    levels: Sequence[str] | None,
) -> None:
    main, cache = chip.main_level, chip.cache_level
    wanted = dtypes or _default_dtypes(chip, alone)
    ceilings = []
    for dtype in wanted:
        chip.peak(dtype)  # raises for a dtype the chip has not
        dtype = units.dtype_name(dtype)
        path = f"engines.matrix.{dtype}" if f"engines.matrix.{dtype}" in chip.numbers else f"engines.vector.{dtype}"
        ceilings.append((dtype, path, _band(chip, path)))
    ceilings.sort(key=lambda c: -c[2][0])
    names = (
        [{"main": main, "cache": cache}.get(level, level) for level in levels]
        if levels
        else ([v for v in chip.levels if chip.get(f"memory.{v}.bandwidth") is not None] if alone else [main])
    )
    slopes = {name: _band(chip, f"memory.{name}.bandwidth") for name in dict.fromkeys(names)}
    top = ceilings[0][2][0]
    widest = max(s[0] for s in slopes.values())
    for n, (name, (value, low, high)) in enumerate(slopes.items()):
        style = "-" if name == main else (0, (5, 1.5 + n))
        ax.plot(
            x,
            np.minimum(x * value, top),
            linestyle=style,
            color=colour,
            linewidth=1.8 if name == main else 1.1,
            label=chip.name if name == main else None,
            zorder=3,
        )
        peak_low, peak_high = ceilings[0][2][1:]
        if high > low or peak_high > peak_low:
            ax.fill_between(
                x, np.minimum(x * low, peak_low), np.minimum(x * high, peak_high), color=colour, alpha=0.13, linewidth=0
            )
        if alone:
            _slope_label(ax, x, value, top, f"{name} {units.text(value, 'B/s', 3)}", colour)
    for dtype, path, (value, low, high) in ceilings:
        start = value / widest
        ax.plot([start, x[-1]], [value, value], color=colour, linewidth=1.6 if value == top else 1.0, zorder=3)
        if high > low:
            ax.fill_between([start, x[-1]], low, high, color=colour, alpha=0.08, linewidth=0)
        engine = "matrix" if path.startswith("engines.matrix") else "vector"
        if alone:
            ax.annotate(
                f"{dtype} {engine} {units.text(value, 'FLOP/s', 4)}",
                (x[-1], value),
                xytext=(-4, 3),
                textcoords="offset points",
                ha="right",
                fontsize=7.5,
                color=colour,
            )
        ridge = value / slopes.get(main, next(iter(slopes.values())))[0]
        if main in slopes and engine == "matrix" and ridge < x[-1]:
            ax.plot([ridge], [value], marker="o", markersize=4.5, color="white", markeredgecolor=colour, zorder=4)
            ax.annotate(
                f"{ridge:.0f}",
                (ridge, value),
                xytext=(0, -11),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=colour,
                zorder=5,
            )


def _default_dtypes(chip: Chip, alone: bool) -> list[str]:
    wide = chip.widest_matrix
    if not alone:
        return [wide]
    narrow = next((d for d in ("fp8", "int8") if d in chip.dtypes), None)
    vector = next((d for d in ("fp32", "fp16") if f"engines.vector.{d}" in chip.numbers and d not in chip.dtypes), None)
    return [d for d in (wide, narrow, vector) if d is not None]


def _slope_label(ax: Axes, x: np.ndarray, bandwidth: float, top: float, text: str, colour: str) -> None:
    """Write a bandwidth along its slope, near the left end of the picture."""
    at = x[0] * 1.6
    ax.annotate(
        text,
        (at, at * bandwidth),
        xytext=(0, 4),
        textcoords="offset points",
        rotation=45,
        rotation_mode="anchor",
        transform_rotates_text=True,
        fontsize=7.5,
        color=colour,
    )


def _draw_points(ax: Axes, points: pd.DataFrame, label_share: float, first: int) -> None:
    placed: list[tuple[float, float]] = []
    for i, (series, group) in enumerate(points.groupby("series", sort=False)):
        colour = COLOURS[(first + i) % len(COLOURS)]
        for _, row in group.sort_values("share", ascending=False).iterrows():
            y = row["flops"] / row["time_s"]
            marker = _MARKERS.get(str(row.get("kind", "")), "v")
            ax.scatter(
                row["intensity"],
                y,
                s=14 + 420 * row["share"],
                color=colour,
                alpha=0.75,
                marker=marker,
                edgecolor="white",
                linewidth=0.6,
                zorder=6,
            )
            if row["share"] >= label_share:
                _point_label(ax, row, y, placed, colour)
        if series:
            ax.scatter([], [], color=colour, label=str(series))


def _point_label(ax: Axes, row: Any, y: float, placed: list[tuple[float, float]], colour: str) -> None:
    """Label a point, moved down in steps until it stands clear of the labels before it."""
    spot = (np.log10(row["intensity"]), np.log10(y))
    step = 0
    while any(abs(spot[0] - px) < 0.55 and abs(spot[1] - step * 0.16 - py) < 0.15 for px, py in placed) and step < 12:
        step += 1
    placed.append((spot[0], spot[1] - step * 0.16))
    ax.annotate(
        f"{row['op']} {row['share']:.0%}",
        (row["intensity"], y),
        xytext=(9, -3 - 11 * step),
        textcoords="offset points",
        fontsize=7.5,
        color=colour,
        zorder=7,
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5} if step else None,
    )


def plot_breakdown(
    *phases: pd.DataFrame, labels: Sequence[str] | None = None, smallest: float = 0.02, ax: Axes | None = None
) -> Axes:
    """Where the time goes: one horizontal bar per phase, its operators as segments.

    Parameters
    ----------
    *phases : DataFrame
        Breakdowns such as ``est.prefill.ops`` and ``est.decode.ops``.
    labels : sequence of str, optional
        Names of the bars.
    smallest : float, optional
        Operators below this share are drawn together as "other".
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    if not phases:
        raise BadWorkload("plot_breakdown needs at least one breakdown")
    ax = _axes(ax, (7.2, 1.1 + 0.75 * len(phases)))
    names = list(labels) if labels else [f"phase {i + 1}" for i in range(len(phases))]
    colours: dict[str, Any] = {}
    import matplotlib

    palette = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    for i, frame in enumerate(phases):
        big = frame[frame["share"] >= smallest].sort_values("share", ascending=False)
        segments = [(str(r["op"]), r["share"], str(r["bound"])) for _, r in big.iterrows()]
        rest = 1.0 - sum(s for _, s, _ in segments)
        if rest > 1e-9:
            segments.append(("other", rest, ""))
        left = 0.0
        for name, share, bound in segments:
            colour = colours.setdefault(name, "0.8" if name == "other" else palette[len(colours) % 20])
            ax.barh(
                i,
                share,
                left=left,
                height=0.62,
                color=colour,
                edgecolor="white",
                linewidth=0.8,
                label=name if name not in ax.get_legend_handles_labels()[1] else None,
            )
            if share > 0.075:
                ax.text(left + share / 2, i, f"{share:.0%}\n{bound}", ha="center", va="center", fontsize=7)
            left += share
    ax.set_yticks(
        range(len(phases)),
        [f"{name}\n{units.text(float(f['time_s'].sum()), 's', 3)}" for name, f in zip(names, phases, strict=True)],
    )
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_xlabel("share of the time")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(left=False)
    ax.legend(ncols=5, fontsize=7.5, frameon=False, loc="lower center", bbox_to_anchor=(0.45, 1.0))
    return ax


def save(ax: Axes, path: str) -> None:
    """Write a picture; the ending (png, svg, pdf) says how.

    Raises
    ------
    BadWorkload
        For another ending, or a folder that does not exist.
    """
    from pathlib import Path

    target = Path(path)
    if target.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise BadWorkload(f"{path}: expected a picture ending in .png, .svg or .pdf")
    if not target.parent.is_dir():
        raise BadWorkload(f"{path}: the folder {target.parent} does not exist")
    ax.figure.savefig(target)
