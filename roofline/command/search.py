"""The commands that ask several questions at once: `search` for the best chip, `indices` for what is most in doubt."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from roofline.command.options import WORKLOAD, Chip, Csv, Json, Model, Set, Stack, asking, chip_with
from roofline.command.output import print_csv, print_json, print_table
from roofline.command.solve import end


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(search)
    app.command()(indices)


@asking(WORKLOAD)
def search(
    model: Model,
    chip: Chip,
    options: dict[str, Any],
    vary: Annotated[
        list[str],
        typer.Option(metavar="NAME=LOW:HIGH", help="A figure or option and its range. Repeat for several."),
    ],
    maximise: Annotated[str | None, typer.Option(help="Figure to make large. [default: the rate]")] = None,
    minimise: Annotated[str | None, typer.Option(help="Figure to make small.")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LEAST:MOST",
            help="What has to hold: --limit tpot_s=:0.05 --limit bytes_per_flop=0.001:. Repeat for several.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed finds the same.")] = 0,
    changes: Set = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """The values of several figures and options that make a result best within limits (exit code 1 where none does).

    Example: `roofline search llama-3.1-8b -c artemis --vary memory.main.bandwidth=x0.5:x4 --vary batch=1:64
    --limit tpot_s=:0.1`
    """
    from roofline.show.report import Table
    from roofline.study.searching import search as run

    ranges = {name: (low, high) for name, low, high in (_range("--vary", text) for text in vary)}
    limits = {name: (low, high) for name, low, high in (_range("--limit", text) for text in limit or [])}
    found = run(
        model,
        chip_with(chip, changes, stack),
        vary=ranges,
        maximise=maximise,
        minimise=minimise,
        subject_to=limits,
        seed=seed,
        **options,
    )
    variables: list[dict[str, Any]] = found.table.to_dict("records")  # type: ignore[assignment]
    held = [
        {str(name): None if value != value else value for name, value in row.items()}
        for row in found.limits.to_dict("records")
    ]
    if as_json:
        plain = {f.name: getattr(found, f.name) for f in dataclasses.fields(found) if f.name not in ("table", "limits")}
        print_json({**plain, "variables": variables, "limits": held})
    else:
        head = f"{found.figure} = {found.result:,.6g}" if found.found else "Nothing within the limits"
        table = Table(f"{head}\n{found.why}", ["variable", ">value", ">present", ">from", ">to", "at its end"])
        for row in variables:
            table.rows.append(
                [row["variable"], row["text"], *(f"{row[n]:.5g}" for n in ("present", "low", "high")), row["at_end"]]
            )
        second = Table("Limits", ["limit", ">value", ">least", ">most", ">slack", "binds"])
        for row in held:
            ends = ["" if row[n] is None else f"{row[n]:.5g}" for n in ("least", "most")]
            second.rows.append(
                [row["limit"], f"{row['value']:.5g}", *ends, f"{row['slack']:.1%}", "yes" if row["binds"] else ""]
            )
        print_table(table, *([second] if held else []))
    if not found.found:
        raise typer.Exit(1)


def _range(option: str, text: str) -> tuple[str, object, object]:
    """``NAME=LOW:HIGH``; an end that is left out is none."""
    name, equals, ends = text.partition("=")
    low, colon, high = ends.partition(":")
    if not equals or not colon or not name.strip() or not (low.strip() or high.strip()):
        raise typer.BadParameter(f"{option}: expected NAME=LOW:HIGH such as batch=1:64, found {text!r}")
    return name.strip(), end(low.strip() or None), end(high.strip() or None)


@asking(WORKLOAD)
def indices(
    model: Model,
    chip: Chip,
    options: dict[str, Any],
    figure: Annotated[
        str | None, typer.Option(help="What is doubtful. [default: tokens_per_s or samples_per_s]")
    ] = None,
    draws: Annotated[int, typer.Option(help="Base draws, a power of two.")] = 512,
    seed: Annotated[int, typer.Option(help="The same seed draws the same.")] = 0,
    model_error: Annotated[bool, typer.Option(help="The model's own error is in doubt too.")] = True,
    changes: Set = None,
    stack: Stack = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Which of the things in doubt make a result doubtful: Sobol indices of its logarithm, the largest first.

    Example: `roofline indices llama-3.1-8b --chip artemis`
    """
    from roofline.show.report import Table
    from roofline.study.indices import indices as run

    found = run(
        model, chip_with(chip, changes, stack), figure, draws=draws, seed=seed, model_error=model_error, **options
    )
    rows: list[dict[str, Any]] = found.reset_index().to_dict("records")  # type: ignore[assignment]
    if as_json:
        return print_json({"figure": found.attrs["figure"], "deviation": found.attrs["deviation"], "indices": rows})
    if as_csv:
        return print_csv(rows, columns=["doubt", *found.columns])
    title = f"What makes {found.attrs['figure']} doubtful?"
    table = Table(title, ["in doubt", ">first order", ">total", ""])
    for row in rows:
        cells = [f"{row[name]:.3f} +- {row[f'{name}_error']:.3f}" for name in ("first", "total")]
        table.rows.append([row["doubt"], *cells, "#" * round(20 * max(0.0, row["total"]))])
    table.notes.append(
        f"Shares of the variance of its logarithm, whose standard deviation is {found.attrs['deviation']:.3f}."
    )
    return print_table(table)
