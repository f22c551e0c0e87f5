"""The command that explains an estimate in a few sentences: `explain`."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from roofline.command.options import WORKLOAD, Chip, Csv, Json, Model, Set, Stack, asking, chip_with
from roofline.command.output import out_console, print_csv, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(explain)


@asking(WORKLOAD)
def explain(
    model: Model,
    chip: Chip,
    options: dict[str, Any],
    figure: Annotated[
        str | None, typer.Option(help="What is to get better: tpot_s ... [default: tokens_per_s or samples_per_s]")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every change that helps.")] = False,
    changes: Set = None,
    stack: Stack = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """What bounds a model on a chip, which changes would help most and by how much, and what takes over then.

    Example: `roofline explain llama-3.1-70b --chip h100-sxm --tp 8 --batch 64`
    """
    from roofline.estimates.estimate import estimate
    from roofline.show.report import Table
    from roofline.show.words import heading
    from roofline.study.explaining import explain as run
    from roofline.study.variables import figure_text

    est = estimate(model, chip_with(chip, changes, stack), check=False, **options)
    found = run(est, figure)
    rows: list[dict[str, object]] = found.table.to_dict("records")  # type: ignore[assignment]
    if as_json:
        return print_json({"sentences": list(found.sentences), "figure": found.figure, "changes": rows})
    if as_csv:
        return print_csv(rows, columns=[*found.table.columns])
    width = min(100, out_console(100).width)
    typer.echo(heading(est) + "\n")
    typer.echo("\n".join(textwrap.fill(line, width) for line in found.sentences))
    if every:
        table = Table(f"Changes that help {found.figure}", ["change", ">result", ">better by", ">chips", "then"])
        for one in found.changes:
            then = ", ".join(f"{name} {bound}" for name, bound in one.bounds.items())
            table.rows.append(
                [one.change, figure_text(est, found.figure, one.result), f"{one.gain:.1%}", f"{one.chips:,}", then]
            )
        typer.echo()
        print_table(table)
    return None
