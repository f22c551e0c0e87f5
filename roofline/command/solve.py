"""The inverse questions: `solve`, and `takeovers`, which says where each bound takes over along an axis."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roofline.command.options import QUESTION, WORKLOAD, Chip, Csv, Json, Model, Set, Stack, asking, chip_with
from roofline.command.output import print_csv, print_json, print_table

if TYPE_CHECKING:
    from roofline.study.solving import Solution

Vary = Annotated[
    str, typer.Option(help="A figure of the chip by its path, or an option: memory.main.bandwidth, batch ...")
]
Low = Annotated[str | None, typer.Option(help='Least value to look at: "1 TB/s", 4. [default: what a what-if allows]')]
High = Annotated[str | None, typer.Option(help='Most: "8 TB/s", 256. [default: what a what-if allows]')]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(solve)
    app.command()(takeovers)


def end(text: str | None) -> float | str | None:
    """A limit as the library takes it: a number where it is one."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text


@asking(QUESTION)
def solve(
    model: Model,
    chip: Chip,
    options: dict[str, Any],
    figure: Annotated[str, typer.Option(help="What is to reach the target: tpot_s, ttft_s, tokens_per_s ...")],
    target: Annotated[float, typer.Option(help="Seconds, tokens/s ...: the most of a time, the least of a rate.")],
    vary: Vary,
    low: Low = None,
    high: High = None,
    changes: Set = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """The value of one figure of the chip, or of one option, that reaches a target; or why none does (exit code 1).

    With `--concurrency`, or `--vary concurrency`, the figures are those of a server.

    Example: `roofline solve llama-3.1-8b --chip h100-sxm --figure tpot_s --target 0.006 --vary memory.main.bandwidth`
    """
    from roofline.study.solving import solve as run

    found = run(
        model, chip_with(chip, changes, stack), figure, target, vary=vary, low=end(low), high=end(high), **options
    )
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        typer.echo(_sentence(found))
    if not found.reached:
        raise typer.Exit(1)


def _sentence(found: Solution) -> str:
    head = f"{found.vary} = {found.text}" if found.reached else f"No {found.vary} does"
    return f"{head}: {found.why}."


@asking(WORKLOAD)
def takeovers(
    model: Model,
    chip: Chip,
    options: dict[str, Any],
    vary: Vary,
    low: Low = None,
    high: High = None,
    changes: Set = None,
    stack: Stack = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """What bounds each phase along one axis, and where one bound takes over from another.

    Example: `roofline takeovers llama-3.1-8b --chip h100-sxm --vary batch`
    """
    from roofline.catalog.load import load_model
    from roofline.estimates.estimate import estimate
    from roofline.show.report import Table
    from roofline.show.words import heading
    from roofline.study.takeovers import takeovers as run
    from roofline.study.variables import variable

    loaded, on = load_model(model), chip_with(chip, changes, stack)
    found = run(loaded, on, vary=vary, low=end(low), high=end(high), **options)
    rows: list[dict[str, Any]] = found.to_dict("records")  # type: ignore[assignment]
    if as_json:
        return print_json(rows)
    if as_csv:
        return print_csv(rows, columns=[*found.columns])
    base = estimate(loaded, on, check=False, **options)
    one = variable(base, options, vary, what="takeovers")
    table = Table(
        f"What bounds {loaded.name} along {one.name}?\n{heading(base)}", ["phase", ">from", ">to", "bound", ""]
    )
    for row in rows:
        here = f"now {one.text(one.present)}" if row["present"] else ""
        table.rows.append([row["phase"], one.text(row["start"]), one.text(row["end"]), row["bound"], here])
    return print_table(table)
