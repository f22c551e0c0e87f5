"""The pictures of many points: a figure along an axis with its bands, the tornado, the frontier of latency and rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import FactorRange
from bokeh.models.annotations import Span

from roofline.base import units
from roofline.explorer.answering import LETTERS, Answer
from roofline.explorer.canvas import THEMES, around, new, paint, plain, prefixed, put, source, span
from roofline.explorer.lines import Line
from roofline.explorer.studies import Frontier
from roofline.show import report
from roofline.show.canvas import COLOURS
from roofline.show.quantities import quantity

if TYPE_CHECKING:
    import pandas as pd

#: Bars of a tornado at most.
_MOST_BARS = 14

#: Axes that are ratios: everything but shares and the exponent of a distribution.
_LINEAR = ("skew", "repeat", "usable_memory")


class Along:
    """A figure along an axis, a line a chip, in the band of its 90 % interval; dashed where it does not fit."""

    def __init__(self) -> None:
        tooltips = [("chip", "@chip"), ("at", "@at"), ("figure", "@text"), ("90 % interval", "@between")]
        self.lines = source("xs", "ys", "colour", "dash", "alpha")
        self.bands = source("xs", "ys", "colour")
        self.points = source("x", "y", "colour", "chip", "at", "text", "between")
        self.here = source("x", "y", "colour")
        self.log = self._plot("log", tooltips)
        self.linear = self._plot("linear", tooltips)
        self.plot = self.log

    def _plot(self, scale: Any, tooltips: list[tuple[str, str]]) -> Any:
        plot, hover = new(360, tooltips, x_axis_type=scale, x_range=(1, 10), y_range=(0, 1))
        plot.xaxis.formatter = prefixed()
        plot.yaxis.formatter = prefixed()
        plot.patches("xs", "ys", source=self.bands, color="colour", alpha=0.16, line_color=None)
        plot.multi_line("xs", "ys", source=self.lines, color="colour", line_dash="dash", alpha="alpha", line_width=2.2)
        marks = plot.scatter("x", "y", source=self.points, size=9, color="colour", alpha=0, hover_alpha=0.9)
        plot.scatter("x", "y", source=self.here, size=11, color="colour", line_color="#ffffff", line_width=2)
        hover.renderers = [marks]
        hover.mode = "vline"
        return plot

    def show(self, lines: list[Line], x: str, y: str, answer: Answer, dark: bool) -> None:
        """Draw the lines of a figure along an axis."""
        self.plot = self.linear if x in _LINEAR else self.log
        unit = _unit(answer, y)
        rows, bands, points, here = [], [], [], []
        for i, one in enumerate(lines):
            if one.problem or not len(one.x):
                continue
            colour = COLOURS[i]
            rows += [
                {"xs": one.x[part], "ys": one.y[part], "colour": colour, "dash": dash, "alpha": alpha}
                for part, dash, alpha in _pieces(one.fits)
            ]
            bands.append(
                {
                    "xs": np.concatenate([one.knots, one.knots[::-1]]),
                    "ys": np.concatenate([one.low, one.high[::-1]]),
                    "colour": colour,
                }
            )
            low, high = (np.interp(one.x, one.knots, ends) for ends in (one.low, one.high))
            points += [
                {
                    "x": a,
                    "y": b,
                    "colour": colour,
                    "chip": one.label,
                    "at": f"{x} = {_value(a, one.unit)}" + ("" if fits else " (does not fit)"),
                    "text": quantity(b, unit),
                    "between": f"{quantity(down, unit)} to {quantity(up, unit)}",
                }
                for a, b, fits, down, up in zip(
                    one.x.tolist(), one.y.tolist(), one.fits.tolist(), low.tolist(), high.tolist(), strict=True
                )
            ]
            if one.here is not None:
                here.append({"x": one.here[0], "y": one.here[1], "colour": colour})
        for target, found in ((self.lines, rows), (self.bands, bands), (self.points, points), (self.here, here)):
            put(target, found)
        across = [float(v) for one in lines for v in one.x]
        top = max((float(np.max(one.high)) for one in lines if len(one.high)), default=1.0)
        name = next((one.unit for one in lines if one.unit), "")
        for plot in (self.log, self.linear):
            plot.visible = plot is self.plot
            span(plot, "x", *around(across, log=plot is self.log))
            span(plot, "y", 0, 1.05 * top)
            plot.xaxis.axis_label = plain(f"{x} ({name})" if name else x)
            plot.yaxis.axis_label = plain(f"{report.LABELS.get(y, y)} ({unit})")
            paint(plot, dark)


def _pieces(fits: np.ndarray) -> list[tuple[slice, str, float]]:
    """The runs of a line that fit, and that do not, each up to the first point of the next."""
    turns = np.flatnonzero(np.diff(fits.astype(int))) + 1
    starts, ends = [0, *turns.tolist()], [*turns.tolist(), len(fits)]
    return [
        (slice(start, min(end + 1, len(fits))), "solid" if fits[start] else "dotted", 1.0 if fits[start] else 0.6)
        for start, end in zip(starts, ends, strict=True)
    ]


def _value(value: float, unit: str) -> str:
    return units.text(value, unit, 4)


def _unit(answer: Answer, figure: str) -> str:
    est = next((one.est for one in answer.columns if one.est is not None), None)
    return "" if est is None else (est.FIGURES | est.EXTRA).get(figure, "")


class Tornado:
    """How much each figure of a chip moves the result, the largest on top."""

    def __init__(self) -> None:
        self.bars = source("path", "left", "right", "colour", "text", "value", "changed")
        self.plot, hover = new(
            430,
            [("figure", "@path"), ("now", "@value"), ("1 % of it moves the result by", "@text")],
            x_range=(-1, 1),
            y_range=FactorRange(),
        )
        drawn = self.plot.hbar(
            y="path", left="left", right="right", height=0.68, source=self.bars, color="colour", line_color=None
        )
        self.zero = Span(location=0, dimension="height", line_width=1)
        self.plot.add_layout(self.zero)
        self.plot.ygrid.grid_line_alpha = 0
        hover.renderers = [drawn]

    def show(self, table: pd.DataFrame | None, figure: str, chip: Any, dark: bool) -> None:
        """Draw a table of sensitivities; nothing where there is none."""
        rows: list[dict[str, Any]] = []
        if table is not None:
            for path, row in table.head(_MOST_BARS).iterrows():
                moved = float(row["elasticity"])
                rows.append(
                    {
                        "path": str(path),
                        "left": min(0.0, moved),
                        "right": max(0.0, moved),
                        "colour": COLOURS[0] if moved > 0 else COLOURS[1],
                        "text": f"{moved:+.2g} %",
                        "value": report.figure_text(chip, str(path), float(row["value"])),
                        "changed": "",
                    }
                )
        self.plot.y_range.factors = [row["path"] for row in rows][::-1]  # type: ignore[attr-defined]
        self.plot.height = 92 + 24 * max(3, len(rows))
        self.plot.xaxis.axis_label = plain(f"% of {report.LABELS.get(figure, figure)} per % of figure")
        ends = [0.0, *(row[side] for row in rows for side in ("left", "right"))]
        span(self.plot, "x", *around(ends, log=False))
        self.zero.line_color = THEMES[dark]["soft"]
        put(self.bars, rows)
        paint(self.plot, dark)


class Trade:
    """Latency against rate per chip: every plan and batch that fits, and those that no other beats."""

    def __init__(self) -> None:
        tooltips = [("chip", "@chip"), ("plan", "@plan"), ("latency", "@latency"), ("rate per chip", "@rate")]
        self.all = source("x", "y", "colour", "chip", "plan", "latency", "rate")
        self.best = source("x", "y", "colour", "chip", "plan", "latency", "rate")
        self.lines = source("xs", "ys", "colour")
        self.plot, hover = new(360, tooltips, x_axis_type="log", y_axis_type="log", x_range=(1, 10), y_range=(1, 10))
        self.plot.visible = False
        self.plot.xaxis.formatter = self.plot.yaxis.formatter = prefixed()
        self.plot.multi_line("xs", "ys", source=self.lines, color="colour", line_width=2)
        drawn: list[Any] = [
            self.plot.scatter("x", "y", source=self.all, size=5, color="colour", alpha=0.25, line_color=None),
            self.plot.scatter("x", "y", source=self.best, size=9, color="colour", line_color=None),
        ]
        hover.renderers = drawn

    def show(self, found: list[tuple[int, Frontier]], dark: bool) -> None:
        """Draw the frontiers of some of the chips, each with its place among all."""
        every, best, lines = [], [], []
        for i, one in found:
            grid = one.grid.where(one.grid["fits"]).to_dataframe().reset_index().dropna(subset=[one.x])
            every += _plans(grid, one, i)
            best += _plans(one.best, one, i)
            lines.append({"xs": one.best[one.x].tolist(), "ys": one.best[one.y].tolist(), "colour": COLOURS[i]})
        for target, rows in ((self.all, every), (self.best, best), (self.lines, lines)):
            put(target, rows)
        self.plot.visible = bool(found)
        if found:
            span(self.plot, "x", *around([row["x"] for row in every], log=True))
            span(self.plot, "y", *around([row["y"] for row in every], log=True))
            x, y = found[0][1].x, found[0][1].y
            self.plot.xaxis.axis_label = plain(f"{report.LABELS.get(x, x)} (s)")
            unit = found[0][1].grid[y].attrs.get("units", "1/s")
            self.plot.yaxis.axis_label = plain(f"{report.LABELS.get(y, y)} ({unit})")
        paint(self.plot, dark)


def _plans(frame: pd.DataFrame, one: Frontier, place: int) -> list[dict[str, Any]]:
    width = "tp" if "tp" in frame.columns else "devices"
    return [
        {
            "x": row[one.x],
            "y": row[one.y],
            "colour": COLOURS[place],
            "chip": f"{LETTERS[place]} {one.label}",
            "plan": f"{width}={row[width]:.0f}, batch={row['batch']:.0f}",
            "latency": units.text(row[one.x], "s", 3),
            "rate": f"{row[one.y]:,.4g}/s",
        }
        for row in frame.to_dict("records")
    ]
