"""The command that answers for one model on one chip: `estimate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roofline.command.options import WORKLOAD, Chips, Csv, Json, Model, Ops, Set, Size, Stack, asking, chip_with, inches
from roofline.command.output import print_estimate, wrote

if TYPE_CHECKING:
    from roofline.show.words import Estimate


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(estimate)


@asking(WORKLOAD)
def estimate(
    model: Model,
    chip: Chips,
    options: dict[str, Any],
    changes: Set = None,
    stack: Stack = None,
    ops: Ops = True,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the roofline with the operators: a .png, .svg or .pdf.")
    ] = None,
    size: Size = None,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained HTML page.")] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """How fast a model runs on a chip, what bounds it, and how sure that is.

    Example: `roofline estimate llama-3.1-70b --chip h100-sxm --tp 8 --batch 64 --dtype fp8`
    """
    from roofline.estimates.estimate import estimate as run

    est = run(model, chip_with(_only(chip), changes, stack), **options)
    if plot is not None or html is not None:
        _pictures(est, plot, html, inches(size))
    print_estimate(est, ops, as_json, as_csv)


def _only(chips: list[str]) -> str:
    if len(chips) > 1:
        raise typer.BadParameter(f"--chip: estimate takes one chip, found {', '.join(chips)}; sweep takes several")
    return chips[0]


def _pictures(est: Estimate, plot: Path | None, html: Path | None, size: tuple[float, float] | None) -> None:
    from roofline.base.files import write_text
    from roofline.show import plot as drawing, report

    if plot is not None:
        drawing.save(drawing.plot_roofline(est, size=size), plot)
        wrote(plot)
    if html is not None:
        tables = [report.headline(est), *report.breakdowns(est)]
        pictures = [drawing.plot_roofline(est, size=size), drawing.plot_breakdown(est)]
        write_text(html, report.html_page(f"{est.model.title} on {est.chip.title}", tables, pictures))
        wrote(html)
