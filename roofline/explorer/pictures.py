"""The pictures of a point: the roofline, where the time goes, what is in the memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FactorRange, HoverTool

from roofline.base import units
from roofline.explorer.answering import LETTERS, Answer, Column
from roofline.explorer.canvas import (
    FONT,
    GLYPH_FONT,
    SMALL,
    THEMES,
    new,
    paint,
    percent,
    plain,
    prefixed,
    put,
    source,
    span,
)
from roofline.show import bars
from roofline.show.canvas import COLOURS
from roofline.show.outline import Outline, outline
from roofline.show.quantities import ratio, si, times
from roofline.show.rooflines import MARKS
from roofline.show.words import occurring

#: Marks of Bokeh for those that `show` uses.
_MARKERS = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle", "v": "inverted_triangle", "P": "plus"}

#: Operators below this share of a phase are one segment.
_SMALLEST = 0.02

#: CSS pixels of a bar as narrow as it gets beside its picture, of a letter, and around a text.
_WIDE, _LETTER, _ROOM = 290, 6.2, 8

#: Heights in CSS pixels: of a picture, of a bar, and of what stands around bars.
_HEIGHT, _BAR, _AROUND = 430, 46, 92

#: Entries of a key in a row, and the height of a row.
_KEYS, _KEY = 3, 18


def places(answer: Answer) -> list[tuple[int, Column]]:
    """The columns that have figures, each with its place among all."""
    return [(i, column) for i, column in enumerate(answer.columns) if column.fits]


class Roofline:
    """What chips can do as lines, what operators attain as points."""

    def __init__(self) -> None:
        tooltips = [
            ("operator", "@op"), ("chip", "@chip"), ("phase", "@phase"), ("time", "@time (@share)"),
            ("calls", "@count"), ("bound by", "@bound"), ("intensity", "@intensity FLOP/byte"),
            ("attained", "@attained"), ("FLOP, bytes", "@flops, @bytes"),
        ]  # fmt: skip
        self.lines = source("xs", "ys", "colour", "width", "dash", "name", "chip", "value")
        self.names = source("x", "y", "text", "colour")
        self.levels = source("x", "y", "text", "colour", "align", "baseline")
        self.points = source(
            "x",
            "y",
            "size",
            "colour",
            "alpha",
            "marker",
            "series",
            "op",
            "chip",
            "phase",
            "time",
            "share",
            "count",
            "bound",
            "intensity",
            "attained",
            "flops",
            "bytes",
        )
        logarithmic = {"x_axis_type": "log", "y_axis_type": "log", "x_range": (0.3, 1e4), "y_range": (1e9, 1e16)}
        self.plot, hover = new(_HEIGHT, tooltips, **logarithmic)
        self.plot.xaxis.axis_label = "arithmetic intensity (FLOP/byte)"
        self.plot.yaxis.axis_label = "attainable (lines), attained (points) FLOP/s"
        self.plot.xaxis.formatter = self.plot.yaxis.formatter = prefixed()
        drawn = self.plot.multi_line(
            "xs", "ys", source=self.lines, color="colour", line_width="width", line_dash="dash"
        )
        marks = self.plot.scatter(
            "x",
            "y",
            size="size",
            source=self.points,
            color="colour",
            alpha="alpha",
            marker="marker",
            line_color=None,
            legend_field="series",
        )
        self.plot.legend.location = "bottom_right"
        self.plot.legend.update(border_line_alpha=0, background_fill_alpha=0.6, label_text_font=FONT)
        self.plot.legend.update(label_text_font_size=SMALL, spacing=0, padding=2, glyph_height=14, glyph_width=14)
        self.labels = self.plot.text(
            "x",
            "y",
            "text",
            source=self.names,
            text_color="colour",
            text_font=GLYPH_FONT,
            text_font_size=SMALL,
            text_align="right",
            text_baseline="bottom",
            y_offset=-3,
        )
        self.plot.text(
            "x",
            "y",
            "text",
            source=self.levels,
            text_color="colour",
            text_font=GLYPH_FONT,
            text_font_size=SMALL,
            text_align="align",
            text_baseline="baseline",
        )
        hover.renderers = [marks]
        self.plot.add_tools(
            HoverTool(renderers=[drawn], tooltips=[("chip", "@chip"), ("line", "@name"), ("", "@value")])
        )

    def show(self, answer: Answer, dark: bool) -> None:
        """Draw the chips of an answer with their operators."""
        chips = [(i, c) for i, c in enumerate(answer.columns) if c.chip is not None]
        alone, ink = len(chips) == 1, THEMES[dark]["ink"]
        drawn = [(i, column, _outline(column, alone)) for i, column in chips]
        points = [row for i, column in chips if column.fits for row in _points(i, column, alone)]
        ends = _ends(drawn, points)
        lines, names = [], []
        for i, column, one in drawn:
            colour = ink if alone else COLOURS[i]
            letter = "" if alone else f"{LETTERS[i]} "
            lines += _lines(one, column.label, colour, ends)
            names += [
                {"x": ends[1], "y": c.value, "text": plain(f"{letter}{c.name} {si(c.value)}FLOP/s"), "colour": colour}
                for c in one.ceilings
            ]
        put(self.lines, lines)
        put(self.names, _apart(names))
        put(self.levels, _levels(drawn[0][2], ends[0], ink) if alone else [])
        put(self.points, points)
        heights = [v for row in lines for v in row["ys"]] + [row["y"] / 2 for row in points]
        if heights:
            span(self.plot, "x", *ends)
            span(self.plot, "y", min(heights), 3 * max(heights))
        paint(self.plot, dark)


def _chip(column: Column) -> Any:
    """The chip as it was estimated: on its stack."""
    return column.est.chip if column.est is not None else column.chip


def _outline(column: Column, alone: bool) -> Outline:
    """The lines of a chip: of one that stands alone the usual ones; among others the rate of what is asked."""
    asked = None if alone or column.est is None else [str(column.est.request.dtype)]
    return outline(_chip(column), asked, None, alone)


def _ends(drawn: list[tuple[int, Column, Outline]], points: list[dict[str, Any]]) -> tuple[float, float]:
    ridges = [c.value / one.steepest for _, _, one in drawn for c in one.ceilings]
    ridges += [c.value / one.main.value for _, _, one in drawn for c in one.ceilings if one.main]
    intensities = [row["x"] for row in points]
    low, high = [0.3, *(v / 2 for v in intensities)], [100.0, *(12 * v for v in ridges), *(2 * v for v in intensities)]
    return min(low), max(high)


def _lines(one: Outline, chip: str, colour: str, ends: tuple[float, float]) -> list[dict[str, Any]]:
    found = []
    for slope in one.slopes:
        main = slope is one.main
        top = one.top.value
        knee = top / slope.value
        found.append(
            {
                "xs": [ends[0], knee],
                "ys": [ends[0] * slope.value, top],
                "colour": colour,
                "width": 2.0 if main else 1.2,
                "dash": "solid" if main else "dashed",
                "name": slope.name,
                "chip": chip,
                "value": units.text(slope.value, "B/s"),
            }
        )
    for ceiling in one.ceilings:
        found.append(
            {
                "xs": [ceiling.value / one.steepest, ends[1]],
                "ys": [ceiling.value, ceiling.value],
                "colour": colour,
                "width": 1.8 if ceiling is one.top else 1.1,
                "dash": "solid",
                "name": ceiling.name,
                "chip": chip,
                "value": units.text(ceiling.value, "FLOP/s"),
            }
        )
    return found


def _levels(one: Outline, left: float, colour: str) -> list[dict[str, Any]]:
    """The names of a chip's memory levels where their slopes begin: main memory's below its slope, the others above."""
    rows = []
    for slope in one.slopes:
        main = slope is one.main
        x = 1.1 * left if main else 3 * left  # above a slope a name ends where it stands, and needs the room
        row = {"x": x, "y": x * slope.value, "text": plain(slope.name), "colour": colour}
        rows.append(row | {"align": "left" if main else "right", "baseline": "top" if main else "bottom"})
    return rows


def _apart(names: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The names of ceilings, each at a place of its own: those that would lie on another are left to the pointer."""
    kept: list[dict[str, Any]] = []
    for row in sorted(names, key=lambda row: -row["y"]):
        if all(abs(np.log10(row["y"] / other["y"])) > 0.25 for other in kept):
            kept.append(row)
    return kept


def _points(place: int, column: Column, alone: bool) -> list[dict[str, Any]]:
    assert column.est is not None
    rows = []
    for turn, (label, phase, _) in enumerate(occurring(column.est)):
        for row in phase.records:
            if not (row["flops"] > 0 and row["intensity"] > 0 and row["time_s"] > 0):
                continue  # without arithmetic it has no place on these axes
            attained = row["flops"] / row["time_s"]
            rows.append(
                {
                    "x": row["intensity"],
                    "y": attained,
                    "size": 5.0 + 34.0 * float(np.sqrt(row["share"])),
                    "colour": COLOURS[turn if alone else place],
                    "alpha": 0.75 if alone or turn else 0.4,
                    "marker": _MARKERS[MARKS.get(row["kind"], MARKS[""])[0]],
                    "series": plain(label if alone else f"{LETTERS[place]} {label}"),
                    "op": row["op"],
                    "chip": column.label,
                    "phase": label,
                    "time": units.text(row["time_s"], "s", 3),
                    "share": f"{row['share']:.1%}",
                    "count": times(row["count"]),
                    "bound": row["bound"],
                    "intensity": ratio(row["intensity"]),
                    "attained": units.text(attained, "FLOP/s", 3),
                    "flops": si(row["flops"]),
                    "bytes": si(row["bytes"]),
                }
            )
    return sorted(rows, key=lambda row: -float(row["size"]))


class _Bars:
    """Horizontal bars of segments, with a name in those that have room for one."""

    _columns = ("row", "left", "right", "colour", "op", "share", "time", "bound")

    def __init__(self, tooltips: list[tuple[str, str]]) -> None:
        self.segments = source(*self._columns)
        self.texts = source("row", "x", "text")
        self.plot, hover = new(_AROUND + _BAR, tooltips, x_range=(0, 1), y_range=FactorRange())
        drawn = self.plot.hbar(
            y="row",
            left="left",
            right="right",
            height=0.72,
            source=self.segments,
            color="colour",
            line_color=None,
            legend_field="op",
        )
        key = self.plot.legend[0]
        key.update(orientation="horizontal", ncols=_KEYS, border_line_alpha=0, background_fill_alpha=0, margin=0)
        key.update(
            label_text_font=FONT, label_text_font_size=SMALL, glyph_height=12, glyph_width=12, padding=0, spacing=6
        )
        self.plot.add_layout(key, "below")
        self.plot.text(
            "x",
            "row",
            "text",
            source=self.texts,
            text_align="center",
            text_baseline="middle",
            text_font=GLYPH_FONT,
            text_font_size=SMALL,
            text_color="#111111",
        )
        self.plot.ygrid.grid_line_alpha = 0
        hover.renderers = [drawn]

    def _put(self, rows: list[dict[str, Any]], texts: list[dict[str, Any]], dark: bool) -> None:
        names = list(dict.fromkeys(row["row"] for row in rows))
        if list(self.plot.y_range.factors) != names[::-1]:  # type: ignore[attr-defined]
            self.plot.y_range.factors = names[::-1]  # type: ignore[attr-defined]
        kinds = len({row["op"] for row in rows})
        self.plot.height = _AROUND + _BAR * max(1, len(names)) + _KEY * -(-kinds // _KEYS)
        put(self.segments, rows)
        put(self.texts, texts)
        paint(self.plot, dark)


class Breakdown(_Bars):
    """Where the time of each phase goes, operator by operator."""

    def __init__(self) -> None:
        super().__init__([("operator", "@op"), ("in", "@row"), ("time", "@time (@share)"), ("bound by", "@bound")])
        self.plot.xaxis.axis_label = "share of the time"
        self.plot.xaxis.formatter = percent()

    def show(self, answer: Answer, dark: bool) -> None:
        """Draw the phases of the chips of an answer."""
        phases = [
            (_row(i, label, answer), phase)
            for i, column in places(answer)
            for label, phase, _ in occurring(column.est)  # type: ignore[arg-type]  # there, where a column fits
        ]
        parts = {name: bars.segments(phase.ops, _SMALLEST) for name, phase in phases}
        colours = bars.colours_of(op for row in parts.values() for op, *_ in row)
        rows, texts = [], []
        for name, phase in phases:
            left = 0.0
            for op, share, bound in parts[name]:
                rows.append(
                    {
                        "row": name,
                        "left": left,
                        "right": left + share,
                        "colour": _hex(colours[op]),
                        "op": op,
                        "share": f"{share:.1%}",
                        "time": units.text(share * float(phase.time_s), "s", 3),
                        "bound": bound or "several",
                    }
                )
                text = next((t for t in (f"{op} {share:.0%}", f"{share:.0%}") if _fits(t, share)), "")
                texts.append({"row": name, "x": left + share / 2, "text": plain(text)})
                left += share
        self._put(rows, texts, dark)


def _fits(text: str, share: float) -> bool:
    """Whether a text has room in a share of a bar."""
    return _LETTER * len(text) + _ROOM <= _WIDE * share


def _row(place: int, label: str, answer: Answer) -> str:
    return label if len(answer.columns) == 1 else f"{LETTERS[place]} {label}"


def _hex(colour: Any) -> str:
    if isinstance(colour, str):
        return "#cccccc" if colour == "0.8" else colour
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour[:3])


class Memory(_Bars):
    """What one chip holds, beside what it has."""

    def __init__(self) -> None:
        super().__init__([("part", "@op"), ("on", "@row"), ("holds", "@time (@share of what is usable)")])
        self.plot.xaxis.axis_label = "bytes of one chip; the line: what the model may fill"
        self.plot.xaxis.formatter = prefixed()
        self.limits = source("row", "x", "text")
        self.rule: Any = self.plot.scatter(
            "x", "row", source=self.limits, marker="dash", size=34, angle=np.pi / 2, line_width=3
        )

    def show(self, answer: Answer, dark: bool) -> None:
        """Draw what each chip of an answer holds, those that it does not fit into too."""
        rows, texts, limits = [], [], []
        with_estimates = [(i, c) for i, c in enumerate(answer.columns) if c.est is not None]
        most = max((_reach(c.est.memory) for _, c in with_estimates if c.est is not None), default=1.0)
        for i, column in with_estimates:
            assert column.est is not None
            memory, name, left = column.est.memory, f"{LETTERS[i]} {column.label}", 0.0
            usable = float(memory.usable_bytes)
            for turn, (part, held) in enumerate((p, float(v)) for p, v in memory.parts.items() if v):
                share = held / usable
                rows.append(
                    {
                        "row": name,
                        "left": left,
                        "right": left + held,
                        "colour": _PARTS[turn % len(_PARTS)],
                        "op": part,
                        "share": f"{share:.1%}",
                        "time": units.text(held, "B", 3),
                        "bound": "",
                    }
                )
                if _fits(part, held / most):
                    texts.append({"row": name, "x": left + held / 2, "text": part})
                left += held
            limits.append({"row": name, "x": usable, "text": units.text(usable, "B", 3)})
        put(self.limits, limits)
        self.rule.glyph.line_color = THEMES[dark]["ink"]
        span(self.plot, "x", 0, 1.04 * most)
        self._put(rows, texts, dark)


#: Colours of the parts of the memory.
_PARTS = ("#56B4E9", "#E69F00", "#CC79A7", "#8fd3b8", "#bdbdbd", "#f0e442")


def _reach(memory: Any) -> float:
    return max(float(memory.total_bytes), float(memory.usable_bytes))


def sources(*pictures: Roofline | _Bars) -> Mapping[str, ColumnDataSource]:
    """The columns behind pictures, by the picture's name."""
    return {type(one).__name__.lower(): one.points if isinstance(one, Roofline) else one.segments for one in pictures}
