"""What is said of simulated servers, as tables. Receives runs; computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roofline.base.errors import NotKnown
from roofline.base.units import text
from roofline.show.table import Table

#: What requests see, in words.
SEEN = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "itl_s": "gap between tokens",
    "e2e_s": "whole request",
    "latency_s": "whole query",
    "queue_s": "of it, in the queue",
}

#: What requests wait for, in words.
BOUNDS = {
    "arrivals": "requests: the servers wait for them",
    "kv": "blocks of the KV cache",
    "prefill": "tokens of a pass: prompts wait to be read",
    "max_seqs": "sequences that may run at once",
}

_PARTS = ("mean", "p50", "p90", "p99")


def heading(run: Any) -> str:
    """Of which model on which chips."""
    about = getattr(run, "server", run)
    title = getattr(about.model, "title", "") or about.model.name
    pools = getattr(about, "pools", ())
    if len(pools) > 1:
        parts = [f"{devices} x {chip.title} ({what})" for what, devices, chip in pools]
        return f"{title} on {' and '.join(parts)}"
    return f"{title} on {about.devices} x {about.chip.title}"


def one(run: Any) -> Table:
    """What the requests of one run saw, and whether the servers kept up."""
    table = Table(heading(run), ["", *(f">{part}" for part in _PARTS)])
    for name, words in SEEN.items():
        found = getattr(run, name, None)
        if found is not None:
            cells = ["none" if not found.count else text(getattr(found, part), found.unit, 3) for part in _PARTS]
            table.rows.append([words, *cells])
    figures = run.as_dict()
    count, gone = run.answered, run.gave_up
    table.notes.append(
        f"{count:,} requests answered in {text(run.duration_s, 's', 3)}: {count / run.duration_s:,.3g} a second"
        + (f", {figures['output_throughput']:,.0f} output tokens/s" if "output_throughput" in figures else "")
        + (f"; {gone:,} gave up" if gone else "")
        + "."
    )
    if run.slo:
        limits = ", ".join(f"{name.removesuffix('_s')} {text(limit, 's')}" for name, limit in run.slo.items())
        table.notes.append(f"Within {limits}: {run.slo_attainment:.1%} of all requests, {run.goodput:,.3g} a second.")
    table.notes += [load(run), *run.notes]
    return table


def load(run: Any) -> str:
    """Whether the servers keep up, in words."""
    try:
        most = f"; they would up to {run.saturation_rate:,.3g} requests a second"
    except NotKnown:
        most = ""
    if run.saturated:
        return f"Saturated: requests come faster than they are answered{most.replace('they would', 'it holds')}."
    what = BOUNDS.get(run.bound, run.bound)
    return f"The servers keep up{most}. Bound by {what}."


def curve(name: str, values: Sequence[float], runs: Sequence[Any]) -> Table:
    """Runs over an axis of the traffic, a row each."""
    seen = [key for key in ("ttft_s", "tpot_s", "latency_s") if hasattr(runs[0], key)]
    columns = [f"{SEEN[key]}, {part}" for key in seen for part in ("p50", "p99")]
    table = Table(
        heading(runs[0]), [f">{name}", ">answered/s", *(f">{column}" for column in columns), ">in SLO", "load"]
    )
    if not runs[0].slo:
        table.columns = [column for column in table.columns if column != ">in SLO"]
    for value, run in zip(values, runs, strict=True):
        cells = [
            text(getattr(getattr(run, key), part), "s", 3) if getattr(run, key).count else "none"
            for key in seen
            for part in ("p50", "p99")
        ]
        within = [f"{run.slo_attainment:.1%}"] if run.slo else []
        full = "saturated" if run.saturated else "keeps up"
        table.rows.append([f"{value:g}", f"{run.answered / run.duration_s:,.3g}", *cells, *within, full])
    table.notes += list(runs[0].notes)
    return table


#: What plans are shown with: the column, its heading, and how its numbers are written.
_PLANS = {
    "rate": (">requests/s a replica", ",.3g"),
    "rate_per_chip": (">a chip", ",.3g"),
    "ttft_p99_s": (">TTFT, p99", "s"),
    "tpot_p99_s": (">TPOT, p99", "s"),
    "p99_s": (">latency, p99", "s"),
    "replicas": (">replicas", ",d"),
    "servers": (">servers", ",d"),
    "chips": (">chips", ",d"),
    "power_w": (">kW at the wall", "k"),
    "usd_per_hour": (">USD an hour", ",.4g"),
}


def plans(rows: Sequence[Mapping[str, object]], why: str) -> Table:
    """What serves a load within limits, a plan a row, the best first; below, why others are left out."""
    shown = {name: form for name, form in _PLANS.items() if rows and name in rows[0]}
    table = Table("", ["chip", "plan", *(heading for heading, _ in shown.values())])
    for row in rows:
        named = [f"{name}={row[name]}" for name in ("tp", "pp", "ep") if row.get(name, 1) != 1]
        named += [f"devices={row['devices']}"] if "devices" in row else []
        cells = [_cell(row[name], form) for name, (_, form) in shown.items()]
        plan = " ".join(named) or "tp=1"
        if row.get("decode_chip"):
            decodes = f"{row['decode_chip']} tp={row['decode_tp']} x {row['decode_replicas']}"
            plan = f"{plan} x {row['replicas']} reading; decoding {decodes}"
        table.rows.append([str(row["chip"]), plan, *cells])
    if not rows:
        table.notes.append("Nothing holds the limits.")
    table.notes += [f"Left out: {one}" for one in why.split("; ") if one]
    return table


def _cell(value: Any, form: str) -> str:
    if value is None:
        return "not known"
    if form == "s":
        return text(value, "s", 3)
    return f"{value / 1e3:,.3g}" if form == "k" else format(value, form)
