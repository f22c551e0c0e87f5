"""The command that answers for a server: `serve`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from roofline.command.options import Csv, Json, Ops, Set, Stack, chip_with
from roofline.command.output import print_estimate


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(serve)


def serve(
    model: Annotated[str, typer.Argument(help="A language model's name, or a path to its config.json.")],
    chip: Annotated[str, typer.Option("--chip", "-c", help="A chip's name, or a path to its TOML file.")],
    concurrency: Annotated[
        int | None, typer.Option(help="Requests in flight over the whole system. [default: what memory holds]")
    ] = None,
    prompt: Annotated[int, typer.Option(help="Mean prompt (tokens).")] = 1024,
    output: Annotated[int, typer.Option(help="Mean output (tokens).")] = 256,
    prompt_sd: Annotated[float, typer.Option(help="Standard deviation of the prompt (tokens).")] = 0.0,
    output_sd: Annotated[float, typer.Option(help="Standard deviation of the output (tokens).")] = 0.0,
    tp: Annotated[int, typer.Option(help="Tensor parallelism.")] = 1,
    pp: Annotated[int, typer.Option(help="Pipeline parallelism.")] = 1,
    ep: Annotated[int, typer.Option(help="Expert parallelism.")] = 1,
    dp: Annotated[int, typer.Option(help="Data parallelism.")] = 1,
    dtype: Annotated[str | None, typer.Option(help="Arithmetic. [default: the chip's 16-bit]")] = None,
    weight_dtype: Annotated[str | None, typer.Option(help="Weights in memory. [default: dtype or narrower]")] = None,
    kv_dtype: Annotated[str | None, typer.Option(help="KV cache.")] = None,
    chunk: Annotated[int, typer.Option(help="Prompt tokens that one pass takes.")] = 8192,
    beams: Annotated[int, typer.Option(help="Width of a beam search.")] = 1,
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

    options: dict[str, Any] = {"dtype": dtype, "weight_dtype": weight_dtype, "kv_dtype": kv_dtype}
    est = run(
        model, chip_with(chip, changes, stack), concurrency=concurrency, prompt=prompt, output=output,
        prompt_sd=prompt_sd, output_sd=output_sd, chunk=chunk, beams=beams, reserve=reserve,
        whole_cache=whole_cache, tp=tp, pp=pp, ep=ep, dp=dp,
        **{k: v for k, v in options.items() if v is not None},
    )  # fmt: skip
    print_estimate(est, ops, as_json, as_csv)
