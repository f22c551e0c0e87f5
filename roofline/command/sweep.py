"""The commands over grids: `sweep`, and `pareto`, which keeps the points of one that no other beats."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roofline.base.errors import RooflineError
from roofline.command.axes import Axis, options
from roofline.command.options import Chips, Csv, Json, Models, Set, Size, chip_with, inches
from roofline.command.output import plain, print_csv, print_json, print_table, wrote

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from roofline.show.report import Table

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
    draws: Annotated[int, typer.Option(min=0, help="Draws of the chips' uncertain figures, an axis of its own.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    model_error: Annotated[bool, typer.Option("--model-error", help="Draw the model's own error, too.")] = False,
    figure: Annotated[
        list[str] | None, typer.Option(help="A figure to keep; repeat for several. [default: the headline figures]")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="Write a grid past memory into this Zarr store; called again, it goes on where it stopped."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes on this machine. [default: threads of this process]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the grid: .csv, .json or .nc (netCDF).")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the first --figure: lines, a heat map of two axes, bands of draws; .png, .svg or .pdf."
        ),
    ] = None,
    size: Size = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Estimates over a grid of options, chip figures, stacks, draws, models and chips.

    Example: `roofline sweep llama-3.1-8b -c h100 -c mi300x -a batch=1,8,64 -a memory.main.bandwidth=x1,x2`
    """
    if out is not None and out.suffix not in (".csv", ".json", ".nc"):
        raise typer.BadParameter(f"--out: expected a file ending in .csv, .json or .nc, found {str(out)!r}")
    if to is not None and (out is not None or as_json or as_csv):
        raise typer.BadParameter("--to: expected no --out, --json or --csv beside it: the store holds the grid")
    more: dict[str, object] = {"draws": draws, "seed": seed, "model_error": model_error, "figures": figure, "to": to}
    with _cluster(workers) as client:
        data = _grid(model, chip, axis, changes, **more, client=client)
    if plot is not None:
        from roofline.show import plot as drawing

        drawing.save(drawing.plot_grid(data, figure[0] if figure else None, size=inches(size)), plot)
        wrote(plot)
    if to is not None:
        wrote(to)
        return typer.echo(_summary(data))
    frame = _frame(data)
    if out is not None:
        _write(data, frame, out)
        wrote(out)
    if as_json:
        return print_json(_records(frame))
    return print_csv(_records(frame)) if as_csv else print_table(_table(_with_units(data, frame), len(frame)))


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
    from roofline.study.frontiers import pareto as run, usual_objectives

    data = _grid(model, chip, axis, changes)
    if not maximise and not minimise:
        maximise, minimise = usual_objectives(data)
    best = run(data, maximise=maximise or [], minimise=minimise or [])
    if best.empty:
        raise DoesNotFit("no point of the grid fits; `roofline sweep` shows them all", 0.0, 0.0, [])
    wanted = [*(maximise or []), *(minimise or [])]
    axes = [str(c) for c in data.coords if str(c) in best.columns]
    best = best[[*axes, *wanted, *(c for c in best.columns if c not in (*axes, *wanted, "fits"))]]
    if plot is not None:
        from roofline.show import plot as drawing

        if len(wanted) < 2:
            raise typer.BadParameter(f"--plot: expected two figures to draw against each other, found {wanted[0]}")
        drawing.save(drawing.plot_pareto(data, maximise or [], minimise or [], size=inches(size)), plot)
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


def _grid(
    models: list[str], chips: list[str], axes: list[str] | None, changes: list[str] | None, **more: Any
) -> xr.Dataset:
    """The grid of the axes on the command line."""
    from roofline.study.grids import sweep as run

    return run(models, [chip_with(name, changes) for name in chips], **more, **options(axes or []))


@contextmanager
def _cluster(workers: int | None) -> Iterator[object]:
    """A client of so many worker processes on this machine; None for none."""
    if workers is None:
        yield None
        return
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise RooflineError("--workers needs dask.distributed: pip install 'dask[distributed]'") from None
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster,  # type: ignore[no-untyped-call]
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        yield client


def _summary(data: xr.Dataset) -> str:
    points, fit, possible = data["fits"].size, int(data["fits"].sum()), int(data["possible"].sum())
    return f"{points:,} points, of which {fit:,} fit into the memory and {points - possible:,} are impossible"


def _frame(data: xr.Dataset) -> pd.DataFrame:
    """A grid as rows, coordinates first; a grid of one point is one row."""
    import pandas as pd

    data = data.assign(bound=data.roofline.bound_text(), why=data.roofline.why_text())
    if bool(data["possible"].all()):
        data = data.drop_vars(["possible", "why"])
    if data.dims:
        return data.to_dataframe().reset_index()
    return pd.DataFrame([{str(name): data[name].item() for name in (*data.coords, *data.data_vars)}])


def _with_units(data: xr.Dataset, frame: pd.DataFrame) -> pd.DataFrame:
    """The first rows with the values of chip figures as people write them: 2 TB/s, x1.1."""
    from roofline.base import units

    def written(value: Any, unit: str) -> str:
        return f"x{value:.12g}" if unit == "1" else units.text(value, unit, 12)

    shown = frame.head(_MOST_ROWS + 1)
    for name in map(str, data.dims):
        figure, unit = data[name].attrs.get("figure"), data[name].attrs.get("units")
        if figure and unit:
            shown = shown.assign(**{name: [written(value, unit) for value in shown[name]]})
    return shown


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The rows as plain data; a hole in the grid is None."""
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in zip(frame.columns, row, strict=True)
        }
        for row in frame.to_numpy(object)
    ]


def _table(frame: pd.DataFrame, points: int = 0) -> Table:
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
        table.notes.append(
            f"The first {_MOST_ROWS} of {points or len(frame):,} points; --csv or --json gives all of them."
        )
    return table


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(data: xr.Dataset, frame: pd.DataFrame, out: Path) -> None:
    """Write a grid in the form that its ending names; a file that was there stays whole until this one is."""
    from roofline.base.files import replacing

    with replacing(out) as scratch:
        if out.suffix == ".csv":
            frame.to_csv(scratch, index=False)
        elif out.suffix == ".json":
            text = json.dumps(_records(frame), default=plain, allow_nan=False)
            scratch.write_text(text, encoding="utf-8")
        else:
            data.to_netcdf(scratch, engine="scipy")
