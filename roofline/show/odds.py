"""What `compare` found as bars: chips side by side with their intervals, and the odds of one against another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.face import TEXT, optional, takes
from roofline.show import canvas
from roofline.show.quantities import quantity, si
from roofline.show.views import is_time
from roofline.study.variables import less_is_better

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Columns of the table that can be drawn, and what they are called.
_COLUMNS = {
    "throughput": "throughput",
    "per_chip": "throughput, per chip",
    "latency_s": "latency (of a token, or a batch)",
    "ttft_s": "time to first token",
    "per_joule": "tokens or samples for a joule",
    "usd_per_million": "cost of a million tokens or samples",
}

#: What the odds are on where nobody says.
_RATES = dict.fromkeys(("tokens_per_s_per_chip", "samples_per_s_per_chip"), "rate per chip")

#: Inches that a bar, and the rest of a picture, are high.
_BAR, _REST = 0.25, 1.35


@canvas.picture
@takes(figure=TEXT, title=optional(TEXT), ax=optional(canvas.AXES))
def plot_comparison(
    found: object,
    figure: str = "per_chip",
    *,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Chips side by side on each workload, a bar each with its interval.

    Workloads of different kinds have different units, so bars are of one length with the largest expected value of
    their workload; the value itself stands at the bar. A bar of a chip on which the model does not fit in half of the
    draws or more is hatched; where there is no figure there is a word for it.

    Parameters
    ----------
    found : Comparison
        From :func:`roofline.compare`.
    figure : str, optional
        Column of its table: `per_chip`, `throughput`, `latency_s`, `ttft_s`, `per_joule` or `usd_per_million`.
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
    BadWorkload, UnknownName
        For what is no comparison, a column that it does not have, and one without a value.

    Examples
    --------
    >>> import roofline as rl
    >>> both = rl.compare(["mtia-2i", "mtia-v1"], "dlrm-kaggle", draws=16)
    >>> len(rl.plot_comparison(both).patches)
    2
    """
    table = _table("plot_comparison", found, "table")
    known = [name for name in _COLUMNS if name in table]
    if figure not in known:
        raise UnknownName("column of the comparison", figure, known)
    if not table[figure].notna().any():
        raise BadWorkload(f"plot_comparison: no chip has a value of {figure}: nothing fits, or nothing is known")
    rows, heads = _rows(table)
    page, scale = _page(ax, size, len(rows) + len(heads))
    colours = dict(zip(table["chip"].unique(), canvas.palette(), strict=False))
    largest = table.groupby("workload", sort=False)[figure].max()
    reach = 1.0
    for place, row in rows:
        value, low, high = (_number(row.get(name)) for name in (figure, f"{figure}_low", f"{figure}_high"))
        if value is None:
            canvas.write(
                page,
                "does not fit" if row["fits"] < 0.5 else "not known",
                (0, place),
                (4, 0),
                "0.35",
                fontsize=7.5 * scale,
                va="center",
            )
            continue
        whole = float(largest[row["workload"]])
        style = {"hatch": "////", "facecolor": "white"} if row["fits"] < 0.5 else {"facecolor": colours[row["chip"]]}
        page.barh(place, value / whole, height=0.66, edgecolor=colours[row["chip"]], linewidth=0.8, **style)
        if low is not None and high is not None:
            page.hlines(place, low / whole, high / whole, color="0.15", linewidth=1.2 * scale, zorder=3)
            reach = max(reach, high / whole)
        end = max(value, high or value) / whole
        says = _value(value, figure, row) + (f", fits {row['fits']:.0%}" if row["fits"] < 0.995 else "")
        canvas.write(page, says, (end, place), (5, 0), "0.2", fontsize=7.5 * scale, va="center")
    _frame(page, rows, heads, scale)
    page.xaxis.set_major_formatter(lambda v, _: f"{v:.3g}")
    says = f"{_COLUMNS[figure]}, relative to the largest of a workload; lines: interval"
    return _finish(page, reach, says, title, scale)


@canvas.picture
@takes(title=optional(TEXT), ax=optional(canvas.AXES))
def plot_odds(
    found: Any,
    *,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The odds that one chip beats another on each workload, and that targets hold, each with its standard error.

    Of each pair the order is drawn in which the first wins more often; where beating is by a factor, both.

    Parameters
    ----------
    found : Comparison
        From :func:`roofline.compare`.
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
        For what is no comparison, and one of a single chip without targets.

    Examples
    --------
    >>> import roofline as rl
    >>> both = rl.compare(["mtia-2i", "mtia-v1"], "dlrm-kaggle", draws=16)
    >>> rl.plot_odds(both).get_xlabel()
    'probability (by rate per chip); lines: one standard error either way'
    """
    odds, targets = _table("plot_odds", found, "odds"), _table("plot_odds", found, "targets")
    by = float(odds["by"].iloc[0]) if len(odds) else 1.0
    more = "" if by == 1 else f" by {by:g}x"
    statements: list[dict[str, Any]] = [
        {"workload": row["workload"], "says": f"{row['chip']} beats {row['other']}{more}", **_chance(row)}
        for row in odds.to_dict("records")
        if by != 1 or not _other_way(odds, row)
    ]
    for row in targets.to_dict("records"):
        limit = "at most" if less_is_better(row["figure"]) else "at least"
        target = quantity(row["target"], "s" if is_time(row["figure"]) else "").strip()
        says = f"{row['chip']}: {row['figure']} {limit} {target}"
        statements.append({"workload": row["workload"], "says": says, **_chance(row)})
    if not statements:
        raise BadWorkload("plot_odds: one chip without targets has no odds: compare several, or give targets={...}")
    import pandas as pd

    order = {row["workload"]: i for i, row in enumerate(found.table.to_dict("records"))}
    statements.sort(key=lambda row: order[row["workload"]])
    rows, heads = _rows(pd.DataFrame(statements), "says")
    page, scale = _page(ax, size, len(rows) + len(heads))
    for place, row in rows:
        colour = canvas.COLOURS[0] if "beats" in row["says"] else canvas.COLOURS[2]
        page.barh(place, row["odds"], height=0.66, color=colour)
        ends = np.clip([row["odds"] - row["error"], row["odds"] + row["error"]], 0, 1)
        page.hlines(place, *ends, color="0.15", linewidth=1.2 * scale, zorder=3)
        canvas.write(page, f"{row['odds']:.0%}", (ends[1], place), (5, 0), "0.2", fontsize=7.5 * scale, va="center")
    page.axvline(0.5, color="0.5", linewidth=0.8, linestyle=":", zorder=0)
    _frame(page, rows, heads, scale)
    page.set_xticks([0, 0.5, 1.0], ["0%", "50%", "100%"])
    by_what = " or ".join(dict.fromkeys(_RATES.get(name, name) for name in odds["figure"])) if len(odds) else ""
    of_what = f" (by {by_what})" if by_what else ""
    return _finish(page, 1.0, f"probability{of_what}; lines: one standard error either way", title, scale)


def _table(where: str, found: object, name: str) -> pd.DataFrame:
    import pandas as pd

    table = getattr(found, name, None)
    if not isinstance(table, pd.DataFrame):
        raise BadWorkload(f"{where}: expected what compare returns, found {shown(found)}")
    return table


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _value(value: float, figure: str, row: Any) -> str:
    of_what = str(row["unit"]).removesuffix("/s")
    unit = {
        "per_joule": f"{of_what}/J",
        "usd_per_million": "USD",
        "latency_s": "s",
        "ttft_s": "s",
    }.get(figure, str(row["unit"]))
    return f"{si(value)} {unit}" if value >= 1e4 and unit != "s" else quantity(value, unit)


def _chance(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {"odds": float(row["odds"]), "error": float(row["error"])}


def _other_way(odds: pd.DataFrame, row: Mapping[Any, Any]) -> bool:
    """Whether this pair is drawn in the other order: the likelier winner first, of equals the one named first."""
    same = odds[odds["workload"] == row["workload"]]
    other = same[(same["chip"] == row["other"]) & (same["other"] == row["chip"])]
    if other.empty:
        return False
    theirs = float(other["odds"].iloc[0])
    chips = list(dict.fromkeys(same["chip"]))
    first = chips.index(row["chip"]) < chips.index(row["other"])
    return bool(theirs > row["odds"] or (theirs == row["odds"] and not first))


# The page of both ---------------------------------------------------------------------------------------------------


def _rows(table: pd.DataFrame, names: str = "chip") -> tuple[list[tuple[int, Any]], dict[int, str]]:
    """Each row of the table with its place from the top, and the places of the workloads' names above theirs."""
    rows: list[tuple[int, Any]] = []
    heads: dict[int, str] = {}
    place, before = 0, None
    for row in table.to_dict("records"):
        if row["workload"] != before:
            heads[place] = before = row["workload"]
            place += 1
        rows.append((place, {**row, "name": row[names]}))
        place += 1
    return rows, heads


def _page(ax: Axes | None, size: tuple[float, float] | None, places: int) -> tuple[Axes, float]:
    page = canvas.axes(ax, canvas.sized(size, (canvas.USUAL[0], _REST + _BAR * places)))
    return page, canvas.scale(page) if ax is not None or size is not None else 1.0


def _frame(page: Axes, rows: list[tuple[int, Any]], heads: dict[int, str], scale: float) -> None:
    """The names beside the bars: of workloads, bold above theirs, and of what is compared."""
    named = sorted(
        [(place, canvas.plain(row["name"]), False) for place, row in rows]
        + [(place, canvas.plain(name), True) for place, name in heads.items()]
    )
    page.set_yticks([place for place, *_ in named], [name for _, name, _ in named], parse_math=False)
    for label, (_, _, head) in zip(page.get_yticklabels(), named, strict=True):
        label.set(fontsize=8 * scale, fontweight="bold" if head else "normal")
    page.set_ylim(len(named) - 0.4, -0.6)
    page.tick_params(axis="x", labelsize=8.5 * scale)
    page.tick_params(axis="y", left=False)
    page.spines[["top", "right"]].set_visible(False)


def _finish(page: Axes, reach: float, says: str, title: str | None, scale: float) -> Axes:
    """Make room for the values at the ends of bars that reach so far, name the axis, and write the title."""
    if title:
        canvas.title(page, title, 10 * scale, share=0.66, beside=True)
    canvas.name_below(page, says, 9 * scale)
    inside = page.bbox.width * 72 / page.figure.dpi
    texts = max((canvas.extent(page, text.get_text(), fontsize=7.5 * scale)[0] for text in page.texts), default=0.0)
    page.set_xlim(0, reach * inside / max(inside - texts - 8, inside / 4))
    return page
