"""Options that several commands have in common, what they complete to, and the chip that they describe."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip as ChipObject


# What a shell completes ------------------------------------------------------------------------------------------


def _starting(names: Iterable[str], start: str) -> list[str]:
    return sorted(name for name in names if name.startswith(start))


def complete_chip(incomplete: str) -> list[str]:
    """The chips whose names start so."""
    from roofline.catalog.places import files_of

    return _starting(files_of("chips"), incomplete)


def complete_model(incomplete: str) -> list[str]:
    """The models whose names start so."""
    from roofline.catalog.places import files_of

    return _starting(files_of("models"), incomplete)


def complete_dtype(incomplete: str) -> list[str]:
    """The dtypes whose names start so."""
    from roofline.base.units import DTYPE_BYTES

    return _starting(DTYPE_BYTES, incomplete)


def complete_figure(ctx: typer.Context, incomplete: str) -> list[str]:
    """The figures of the chip on the line whose paths start so, each with the sign that its value follows."""
    from roofline.base.errors import RooflineError
    from roofline.catalog.load import load_chip

    try:
        figures = load_chip(_chip_on_the_line(ctx)).numbers
    except RooflineError:
        return []
    return [f"{path}=" for path in _starting(figures, incomplete) if not path.startswith("stack.")]


def complete_stack(ctx: typer.Context, incomplete: str) -> list[str]:
    """The software stacks of the chip on the line whose names start so."""
    from roofline.base.errors import RooflineError
    from roofline.catalog.load import load_chip
    from roofline.hardware.variants import PLAIN

    try:
        return _starting([*load_chip(_chip_on_the_line(ctx)).stacks, PLAIN], incomplete)
    except RooflineError:
        return []


def _chip_on_the_line(ctx: typer.Context) -> str:
    given = ctx.params.get("chip") or ctx.params.get("chips")
    return (given[0] if isinstance(given, list | tuple) else given) or "h100-sxm"


# What the options are --------------------------------------------------------------------------------------------


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
Stack = Annotated[
    str | None,
    typer.Option(
        "--stack",
        autocompletion=complete_stack,
        help="Software: vllm, sglang, trtllm ..., several joined by +; plain: the chip's own figures. "
        "[default for a language model: the best known of the chip]",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIGURE=VALUE",
        autocompletion=complete_figure,
        help='What-if: --set memory.hbm.bandwidth="4.8 TB/s", --set clock=x1.1.',
    ),
]
Model = Annotated[
    str,
    typer.Argument(help="A model's name, or a path to its config.json or TOML file.", autocompletion=complete_model),
]
Models = Annotated[list[str], typer.Argument(help="One or several models of a kind.", autocompletion=complete_model)]
Chip = Annotated[
    str, typer.Option("--chip", "-c", help="A chip's name, or a path to its TOML file.", autocompletion=complete_chip)
]
Chips = Annotated[
    list[str], typer.Option("--chip", "-c", help="A chip; repeat for several.", autocompletion=complete_chip)
]
Size = Annotated[
    str | None, typer.Option(metavar="WxH", help="Inches of the picture, such as 12.8x7.2; text goes with it.")
]


def number(kind: Any, help: str) -> Any:
    """An option that is left out or has a value of a kind."""
    return Annotated[kind | None, typer.Option(help=help)]


def _dtype(help: str) -> Any:
    return Annotated[str | None, typer.Option(help=help, autocompletion=complete_dtype)]


#: How a language model is split over chips.
PLAN = {
    "tp": number(int, "Tensor parallelism. [language]"),
    "pp": number(int, "Pipeline parallelism. [language]"),
    "ep": number(int, "Expert parallelism. [language]"),
    "dp": number(int, "Data parallelism. [language]"),
}

#: What a language model is asked, and in which types it answers.
TOKENS = {
    "prompt": number(int, "Prompt tokens. [language; default 1024]"),
    "output": number(int, "Output tokens. [language; default 256]"),
    "prefix": number(int, "Prompt tokens whose KV is cached. [language]"),
    **PLAN,
    "dtype": _dtype("Arithmetic: bf16, fp16, fp8, int8 ... [default: the checkpoint's, else the chip's 16-bit]"),
    "weight_dtype": _dtype("Weights in memory. [language; default: dtype or narrower]"),
    "kv_dtype": _dtype("KV cache. [language]"),
    "usable_memory": number(float, "Share of the memory that the model may fill. [default: the software's, else 0.9]"),
}

#: What chips and electricity cost.
TERMS = {
    "price_per_hour": number(float, "USD for a chip and an hour. [default: the chip's, if it has one]"),
    "price": number(float, "USD for a chip, bought. [default: the chip's, if it has one]"),
    "electricity": number(float, "USD for a kWh. [default: 0.086]"),
    "pue": number(float, "Watts of the site for each watt of its servers. [default: 1.2]"),
    "amortise_years": number(float, "Years over which a purchase is written off. [default: 5]"),
    "utilisation": number(float, "Share of the paid hours in which the system does this. [default: 1]"),
    "carbon": number(float, "Grams of CO2 for a kWh. [default: 436]"),
}

#: The options of an estimate, of either kind of model.
WORKLOAD = {
    "batch": number(int, "Sequences in flight, or samples a batch, over the whole system."),
    **TOKENS,
    "images": number(int, "Images of a request; their tokens are among the prompt's. [language, with a tower]"),
    "image_size": number(int, "Pixels of an image's side. [language; default: the tower's]"),
    "audio": number(int, "Pieces of sound of a request, as images. [language, with a tower]"),
    "audio_s": number(float, "Seconds of a piece. [language; default: the tower's]"),
    "devices": number(int, "Chips that share the tables. [recommendation]"),
    "table_dtype": _dtype("Embedding rows. [recommendation; default: dtype]"),
    "skew": number(float, "Zipf exponent of the indices. [recommendation]"),
    "repeat": number(float, "Share of the lookups that repeat the last batch's. [recommendation]"),
    "scale_bytes": number(float, "Bytes of scale and bias beside a row. [recommendation; default: 4 for int8, int4]"),
    "compiled": Annotated[
        bool | None, typer.Option("--compiled", help="The dense part as one engine, as TensorRT. [recommendation]")
    ],
    "fused": Annotated[
        bool | None,
        typer.Option("--fused/--one-by-one", help="One kernel for all tables, or one each. [recommendation; fused]"),
    ],
    "placement": Annotated[
        str | None, typer.Option("--placement", help="Of the tables: auto or even. [recommendation; default: auto]")
    ],
    "host": Annotated[
        str | None, typer.Option("--host", help="Serving process: triton-tensorflow, triton-hps. [recommendation]")
    ],
    **TERMS,
}

#: What a server is asked beside what an estimate is.
LOAD = {
    "prompt_sd": number(float, "Standard deviation of the prompt (tokens). [server]"),
    "output_sd": number(float, "Standard deviation of the output (tokens). [server]"),
    "chunk": number(int, "Prompt tokens that one pass takes. [server; default: 8192]"),
    "beams": number(int, "Width of a beam search. [server]"),
}

#: The options of a server.
SERVER = {
    "concurrency": number(int, "Requests in flight over the whole system. [default: what memory holds]"),
    "prompt": number(int, "Mean prompt (tokens). [default: 1024]"),
    "output": number(int, "Mean output (tokens). [default: 256]"),
    **LOAD,
    **{name: option for name, option in TOKENS.items() if name not in ("prompt", "output")},
    **TERMS,
}

#: The options of an estimate of either kind of model, or of a server.
QUESTION = {
    **WORKLOAD,
    "concurrency": number(int, "Requests in flight, in place of a batch: the figures are a server's. [language]"),
    **LOAD,
    "reserve": Annotated[
        bool | None, typer.Option("--reserve", help="A request starts when its whole output has room. [server]")
    ],
    "whole_cache": Annotated[
        bool | None, typer.Option("--whole-cache", help="Layers with a window keep the whole context. [server]")
    ],
}


def asking(options: dict[str, object]) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Give a command these options as well; it gets those that were given, by name, as ``options``.

    Parameters
    ----------
    options : dict of str to annotation
        Each ``Annotated[type | None, typer.Option(...)]``; they stand before the command's own options.
    """

    def give(command: Callable[..., object]) -> Callable[..., object]:
        own = inspect.signature(command, eval_str=True).parameters
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in options.items()
        ]
        named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in own.items() if name != "options"]
        needed = [p for p in named if p.default is inspect.Parameter.empty]
        rest = [p for p in named if p.default is not inspect.Parameter.empty]

        @functools.wraps(command)
        def run(**given: object) -> Any:
            asked = {name: given.pop(name) for name in options}
            return command(**given, options={name: value for name, value in asked.items() if value is not None})

        every = [*needed, *more, *rest]
        run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in every}
        return run

    return give


def chip_with(name: str, changes: list[str] | None, stack: str | None = None) -> ChipObject:
    """The chip of that name or file, with the figures that `--stack` and `--set` change; its title says so.

    What-ifs come last, so that they reach figures that only the stack has. Where no stack is named the estimate takes
    the best known.
    """
    from roofline.catalog.load import load_chip

    chip = load_chip(name)
    if stack is not None:
        chip = chip.on_stack(stack)
    return chip.what_if(changes_of(changes)) if changes else chip


def changes_of(changes: list[str]) -> dict[str, str]:
    """The figures that `--set` changes, each with its new value.

    Raises
    ------
    typer.BadParameter
    """
    pairs: dict[str, str] = {}
    for change in changes:
        path, equals, value = change.partition("=")
        if not equals or not path.strip() or not value.strip():
            raise typer.BadParameter(f"--set: expected FIGURE=VALUE such as memory.main.bandwidth=x2, found {change!r}")
        if path.strip() in pairs:
            raise typer.BadParameter(f"--set: {path.strip()} is changed twice: expected one value for a figure")
        pairs[path.strip()] = value.strip().strip("\"'")
    return pairs


def inches(size: str | None) -> tuple[float, float] | None:
    """Width and height of a picture, from ``--size 7.2x4.6``."""
    if size is None:
        return None
    try:
        width, height = (float(part) for part in size.lower().replace("in", "").split("x"))
    except ValueError:
        raise typer.BadParameter(f"--size: expected WIDTHxHEIGHT in inches such as 7.2x4.6, found {size!r}") from None
    return width, height
