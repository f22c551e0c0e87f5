"""The commands that show what there is and check what is added: `chips`, `models`, `check`, `schema`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roofline.command.options import Csv, Json, complete_chip, complete_model
from roofline.command.output import err_console, print_csv, print_json, print_table

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip
    from roofline.show.table import Table


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    for command in (chips, models, check, schema):
        app.command()(command)


def chips(
    name: Annotated[
        str | None, typer.Argument(help="A chip, to see its figures.", autocompletion=complete_chip)
    ] = None,
    sources: Annotated[bool, typer.Option("--sources", help="The source and note of every figure.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Efficiency parameters and inherited figures too.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List the chips, or show one of them.

    Example: `roofline chips mtia-v1 --sources`
    """
    if name is None:
        from roofline.catalog.chips import records as chip_records

        records = chip_records()
        if as_json:
            return print_json(records)
        return print_csv(records) if as_csv else print_table(_chips_table(records))
    from roofline.catalog.load import load_chip
    from roofline.show import report

    chip = load_chip(name)
    table = report.chip_table(chip, sources, everything)
    if as_json:
        return print_json({"name": chip.name, "title": chip.title, "figures": _figures(chip, everything)})
    return print_csv(_figures(chip, everything)) if as_csv else print_table(table)


def _chips_table(records: list[dict[str, Any]]) -> Table:
    from roofline.base import units
    from roofline.show.table import Table

    columns = ["name", "vendor", ">year", "status", ">16-bit", ">8-bit", ">memory", ">bandwidth", ">TDP"]
    table = Table("Chips (dense peaks)", columns, expendable=["year", "status", "TDP", "vendor", "8-bit"])
    shown = {"flops_16bit": "FLOP/s", "flops_8bit": "FLOP/s", "memory_bytes": "B", "memory_Bps": "B/s", "tdp_W": "W"}
    for r in records:
        if "error" in r:
            table.rows.append([r["name"], "unreadable", *[""] * (len(columns) - 2)])
            table.notes.append(r["error"])
            continue
        figures = ["" if r[key] is None else units.text(r[key], unit, 4) for key, unit in shown.items()]
        table.rows.append([r["name"], r["vendor"], str(r["year"]), r["status"], *figures])
    table.notes.append("`roofline chips NAME --sources` shows one, with where each figure comes from.")
    return table


def _figures(chip: Chip, everything: bool) -> list[dict[str, object]]:
    from roofline.base import units

    numbers = {**chip.numbers, **(chip.defaults if everything else {})}
    return [
        {
            "figure": path,
            "value": n.value,
            "unit": units.DIMENSIONS[n.dimension][0],
            "low": n.low,
            "high": n.high,
            "kind": n.kind,
            "source": n.source,
            "note": n.note,
            "inherited": n.inherited,
        }
        for path, n in numbers.items()
    ]


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, to see its shape.", autocompletion=complete_model)
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List the models, or show one of them.

    Example: `roofline models llama-3.1-70b`
    """
    from roofline.catalog import load as catalog
    from roofline.show.table import Table

    if name is None:
        records = catalog.model_records()
        if as_json:
            return print_json(records)
        return print_csv(records) if as_csv else print_table(_models_table(records))
    model = catalog.load_model(name)
    summary = model.summary()
    if as_json:
        return print_json(summary)
    if as_csv:
        return print_csv([summary])
    told = [[key, _say(value)] for key, value in summary.items() if value not in ("", None)]
    return print_table(Table(f"{model.title} ({model.name})", ["property", "value"], told))


def _models_table(records: list[dict[str, Any]]) -> Table:
    from roofline.show.table import Table

    table = Table("Models", ["name", "kind", "title", ">parameters", ">active or dense"], expendable=["kind"])
    for r in records:
        if "error" in r:
            table.rows.append([r["name"], "unreadable", r["error"], "", ""])
        else:
            table.rows.append([r["name"], r["kind"], r["title"], _count(r["params"]), _count(r["active_params"])])
    table.notes.append("A path to a Hugging Face config.json, or to a recommendation model's TOML file, works as well.")
    return table


def _count(value: float) -> str:
    from roofline.base import units

    return units.text(float(value), "B", 4).removesuffix("B").replace("G", "B").strip()


def _say(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def check(
    files: Annotated[list[Path], typer.Argument(help="Chip descriptors (.toml).")],
) -> None:
    """Check chip descriptors: the schema, the units, the sources, and whether the figures are plausible.

    Example: `roofline check my-chip.toml`
    """
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


def schema() -> None:
    """Print the JSON Schema of chip descriptors, for editors.

    Example: `roofline schema > chip.schema.json`
    """
    from roofline.hardware.schema import Descriptor

    print_json(Descriptor.model_json_schema())
