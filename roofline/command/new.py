"""The command `new`: the file that somebody who describes a chip begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roofline.command.output import err_console


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(new)


def new(
    name: Annotated[str, typer.Argument(help="Of the chip: lower-case letters, digits and any of . + _ -")],
    family: Annotated[str, typer.Option(help="gpu, tpu, npu, cpu or dataflow: where what is not known comes from.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file. [default: NAME.toml]")] = None,
) -> None:
    """Write a commented descriptor to fill in.

    Example: `roofline new my-chip --family npu`, then `roofline check my-chip.toml` lists the blanks that are left.
    """
    from roofline.base.files import write_text
    from roofline.hardware.starter import starter

    text = starter(name, family)
    path = out or Path(f"{name}.toml")
    if path.exists():
        raise typer.BadParameter(f"{path} is there already: expected a file to be made (--out FILE names another)")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"{path}: expected a file to write; the folder {path.parent} does not exist")
    write_text(path, text)
    err_console().print(f"wrote {path}: `roofline check {path}` lists the blanks in it", markup=False)
