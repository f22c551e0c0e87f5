"""What every picture of the page stands on: figures of Bokeh for light pages and dark ones, and their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, HoverTool
from bokeh.plotting import figure

#: The page's colours, light and dark: text, faint lines, and what lies under tooltips.
THEMES = {
    False: {"ink": "#1f2328", "soft": "#57606a", "grid": "#e4e7eb", "rim": "#ffffff"},
    True: {"ink": "#e6edf3", "soft": "#9aa4af", "grid": "#2c333b", "rim": "#161b22"},
}

#: Numbers on an axis with prefixes: 2 T, 500 G, 0.1.
_SI = """
const size = Math.abs(tick);
for (const [unit, name] of [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (size >= unit * 0.9995) return String(Number((tick / unit).toPrecision(3))) + " " + name;
if (size === 0 || size >= 1e-3) return String(Number(tick.toPrecision(3)));
for (const [unit, name] of [[1e-3, "m"], [1e-6, "u"], [1e-9, "n"]])
    if (size >= unit * 0.9995) return String(Number((tick / unit).toPrecision(3))) + " " + name;
return tick.toExponential(1);
"""

_PERCENT = 'return Math.round(tick * 100) + " %"'

#: Of text in a picture.
SMALL = "11px"

#: The page's own fonts, and as a glyph takes them.
FONT = "system-ui, sans-serif"
GLYPH_FONT = value(FONT)


def source(*columns: str) -> ColumnDataSource:
    """A source with these columns, empty."""
    return ColumnDataSource({name: [] for name in columns})


def put(target: ColumnDataSource, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows into a source; every row has every column of it."""
    target.data = {name: [row[name] for row in rows] for name in target.column_names}


def new(height: int, tooltips: Sequence[tuple[str, str]], **options: Any) -> tuple[figure, HoverTool]:
    """A figure as wide as its place, with tools that leave scrolling to the page, and what tells of a mark under the
    pointer.
    """
    tools: dict[str, Any] = {  # active_drag: a finger that drags scrolls the page
        "tools": "pan,box_zoom,reset,save",
        "active_drag": None,
    }
    plot = figure(
        **tools,
        height=height,
        min_width=260,
        sizing_mode="stretch_width",
        toolbar_location="above",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_alpha=0,
        min_border_right=16,
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    hover = HoverTool(tooltips=list(tooltips), renderers=[], point_policy="follow_mouse")
    plot.add_tools(hover)
    for axis in plot.axis:
        axis.axis_label_text_font_style = "normal"
        for kind in ("axis_label", "major_label"):
            setattr(axis, f"{kind}_text_font", FONT)
            setattr(axis, f"{kind}_text_font_size", SMALL)
        axis.minor_tick_line_alpha = 0
        axis.axis_line_alpha = 0.4
        axis.major_tick_line_alpha = 0.4
    return plot, hover


def prefixed() -> CustomJSTickFormatter:
    """Numbers of an axis with prefixes."""
    return CustomJSTickFormatter(code=_SI)


def percent() -> CustomJSTickFormatter:
    """Shares of an axis in percent."""
    return CustomJSTickFormatter(code=_PERCENT)


def paint(plot: figure, dark: bool) -> None:
    """Give a figure the colours of a light page or a dark one."""
    if plot.tags == [dark]:
        return
    plot.tags, colours = [dark], THEMES[dark]
    for axis in plot.axis:
        axis.major_label_text_color = colours["soft"]
        axis.axis_label_text_color = colours["soft"]
        axis.axis_line_color = colours["soft"]
        axis.major_tick_line_color = colours["soft"]
    for grid in plot.grid:
        grid.grid_line_color = colours["grid"]
    for legend in plot.legend:
        legend.label_text_color = colours["ink"]
        legend.background_fill_color = colours["rim"]


def span(plot: figure, axis: str, low: float, high: float) -> None:
    """The ends of an axis, those that its button for the whole picture goes back to, too."""
    getattr(plot, f"{axis}_range").update(start=low, end=high, reset_start=low, reset_end=high)


def around(values: Sequence[float], log: bool) -> tuple[float, float]:
    """Ends of an axis with some room beside the values."""
    least, most = (min(values), max(values)) if len(values) else (1.0, 10.0)
    if log:
        room = max(most / least, 1.5) ** 0.04
        return least / room, most * room
    return least - 0.04 * (most - least), most + 0.04 * (most - least or 1.0)


def plain(text: str) -> str:
    """A text that a figure sets as it stands: doubled dollar signs would have Bokeh look for mathematics in it."""
    return text.replace("$$", "$ $")
