"""An answer as plain data that the page lays out: the form, the headline, the tables. Texts, no markup."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from roofline.base.errors import RooflineError
from roofline.estimates.figures import Interval
from roofline.estimates.hits import hit_rates
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.explorer import lines, options as fields
from roofline.explorer.answering import LETTERS, Answer, Column
from roofline.explorer.knobs import of_one_core
from roofline.explorer.state import MOST_CHIPS
from roofline.explorer.stock import Stock
from roofline.hardware.variants import PLAIN
from roofline.models.llm import LanguageModel
from roofline.show import report
from roofline.show.canvas import COLOURS
from roofline.show.quantities import quantity, ratio, si
from roofline.show.table import Table
from roofline.show.words import words

#: Figures of hardware that a comparison looks at, whatever the chips call their levels.
_COMPARED = (
    "clock", "cores.count", "memory.main.bandwidth", "memory.main.capacity", "memory.cache.bandwidth",
    "memory.cache.capacity", "links.scale_up.bandwidth", "links.scale_up.domain", "links.host.bandwidth",
    "power.tdp", "price.hour",
)  # fmt: skip

#: Shards of a placement that the page lists; the CSV has all.
_MOST_SHARDS = 60

#: What is said of each bag of lookups.
_HITS = ("bag", ">tables", ">lookups", ">rows read", ">hit rate")

#: Rows of the comparison at most.
_MOST_ROWS = 14


# The form ---------------------------------------------------------------------------------------------------------


def form(answer: Answer, stock: Stock, figures: Sequence[str] = ()) -> dict[str, Any]:
    """What the left side of the page shows.

    Parameters
    ----------
    answer : Answer
    stock : Stock
    figures : sequence of str
        The figures of the chip that the line may run over, beside the sizes.
    """
    state, model = answer.state, answer.model
    language = not isinstance(answer.columns[0].est, RecommendationEstimate) and isinstance(model, LanguageModel)
    asked, usual = state.asked, {} if model is None else fields.usual(model)
    names = () if model is None else fields.names_for(model)
    est = next((one.est for one in answer.columns if one.est is not None), None)
    results = {} if est is None else _labels(est)
    usual_x, usual_y = ("", "") if model is None else lines.usual(model)
    return {
        "model": state.model,
        "title": "" if model is None else model.title,
        "problem": answer.problem,
        "models": stock.models,
        "chips": stock.chips,
        "full": len(state.picks) >= MOST_CHIPS,
        "focus": state.focus,
        "picks": [_pick(i, one, stock) for i, one in enumerate(answer.columns)],
        "fields": [_field(name, asked.get(name), usual.get(name)) for name in names],
        "axes": list(dict.fromkeys([*lines.SIZES[language], *figures, *([state.x] * bool(state.x))])),
        "axis": state.x or usual_x,
        "results": [[name, label] for name, label in results.items()],
        "result": state.y or usual_y,
    }


def _pick(index: int, column: Column, stock: Stock) -> dict[str, Any]:
    pick, stacks, title = column.pick, [], ""
    try:
        chip = stock.chip(pick.chip)
        stacks, title = [PLAIN, *chip.stacks], chip.title
    except RooflineError:
        pass
    return {
        "letter": LETTERS[index],
        "colour": COLOURS[index],
        "name": pick.chip,
        "label": column.label,
        "title": title,
        "stack": pick.stack,
        "stacks": [*stacks, *([pick.stack] if pick.stack and pick.stack not in stacks else [])],
        "took": column.est.chip.stack if column.est is not None and not pick.stack else "",
        "changes": len(pick.changes),
        "problem": column.problem,
    }


def _field(name: str, value: fields.Value | None, usual: fields.Value | None) -> dict[str, Any]:
    field = fields.FIELDS[name]
    return {
        "name": name,
        "label": field.label,
        "kind": field.kind,
        "choices": list(field.choices),
        "tucked": field.tucked,
        "value": "" if value is None else fields.written(value),
        "usual": "" if usual is None else fields.written(usual),
    }


def _labels(est: Any) -> dict[str, str]:
    known = report.LABELS | words(est).labels()
    missing = est.unknown
    return {name: known.get(name, name) for name in (*est.FIGURES, *est.EXTRA) if name not in missing}


# The headline -----------------------------------------------------------------------------------------------------


def headline(answer: Answer, intervals: Mapping[int, Mapping[str, Interval]] | None = None) -> dict[str, Any]:
    """The figures of all chips side by side, each with its interval once that is known, and what bounds them.

    Parameters
    ----------
    answer : Answer
    intervals : mapping, optional
        Of each column, by its place, the 90 % interval of each figure.
    """
    shown = [(i, one) for i, one in enumerate(answer.columns) if one.fits]
    rows = []
    names = dict.fromkeys(name for _, one in shown if one.est for name in (*one.est.FIGURES, *one.est.EXTRA))
    for name in names:
        cells = [_figure(one, name, (intervals or {}).get(i, {}).get(name)) for i, one in shown]
        if any(cell["text"] for cell in cells):
            rows.append({"name": name, "label": _name(shown, name), "cells": _with_ratios(cells)})
    return {
        "columns": [{"letter": LETTERS[i], "label": one.label, "colour": COLOURS[i]} for i, one in shown],
        "rows": rows,
        "bounds": [str(one.est.bound) if one.est else "" for _, one in shown],
        "remarks": [_remarks(i, one) for i, one in enumerate(answer.columns)],
    }


def _name(shown: Sequence[tuple[int, Column]], name: str) -> str:
    est = next(one.est for _, one in shown if one.est is not None)
    return str((report.LABELS | words(est).labels()).get(name, name))


def _figure(column: Column, name: str, interval: Interval | None) -> dict[str, Any]:
    est = column.est
    assert est is not None
    unit = (est.FIGURES | est.EXTRA).get(name)
    if unit is None or name in est.unknown:
        return {"text": "", "value": None, "interval": ""}
    value = float(getattr(est, name))
    between = "" if interval is None else _between(*(quantity(end, unit) for end in interval))
    return {"text": quantity(value, unit), "value": value, "interval": between}


def _between(low: str, high: str) -> str:
    """Two quantities as one range, the unit once where it is the same."""
    number, _, unit = low.partition(" ")
    return f"{number if unit and unit == high.partition(' ')[2] else low} to {high}"


def _with_ratios(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells, those after the first with their ratio to it."""
    first = cells[0]["value"]
    for cell in cells[1:]:
        cell["ratio"] = f"x{ratio(cell['value'] / first)}" if first and cell["value"] is not None else ""
    return cells


def _remarks(index: int, column: Column) -> dict[str, Any]:
    """In sentences: what bounds a chip's phases, what was taken, what it rests on; or what is wrong."""
    about = {"letter": LETTERS[index], "label": column.label, "colour": COLOURS[index], "problem": column.problem}
    est = column.est
    if est is None or column.problem:
        return about | {"title": "", "notes": []}
    said = [report.why(est), *words(est).remarks(), report.paid(est), report.doubt(est)]
    return about | {"title": words(est).on_what(), "notes": said}


# Chips side by side -----------------------------------------------------------------------------------------------


def differences(answer: Answer, table: Sequence[str] = ()) -> Table | None:
    """The figures in which the chips differ, those that matter to the workload first; None for a single chip.

    Parameters
    ----------
    answer : Answer
    table : sequence of str
        Figures of the chip under the sliders by how much they matter.
    """
    having = [(i, one) for i, one in enumerate(answer.columns) if one.chip is not None]
    if len(having) < 2:
        return None
    changed = [path for _, one in having for path, _ in one.pick.changes]
    dtypes = [f"engines.matrix.{name}" for name in _dtypes(having)]
    found = Table("What differs", ["figure", *(f">{LETTERS[i]} {one.label}" for i, one in having)])
    seen = set()
    of_engines = [path for path in table if not path.startswith("engines.")]  # of the dtype in use alone
    for path in (*changed, *dtypes, *_COMPARED, *of_engines):
        texts, key = [], []
        for _, one in having:
            chip = one.est.chip if one.est is not None else one.chip
            assert chip is not None
            value = chip.get(path)
            usable = isinstance(value, int | float) and value > 0
            own = chip.path(path) if usable else ""
            each = " a core" if own and of_one_core(chip, own) else ""
            texts.append(f"{report.figure_text(chip, own, value)}{each}" if own else "none")
            key.append(own)
        if len(set(texts)) > 1 and tuple(key) not in seen and len(found.rows) < _MOST_ROWS:
            seen.add(tuple(key))
            found.rows.append([path, *texts])
    if not found.rows:
        found.notes.append("The chips are alike in every figure that is compared.")
    return found


def _dtypes(having: Sequence[tuple[int, Column]]) -> list[str]:
    return list(dict.fromkeys(str(one.est.request.dtype) for _, one in having if one.est is not None))


# Recommendation ---------------------------------------------------------------------------------------------------


def placements(answer: Answer) -> list[Table]:
    """Where the tables of a recommendation model lie on each chip, and what of their rows the cache finds."""
    found = []
    for column in answer.columns:
        est = column.est
        if not isinstance(est, RecommendationEstimate):
            continue
        found.append(_hits(column.label, est))
        if est.request.placement is not None:
            found.append(_shards(column.label, est))
    return found


def _hits(label: str, est: RecommendationEstimate) -> Table:
    level = est.chip.cache_level
    table = Table(f"{label}: lookups, and the share of them that {level} answers", _HITS)
    for row in hit_rates(est).to_dict("records"):
        table.rows.append(
            [
                str(row["op"]),
                f"{row['tables']:,.0f}",
                f"{row['lookups']:,.0f}",
                si(row["row_bytes"]) + "B",
                f"{row['hit_rate']:.1%}",
            ]
        )
    table.notes.append("Of a batch on the chip that has the most to do; the rest comes from main memory.")
    return table


def _shards(label: str, est: RecommendationEstimate) -> Table:
    plan = est.request.placement
    table = Table(
        f"{label}: {plan.words} over {plan.devices} chip{'s' * (plan.devices > 1)}",
        ["table", ">rows", ">width", ">lookups", "how", "where", "chip", ">bytes"],
    )
    for row in plan.frame.head(_MOST_SHARDS).to_dict("records"):
        table.rows.append(
            [
                str(row["table"]),
                f"{row['rows']:,.0f}",
                f"{row['dim']:,.0f}",
                ratio(row["pooling"]),
                str(row["how"]),
                str(row["tier"]),
                "all" if row["device"] < 0 else str(row["device"]),
                si(row["bytes"]) + "B",
            ]
        )
    if len(plan.shards) > _MOST_SHARDS:
        table.notes.append(f"The first {_MOST_SHARDS} of {len(plan.shards):,} shards; the CSV has all.")
    if est.imbalance > 1.005:
        table.notes.append(f"Lookups of the busiest chip take {est.imbalance:.2f} times the mean.")
    return table


def table(one: Table) -> dict[str, Any]:
    """A table as plain data."""
    return {
        "title": one.title,
        "columns": [{"text": name.removeprefix(">"), "right": name.startswith(">")} for name in one.columns],
        "rows": one.rows,
        "notes": [note for note in one.notes if note],
    }


def breakdowns(answer: Answer) -> list[Table]:
    """Where the time of every phase goes, operator by operator, for each chip."""
    found = []
    for column in answer.shown:
        assert column.est is not None
        for one in report.breakdowns(column.est):
            one.title = f"{column.label}: {one.title[0].lower()}{one.title[1:]}"
            found.append(one)
    return found


def finite(value: float) -> float | None:
    """A number that JSON has; None for one that it has not."""
    return value if math.isfinite(value) else None
