"""Pages of the reference that are made, not written: the command, the descriptor, the parameters of families.

Written into ``docs/reference/generated/`` when a build begins, from what the program itself goes by: the command's
help, the schema that a chip's file is checked against, the kernels' docstrings and the families' files.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import sys
import tomllib
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from numpydoc.docscrape import NumpyDocString
from pydantic import BaseModel

from roofline import kernels
from roofline.base import units
from roofline.command import main as command
from roofline.hardware import ranges, schema

FOLDER = Path(__file__).parents[1] / "reference" / "generated"
FAMILIES = Path(__file__).parents[2] / "chips" / "families"

#: What a page of wide tables begins with: no column beside it.
WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"

#: Kernels whose parameters are explained where another's are.
EXPLAINED_BY = {
    "mla_attention": "attention",
    "all_gather": "all_reduce",
    "reduce_scatter": "all_reduce",
    "all_to_all": "all_reduce",
    "send": "all_reduce",
    "remote_lookup": "host_lookup",
}

#: What the scatter of a class's errors is called; one explanation for all classes.
SPREAD = "Standard deviation of ln(measured / predicted) of single operators of the class"
SPREADS = {
    "spread": SPREAD,
    "spread_under_5us": f"{SPREAD} that take less than 5 us",
    "spread_5_20us": f"{SPREAD} that take 5 to 20 us",
    "spread_20_100us": f"{SPREAD} that take 20 to 100 us",
    "spread_100_1000us": f"{SPREAD} that take 0.1 to 1 ms",
    "spread_over_1ms": f"{SPREAD} that take more than 1 ms",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# The command ---------------------------------------------------------------------------------------------------------


def help_of(*arguments: str) -> str:
    """What the command says of itself."""
    said = io.StringIO()
    with patch.object(sys, "argv", ["roofline", *arguments, "--help"]), contextlib.redirect_stdout(said):
        code = command.run()
    assert code == 0, f"roofline {' '.join(arguments)} --help ended with {code}"
    return "\n".join(line.rstrip() for line in said.getvalue().strip("\n").splitlines())


def command_page() -> str:
    """The help of every command."""
    parts = [f"# The command\n\nWhat `roofline --help` and each command's `--help` say.\n\n```text\n{help_of()}\n```"]
    parts += [f"## roofline {name}\n\n```text\n{help_of(name)}\n```" for name in command.FILES]
    return "\n\n".join(parts) + "\n"


# The descriptor ------------------------------------------------------------------------------------------------------


def tables_of(model: type[BaseModel], seen: list[type[BaseModel]]) -> list[type[BaseModel]]:
    """The tables that a file may hold, each once, in the order in which a reader meets them."""
    seen.append(model)
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            if inner not in seen and not issubclass(inner, schema.Figure):
                tables_of(inner, seen)
    return seen


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schemas that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from models_in(inner)


def said_type(annotation: Any) -> str:
    """What may stand at a key, in a reader's words."""
    inner = [one for one in typing.get_args(annotation) if one is not type(None)]
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is typing.Annotated:
        return said_type(inner[0])
    if origin is dict:
        return f"a table, by name, of: {said_type(inner[1])}"
    if origin is list:
        return f"a list of {said_type(inner[0])}"
    if inner:
        return " or ".join(dict.fromkeys(map(said_type, inner)))
    if annotation in (schema.Text, str):
        return "text"
    if isinstance(annotation, type) and issubclass(annotation, schema.Figure):
        unit, example = units.DIMENSIONS[annotation.dimension]
        return f"a figure: {annotation.dimension}" + (f', such as `"{example}"`' if unit else "")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(annotation, "a table of figures")


def described(field: Any) -> str:
    """What a key is for: its own words, or the first sentence of the table that stands there."""
    inside = next(models_in(field.annotation), None)
    beginning = inspect.cleandoc((inside and inside.__doc__) or "").partition(". ")[0].rstrip(".")
    return field.description or (f"{beginning}." if beginning else "")


def descriptor_page() -> str:
    """Every table and key that a chip's file may have, and what a figure may say of itself."""
    parts = [
        "# The descriptor of a chip\n\nEvery table and key that a chip's file may have, from the schema that files are "
        "checked against. `roofline schema` prints the same as JSON Schema, with which editors complete and check a "
        "file; `roofline check FILE` names each mistake by its key. The first table is the file itself."
    ]
    for model in [*tables_of(schema.Descriptor, []), schema.Figure]:
        rows = []
        for name, field in model.model_fields.items():
            must = "yes" if field.is_required() else ""
            rows.append([f"`{field.alias or name}`", said_type(field.annotation), must, described(field)])
        said = inspect.cleandoc(model.__doc__ or "").replace("``", "`")
        parts.append(f"## {model.__name__}\n\n{said}\n\n{table(['key', 'what', 'required', ''], rows)}")
    return "\n\n".join(parts) + "\n"


# The parameters of families ------------------------------------------------------------------------------------------


def explained(kernel: str) -> dict[str, str]:
    """What a kernel's docstring says of each of its parameters."""
    function = kernels.by_name()[kernel]
    found = {}
    for parameter in NumpyDocString(inspect.getdoc(function) or "")["Parameters"]:
        for name in parameter.name.split(","):
            # Some say the unit where others say the type.
            said = " ".join(parameter.desc).strip() or parameter.type
            found[name.strip()] = said.replace("``", "`")
    if kernel in EXPLAINED_BY:
        found = {**explained(EXPLAINED_BY[kernel]), **found}
    return found


def unit_of(name: str) -> str:
    """The unit of an efficiency parameter."""
    if name.endswith("_cycles"):
        return "cycles"
    dimension = schema.parameter_schema(name).dimension
    a_share = dimension == "fraction" or name.endswith("_share")
    return units.DIMENSIONS[dimension][0] or ("share" if a_share else "number")


def meaning(kind: str, name: str, of_kernel: dict[str, str]) -> str:
    """What a parameter is. No parameter goes without."""
    said = SPREADS.get(name) or of_kernel.get(name, "")
    if not said:
        raise LookupError(f"efficiency.{kind}.{name} is explained by no kernel's docstring")
    return said


def allowed(name: str) -> str:
    """What a parameter may be, as the range that files are checked against has it."""
    dimension = schema.parameter_schema(name).dimension
    found = ranges.of(name, dimension)
    unit = units.DIMENSIONS[dimension][0]
    return f"{units.text(found.least, unit)} to {units.text(found.most, unit)}"


def value_of(figure: Any) -> str:
    """The value of a figure in a family's file, and its range where it has one."""
    if figure is None:
        return ""
    if not isinstance(figure, dict):
        return str(figure)
    span = f" ({figure['low']} to {figure['high']})" if "low" in figure else ""
    return f"{figure['value']}{span}"


def of_table(name: str, families: dict[str, dict[str, Any]]) -> str:
    """The figures of one of the small tables of families, explained as the schema explains them."""
    model = next(models_in(schema.FamilyDefaults.model_fields[name].annotation))
    rows = []
    for key, field in model.model_fields.items():
        values = [value_of(family.get(name, {}).get(key)) for family in families.values()]
        if key not in ("source", "kind") and any(values):
            figure = next(models_in(field.annotation))
            assert issubclass(figure, schema.Figure)
            unit = units.DIMENSIONS[figure.dimension][0] or ("share" if figure.dimension == "fraction" else "number")
            rows.append([f"`{key}`", unit, field.description or "", *values])
    said = inspect.cleandoc(model.__doc__ or "").replace("``", "`")
    return f"## {name}\n\n{said}\n\n{table(['figure', 'unit', 'what', *families], rows)}"


def parameters_page() -> str:
    """Every figure that a family of chips hands down: its unit, its meaning, its range, its value in each family."""
    families = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FAMILIES.glob("*.toml"))}
    kinds = list(dict.fromkeys(kind for family in families.values() for kind in family["efficiency"]))
    every = kernels.by_name()
    parts = [
        "# The parameters of families\n\nWhat a chip inherits where it has no figure of its own; by class of operators "
        "`[efficiency.CLASS]` in its file or in `chips/families/`. Meanings are those of the kernels' docstrings, "
        "ranges those that files are checked against, values those of the families' files. The source of each value "
        "stands beside it in the file: `roofline chips NAME --all --sources` lists them for a chip.\n\n"
        "A figure of one dtype stands a level further in, `[efficiency.gemm.fp8]`; one of a software stack in "
        "`[stack.NAME.efficiency.gemm]`."
    ]
    parts += [of_table(name, families) for name in ("latency", "channels", "overheads", "power", "server")]
    engines = {name: stack for name, stack in families["gpu"]["stack"].items() if "serving" in stack}
    parts.append(of_table("serving", engines))  # of engines: no family sets memory aside by itself
    for kind in kinds:
        own = {name: family["efficiency"].get(kind, {}) for name, family in families.items()}
        names = dict.fromkeys(name for figures in own.values() for name in figures if name not in ("source", "kind"))
        kernel = kind if kind in every else "elementwise"
        of_kernel = explained(kernel)
        rows = []
        for name in names:
            if all("value" not in figures.get(name, {"value": 0}) for figures in own.values()):
                continue  # a table of one dtype, whose parameters are those of the class
            said = meaning(kind, name, of_kernel)
            values = [value_of(figures.get(name)) for figures in own.values()]
            rows.append([f"`{name}`", unit_of(name), said, allowed(name), *values])
        parts.append(f"## {kind}\n\n{table(['parameter', 'unit', 'what', 'may be', *families], rows)}")
    return "\n\n".join(parts) + "\n"


def write(app: object) -> None:
    """Write the pages that differ from those that lie there, so that nothing is read again for nothing."""
    del app
    FOLDER.mkdir(parents=True, exist_ok=True)
    with patch.dict(os.environ, COLUMNS="100", NO_COLOR="1"):
        pages = {"command": command_page(), "descriptor": descriptor_page(), "parameters": parameters_page()}
    for name, made in pages.items():
        text = f"{WIDE}{made}"
        path = FOLDER / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("builder-inited", write, priority=100)
    return {"parallel_read_safe": True}
