"""What can be taken from the page as a file: descriptors of its chips, tables as CSV, pictures as PNG and SVG."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, UnknownName
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.explorer import lines as along
from roofline.explorer.answering import LETTERS, Answer
from roofline.explorer.lines import Line
from roofline.explorer.studies import Frontier
from roofline.show import plot
from roofline.show.words import phases
from roofline.study.grids import sweep

if TYPE_CHECKING:
    import pandas as pd

#: What the endings of files say of them to a browser.
MIME = {"toml": "application/toml", "csv": "text/csv", "png": "image/png", "svg": "image/svg+xml"}

#: Points of the line that is drawn into a file, and its draws.
_POINTS, _DRAWS = 40, 256


@dataclass(frozen=True)
class Shown:
    """What the page shows beside its answer, as far as it is there yet.

    Attributes
    ----------
    lines : list of Line
    x, y : str
        What they run over, and the figure.
    table : DataFrame or None
        The sensitivities of the chip under the sliders.
    frontiers : list of (int, Frontier)
        Each with the place of its chip.
    """

    lines: list[Line]
    x: str
    y: str
    table: pd.DataFrame | None
    frontiers: list[tuple[int, Frontier]]


def offered(answer: Answer, shown: Shown) -> list[str]:
    """The names of the files that there are."""
    names = list(_descriptors(answer))
    if answer.shown:
        names += ["figures.csv", "operators.csv"]
        names += ["placement.csv"] * any(isinstance(one.est, RecommendationEstimate) for one in answer.shown)
        names += ["roofline.png", "roofline.svg", "breakdown.png", "breakdown.svg"]
    if any(len(one.x) for one in shown.lines):
        names += ["line.csv", "line.png", "line.svg"]
    if shown.table is not None and len(shown.table):
        names += ["sensitivity.csv", "sensitivity.png", "sensitivity.svg"]
    if shown.frontiers:
        names += ["frontier.csv", "frontier.png", "frontier.svg"]
    return names


def _descriptors(answer: Answer) -> dict[str, int]:
    """The file of each chip's descriptor, and the place of the chip."""
    return {
        f"{LETTERS[i]}-{re.sub(r'[^a-z0-9._-]+', '-', column.pick.chip.lower())}.toml": i
        for i, column in enumerate(answer.columns)
        if column.chip is not None
    }


def content(name: str, answer: Answer, shown: Shown) -> bytes:
    """One of the files that are offered.

    Raises
    ------
    UnknownName
        For another.
    RooflineError
        For what cannot be written, such as a picture of nothing.
    """
    if name not in offered(answer, shown):
        raise UnknownName("file", name, offered(answer, shown))
    stem, _, ending = name.rpartition(".")
    if ending == "toml":
        chip = answer.columns[_descriptors(answer)[name]].chip
        assert chip is not None
        return chip.to_toml().encode()
    if ending == "csv":
        return str(_frame(stem, answer, shown).to_csv(index=False)).encode()
    with tempfile.TemporaryDirectory(prefix="roofline-") as folder:
        path = Path(folder, name)
        plot.save(_picture(stem, answer, shown), path)
        return path.read_bytes()


# Tables -----------------------------------------------------------------------------------------------------------


def _frame(stem: str, answer: Answer, shown: Shown) -> pd.DataFrame:
    import pandas as pd

    if stem == "figures":
        return pd.DataFrame([row for one in answer.shown for row in _figures(one.label, one.est)])
    if stem == "operators":
        parts = [p.ops.assign(chip=one.label, phase=name) for one in answer.shown for name, p in phases(_est(one))]
        return pd.concat(parts, ignore_index=True)
    if stem == "placement":
        plans = [(one.label, _est(one).request.placement) for one in answer.shown]
        shards: pd.DataFrame = pd.concat([plan.frame.assign(of=label) for label, plan in plans if plan is not None])
        return shards
    if stem == "line":
        return along.frame([one for one in shown.lines if len(one.x)], shown.x, shown.y)
    if stem == "sensitivity":
        assert shown.table is not None
        table: pd.DataFrame = shown.table.reset_index()
        return table
    return pd.concat([one.best.assign(chip=one.label) for _, one in shown.frontiers], ignore_index=True)


def _est(column: Any) -> Any:
    return column.est


def _figures(label: str, est: Any) -> list[dict[str, Any]]:
    known = [name for name in (*est.FIGURES, *est.EXTRA) if name not in est.unknown]
    units: Mapping[str, str] = {**est.FIGURES, **est.EXTRA}
    ends = est.intervals(known, along.LEVEL)
    return [
        {
            "chip": label,
            "figure": name,
            "unit": units[name],
            "expected": float(getattr(est, name)),
            "low_90": float(ends[name][0]),
            "high_90": float(ends[name][1]),
        }
        for name in known
    ]


# Pictures ---------------------------------------------------------------------------------------------------------


def _picture(stem: str, answer: Answer, shown: Shown) -> Any:
    if stem == "roofline":
        return _roofline(answer)
    if stem == "breakdown":
        bars = [(f"{one.label}: {name}", phase) for one in answer.shown for name, phase in phases(_est(one))]
        return plot.plot_breakdown(*(phase for _, phase in bars), labels=[name for name, _ in bars])
    if stem == "line":
        return _line(answer, shown)
    if stem == "sensitivity":
        assert shown.table is not None
        return plot.plot_sensitivity(shown.table, shown.y, title=answer.focused.label)
    return _frontier(shown.frontiers)


def _roofline(answer: Answer) -> Any:
    if len(answer.shown) == 1:
        return plot.plot_roofline(answer.shown[0].est)
    chips = [_est(one).chip for one in answer.shown]
    last = {one.label: phases(_est(one))[-1] for one in answer.shown}
    return plot.plot_roofline(*chips, ops={f"{label}, {name}": phase for label, (name, phase) in last.items()})


def _line(answer: Answer, shown: Shown) -> Any:
    columns = [c for c, one in zip(answer.columns, shown.lines, strict=True) if len(one.x) and c.chip is not None]
    assert answer.model is not None
    first = next(one for one in shown.lines if len(one.x))
    sized = any(shown.x in sizes for sizes in along.SIZES.values())
    if sized:
        some = np.unique(np.linspace(0, len(first.x) - 1, _POINTS).round().astype(int))
        values: list[Any] = first.x[some].tolist()
        values = [int(v) for v in values] if all(v == int(v) for v in values) and shown.x != "skew" else values
    else:
        values = [f"x{v:.4g}" for v in np.geomspace(0.25, 4, _POINTS)]
    asked: dict[str, Any] = {**answer.state.asked, shown.x: values}
    grid = sweep(
        answer.model,
        [column.chip for column in columns if column.chip is not None],
        figures=[shown.y],
        draws=_DRAWS,
        model_error=True,
        progress=False,
        **asked,
    )
    return plot.plot_line(grid, x=shown.x, figure=shown.y)


def _frontier(found: Sequence[tuple[int, Frontier]]) -> Any:
    if not found:
        raise BadWorkload("frontier: nothing was worked out yet")
    import xarray as xr

    one = found[0][1]
    if len(found) == 1:
        return plot.plot_pareto(one.grid, [one.y], [one.x])
    grid = xr.concat(
        [part.grid.drop_vars("chip").expand_dims(chip=[part.label]) for _, part in found],
        dim="chip",
        join="outer",
        combine_attrs="override",
        fill_value={"fits": False, "possible": False},
    )
    return plot.plot_pareto(grid, [one.y], [one.x])
