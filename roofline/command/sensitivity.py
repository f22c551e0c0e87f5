"""The command that says which figure of a chip matters: `sensitivity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roofline.command.options import WORKLOAD, Chip, Csv, Json, Model, Set, Size, Stack, asking, chip_with, inches
from roofline.command.output import print_csv, print_json, print_table, wrote

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip as ChipObject
    from roofline.show.report import Table


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(sensitivity)


@asking(WORKLOAD)
def sensitivity(
    model: Model,
    chip: Chip,
    options: dict[str, Any],
    figure: Annotated[
        str | None, typer.Option(help="What moves: tpot_s, ttft_s ... [default: tokens_per_s or samples_per_s]")
    ] = None,
    step: Annotated[float, typer.Option(help="Relative change of each figure.")] = 0.1,
    plot: Annotated[Path | None, typer.Option(help="Draw a tornado: a .png, .svg or .pdf.")] = None,
    size: Size = None,
    changes: Set = None,
    stack: Stack = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """How much each figure of the chip moves a result: percent for a percent, the largest first.

    Example: `roofline sensitivity llama-3.1-70b --chip h100-sxm --tp 8 --batch 64 --figure tpot_s --plot tornado.png`
    """
    from roofline.catalog.load import load_model
    from roofline.estimates.estimate import estimate
    from roofline.models.llm import LanguageModel
    from roofline.show.report import LABELS
    from roofline.show.words import heading
    from roofline.study.sensitivity import sensitivity as run

    loaded, on = load_model(model), chip_with(chip, changes, stack)
    figure = figure or ("tokens_per_s" if isinstance(loaded, LanguageModel) else "samples_per_s")
    table = run(loaded, on, figure, step, **options)
    est = estimate(loaded, on, check=False, **options)
    on, label = est.chip, LABELS.get(figure, figure)  # the chip as it was costed: on its best-known stack
    title = f"What moves {label}?\n{heading(est)}"
    if plot is not None:
        from roofline.show import plot as drawing

        drawing.save(drawing.plot_sensitivity(table, label, title=title, size=inches(size)), plot)
        wrote(plot)
    rows: list[dict[str, object]] = table.reset_index().to_dict("records")  # type: ignore[assignment]
    if as_json:
        return print_json({"model": loaded.name, "chip": on.name, "result": figure, "step": step, "figures": rows})
    if as_csv:
        return print_csv(rows, columns=("figure", *table.columns))
    return print_table(_table(table, on, title, step))


def _table(moves: pd.DataFrame, chip: ChipObject, title: str, step: float) -> Table:
    from roofline.show import report

    table = report.Table(title, ["figure", ">value", ">% for 1 %", "", ">result"], expendable=["result", "value"])
    largest = float(moves["elasticity"].abs().max()) if len(moves) else 1.0
    for path, row in moves.iterrows():
        bar = ("+" if row["elasticity"] > 0 else "-") * round(20 * abs(row["elasticity"]) / largest)
        value = report.figure_text(chip, str(path), row["value"])
        table.rows.append([str(path), value, f"{row['elasticity']:+.3f}", bar, f"{row['result']:.4g}"])
    table.notes.append(f"Each figure alone, changed by {step:+.0%}; those that move nothing are left out.")
    return table
