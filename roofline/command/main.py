"""The command ``roofline``: the library's functions, their results as tables.

Results go to stdout; progress, warnings and errors to stderr. Exit codes: 0, 1 (does not fit, fails a check), 2 (bad
input).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from roofline.base.errors import DoesNotFit, RooflineError
from roofline.command import data as cli_data, measure as cli_measure, new as cli_new, serve as cli_serve
from roofline.command.options import Csv, Json, Ops, Set, Stack, chip_with
from roofline.command.output import err_console, out_console, plain, print_csv, print_estimate, print_json, warning_line

app = typer.Typer(
    help="How fast inference runs on a chip, why, and how sure that is.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from roofline import __version__

        typer.echo(f"roofline {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """How fast inference runs on a chip, why, and how sure that is."""


@app.command()
def chips(
    name: Annotated[str | None, typer.Argument(help="A chip, to see its figures.")] = None,
    sources: Annotated[bool, typer.Option("--sources", help="The source and note of every figure.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Efficiency parameters and inherited figures too.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List the chips, or show one of them."""
    from roofline.base import units
    from roofline.catalog import load as catalog
    from roofline.show import report

    if name is None:
        records = catalog.chip_records()
        if as_json:
            return print_json(records)
        if as_csv:
            return print_csv(records)
        columns = ["name", "vendor", ">year", "status", ">16-bit", ">8-bit", ">memory", ">bandwidth", ">TDP"]
        table = report.Table("Chips (dense peaks)", columns, expendable=["year", "status", "TDP", "vendor", "8-bit"])
        for r in records:
            if "error" in r:
                table.rows.append([r["name"], "unreadable", "", "", "", "", "", "", ""])
                table.notes.append(r["error"])
                continue
            cells = [
                (r["flops_16bit"], "FLOP/s"),
                (r["flops_8bit"], "FLOP/s"),
                (r["memory_bytes"], "B"),
                (r["memory_Bps"], "B/s"),
                (r["tdp_W"], "W"),
            ]
            table.rows.append(
                [
                    r["name"],
                    r["vendor"],
                    str(r["year"]),
                    r["status"],
                    *("" if v is None else units.text(v, u, 4) for v, u in cells),
                ]
            )
        table.notes.append("`roofline chips NAME --sources` shows one, with where each figure comes from.")
        return report.show(out_console(), table)
    chip = catalog.load_chip(name)
    table = report.chip_table(chip, sources, everything)
    if as_json or as_csv:
        numbers = {**chip.numbers, **(chip.defaults if everything else {})}
        rows = [
            {
                "figure": p,
                "value": n.value,
                "unit": units.DIMENSIONS[n.dimension][0],
                "low": n.low,
                "high": n.high,
                "kind": n.kind,
                "source": n.source,
                "note": n.note,
                "inherited": n.inherited,
            }
            for p, n in numbers.items()
        ]
        return print_json({"name": chip.name, "title": chip.title, "figures": rows}) if as_json else print_csv(rows)
    report.show(out_console(), table)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A model, to see its shape.")] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List the models, or show one of them."""
    from roofline.catalog import load as catalog
    from roofline.show import report

    if name is not None:
        model = catalog.load_model(name)
        if as_json:
            return print_json(model.summary())
        if as_csv:
            return print_csv([model.summary()])
        table = report.Table(f"{model.title} ({model.name})", ["", ""])
        table.rows = [[key, _say(value)] for key, value in model.summary().items()]
        return report.show(out_console(), table)
    records = catalog.model_records()
    if as_json:
        return print_json(records)
    if as_csv:
        return print_csv(records)
    table = report.Table("Models", ["name", "kind", "title", ">parameters", ">active or dense"], expendable=["kind"])
    for r in records:
        if "error" in r:
            table.rows.append([r["name"], "unreadable", r["error"], "", ""])
        else:
            table.rows.append([r["name"], r["kind"], r["title"], _count(r["params"]), _count(r["active_params"])])
    table.notes.append("A path to a Hugging Face config.json, or to a recommendation model's TOML file, works as well.")
    report.show(out_console(), table)


def _count(value: float) -> str:
    from roofline.base import units

    return units.text(float(value), "B", 4).removesuffix("B").replace("G", "B").strip()


def _say(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


@app.command()
def estimate(
    model: Annotated[str, typer.Argument(help="A model's name, or a path to its config.json or TOML file.")],
    chip: Annotated[list[str], typer.Option("--chip", "-c", help="A chip's name, or a path to its TOML file.")],
    batch: Annotated[
        int | None, typer.Option(help="Sequences in flight, or samples a batch, over the whole system.")
    ] = None,
    prompt: Annotated[int | None, typer.Option(help="Prompt tokens. [language; default 1024]")] = None,
    output: Annotated[int | None, typer.Option(help="Output tokens. [language; default 256]")] = None,
    prefix: Annotated[int | None, typer.Option(help="Prompt tokens whose KV is cached. [language]")] = None,
    tp: Annotated[int | None, typer.Option(help="Tensor parallelism. [language]")] = None,
    pp: Annotated[int | None, typer.Option(help="Pipeline parallelism. [language]")] = None,
    ep: Annotated[int | None, typer.Option(help="Expert parallelism. [language]")] = None,
    dp: Annotated[int | None, typer.Option(help="Data parallelism. [language]")] = None,
    devices: Annotated[int | None, typer.Option(help="Chips that share the tables. [recommendation]")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Arithmetic: bf16, fp16, fp8, int8 ... [default: the chip's 16-bit]")
    ] = None,
    weight_dtype: Annotated[
        str | None, typer.Option(help="Weights in memory. [language; default: dtype or narrower]")
    ] = None,
    kv_dtype: Annotated[str | None, typer.Option(help="KV cache. [language]")] = None,
    table_dtype: Annotated[str | None, typer.Option(help="Embedding rows. [recommendation; default: dtype]")] = None,
    skew: Annotated[float | None, typer.Option(help="Zipf exponent of the indices. [recommendation]")] = None,
    changes: Set = None,
    stack: Stack = None,
    ops: Ops = True,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the roofline with the operators: a .png, .svg or .pdf.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained HTML page.")] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """How fast a model runs on a chip, what bounds it, and how sure that is.

    Example: `roofline estimate llama-3.1-70b --chip h100-sxm --tp 8 --batch 64 --dtype fp8`
    """
    from roofline.estimates.estimate import estimate as run

    given = {
        "batch": batch,
        "prompt": prompt,
        "output": output,
        "prefix": prefix,
        "tp": tp,
        "pp": pp,
        "ep": ep,
        "dp": dp,
        "devices": devices,
        "dtype": dtype,
        "weight_dtype": weight_dtype,
        "kv_dtype": kv_dtype,
        "table_dtype": table_dtype,
        "skew": skew,
    }
    options: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    if len(chip) > 1:
        raise typer.BadParameter(f"--chip: estimate takes one chip, found {', '.join(chip)}; sweep takes several")
    est = run(model, chip_with(chip[0], changes, stack), **options)
    if plot is not None or html is not None:
        _pictures(est, plot, html)
    print_estimate(est, ops, as_json, as_csv)


def _pictures(est: Any, plot: Path | None, html: Path | None) -> None:
    from roofline.show import plot as drawing, report

    frames = {label: phase.ops for label, phase in report.phases(est)}
    if plot is not None:
        drawing.save(drawing.plot_roofline(est.chip, ops=frames), str(plot))
        err_console().print(f"wrote {plot}")
    if html is not None:
        tables = [report.headline(est), *report.breakdowns(est)]
        pictures = [
            drawing.plot_roofline(est.chip, ops=frames),
            drawing.plot_breakdown(*frames.values(), labels=list(frames)),
        ]
        html.write_text(report.html_page(f"{est.model.title} on {est.chip.title}", tables, pictures), encoding="utf-8")
        err_console().print(f"wrote {html}")


@app.command()
def plot(
    chips: Annotated[list[str], typer.Argument(help="One or several chips.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png, .svg or .pdf.")] = Path("roofline.png"),
    dtype: Annotated[list[str] | None, typer.Option(help="Ceilings to draw; repeat for several.")] = None,
    level: Annotated[list[str] | None, typer.Option(help="Memory levels to draw; repeat for several.")] = None,
    points: Annotated[
        list[Path] | None,
        typer.Option(
            help="Kernels as points: `ncu --csv`, a PyTorch profiler trace (.json), or a CSV; repeat for several."
        ),
    ] = None,
    changes: Set = None,
) -> None:
    """Draw the roofline of one or several chips, with measured kernels on it."""
    from roofline.show import plot as drawing

    ops = None
    if points:
        from roofline import profiles

        ops = {path.name: profiles.read(path) for path in points}
        for name, table in ops.items():
            placed = int(((table["flops"] > 0) & (table["bytes"] > 0) & (table["time_s"] > 0)).sum())
            if placed < len(table):
                left = f"{len(table) - placed:,} of {len(table):,}"
                text = f"{name}: {left} operators have no FLOP, bytes or time and are not drawn"
                err_console().print(text, markup=False, style="yellow")
    ax = drawing.plot_roofline(*(chip_with(name, changes) for name in chips), dtypes=dtype, levels=level, ops=ops)
    drawing.save(ax, str(out))
    err_console().print(f"wrote {out}")


@app.command()
def sweep(
    model: Annotated[list[str], typer.Argument(help="One or several models of a kind.")],
    chip: Annotated[list[str], typer.Option("--chip", "-c", help="A chip; repeat for several.")],
    axis: Annotated[
        list[str] | None,
        typer.Option(
            "--axis",
            "-a",
            metavar="NAME=V1,V2,...",
            help="An axis: -a batch=1,8,64 -a tp=1,2,4,8; one value fixes an option.",
        ),
    ] = None,
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
    from roofline.show import report
    from roofline.study.grids import sweep as run

    options: dict[str, Any] = {}
    for text in axis or []:
        name, equals, values = text.partition("=")
        parts = [_value(v.strip()) for v in values.split(",") if v.strip()]
        if not equals or not parts:
            raise typer.BadParameter(f"--axis: expected NAME=V1,V2,... such as batch=1,8,64, found {text!r}")
        options[name.strip()] = parts if len(parts) > 1 else parts[0]
    data = run(model, [chip_with(name, changes) for name in chip], **options)
    frame = data.to_dataframe().reset_index()
    records: list[dict[str, Any]] = [dict(zip(frame.columns, row, strict=True)) for row in frame.to_numpy(object)]
    if out is not None:
        _write_grid(data, frame, out)
        err_console().print(f"wrote {out}")
    if as_json:
        return print_json(records)
    if as_csv:
        return print_csv(records)
    shown = [c for c in frame.columns if c not in ("upper_s", "time_s", "total_tokens_per_s")]
    table = report.Table("", [f">{c}" for c in shown])
    same = [c for c in shown if frame[c].nunique() == 1]  # says the same in every row: it tells none from another
    order = ["fits"] if "fits" in same and bool(frame["fits"].all()) else []
    order += ["lower_s", "decode_tokens_per_s", "samples_per_s_per_chip", "tokens_per_s_per_chip", "bound", "ttft_s"]
    asked = ("tokens_per_s", "samples_per_s")
    table.expendable = [c for c in dict.fromkeys([*order, *same]) if c in shown and c not in asked]
    table.rows = [[_cell(r[c]) for c in shown] for r in records[:200]]
    if len(records) > 200:
        table.notes.append(f"The first 200 of {len(records):,} points; --csv or --out gives all of them.")
    report.show(out_console(), table)


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_grid(data: Any, frame: Any, out: Path) -> None:
    if out.suffix == ".csv":
        frame.to_csv(out, index=False)
    elif out.suffix == ".json":
        out.write_text(json.dumps(frame.to_dict("records"), default=plain, allow_nan=False), encoding="utf-8")
    elif out.suffix == ".nc":
        if importlib.util.find_spec("scipy") is None:  # the writer that xarray uses here
            raise typer.BadParameter("--out: netCDF needs scipy: pip install 'roofline[fit]'")
        data.assign(bound=data["bound"].astype(str)).to_netcdf(out, engine="scipy")
    else:
        raise typer.BadParameter(f"--out: expected a file ending in .csv, .json or .nc, found {str(out)!r}")


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Chip descriptors (.toml).")],
) -> None:
    """Check chip descriptors: the schema, the units, the sources, and whether the figures are plausible."""
    from roofline.base.errors import BadDescriptor
    from roofline.catalog.load import read_chip
    from roofline.hardware.plausible import warnings

    bad = 0
    for path in files:
        try:
            chip = read_chip(path)
        except BadDescriptor as error:
            bad += 1
            err_console().print(str(error), markup=False, style="red")
            continue
        found = warnings(chip.numbers)
        for warning in found:
            err_console().print(f"{path}: warning: {warning}", markup=False, style="yellow")
        typer.echo(
            f"{path}: {chip.name} is valid: {len(chip.numbers)} figures" + (f", {len(found)} warnings" if found else "")
        )
    if bad:
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of chip descriptors, for editors."""
    from roofline.hardware.schema import Descriptor

    print_json(Descriptor.model_json_schema())


cli_data.register(app)
cli_measure.register(app)
cli_new.register(app)
cli_serve.register(app)


def run() -> int:
    """Run the command on ``sys.argv``; errors of ours become one message and an exit code."""
    warnings.formatwarning = warning_line
    try:
        app()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except DoesNotFit as error:
        err_console().print(str(error), markup=False, style="red")
        return 1
    except BrokenPipeError:
        os._exit(0)  # the reader of our output has gone: nothing is wrong
    except (RooflineError, OSError) as error:
        err_console().print(f"error: {error}", markup=False, style="red")
        return 2
    return 0


def main() -> None:
    """The entry point: run the command and leave with its exit code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
