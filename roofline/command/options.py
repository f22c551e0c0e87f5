"""Options that several commands have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip


def _one_form(context: typer.Context, asked: bool) -> bool:
    """Refuse the second of `--json` and `--csv`: stdout holds one of them."""
    if asked and (context.params.get("as_json") or context.params.get("as_csv")):
        raise typer.BadParameter("--json and --csv: expected one of them, found both")
    return asked


Json = Annotated[
    bool,
    typer.Option("--json", callback=_one_form, help="Machine-readable result on stdout, and nothing else there."),
]
Csv = Annotated[bool, typer.Option("--csv", callback=_one_form, help="Rows as CSV on stdout, and nothing else there.")]
Ops = Annotated[bool, typer.Option("--ops/--no-ops", help="Show the breakdown by operator.")]
Stack = Annotated[str | None, typer.Option("--stack", help="Software: vllm, sglang, trtllm ...; several joined by +.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIGURE=VALUE", help='What-if: --set memory.hbm.bandwidth="4.8 TB/s", --set clock=x1.1.'
    ),
]


def chip_with(name: str, changes: list[str] | None, stack: str | None = None) -> Chip:
    """The chip of that name or file, with the figures that `--set` and `--stack` change; its title says so."""
    from roofline.catalog.load import load_chip

    chip = load_chip(name)
    if changes:
        pairs = {}
        for change in changes:
            path, equals, value = change.partition("=")
            if not equals or not path.strip() or not value.strip():
                raise typer.BadParameter(
                    f"--set: expected FIGURE=VALUE such as memory.main.bandwidth=x2, found {change!r}"
                )
            if path.strip() in pairs:
                raise typer.BadParameter(f"--set: {path.strip()} is changed twice: expected one value for a figure")
            pairs[path.strip()] = value.strip().strip("\"'")
        chip = chip.what_if(pairs)
    return chip.on_stack(stack) if stack else chip
