"""The commands over grids: `sweep`, and `pareto`, which keeps the points of one that no other beats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roofline.command.options import Chips, Csv, Json, Models, Set, Size, chip_with, inches
from roofline.command.output import plain, print_csv, print_json, print_table, wrote

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from roofline.show.report import Table

Axis = Annotated[
    list[str] | None,
    typer.Option(
        "--axis",
        "-a",
        metavar="NAME=V1,V2,...",
        help="An axis: -a batch=1,8,64 -a tp=1,2,4,8; one value fixes an option.",
    ),
]

#: What is no axis, and how to say it instead.
_NO_AXIS = {
    **dict.fromkeys(("chip", "chips"), "chips are given by --chip, once for each"),
    **dict.fromkeys(("model", "models"), "models are the command's arguments"),
    "check": "a grid never stops at points that do not fit; the column `fits` marks them",
}

#: Rows of a table on a terminal.
_MOST_ROWS = 200


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(sweep)
    app.command()(pareto)


def sweep(
    model: Models,
    chip: Chips,
    axis: Axis = None,
    changes: Set = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the grid: .csv, .json or .nc (netCDF).")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Estimates over a grid of options, models and chips.

    Example: `roofline sweep llama-3.1-8b -c h100 -c mi300x -a batch=1,8,64 -a prompt=2048`
    """
    if out is not None and out.suffix not in (".csv", ".json", ".nc"):
        raise typer.BadParameter(f"--out: expected a file ending in .csv, .json or .nc, found {str(out)!r}")
    data = _grid(model, chip, axis, changes)
    frame = _frame(data)
    if out is not None:
        _write(data, frame, out)
        wrote(out)
    if as_json:
        return print_json(_records(frame))
    return print_csv(_records(frame)) if as_csv else print_table(_table(frame))


def pareto(
    model: Models,
    chip: Chips,
    axis: Axis = None,
    maximise: Annotated[
        list[str] | None, typer.Option(help="Figure to have much of; repeat for several. [default: rate per chip]")
    ] = None,
    minimise: Annotated[
        list[str] | None, typer.Option(help="Figure to have little of; repeat for several. [default: latency]")
    ] = None,
    changes: Set = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the first two figures against each other: a .png, .svg or .pdf.")
    ] = None,
    size: Size = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """The points of a grid that no other point beats; points that do not fit are left out.

    Example: `roofline pareto llama-3.1-70b -c h100 -a tp=2,4,8 -a batch=1,8,64,256 --plot frontier.png`
    """
    from roofline.base.errors import DoesNotFit
    from roofline.study.frontiers import pareto as run

    data = _grid(model, chip, axis, changes)
    if not maximise and not minimise:
        tokens = "tokens_per_s_per_chip" in data
        maximise = ["tokens_per_s_per_chip" if tokens else "samples_per_s_per_chip"]
        minimise = ["tpot_s" if tokens else "latency_s"]
    best = run(data, maximise=maximise or [], minimise=minimise or [])
    if best.empty:
        raise DoesNotFit("no point of the grid fits; `roofline sweep` shows them all", 0.0, 0.0, [])
    wanted = [*(maximise or []), *(minimise or [])]
    axes = [str(c) for c in data.coords if str(c) in best.columns]
    best = best[[*axes, *wanted, *(c for c in best.columns if c not in (*axes, *wanted, "fits"))]]
    if plot is not None:
        _draw(data, best, wanted, plot, inches(size))
        wrote(plot)
    if as_json:
        return print_json(_records(best))
    if as_csv:
        return print_csv(_records(best), columns=[*best.columns])
    table = _table(best)
    table.title = f"{len(best):,} of {data['fits'].size:,} points that no other beats"
    goals = [*(f"much {name}" for name in maximise or []), *(f"little {name}" for name in minimise or [])]
    table.notes.append(f"Wanted: {', '.join(goals)}.")
    return print_table(table)


def _draw(
    data: xr.Dataset, best: pd.DataFrame, wanted: list[str], path: Path, size: tuple[float, float] | None
) -> None:
    from roofline.show import plot as drawing, report

    if len(wanted) < 2:
        raise typer.BadParameter(f"--plot: expected two figures to draw against each other, found {', '.join(wanted)}")
    every = _frame(data)
    y, x = wanted[0], next((w for w in wanted[1:] if w.endswith("_s") and "per_s" not in w), wanted[1])
    axes = [name for name in map(str, data.dims) if data.sizes[name] > 1]
    labels = {}
    for name in (x, y):
        unit = data[name].attrs.get("units", "s")  # seconds stand at the ticks
        labels[name] = report.LABELS.get(name, name) + (f" ({unit})" if unit != "s" else "")
    fixed = [str(every[name].iloc[0]) for name in ("model", "chip") if name not in axes and name in every]
    drawing.save(drawing.plot_frontier(every[every["fits"].astype(bool)], best, x, y, names=axes, labels=labels,
                                       title=" on ".join(fixed) or None, size=size), path)  # fmt: skip


def _grid(models: list[str], chips: list[str], axes: list[str] | None, changes: list[str] | None) -> xr.Dataset:
    """The grid of the axes on the command line."""
    from roofline.study.grids import sweep as run

    return run(models, [chip_with(name, changes) for name in chips], **_options(axes or []))


def _options(axes: list[str]) -> dict[str, Any]:
    """The axes ``NAME=V1,V2,...`` as options of a sweep; one value fixes an option."""
    options: dict[str, Any] = {}
    for text in axes:
        name, equals, values = (part.strip() for part in text.partition("="))
        parts = [_value(v.strip()) for v in values.split(",") if v.strip()]
        if not equals or not name or not parts:
            raise typer.BadParameter(f"--axis: expected NAME=V1,V2,... such as batch=1,8,64, found {text!r}")
        if name in _NO_AXIS:
            raise typer.BadParameter(f"--axis {text}: {name} is no axis: {_NO_AXIS[name]}")
        if name in options:
            both = f"{name}={','.join(str(v) for v in (*_listed(options[name]), *parts))}"
            raise typer.BadParameter(f"--axis: {name} is given twice; for both, write -a {both}")
        options[name] = parts if len(parts) > 1 else parts[0]
    return options


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _frame(data: xr.Dataset) -> pd.DataFrame:
    """A grid as rows, coordinates first; a grid of one point is one row."""
    import pandas as pd

    data = data.assign(bound=data.roofline.bound_text(), why=data.roofline.why_text())
    if data.dims:
        return data.to_dataframe().reset_index()
    return pd.DataFrame([{str(name): data[name].item() for name in (*data.coords, *data.data_vars)}])


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.to_numpy(object)]


def _table(frame: pd.DataFrame) -> Table:
    """The rows for people, with the columns that say least the first to go where it is narrow."""
    from roofline.show import report

    shown = [c for c in frame.columns if c not in ("upper_s", "time_s", "total_tokens_per_s")]
    table = report.Table("", [f">{c}" for c in shown])
    # What says the same in every row tells none from another.
    same = [c for c in shown if len(frame) > 1 and len(frame[c].unique()) == 1]
    order = ["fits"] if "fits" in same and bool(frame["fits"].all()) else []
    order += ["lower_s", "decode_tokens_per_s", "samples_per_s_per_chip", "tokens_per_s_per_chip", "bound", "ttft_s"]
    asked = ("tokens_per_s", "samples_per_s")
    table.expendable = [c for c in dict.fromkeys([*order, *same]) if c in shown and c not in asked]
    table.rows = [[_cell(row[c]) for c in shown] for row in _records(frame.head(_MOST_ROWS))]
    if len(frame) > _MOST_ROWS:
        table.notes.append(f"The first {_MOST_ROWS} of {len(frame):,} points; --csv or --json gives all of them.")
    return table


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(data: xr.Dataset, frame: pd.DataFrame, out: Path) -> None:
    """Write a grid in the form that its ending names; a file that was there stays whole until this one is."""
    from roofline.base.files import replacing

    with replacing(out) as scratch:
        if out.suffix == ".csv":
            frame.to_csv(scratch, index=False)
        elif out.suffix == ".json":
            text = json.dumps(frame.to_dict("records"), default=plain, allow_nan=False)
            scratch.write_text(text, encoding="utf-8")
        else:
            data.to_netcdf(scratch, engine="scipy")
