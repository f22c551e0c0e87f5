"""The commands that run servers under load: `simulate` and `capacity`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from roofline.command.options import (
    PLAN,
    TOKENS,
    Chip,
    Chips,
    Csv,
    Json,
    Model,
    Set,
    Stack,
    asking,
    chip_with,
    number,
)
from roofline.command.output import print_csv, print_json, print_table
from roofline.command.systems import made

#: What comes.
TRAFFIC = {
    "concurrency": number(str, "Clients of a closed loop, instead of --rate; several: 8,32,128."),
    "think_s": number(float, "Seconds that such a client waits before it asks again."),
    "burstiness": number(float, "Shape of the gaps: 1 a Poisson process, less in bursts. [default: 1]"),
    "prompt": number(int, "Mean prompt (tokens). [default: 1024]"),
    "prompt_sd": number(float, "Standard deviation of the prompt, lognormal (tokens)."),
    "output": number(int, "Mean output (tokens). [default: 256]"),
    "output_sd": number(float, "Standard deviation of the output, lognormal (tokens)."),
    "shared_prefix": number(str, "Tokens with which prompts begin alike, and how many such: 500 or 500:20."),
    "pairs": number(str, "User-item pairs of a query, or their least and most: 100:700. [recommendation]"),
    "requests": number(int, "Requests in all. [default: 10000, or the whole trace]"),
    "duration_s": number(float, "Seconds during which they come, instead of --requests."),
    "timeout_s": number(float, "Seconds after which a client gives up. [default: never]"),
}

#: Servers and their policy.
SERVERS = {
    **PLAN,
    **{name: TOKENS[name] for name in ("dtype", "weight_dtype", "kv_dtype", "usable_memory")},
    "replicas": number(int, "Servers of that plan. [default: 1]"),
    "autoscale": number(str, "Replicas that come and go: fewest=1,most=8,target=32,startup_s=120."),
    "prefill": number(str, "Replicas that only read prompts: chip=h100-sxm,tp=4,replicas=2,link=network."),
    "decode": number(str, "Replicas that only decode, as --prefill."),
    "draft": number(str, "Speculative decoding: model=ngram,tokens=3,acceptance=0.5; or a model's name, or mtp."),
    "router": number(str, "round_robin, least_loaded or prefix_aware. [default: round_robin]"),
    "chunk": number(int, "Tokens of a pass. [default: the engine's]"),
    "max_seqs": number(int, "Sequences that run at once. [default: the engine's]"),
    "block": number(int, "Tokens of a KV block. [default: the engine's]"),
    "kv_tokens": number(float, "Room of a replica's KV cache (tokens). [default: what memory leaves]"),
    "host_s": number(float, "Seconds until the scheduler knows of a request. [default: the engine's]"),
    "lag": number(float, "Passes that a request waits beside the one under way. [default: the engine's]"),
    "window_s": number(float, "Seconds that a batch waits for more queries. [recommendation]"),
    "max_batch": number(int, "Most pairs of a batch. [recommendation]"),
    "split": number(int, "Pairs above which a query is split. [recommendation]"),
    "workers": number(int, "Batches in the pipeline at a time. [recommendation]"),
    "devices": number(int, "Chips of a server. [recommendation]"),
    "seed": number(int, "Of the draw of the traffic. [default: 0]"),
}


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(simulate)
    app.command()(capacity)


@asking({**TRAFFIC, **SERVERS})
def simulate(
    model: Model,
    chip: Chip,
    options: dict[str, Any],
    rate: Annotated[str | None, typer.Option(help="Requests per second; several: 1,2,4.")] = None,
    trace: Annotated[
        str | None, typer.Option(help="Recorded traffic: a file of Azure, Mooncake, BurstGPT, ServeGen or a plain CSV.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="So many times the trace's load.")] = None,
    slo: Annotated[
        list[str] | None, typer.Option(metavar="LIMIT=SECONDS", help="--slo ttft=0.5, --slo tpot=0.03, --slo e2e=10.")
    ] = None,
    reserve: Annotated[
        bool | None, typer.Option("--reserve/--page", help="Let a request in only when its whole output has room.")
    ] = None,
    prefix_caching: Annotated[
        bool | None,
        typer.Option("--prefix-caching/--no-prefix-caching", help="Keep the KV of shared beginnings."),
    ] = None,
    mixed: Annotated[
        bool | None,
        typer.Option("--mixed/--apart", help="Prompts beside those that decode, or apart."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="With --json or --csv: every request, not the figures.")] = False,
    stack: Stack = None,
    changes: Set = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """What requests see of a server under load: queues, first tokens, gaps, and whether it keeps up.

    Example: `roofline simulate llama-3.1-70b --chip h100-sxm --tp 4 --rate 1,2,4,8 --prompt 1155 --output 211`
    """
    from roofline.serving.simulation import simulate as run
    from roofline.show import simulated

    coming: dict[str, Any] = {name: options.pop(name) for name in TRAFFIC if name in options}
    traffic = _recorded(trace, scale, coming, rate) if trace is not None else _traffic(coming, rate, scale)
    flags: dict[str, Any] = {"reserve": reserve, "prefix_caching": prefix_caching, "mixed": mixed, "slo": _limits(slo)}
    given = {name: value for name, value in flags.items() if value is not None} | made(options)
    found = run(model, chip_with(chip, changes, stack), traffic, **options, **given)
    axis = traffic.axis
    runs = [found] if axis is None else found.attrs["runs"]
    if as_json or as_csv:
        return _print_data(axis, runs, each, as_json)
    print_table(simulated.one(found) if axis is None else simulated.curve(axis[0], axis[1].tolist(), runs))
    return None


#: What `capacity` looks for, or takes one of.
_LOOKED_FOR = ("replicas", "autoscale", "prefill", "decode", "router", "dp", "window_s", "workers", "split")


@asking({**TRAFFIC, **{name: option for name, option in SERVERS.items() if name not in (*_LOOKED_FOR, "tp")}})
def capacity(
    model: Model,
    chips: Chips,
    options: dict[str, Any],
    rate: Annotated[str | None, typer.Option(help="The load to serve: requests per second.")] = None,
    trace: Annotated[str | None, typer.Option(help="Recorded traffic instead: a file, as for simulate.")] = None,
    scale: Annotated[float | None, typer.Option(help="So many times the trace's load.")] = None,
    slo: Annotated[
        list[str] | None, typer.Option(metavar="LIMIT=SECONDS", help="--slo ttft=0.5, --slo tpot=0.03, --slo e2e=10.")
    ] = None,
    share: Annotated[float, typer.Option(help="Of all requests that must be answered within the limits.")] = 0.99,
    objective: Annotated[str, typer.Option(help="What there is to be least of: chips, watts or usd.")] = "chips",
    tp: Annotated[str | None, typer.Option(help="Tensor parallelism to try. [default: 1,2,4,8]")] = None,
    apart: Annotated[bool, typer.Option("--apart", help="Try pools that read and pools that decode, too.")] = False,
    stack: Stack = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """The largest rate that servers hold within limits, and the plan that serves a load at the least.

    Example: `roofline capacity llama-3.1-70b --chip h100-sxm --chip mi300x --rate 20 --slo ttft=1 --slo tpot=0.05`
    """
    from roofline.serving.planning import capacity as run
    from roofline.show import simulated

    coming: dict[str, Any] = {name: options.pop(name) for name in TRAFFIC if name in options}
    traffic = _recorded(trace, scale, coming, rate) if trace is not None else _traffic(coming, rate, scale)
    if tp is not None:
        widths = _numbers("--tp", tp)
        options["tp"] = [int(width) for width in (widths if isinstance(widths, list) else [widths])]
    if stack is not None:
        options["stack"] = stack
    options |= made(options) | ({"apart": True} if apart else {})
    found = run(model, list(chips), traffic, slo=_limits(slo) or {}, share=share, objective=objective, **options)
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()}
        for row in found.astype(object).where(found.notna(), None).to_dict("records")
    ]
    if as_json:
        return print_json({"plans": rows, "why": found.attrs["why"]})
    if as_csv:
        return print_csv(rows, columns=list(found.columns))
    print_table(simulated.plans(rows, found.attrs["why"]))
    if not rows:
        raise typer.Exit(1)
    return None


def _print_data(axis: Any, runs: list[Any], each: bool, as_json: bool) -> None:
    values: list[dict[str, Any]] = [{}] if axis is None else [{axis[0]: value} for value in axis[1].tolist()]
    rows: list[dict[str, Any]] = []
    for value, one in zip(values, runs, strict=True):
        if each:
            frame = one.requests
            rows += [{**value, **row} for row in frame.astype(object).where(frame.notna(), None).to_dict("records")]
        else:
            rows.append({**value, **one.as_dict()})
    if not as_json:
        return print_csv(rows)
    return print_json(rows if each or axis is not None else rows[0])


def _traffic(coming: dict[str, Any], rate: str | None, scale: float | None) -> Any:
    """Traffic of a rate or of clients, from what the options say."""
    from roofline.serving.lengths import lognormal, uniform
    from roofline.serving.traffic import OUTPUT, PROMPT, Traffic

    if rate is None and "concurrency" not in coming:
        raise typer.BadParameter("expected --rate, --concurrency or --trace, found none of them")
    if rate is not None:
        coming["rate"] = _numbers("--rate", rate)
    if "concurrency" in coming:
        coming["concurrency"] = _numbers("--concurrency", coming["concurrency"])
    for name, usual in (("prompt", PROMPT), ("output", OUTPUT)):
        spread = coming.pop(f"{name}_sd", None)
        if spread:
            coming[name] = lognormal(coming.get(name, usual), spread)
    for name in ("shared_prefix", "pairs"):
        if name in coming:
            pair = _numbers(f"--{name.replace('_', '-')}", coming[name], ":")
            coming[name] = pair if not isinstance(pair, list) else uniform(*pair) if name == "pairs" else tuple(pair)
    made = Traffic(**coming)
    return made if scale is None else made.scaled(scale)


def _recorded(trace: str, scale: float | None, coming: dict[str, Any], rate: str | None) -> Any:
    """Recorded traffic: the first so many requests or seconds of it, so many times as fast."""
    from roofline.serving.recorded import load_traffic

    other = [name for name in coming if name not in ("requests", "duration_s", "timeout_s")]
    if other:
        raise typer.BadParameter(f"--{other[0].replace('_', '-')}: a trace says it already: leave it out")
    found: Any = load_traffic(trace, timeout_s=coming.get("timeout_s"))
    if "requests" in coming or "duration_s" in coming:
        found = found.head(coming.get("requests"), seconds=coming.get("duration_s"))
    if rate is not None:
        found = found.changed(rate=_numbers("--rate", rate))
    return found if scale is None else found.scaled(scale)


def _numbers(option: str, value: str, sign: str = ",") -> Any:
    """One number, or several with a sign between them."""
    try:
        found = [float(part) for part in value.split(sign)]
    except ValueError:
        raise typer.BadParameter(
            f"{option}: expected a number, or several with {sign!r} between, found {value!r}"
        ) from None
    return found if len(found) > 1 else found[0]


def _limits(slo: list[str] | None) -> dict[str, float] | None:
    """Limits by what they limit, from ``ttft=0.5``."""
    if not slo:
        return None
    out = {}
    for one in slo:
        name, equals, value = one.partition("=")
        try:
            out[name.strip().removesuffix("_s") + "_s"] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise typer.BadParameter(f"--slo: expected LIMIT=SECONDS such as ttft=0.5, found {one!r}")
    return out
