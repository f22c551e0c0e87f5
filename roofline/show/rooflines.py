"""Pictures: rooflines, breakdowns, sweeps. The only place that knows matplotlib; it draws results, it computes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import units
from roofline.base.errors import BadWorkload
from roofline.catalog.load import as_chip
from roofline.show import room

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from roofline.hardware.chip import Chip

# Okabe & Ito's colours: told apart by colour-blind readers and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = {"gemm": "o", "attention": "s", "mla_attention": "s", "moe": "D", "embedding_bag": "^"}


def _palette() -> tuple[Any, ...]:
    """Colours for many series: those that everybody can tell apart first."""
    import matplotlib

    return (*COLOURS, *matplotlib.colormaps["tab20b"].colors)  # type: ignore[attr-defined]


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # A figure of its own, without pyplot: no window, no global state, the same picture on every machine.
    figure = Figure(figsize=size, dpi=200, layout="constrained")
    return figure.add_subplot()


def plot_roofline(
    *chips: Chip | str,
    dtypes: Sequence[str] | None = None,
    levels: Sequence[str] | None = None,
    ops: pd.DataFrame | Mapping[str, pd.DataFrame] | None = None,
    label_share: float = 0.08,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Log-log roofline of one or several chips, with operators as points.

    Parameters
    ----------
    *chips : Chip or str
        Chips, or their names or paths. One shows every memory level; several show main memory only, unless `levels`
        says otherwise.
    dtypes : sequence of str, optional
        Ceilings to draw. Default: the matrix engine's 16-bit and 8-bit rates and the vector engine's (one chip), the
        16-bit rate (several).
    levels : sequence of str, optional
        Memory levels to draw; ``"main"`` and ``"cache"`` are understood on every chip.
    ops : DataFrame or dict of them, optional
        Breakdowns such as ``est.decode.ops``; points at (intensity, attained FLOP/s) sized by their share of time.
        Columns `op`, `intensity`, `flops`, `time_s`, `share`; `kind` is optional.
    label_share : float, optional
        Operators with at least this share of the time are labelled, once however many points they have; a label that
        finds no free place is left out.
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
    drawn = tuple(as_chip(chip) for chip in chips)
    for chip in drawn:
        if any(isinstance(n.value, np.ndarray) for n in chip.numbers.values()):
            raise BadWorkload(
                f"{chip.title}: figures that are arrays have no one roofline; draw each variant as a chip"
            )
    dtypes = [dtypes] if isinstance(dtypes, str) else dtypes
    levels = [levels] if isinstance(levels, str) else levels
    return _draw(drawn, dtypes, levels, _points(ops), label_share, title, _axes(ax, (7.2, 4.6)))


def _draw(
    chips: Sequence[Chip], dtypes: Sequence[str] | None, levels: Sequence[str] | None, points: pd.DataFrame | None,
    label_share: float, title: str | None, ax: Axes,
) -> Axes:  # fmt: skip
    x = _span(chips, points)
    for i, chip in enumerate(chips):
        colour = COLOURS[i % len(COLOURS)] if len(chips) > 1 else "#333333"
        # Past the colours that can be told apart, the dash does.
        main_style = ("-", "-.", ":")[(i // len(COLOURS)) % 3]
        ceilings = _draw_chip(ax, chip, x, colour, main_style, len(chips) == 1, dtypes, levels)
    ax.set(xscale="log", yscale="log", xlim=(x[0], x[-1]))
    heights = [float(v) for line in ax.lines for v in (np.min(line.get_ydata()), np.max(line.get_ydata()))]
    if points is not None and len(points):
        heights += [0.5 * float((points["flops"] / points["time_s"]).min())]
    ax.set_ylim(min(heights), 4 * max(heights))
    ax.set_xlabel("arithmetic intensity (FLOP/byte)")
    ax.set_ylabel("attainable FLOP/s")
    ax.yaxis.set_major_formatter(lambda value, _: units.text(value, "", 3).strip() if value < 1e3 else _short(value))
    ax.grid(True, which="major", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.set_title(title if title is not None else _title(chips), fontsize=10)
    labels = [] if points is None else _draw_points(ax, points, label_share, 0 if len(chips) == 1 else len(chips))
    if len(chips) > 1 or (points is not None and len(set(points["series"])) > 1):
        ax.legend(loc="lower right", fontsize=8, frameon=False)
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # where things are on the page is settled only now
    page = _Page(ax, points)
    if len(chips) == 1:
        names = _levels_drawn(chips[0], levels, alone=True)
        slopes = {name: _band(chips[0], f"memory.{name}.bandwidth")[0] for name in names}
        _label_slopes(page, slopes, chips[0].main_level, "#333333")
    for text, spot, colour in labels:
        _label_point(page, text, spot, colour)
    for text, height in ceilings if len(chips) == 1 else []:  # last: a ceiling is long, and its label can go anywhere
        _label_ceiling(page, text, height, "#333333")
    return ax


def _title(chips: Sequence[Chip]) -> str:
    if len(chips) == 1:
        return chips[0].title
    return ", ".join(c.name for c in chips)


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
    table: pd.DataFrame = pd.concat(tables, ignore_index=True)
    # Operators without arithmetic (copies, collectives, overheads) have no place on log axes.
    return table.loc[(table["flops"] > 0) & (table["intensity"] > 0) & (table["time_s"] > 0)]


def _span(chips: Sequence[Chip], points: pd.DataFrame | None) -> np.ndarray:
    ridges = [float(np.max(c.ridge_point(d))) for c in chips for d in c.dtypes]
    low, high = 0.3, max(ridges) * 16  # right of the ridge point stands what the ceiling is called
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
    ax: Axes, chip: Chip, x: np.ndarray, colour: str, main_style: str, alone: bool, dtypes: Sequence[str] | None,
    levels: Sequence[str] | None,
) -> list[tuple[str, float]]:  # fmt: skip
    """The lines of a chip; returns what its ceilings are called, and their heights, from the top."""
    main = chip.main_level
    wanted = dtypes or _default_dtypes(chip, alone)
    ceilings = []
    for dtype in wanted:
        chip.peak(dtype)  # raises for a dtype the chip has not
        dtype = units.dtype_name(dtype)
        path = f"engines.matrix.{dtype}" if f"engines.matrix.{dtype}" in chip.numbers else f"engines.vector.{dtype}"
        ceilings.append((dtype, path, _band(chip, path)))
    ceilings.sort(key=lambda c: -c[2][0])
    names = _levels_drawn(chip, levels, alone)
    slopes = {name: _band(chip, f"memory.{name}.bandwidth") for name in names}
    top = ceilings[0][2][0]
    widest = max(s[0] for s in slopes.values())
    for n, (name, (value, low, high)) in enumerate(slopes.items()):
        style: Any = main_style if name == main else (0, (5, 1.5 + n))
        width = 1.8 if name == main else 1.1
        shown = ", ".join(c[0] for c in ceilings)
        ridges = ", ".join(f"{c[2][0] / value:.3g}" for c in ceilings if c[1].startswith("engines.matrix"))
        label = f"{chip.name} ({shown}, {name})" + (f", ridge {ridges}" if ridges and name == main else "")
        label = label if not alone and n == 0 else ""
        ax.plot(x, np.minimum(x * value, top), linestyle=style, color=colour, linewidth=width, label=label, zorder=3)
        peak_low, peak_high = ceilings[0][2][1:]
        if high > low or peak_high > peak_low:
            under, over = np.minimum(x * low, peak_low), np.minimum(x * high, peak_high)
            ax.fill_between(x, under, over, color=colour, alpha=0.12, linewidth=0, zorder=1)
    named = []
    for dtype, path, (value, low, high) in ceilings:
        line = [value / widest, x[-1]]
        ax.plot(line, [value, value], main_style, color=colour, linewidth=1.6 if value == top else 1.0, zorder=3)
        if high > low and value != top:
            ax.fill_between(line, low, high, color=colour, alpha=0.08, linewidth=0, zorder=1)
        engine = "matrix" if path.startswith("engines.matrix") else "vector"
        ridge = value / slopes.get(main, next(iter(slopes.values())))[0]
        marked = main in slopes and engine == "matrix" and ridge < x[-1]
        if marked:
            ax.plot([ridge], [value], marker="o", markersize=4.5, color="white", markeredgecolor=colour, zorder=4)
        text = f"{dtype} {engine} {units.text(value, 'FLOP/s', 4)}" + (f", ridge {ridge:.3g}" if marked else "")
        named.append((text, value))
    return named


def _rim() -> list[Any]:
    """A white rim around text, so that lines do not strike it out."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.2, foreground="white")]


def _write(ax: Axes, text: str, at: tuple[float, float], offset: Any, colour: Any, **options: Any) -> Any:
    """Text beside a point, offset in typographic points."""
    options = {"fontsize": 7.5, "zorder": 8, "path_effects": _rim(), **options}
    written = ax.annotate(text, at, xytext=offset, textcoords="offset points", color=colour, **options)
    written.set_in_layout(False)  # the page was laid out before its labels were placed
    return written


def _levels_drawn(chip: Chip, levels: Sequence[str] | None, alone: bool) -> list[str]:
    """Names of the memory levels to draw."""
    if levels:
        return list(dict.fromkeys({"main": chip.main_level, "cache": chip.cache_level}.get(v, v) for v in levels))
    if alone:
        return [v for v in chip.levels if chip.get(f"memory.{v}.bandwidth") is not None]
    return [chip.main_level]


def _default_dtypes(chip: Chip, alone: bool) -> list[str]:
    wide = chip.widest_matrix
    if not alone:
        return [wide]
    narrow = next((d for d in ("fp8", "int8") if d in chip.dtypes), None)
    vector = next((d for d in ("fp32", "fp16") if f"engines.vector.{d}" in chip.numbers and d not in chip.dtypes), None)
    return [d for d in (wide, narrow, vector) if d is not None]


class _Page(room.Room):
    """The axes as a page that labels are put on."""

    def __init__(self, ax: Axes, points: pd.DataFrame | None) -> None:
        self.ax, self.scale = ax, 72 / ax.figure.dpi
        super().__init__(np.array(ax.bbox.extents) * self.scale)
        for line in ax.lines:
            spots = self.at(np.column_stack([line.get_xdata(), line.get_ydata()]))
            self.take(room.LINE, room.along(spots, 1.0))
            if line.get_marker() == "o":
                self.take(room.POINT, room.boxes(spots, 2.5))
        if points is not None and len(points):
            spots = self.at(np.column_stack([points["intensity"], points["flops"] / points["time_s"]]))
            self.take(room.POINT, room.boxes(spots, np.sqrt(_sizes(points["share"]).to_numpy()) / 2 - 0.5))
        if legend := ax.get_legend():
            self.take(room.LABEL, np.array([legend.get_window_extent().extents]) * self.scale)

    def at(self, spots: Any) -> np.ndarray:
        """Places in the data as places on the page."""
        return np.asarray(self.ax.transData.transform(spots), dtype=float) * self.scale

    def back(self, place: Any) -> Any:
        """A place on the page as one in the data."""
        return self.ax.transData.inverted().transform(np.asarray(place) / self.scale)

    def size(self, text: str) -> tuple[float, float]:
        """Width and height of a label."""
        written = _write(self.ax, text, self.back(self.frame[:2]), (0, 0), "black")
        box = written.get_window_extent()
        written.remove()
        return box.width * self.scale, box.height * self.scale


def _label_slopes(page: _Page, slopes: dict[str, float], main: str, colour: str) -> None:
    """Write each bandwidth along its slope, near the left end where that is free; main memory's rather below it."""
    left = page.ax.get_xlim()[0]
    for name, bandwidth in slopes.items():
        text = f"{name} {units.text(bandwidth, 'B/s', 3)}"
        width, height = page.size(text)
        start, end = page.at([(left, left * bandwidth), (10 * left, 10 * left * bandwidth)])
        ahead = (end - start) / np.hypot(*(end - start))
        normal = np.array([-ahead[1], ahead[0]])
        best: tuple[float, Any, Any, float] = (np.inf, None, None, 1.0)
        for way in (w for w in np.arange(10.0, 260.0, 8.0) if 0.2 * w < best[0]):
            foot = start + way * ahead
            for side in (-1.0, 1.0) if name == main and len(slopes) > 1 else (1.0, -1.0):
                middle = foot + side * (height / 2 + 2) * normal
                covers = room.along(np.array([middle, middle + width * ahead]), height / 2)
                cost = page.cost(covers) + 0.2 * way
                if cost < best[0]:
                    best = (cost, foot, covers, side)
        _, foot, covers, side = best
        page.take(room.LABEL, covers)
        turned = {"rotation": float(np.degrees(np.arctan2(ahead[1], ahead[0]))), "rotation_mode": "anchor"}
        over = "bottom" if side > 0 else "top"
        _write(page.ax, text, page.back(foot), 2 * side * normal, colour, va=over, **turned)


def _label_ceiling(page: _Page, text: str, height: float, colour: str) -> None:
    """Write what a ceiling is on its line, as far to the right as it covers nothing, on a ground of its own."""
    width, tall = page.size(text)
    right, y = page.frame[2] - 4, page.at((1.0, height))[1]
    found = []
    for shift in np.arange(0.0, max(right - page.frame[0] - width, 1.0), 6.0):
        for bottom in (y + 2.5, y - 2.5 - tall):
            box = np.array([[right - shift - width, bottom, right - shift, bottom + tall]])
            found.append((page.cost(box) + 0.2 * shift + (bottom < y), right - shift - width, bottom))
    _, left, bottom = min(found)
    page.take(room.LABEL, np.array([[left, bottom, left + width, bottom + tall]]))
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.3}
    spot = (page.back((left, y))[0], height)
    _write(page.ax, text, spot, (0, bottom - y), colour, ha="left", va="bottom", zorder=5, bbox=ground)


def _sizes(share: Any) -> Any:
    """Area of a point's mark (square typographic points)."""
    return 14 + 420 * share


def _draw_points(
    ax: Axes, points: pd.DataFrame, label_share: float, first: int
) -> list[tuple[str, tuple[float, float], Any]]:
    """Draw the points; returns their labels, one an operator and series at its largest point, longest time first."""
    labels, palette = [], _palette()
    for i, (series, group) in enumerate(points.groupby("series", sort=False)):
        colour, marks = palette[(first + i) % len(palette)], set()
        for op, same in group.sort_values("share", ascending=False).groupby("op", sort=False):
            spots = np.column_stack([same["intensity"], same["flops"] / same["time_s"]])
            marker = _MARKERS.get(str(same["kind"].iloc[0]) if "kind" in same else "", "v")
            marks.add(marker)
            ax.scatter(spots[:, 0], spots[:, 1], s=_sizes(same["share"]), color=colour, alpha=0.75, marker=marker,
                       edgecolor="white", linewidth=0.6 if len(same) < 50 else 0, zorder=6)  # fmt: skip
            if (share := float(same["share"].sum())) >= label_share:
                several = f" ({len(same)} points)" if len(same) > 1 else ""
                labels.append((share, f"{op} {share:.0%}{several}", (spots[0][0], spots[0][1]), colour))
        if series:
            ax.scatter([], [], color=colour, marker=marks.pop() if len(marks) == 1 else "o", label=str(series))
    return [rest for _, *rest in sorted(labels, key=lambda one: -one[0])]  # type: ignore[misc]


def _label_point(page: _Page, text: str, spot: tuple[float, float], colour: Any) -> None:
    """Put a label at the nearest place around its point where it covers no other label and no point; else nowhere."""
    width, height = page.size(text)
    middle = page.at(spot)
    best: tuple[float, Any, Any, Any] = (room.LABEL, None, None, None)
    for radius in (r for r in (8, 18, 30, 44, 60, 80, 105) if r < best[0]):
        for angle in np.radians(
            [0, 180, -35, 35, -145, 145, -20, 20, -160, 160, -55, 55, -125, 125, -75, 75, -105, 105]
        ):
            offset = radius * np.array([np.cos(angle), np.sin(angle)])
            x, y = middle + offset - (0 if offset[0] >= 0 else width, height / 2)
            box = np.array([[x, y, x + width, y + height]])
            leader = room.along(np.array([middle, middle + offset]), 0.5)[3:-1] if radius > 12 else np.empty((0, 4))
            cost = page.cost(box) + radius
            if cost < best[0] and (cost := cost + page.cost(leader)) < best[0]:
                best = (cost, offset, box, leader)
    _, offset, box, leader = best
    if offset is None:
        return
    page.take(room.LABEL, box)
    page.take(room.LABEL, leader)
    arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkB": 2} if len(leader) else None
    side = "left" if offset[0] >= 0 else "right"
    _write(page.ax, text, spot, offset, colour, ha=side, va="center", arrowprops=arrow)


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
            new = name if name not in ax.get_legend_handles_labels()[1] else None
            ax.barh(i, share, left=left, height=0.62, color=colour, edgecolor="white", linewidth=0.8, label=new)
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
    ax.get_figure(root=True).savefig(target)  # type: ignore[union-attr]


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
    """
    if rows.empty:
        raise BadWorkload("plot_validation needs at least one row")
    ax = _axes(ax, (7.2, 6.4))
    palette = _palette()
    both = rows[["measured_s", "predicted_s"]].to_numpy(float) * 1e6
    ends = np.array([0.8 * both.min(), 1.25 * both.max()])
    for factor, style in ((1.0, "-"), (0.5, ":"), (2.0, ":")):
        ax.plot(ends, ends * factor, style, color="0.35", linewidth=0.9, zorder=3)
    names = list(rows["class"].unique())
    colour = {name: palette[i % len(palette)] for i, name in enumerate(names)}
    mixed = rows.sample(frac=1.0, random_state=0)  # no class on top of the others
    ax.scatter(mixed["measured_s"] * 1e6, mixed["predicted_s"] * 1e6, s=5, c=[colour[n] for n in mixed["class"]],
               alpha=0.4, linewidths=0, rasterized=True)  # fmt: skip
    for name in names:
        ax.scatter([], [], s=14, color=colour[name], label=f"{name} ({(rows['class'] == name).sum():,})")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*ends)
    ax.set_ylim(*ends)
    ax.set_aspect("equal")
    ax.set_xlabel("measured (us)")
    ax.set_ylabel("predicted (us)")
    if title:
        ax.set_title(title, fontsize=10)
    ax.grid(True, which="major", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.legend(fontsize=7, frameon=False, loc="upper left")
    return ax
