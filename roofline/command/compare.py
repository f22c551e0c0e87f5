"""The command that puts chips side by side on workloads of both families: `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roofline.command.options import QUESTION, Csv, Json, Size, asking, chip_with, complete_chip, complete_model, inches
from roofline.command.output import print_csv, print_json, print_table, wrote

if TYPE_CHECKING:
    import pandas as pd

    from roofline.show.report import Table
    from roofline.study.comparing import Comparison

_NAMES = {"per_joule": "per J", "usd_per_million": "USD / M", "latency_s": "latency", "ttft_s": "TTFT"}


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(compare)


@asking(QUESTION)
def compare(
    chips: Annotated[list[str], typer.Argument(help="Chips, by name or file.", autocompletion=complete_chip)],
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            autocompletion=complete_model,
            help="A workload: a model, and options of its own: -m dlrm-v2:batch=4096,dtype=int8. Repeat for several.",
        ),
    ],
    options: dict[str, Any],
    draws: Annotated[int, typer.Option(help="Draws of all that is in doubt.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed draws the same.")] = 0,
    level: Annotated[float, typer.Option(help="Probability of the intervals.")] = 0.9,
    by: Annotated[float, typer.Option(help="What beating means: by this factor at least.")] = 1.0,
    figure: Annotated[str | None, typer.Option(help="What the odds are on. [default: the rate per chip]")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="FIGURE=VALUE", help="Odds that it holds: --target tpot_s=0.05. Repeat for several."),
    ] = None,
    model_error: Annotated[bool, typer.Option(help="Draw the model's own error too.")] = True,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the rates per chip with their intervals: a .png, .svg or .pdf.")
    ] = None,
    plot_odds: Annotated[Path | None, typer.Option(help="Draw the odds: a .png, .svg or .pdf.")] = None,
    size: Size = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Chips side by side on language and recommendation models: figures with intervals, and the odds.

    With `--concurrency` the figures of language models are those of a server.

    Example: `roofline compare artemis mtia-v1 h100-sxm -m dlrm-v2 -m llama-3.1-8b:batch=8 --target tpot_s=0.1`
    """
    from roofline.study.comparing import compare as run

    found = run(
        [chip_with(name, None) for name in chips],
        [_workload(text) for text in model],
        draws=draws,
        seed=seed,
        level=level,
        by=by,
        figure=figure,
        targets=_targets(target or []),
        model_error=model_error,
        **options,
    )
    _draw(found, level, plot, plot_odds, inches(size))
    if as_json:
        return print_json({"table": _plain(found.table), "odds": _plain(found.odds), "targets": _plain(found.targets)})
    if as_csv:
        return print_csv(_plain(found.table), columns=[*found.table.columns])
    tables = [_figures(found, level), _odds(found, by)]
    return print_table(*tables, *([_held(found)] if len(found.targets) else []))


def _draw(
    found: Comparison, level: float, plot: Path | None, plot_odds: Path | None, size: tuple[float, float] | None
) -> None:
    if plot is None and plot_odds is None:
        return
    from roofline.show import plot as drawing

    if plot is not None:
        title = f"Chips side by side, {level:.0%} intervals"
        drawing.save(drawing.plot_comparison(found, title=title, size=size), plot)
        wrote(plot)
    if plot_odds is not None:
        drawing.save(drawing.plot_odds(found, size=size), plot_odds)
        wrote(plot_odds)


def _workload(text: str) -> tuple[str, dict[str, Any]]:
    """``NAME:option=value,...`` as a model and its options."""
    name, _, rest = text.rpartition(":") if "=" in text.rpartition(":")[2] else (text, "", "")
    options: dict[str, Any] = {}
    for pair in rest.split(",") if rest else ():
        option, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not option or not value or not name:
            raise typer.BadParameter(f"--model: expected MODEL:OPTION=VALUE,... such as rm2:batch=256, found {text!r}")
        options[option] = _value(value)
    return name, options


def _value(text: str) -> float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _targets(given: list[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not isinstance(_value(value), int | float):
            raise typer.BadParameter(f"--target: expected FIGURE=VALUE such as tpot_s=0.05, found {text!r}")
        found[name] = float(value)
    return found


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data; what is missing as none."""
    rows = frame.to_dict("records")
    return [{str(name): None if value != value else value for name, value in row.items()} for row in rows]


def _figures(found: Comparison, level: float) -> Table:
    from roofline.show.report import Table

    kinds = [
        name
        for name in (*("throughput", "per_chip", "latency_s", "ttft_s"), "per_joule", "usd_per_million")
        if name in found.table
    ]
    columns = [
        "workload",
        "chip",
        ">chips",
        ">fits",
        *(f">{_NAMES.get(name, name.replace('_', ' '))}" for name in kinds),
    ]
    table = Table(f"Chips side by side, {level:.0%} intervals", [*columns, "bound"], expendable=["per chip"])
    for row in _plain(found.table):
        cells = [_with_interval(row, name) for name in kinds]
        table.rows.append([row["workload"], row["chip"], str(row["chips"]), f"{row['fits']:.0%}", *cells, row["bound"]])
    table.notes.append(
        "Throughput of the system in output tokens or samples a second; latency: of a token, or a batch."
    )
    return table


def _with_interval(row: dict[str, Any], name: str) -> str:
    from roofline.show.quantities import quantity, ratio

    if row.get(name) is None:
        return "-"

    def text(value: float) -> str:
        return quantity(value, "s") if name.endswith("_s") else ratio(value)

    if row.get(f"{name}_low") is None:
        return text(row[name])
    return f"{text(row[name])} ({text(row[f'{name}_low'])} to {text(row[f'{name}_high'])})"


def _odds(found: Comparison, by: float) -> Table:
    from roofline.show.report import Table

    more = "" if by == 1 else f" by {by:g} times"
    table = Table(f"Odds that a chip beats another{more}", ["workload", "chip", "beats", ">odds", "on"])
    shown: set[tuple[str, ...]] = set()
    for row in _plain(found.odds):
        pair = (row["workload"], *sorted((row["chip"], row["other"])))
        if by == 1 and pair in shown:
            continue  # what is left to a whole
        shown.add(pair)
        odds = f"{row['odds']:.1%} +- {row['error']:.1%}"
        table.rows.append([row["workload"], row["chip"], row["other"], odds, row["figure"]])
    return table


def _held(found: Comparison) -> Table:
    from roofline.show.report import Table

    table = Table("Odds that a target holds", ["workload", "chip", "figure", ">target", ">odds"])
    for row in _plain(found.targets):
        odds = f"{row['odds']:.1%} +- {row['error']:.1%}"
        table.rows.append([row["workload"], row["chip"], row["figure"], f"{row['target']:g}", odds])
    return table
