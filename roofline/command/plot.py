"""The command that draws chips and what was measured on them: `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roofline.command.options import Set, Size, chip_with, complete_chip, complete_dtype, inches
from roofline.command.output import err_console, wrote

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(plot)


def plot(
    chips: Annotated[list[str], typer.Argument(help="One or several chips.", autocompletion=complete_chip)],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png, .svg or .pdf.")] = Path("roofline.png"),
    dtype: Annotated[
        list[str] | None,
        typer.Option(help="Ceilings to draw; repeat for several.", autocompletion=complete_dtype),
    ] = None,
    level: Annotated[list[str] | None, typer.Option(help="Memory levels to draw; repeat for several.")] = None,
    points: Annotated[
        list[Path] | None,
        typer.Option(
            help="Kernels as points: `ncu --csv`, a PyTorch profiler trace (.json), or a CSV; repeat for several."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Above the picture. [default: the chips]")] = None,
    size: Size = None,
    changes: Set = None,
) -> None:
    """Draw the roofline of one or several chips, with measured kernels on it.

    Example: `roofline plot h100-sxm mi300x mtia-v1 --out chips.svg --size 12.8x7.2`
    """
    from roofline.show import plot as drawing

    described = [chip_with(name, changes) for name in chips]
    ops = _measured(points or [], described[0] if len(described) == 1 else None)
    ax = drawing.plot_roofline(*described, dtypes=dtype, levels=level, ops=ops, title=title, size=inches(size))
    drawing.save(ax, out)
    wrote(out)


def _measured(points: list[Path], chip: Chip | None) -> dict[str, pd.DataFrame] | None:
    """What the profiles hold, by file; says what its figures rest on, and how much has no place on a roofline."""
    from roofline import profiles

    tables = {path.name: profiles.read(path, chip) for path in points}
    for name, table in tables.items():
        for note in dict.fromkeys(table["note"]):
            if note:
                err_console().print(f"{name}: {note}", markup=False, style="yellow")
        placed = int(((table["flops"] > 0) & (table["bytes"] > 0) & (table["time_s"] > 0)).sum())
        if placed < len(table):
            left = f"{len(table) - placed:,} of {len(table):,}"
            text = f"{name}: {left} operators have no FLOP, bytes or time and are not drawn"
            err_console().print(text, markup=False, style="yellow")
    return tables or None
