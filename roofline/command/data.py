"""The commands that take measurements: `calibrate` and `validate`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from roofline.base.files import replacing, write_text
from roofline.command.options import Csv, Json, Stack
from roofline.command.output import err_console, print_csv, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(calibrate)
    app.command()(validate)


def _progress() -> Callable[[str], None]:
    err = err_console()
    return lambda text: err.print(text, style="dim", markup=False)


def calibrate(
    chip: Annotated[str, typer.Argument(help="The chip that the rows were measured on.")],
    file: Annotated[Path, typer.Argument(help="Measured operator times: .csv or .parquet.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a descriptor that extends the chip with what was fitted.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new chip. [default: that of the file]")] = None,
    stack: Stack = None,
    bad: Annotated[Path | None, typer.Option(help="Write the rows that cannot be used, and why: .csv.")] = None,
    as_json: Json = False,
) -> None:
    """Fit a chip's efficiency parameters to measured operator times.

    Columns: op, time_s, dtype and the operator's own (m, n, k ...); docs/measurements.md tells them all.

    Example: `roofline calibrate h100-sxm mine.csv --out my-h100.toml`
    """
    from roofline.catalog.load import load_chip
    from roofline.evidence import calibration
    from roofline.fidelity import validation_report as says

    _apart(file, out, bad)
    named = calibration.name_for(out, name or "") if out is not None else ""
    say = _progress()
    base = load_chip(chip)
    result = calibration.calibrate(base.on_stack(stack) if stack else base, file, progress=say)
    if bad is not None:
        with replacing(bad) as scratch, scratch.open("w", newline="", encoding="utf-8") as stream:
            print_csv(says.bad_rows(result.bad), stream, ("row", "reason"))
        say(f"wrote {bad}")
    if out is not None:
        result.save(out, named)
        say(f"wrote {out}")
    if as_json:
        return print_json(
            {
                "chip": result.base.name,
                "source": result.source,
                "bad": says.bad_rows(result.bad),
                "skipped": result.skipped,
                "notes": result.notes,
                "classes": [
                    {
                        "class": f.name,
                        "rows": f.rows,
                        "held_out_rows": f.held_out_rows,
                        "before": f.before,
                        "after": f.after,
                        "held_out_before": says.plain(f.held_out_before),
                        "held_out": says.plain(f.held_out),
                        "parameters": f.parameters,
                        "spread": f.spread,
                        "note": f.note,
                    }
                    for f in result.fits
                ],
            }
        )
    print_table(says.calibration_table(result), says.parameters_table(result), width=260)


def _apart(file: Path, *written: Path | None) -> None:
    """Refuse to write over what is read, or one result over another, or into a folder that is not there."""
    seen = {file.resolve()}
    for path in (p for p in written if p is not None):
        if path.resolve() in seen:
            raise typer.BadParameter(f"{path} is read or written twice: expected files apart from each other")
        if not path.parent.is_dir() or path.is_dir():
            what = "is a folder" if path.is_dir() else f"the folder {path.parent} does not exist"
            raise typer.BadParameter(f"{path}: expected a file to write; {what}")
        seen.add(path.resolve())


def validate(
    file: Annotated[Path | None, typer.Argument(help="Measurements of your own. [default: those shipped]")] = None,
    chip: Annotated[str | None, typer.Option("--chip", "-c", help="Their chip, or the only one to look at.")] = None,
    full: Annotated[bool, typer.Option("--full", help="All rows of the installed aiconfigurator-core 0.12.0.")] = False,
    full_from: Annotated[
        Path | None, typer.Option(help="The same, from a folder that the package was unpacked to.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--markdown", help="Write the report as a Markdown page.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw predicted against measured: .png, .svg, .pdf.")] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Hold predictions against measured operator times: the error table.

    Example: `roofline validate --plot validation.png`
    """
    from roofline.fidelity import memory_report, recommendation_report, validation, validation_report as says

    say = _progress()
    found = validation.validate(file, chip, full=full, full_from=full_from, progress=say)
    if plot is not None:
        from roofline.show import plot as drawing

        used = found.rows[(found.rows["rule"] == "") & ~found.rows["chip"].str.contains("<")]
        used = used[~used["role"].isin(["calibrate"])] if (used["role"] != "calibrate").any() else used
        drawing.save(drawing.plot_validation(used, f"Rows that no parameter was fitted to: {found.source}"), str(plot))
        say(f"wrote {plot}")
    if page is not None:
        picture = os.path.relpath(plot, page.parent) if plot is not None else ""
        beside = [recommendation_report.in_one(), memory_report.in_one()] if len(found.goals) else []
        write_text(page, says.page(found, picture, beside))
        say(f"wrote {page}")
    if as_json:
        return print_json(says.as_json(found))
    if as_csv:
        return print_csv(says.records(found))
    tables = [says.goals_table(found), says.carried_table(found)] if len(found.goals) else []
    print_table(*tables, says.classes_table(found), *says.left_out_tables(found), width=260)
