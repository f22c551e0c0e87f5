"""What every picture stands on: axes without a window, sizes that go with the page, plain text, the key, the file."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.face import NUMBER, TEXT, Kind, several
from roofline.base.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType as Colour

#: A place in a picture: across and up.
Spot: TypeAlias = tuple[float, float] | np.ndarray

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")

# Okabe & Ito's colours: told apart by colour-blind readers and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

#: What arguments of pictures may be.
NAMES = Kind("text, or a list of text", lambda value: TEXT.holds(value) or (several(TEXT).holds(value) and bool(value)))
AXES = Kind("the Axes of matplotlib", lambda value: hasattr(value, "plot") and hasattr(value, "get_figure"))
COUNT = Kind("a whole number from 1", lambda value: NUMBER.holds(value) and value in range(1, 1001))
SHARE = Kind("a share from 0; above 1 for none", lambda value: NUMBER.holds(value) and 0 <= value <= 100)

#: Inches of a picture for which text has its usual size.
USUAL = (7.2, 4.6)

#: Least and most that text is scaled by: a column of a paper, and a slide.
SCALES = (0.8, 1.8)

#: The longest name that a picture writes out.
LONGEST = 48


def matplotlib() -> Any:
    """The library, whatever backend ``MPLBACKEND`` asks for: these pictures need none, and one that does not exist
    would end the import.
    """
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    asked = os.environ.pop("MPLBACKEND", None)
    try:
        library = importlib.import_module("matplotlib")
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked
    if asked:
        with contextlib.suppress(ValueError):
            library.rcParams["backend"] = asked
    return library


def picture(draw: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """A function that draws; a character that the font has not is drawn as a box, without a warning."""

    @functools.wraps(draw)
    def drawn(*given: _Given.args, **named: _Given.kwargs) -> _Made:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            return draw(*given, **named)

    return drawn


def palette() -> tuple[Colour, ...]:
    """Colours for many series: those that everybody can tell apart first, then of neighbours that differ in hue."""
    maps = matplotlib().colormaps
    # Four shades of each hue stand together there, from dark to light; of the last map the last four are greys.
    shades = [
        colour
        for name, hues in (("tab20b", 5), ("tab20c", 4))
        for i in (0, 2, 1, 3)
        for colour in maps[name].colors[i : 4 * hues : 4]
    ]
    return (*COLOURS, *shades)


def dark(colour: Colour) -> tuple[float, float, float]:
    """A colour dark enough to read small text in on white."""
    matplotlib()
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    most = 0.45
    share = min(1.0, most / light) if light else 1.0
    return red * share, green * share, blue * share


def axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes given, or those of a new figure of some size (inches)."""
    if ax is not None:
        return ax
    matplotlib()
    from matplotlib.figure import Figure

    # A figure of its own, without pyplot: no window, no global state, the same picture on every machine.
    return Figure(figsize=size, dpi=200, layout="constrained").add_subplot()


def sized(size: Any, usual: tuple[float, float]) -> tuple[float, float]:
    """Width and height of a picture (inches), as asked for or the usual ones.

    Raises
    ------
    BadWorkload
        For what is no size of a page.
    """
    if size is None:
        return usual
    if isinstance(size, np.ma.MaskedArray):
        raise BadWorkload(f"size: expected two numbers of inches such as (7.2, 4.6), found {shown(size)}")
    try:
        width, height = (float(v) for v in size)
    except (TypeError, ValueError):
        raise BadWorkload(f"size: expected two numbers of inches such as (7.2, 4.6), found {shown(size)}") from None
    if not (1 <= width <= 60 and 1 <= height <= 60):
        raise BadWorkload(f"size: expected a width and a height from 1 to 60 inches, found {width:g} and {height:g}")
    return width, height


def scale(ax: Axes) -> float:
    """How much larger than usual text and marks are drawn on a page of this size."""
    width, height = ax.get_position().size * ax.figure.get_size_inches()  # type: ignore[union-attr]
    fitting = min(width / (0.775 * USUAL[0]), height / (0.77 * USUAL[1]))
    return float(min(max(fitting, SCALES[0]), SCALES[1]))


def plain(text: object, longest: int = LONGEST) -> str:
    """A name from a file as a picture may write it: on one line, nothing invisible, not longer than a line."""
    line = "".join(c if c.isprintable() else " " for c in str(text)).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"


def rim() -> list[Any]:
    """A white rim around text, so that lines do not strike it out."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.2, foreground="white")]


def write(ax: Axes, text: str, at: Spot, offset: Spot, colour: Colour, **options: Any) -> Any:
    """Text beside a point, offset in typographic points; a dollar sign is a dollar sign."""
    options = {"fontsize": 7.5, "zorder": 8, "path_effects": rim(), "parse_math": False, **options}
    written = ax.annotate(
        text,
        (float(at[0]), float(at[1])),
        xytext=(float(offset[0]), float(offset[1])),
        textcoords="offset points",
        color=colour,
        **options,
    )
    written.set_in_layout(False)  # the page was laid out before its labels were placed
    return written


def extent(ax: Axes, text: str, **options: object) -> tuple[float, float]:
    """Width and height of a text (typographic points)."""
    written = write(ax, text, (0.5, 0.5), (0, 0), "black", xycoords="axes fraction", **options)
    box = written.get_window_extent()
    written.remove()
    points = 72 / ax.figure.dpi
    return box.width * points, box.height * points


def title(ax: Axes, text: str, size: float, share: float = 0.83, *, beside: bool = False) -> None:
    """Write a title, folded between words where it is wider than a share of the picture's width.

    Where names stand `beside` the only axes of a picture it is in the middle of the page: they would push it off.
    """
    import textwrap

    from matplotlib.transforms import blended_transform_factory

    figure = ax.figure
    alone = beside and len(figure.axes) == 1
    share = max(share, 0.94) if alone else share
    room = share * 72 * float(ax.figure.get_size_inches()[0])  # type: ignore[union-attr]
    lines = []
    for line in (plain(part, 400) for part in text.split("\n")):
        folded, most = [line], len(line)
        while most > 12 and (wide := max(extent(ax, one, fontsize=size)[0] if one else 0.0 for one in folded)) > room:
            most = max(12, min(most - 1, int(max(map(len, folded)) * room / wide)))
            folded = textwrap.wrap(line, most)
        lines += folded
    written = ax.set_title("\n".join(lines), fontsize=size, parse_math=False)
    if alone:
        across = blended_transform_factory(figure.transFigure, ax.transAxes)
        written.set_transform(across + ax.titleOffsetTrans)  # type: ignore[attr-defined]


def name_below(ax: Axes, text: str, size: float) -> None:
    """Name the axis below, folded where the page is narrow, in the middle of the page: names of bars stand on one side
    alone. Lays the page out.
    """
    import textwrap

    across = 72 * float(ax.figure.get_size_inches()[0])  # type: ignore[union-attr]
    wide = extent(ax, text, fontsize=size)[0]
    lines = textwrap.wrap(plain(text, 400), max(12, int(len(text) * min(1.0, 0.9 * across / wide))))
    ax.set_xlabel("\n".join(" " for _ in lines), fontsize=size)
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # with the height of that name, not its width
    ax.set_xlabel("\n".join(lines), parse_math=False)
    points = 72 / ax.figure.dpi
    if len(ax.figure.axes) == 1:
        ax.xaxis.label.set_x((across / 2 - ax.bbox.x0 * points) / (ax.bbox.width * points))


def key(ax: Axes, entries: Sequence[tuple[Any, str]], size: float, below: float | None) -> None:
    """What marks and colours stand for.

    Parameters
    ----------
    ax : Axes
    entries : sequence of (artist, str)
    size : float
        Of the text (typographic points).
    below : float, optional
        Put it that far below the axes (typographic points), in as many columns as the picture is wide; without, into
        the lower right corner.
    """
    if not entries:
        return
    from matplotlib.transforms import ScaledTranslation

    handles, labels = [handle for handle, _ in entries], [plain(label) for _, label in entries]
    how: dict[str, Any] = {"loc": "lower right"}
    if below is not None:
        figure: Any = ax.figure
        widest = max(extent(ax, label, fontsize=size)[0] for label in labels) + 4.2 * size
        columns = max(1, int(72 * float(figure.get_size_inches()[0]) * 0.97 / widest))
        shift = ScaledTranslation(0, -below / 72, figure.dpi_scale_trans)
        how = {
            "loc": "upper center",
            "bbox_to_anchor": (0.5, 0.0),
            "bbox_transform": ax.transAxes + shift,
            "ncols": min(columns, len(labels)),
            "columnspacing": 1.2,
            "handletextpad": 0.4,
            "borderaxespad": 0.0,
        }
    legend = ax.legend(handles, labels, fontsize=size, frameon=False, **how)
    for text in legend.get_texts():
        text.set_parse_math(False)


@picture
def save(ax: Axes, path: str | os.PathLike[str]) -> None:
    """Write a picture; the ending (png, svg, pdf) says how. A picture that was there stays whole until this one is.

    Raises
    ------
    BadWorkload
        For another ending, or a folder that does not exist.
    """
    target = Path(path)
    if target.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise BadWorkload(f"{path}: expected a picture ending in .png, .svg or .pdf")
    if not target.parent.is_dir():
        raise BadWorkload(f"{path}: the folder {target.parent} does not exist")
    with replacing(target) as scratch:
        ax.get_figure(root=True).savefig(scratch, format=target.suffix[1:].lower())  # type: ignore[union-attr]
