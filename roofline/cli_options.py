"""Options that several commands have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from roofline.chip import Chip

Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout, and nothing else there.")]
Csv = Annotated[bool, typer.Option("--csv", help="Rows as CSV on stdout, and nothing else there.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIGURE=VALUE", help='What-if: --set memory.hbm.bandwidth="4.8 TB/s", --set clock=x1.1.'
    ),
]


def chip_with(name: str, changes: list[str] | None) -> Chip:
    """The chip of that name or file, with the figures that `--set` changes."""
    from roofline.catalog import load_chip

    chip = load_chip(name)
    if changes:
        pairs = {}
        for change in changes:
            path, equals, value = change.partition("=")
            if not equals or not path.strip() or not value.strip():
                raise typer.BadParameter(
                    f"--set: expected FIGURE=VALUE such as memory.main.bandwidth=x2, found {change!r}"
                )
            pairs[path.strip()] = value.strip().strip("\"'")
        chip = chip.what_if(pairs)
    return chip
