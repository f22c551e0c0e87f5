"""The command ``roofline measure``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roofline.command.output import err_console, out_console

if TYPE_CHECKING:
    from rich.console import Console

    from roofline.hardware.chip import Chip
    from roofline.measure import Result


def measure(
    device: Annotated[str, typer.Option(help="cpu, or cuda: a GPU through PyTorch.")] = "cpu",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; the files go into NAME in it.")] = Path("measured"),
    quick: Annotated[bool, typer.Option("--quick", help="Under two minutes, not ten.")] = False,
    suite: Annotated[
        list[str] | None,
        typer.Option(help="gemm, attention, embedding, gather, elementwise, collective, bags; repeat for several."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    name: Annotated[str, typer.Option(help="Of the descriptor. [default: what the machine calls itself]")] = "",
    torch: Annotated[bool, typer.Option("--torch", help="Measure a processor through PyTorch, not numpy.")] = False,
    size: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure this machine: its ceilings, its operators, a descriptor of it, and how well the model predicts it.

    Example: `roofline measure --quick --name my-machine`
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from roofline.measure import measure as run

    err = err_console()
    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:

        def tell(done: float, total: float, text: str) -> None:
            phase = "ceilings" if text == "ceilings" else "operators"
            if phase not in tasks:
                tasks[phase] = bar.add_task(text, total=total)
                if not err.is_terminal:
                    err.print(f"measuring: {phase}")
            bar.update(tasks[phase], completed=done, total=total, description=text)

        result = run(
            device,
            out=out,
            name=name,
            size=size or ("quick" if quick else "full"),
            names=tuple(suite or ()),
            resume=resume,
            engine="torch" if torch else "",
            progress=tell,
        )
    _show(result, err)
    if not result.fit_for_use:
        err.print(f"not fit for use: {'; '.join(result.why)}. Measure again on an idle machine.", style="bold red")
        raise typer.Exit(1)


def _show(result: Result, err: Console) -> None:
    from roofline.base import units
    from roofline.show import report

    chip, console = result.calibrated, out_console()
    levels = ", ".join(
        f"{level} {units.text(float(chip.level(level, 'bandwidth')), 'B/s', 3)}"
        for level in chip.levels
        if chip.level(level, "bandwidth") is not None
    )
    peaks = ", ".join(f"{d} {units.text(float(chip.peak(d)), 'FLOP/s', 3)}" for d in _dtypes(chip))
    table = report.Table(
        f"{chip.title}: predicted against measured (median error)",
        ["operator", "dtype", ">rows", ">before fit", ">after fit", ">test shapes", ">error on them"],
        expendable=["test shapes", "rows"],
    )
    for row in result.validation.to_dict("records"):
        errors = ["" if row[name] != row[name] else f"{row[name]:.0%}" for name in ("before", "after", "test")]
        table.rows.append(
            [
                row["kind"],
                row["dtype"],
                str(row["rows"]),
                *errors[:2],
                str(row["test_rows"]),
                errors[2],
            ]
        )
    table.notes.append(
        "Before: parameters of its family of chips. Test shapes: drawn at random, measured in the same run, not fitted."
    )
    table.notes.append(f"Memory, over all cores: {levels}. Peaks: {peaks}.")
    report.show(console, table)
    for why, count in result.left_out.items():
        err.print(f"left out: {count} x {why}", markup=False)
    for note in result.notes:
        err.print(f"note: {note}", markup=False)
    if len(result.refused):
        for reason, times in result.refused["reason"].value_counts().items():
            err.print(f"refused: {times} x {reason}", markup=False, style="yellow")
    for what, path in result.files.items():
        err.print(f"{what}: {path}", markup=False)


def _dtypes(chip: Chip) -> list[str]:
    return list(dict.fromkeys(p.rpartition(".")[2] for p in chip.numbers if p.startswith("engines.")))


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(measure)
