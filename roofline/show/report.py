"""What is said of estimates and chips, as tables and as data. Receives results; computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roofline.base import units
from roofline.base.numeric import Numeric
from roofline.show.documents import html_page, markdown
from roofline.show.quantities import quantity, ratio, si, times
from roofline.show.table import Table, show
from roofline.show.words import Estimate, heading, occurring, phases, words

if TYPE_CHECKING:
    from roofline.estimates.inference import Phase
    from roofline.hardware.chip import Chip
    from roofline.hardware.number import Number, Scenario


LABELS = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "time_s": "whole request",
    "tokens_per_s": "output tokens",
    "tokens_per_s_per_chip": "output tokens, per chip",
    "total_tokens_per_s": "prompt + output tokens",
    "decode_tokens_per_s": "output tokens while decoding",
    "requests_per_s": "requests answered",
    "latency_s": "latency of a batch",
    "samples_per_s": "samples",
    "samples_per_s_per_chip": "samples, per chip",
    "pipelined_samples_per_s": "samples, batches overlapped",
    "chip_power_w": "power, one chip",
    "power_w": "power, with servers, at the wall",
    "tokens_per_joule": "output tokens for a joule",
    "samples_per_joule": "samples for a joule",
    "co2_g_per_million_tokens": "CO2 for a million output tokens",
    "co2_g_per_million_samples": "CO2 for a million samples",
    "usd_per_million_tokens": "cost of a million output tokens",
    "usd_per_million_samples": "cost of a million samples",
}


def headline(est: Estimate, level: float = 0.9) -> Table:
    """The figures of an estimate, each with its interval."""
    units_of, missing = {**est.FIGURES, **est.EXTRA}, est.unknown
    intervals = est.intervals([name for name in units_of if name not in missing], level)
    table = Table(heading(est), ["", ">expected", f">{level:.0%} interval"])
    labels = LABELS | words(est).labels()
    for name, unit in units_of.items():
        if name in missing:
            table.rows.append([labels[name], "not known", ""])
            continue
        low, high = (quantity(end, unit) for end in intervals[name])
        table.rows.append([labels[name], quantity(getattr(est, name), unit), f"{low} to {high}"])
    for label, phase, _ in occurring(est):
        expected, low, high = (units.text(t, "s", 3) for t in (phase.time_s, phase.lower_s, phase.upper_s))
        table.rows.append([f"{label}, lower to upper bound", expected, f"{low} to {high}"])
    table.notes += [*words(est).remarks(), why(est), _resident(est), paid(est), doubt(est)]
    return table


def paid(est: Estimate) -> str:
    """One sentence on what the costs rest on, or on what they are not known for want of."""
    missing = "; ".join(dict.fromkeys(est.unknown.values()))
    if missing:
        return f"{missing[0].upper()}{missing[1:]}."
    terms, use = est.request.terms, ""
    if terms.utilisation != 1:
        use = f", {terms.utilisation:.0%} of the paid hours in use"
    if est.price_basis[0] == "hour":
        return f"Cost: {est.price_basis[1]:,.4g} USD for a chip and an hour, server and electricity in it{use}."
    return (
        f"Cost: {est.price_basis[1]:,.6g} USD a chip and its server over {terms.amortise_years:g} years, electricity "
        f"at {terms.electricity:g} USD a kWh with a PUE of {terms.pue:g}{use}."
    )


def _resident(est: Estimate) -> str:
    """One sentence on what one chip holds, and how much would fit."""
    memory, wording = est.memory, words(est)

    def size(count: Numeric) -> str:
        return units.text(count, "B", 3)

    parts = [
        f"{name} {size(held)}{wording.cache() if name == 'KV cache' else ''}"
        for name, held in memory.parts.items()
        if held
    ]
    return (
        f"Memory of one chip: {size(memory.total_bytes)} of {size(memory.usable_bytes)} usable "
        f"({', '.join(parts)}){wording.room()}; {wording.most}: {memory.largest_batch:,}."
    )


def breakdowns(est: Estimate) -> list[Table]:
    """Where the time of every phase goes; of a server, of the kinds of pass that occur."""
    return [breakdown(phase, f"Where the {label} time goes{share}") for label, phase, share in occurring(est)]


def why(est: Estimate) -> str:
    """One sentence on what bounds each phase and how much of the time that is, and one on the use of the peaks."""
    parts = []
    for label, phase, _ in occurring(est):
        shares = sorted(((t / phase.time_s, b) for b, t in phase.time_by_bound.items() if t > 0), reverse=True)
        (most, first), others = shares[0], "".join(f", {b} {s:.0%}" for s, b in shares[1:3])
        parts.append(f"{label} {first} ({most:.0%}{others})")
    return f"Bound by: {'; '.join(parts)}. {words(est).use()}"


def doubt(est: Estimate) -> str:
    """One sentence on what the interval rests on."""
    chip = est.chip
    fitted = sorted(chip.calibration)
    measured = {
        n.inherited for path, n in chip.numbers.items() if path.startswith("efficiency.") and n.kind == "measured"
    }
    whose = "this chip" if "" in measured or not measured else f"the {' and '.join(sorted(measured))}"
    basis = (
        f"efficiencies of {', '.join(fitted)} fitted on measurements of {whose}, the rest those of its family"
        if fitted
        else f"efficiencies of its family ({chip.family}), none measured on this chip"
    )
    if chip.status == "estimated":
        basis += "; the chip itself is an estimate, its ranges are in the interval"
    return f"How sure: {basis}."


def breakdown(phase: Phase, title: str, smallest: float = 0.0) -> Table:
    """The operators of a phase, longest first; those of one name stand in one row."""
    table = Table(title, ["operator", ">count", ">FLOP", ">bytes", ">FLOP/B", ">time", ">share", "bound"])
    table.expendable = ["bytes", "FLOP", "count", "FLOP/B"]
    records = sorted(_by_name(phase.records), key=lambda r: -r["time_s"])
    for r in (r for r in records if r["share"] >= smallest):
        time, share = units.text(r["time_s"], "s", 3), f"{r['share']:.1%}"
        table.rows.append(
            [r["op"], times(r["count"]), si(r["flops"]), si(r["bytes"]), ratio(r["intensity"]), time, share, r["bound"]]
        )
    table.notes.append(f"All operators: {units.text(phase.time_s, 's', 4)}.")
    return table


def _by_name(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with those of one name summed; what bounds the longest of them bounds the row."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    longest: dict[tuple[str, str], float] = {}
    for one in records:
        key = (one["op"], one["kind"])
        if key not in merged:
            merged[key], longest[key] = dict(one), one["time_s"]
            continue
        row = merged[key]
        for name in ("count", "flops", "bytes", "time_s", "share"):
            row[name] += one[name]
        row["intensity"] = row["flops"] / row["bytes"] if row["bytes"] else 0.0
        if one["time_s"] > longest[key]:
            row["bound"], longest[key] = one["bound"], one["time_s"]
    return list(merged.values())


def chip_table(chip: Chip, sources: bool = False, everything: bool = False) -> Table:
    """The figures of a chip; with their sources, and with efficiency parameters and what it inherits, if asked."""
    columns = ["figure", ">value", ">range", "kind"] + (["source", "note"] if sources else [])
    heading = f"{chip.title} ({chip.name})\n{chip.vendor}, {chip.year}, {chip.status}"
    if chip.flags.get("process"):
        heading += f", {chip.flags['process']}"
    table = Table(heading, columns, expendable=["range", "kind"], prose=["source", "note"])
    numbers = {**chip.numbers, **{p: n for p, n in chip.defaults.items() if p not in chip.numbers}}
    shown = {p: n for p, n in chip.numbers.items() if not p.startswith(("efficiency.", "stack."))}
    for path, n in (numbers if everything else shown).items():
        low_high = "" if n.low is None or n.high is None else f"{_figure(n, n.low)} to {_figure(n, n.high)}"
        row = [path, _figure(n, n.value), low_high, n.kind]
        table.rows.append(row + ([n.source, n.note] if sources else []))
    if not everything:
        table.notes.append(
            f"{len(numbers) - len(shown)} efficiency parameters and inherited figures: --all shows them."
        )
    ridges = []
    for dtype in chip.dtypes:
        levels = [chip.main_level] + ([chip.cache_level] if chip.cache_level != chip.main_level else [])
        parts = [f"{chip.ridge_point(dtype, v):.0f} per {v} byte" for v in levels if chip.get(f"memory.{v}.bandwidth")]
        ridges.append(f"{dtype} " + ", ".join(parts))
    table.notes.append("Ridge points (FLOP): " + "; ".join(ridges) + ".")
    if chip.stacks:
        table.notes.append(_software(chip))
    if chip.aliases:
        table.notes.append("Also called: " + ", ".join(chip.aliases) + ".")
    if chip.scenarios:
        ways = "; ".join(_scenario(name, one) for name, one in chip.scenarios.items())
        table.notes.append(f"Scenarios: {ways}.")
    if chip.note:
        table.notes.append(chip.note)
    return table


def _software(chip: Chip) -> str:
    """One sentence on the software stacks of a chip, and on what is taken where none is named."""
    kinds = {"language": "language models", "multi_head": "multi-head ones", "fp4_experts": "those with fp4 experts"}
    taken = [f"{kinds[kind]} {one['value']}" for kind, one in chip.default_stack.items()]
    where = f"; taken where none is named, one upon the other: for {', for '.join(taken)}" if taken else ""
    return f"Software stacks: {', '.join(chip.stacks)}{where}."


def _scenario(name: str, one: Scenario) -> str:
    """A scenario with its probability and what is other then."""
    figures = ", ".join(f"{path} {_figure(n, n.value)}" for path, n in one.numbers.items())
    return f"{name} ({one.weight:.0%}): {figures or 'as above'}"


def figure_text(chip: Chip, path: str, value: object) -> str:
    """A value of one of a chip's figures, with its unit."""
    return _figure(chip.number(path), value)


def _figure(number: Number, value: Any) -> str:
    """A figure with its unit; capacities that are whole KiB, MiB or GiB as such."""
    if number.dimension == "capacity":
        for power, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if value % power == 0 and value % 1000:
                return f"{value / power:g} {unit}"
    return units.text(value, units.DIMENSIONS[number.dimension][0], 5)


def as_json(est: Estimate) -> dict[str, Any]:
    """Everything an estimate says, as plain data."""
    memory, wording, missing = est.memory, words(est), est.unknown
    known = [name for name in (*est.FIGURES, *est.EXTRA) if name not in missing]
    return {
        "model": est.model.name,
        "chip": est.chip.name,
        "chip_title": est.chip.title,  # says what a what-if changed, and the stack
        "stack": est.chip.stack or "plain",
        "request": wording.options(),
        "notes": list(getattr(est, "notes", ())),
        **{name: getattr(est, name) for name in (*known, *wording.facts, "bound")},
        **({"not_known": missing} if missing else {}),
        "interval_90": {name: list(pair) for name, pair in est.intervals(known, 0.9).items()},
        "memory": {
            "weights_bytes": memory.weights_bytes,
            "cache_bytes": memory.cache_bytes,
            "activations_bytes": memory.activations_bytes,
            "engine_bytes": dict(memory.engine_bytes),
            "capacity_bytes": memory.capacity_bytes,
            "usable_bytes": memory.usable_bytes,
            **wording.counted(),
            "largest_batch": memory.largest_batch,
        },
        "phases": {
            label: {"time_s": p.time_s, "lower_s": p.lower_s, "upper_s": p.upper_s, "bound": p.bound, "ops": p.records}
            for label, p in phases(est)
        },
    }


__all__ = [
    "LABELS",
    "Table",
    "as_json",
    "breakdown",
    "breakdowns",
    "chip_table",
    "figure_text",
    "headline",
    "html_page",
    "markdown",
    "phases",
    "show",
]
