"""The command that answers for a server: `serve`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from roofline.command.options import SERVER, Chip, Csv, Json, Model, Ops, Set, Stack, asking, chip_with
from roofline.command.output import print_estimate


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(serve)


@asking(SERVER)
def serve(
    model: Model,
    chip: Chip,
    options: dict[str, Any],
    reserve: Annotated[
        bool,
        typer.Option("--reserve", help="Start a request only when its whole output has room, as TensorRT-LLM."),
    ] = False,
    whole_cache: Annotated[
        bool, typer.Option("--whole-cache", help="Layers with a window keep the whole context all the same.")
    ] = False,
    stack: Stack = None,
    changes: Set = None,
    ops: Ops = True,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Throughput and latency of a language model under a constant number of requests, prompts and decoding mixed.

    Example: `roofline serve llama-3.1-70b --chip h100-sxm --tp 8 --concurrency 64 --prompt 2048 --output 512`
    """
    from roofline.serving.steady import serve as run

    est = run(model, chip_with(chip, changes, stack), reserve=reserve, whole_cache=whole_cache, **options)
    print_estimate(est, ops, as_json, as_csv)
