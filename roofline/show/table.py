"""Results as text, Markdown and one self-contained HTML page. Receives results; computes nothing."""

from __future__ import annotations

import html
import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roofline.base import units
from roofline.estimates.language import LanguageEstimate
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.serving.steady import ServingEstimate

if TYPE_CHECKING:
    from rich.console import Console

    from roofline.estimates.inference import Phase
    from roofline.hardware.chip import Chip
    from roofline.hardware.descriptor import Number

Estimate = LanguageEstimate | RecommendationEstimate | ServingEstimate


@dataclass
class Table:
    """Cells as text, ready to be set in any form.

    Attributes
    ----------
    title : str
    columns : list of str
        A heading that starts with ``>`` sets its column flush right.
    rows : list of list of str
    notes : list of str
        Lines below the table.
    expendable : list of str
        Headings of columns to leave out, in this order, where the terminal is too narrow for all.
    prose : list of str
        Headings of columns of running text, set below their row where the terminal is too narrow for them.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    expendable: Sequence[str] = ()
    prose: Sequence[str] = ()


# What to say -----------------------------------------------------------------------------------------------------


def _quantity(value: float, unit: str) -> str:
    if unit in ("s", "B"):
        return units.text(value, unit, 3)
    unit = "requests/s" if unit == "1/s" else unit
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


_LABELS = {
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
}


def headline(est: Estimate, level: float = 0.9) -> Table:
    """The figures of an estimate, each with its interval."""
    intervals = est.interval(level)
    table = Table(_what(est), ["", ">expected", f">{level:.0%} interval"])
    for name, unit in est.FIGURES.items():
        low, high = intervals[name]
        table.rows.append(
            [_LABELS[name], _quantity(getattr(est, name), unit), f"{_quantity(low, unit)} to {_quantity(high, unit)}"]
        )
    for label, phase, _ in _occurring(est):
        table.rows.append(
            [
                f"{label}, lower to upper bound",
                units.text(phase.time_s, "s", 3),
                f"{units.text(phase.lower_s, 's', 3)} to {units.text(phase.upper_s, 's', 3)}",
            ]
        )
    if isinstance(est, ServingEstimate):
        table.notes.append(
            f"{est.active:,.0f} of {est.request.batch:,} requests in flight; {est.mixed_share:.0%} of the passes carry "
            "prompt tokens."
        )
    table.notes += [why(est), _held(est), doubt(est)]
    return table


def _held(est: Estimate) -> str:
    """One sentence on what one chip holds, and how much would fit."""
    held, cache, most = est.memory, "", "largest batch that fits"
    if held.cache_bytes:
        cache = f", KV cache {units.text(held.cache_bytes, 'B', 3)}"
    if isinstance(est, ServingEstimate):
        cache += " of whole outputs" if est.request.reserve else " with outputs half done"
        most = "requests that fit"
    return (
        f"Memory of one chip: {units.text(held.total_bytes, 'B', 3)} of {units.text(held.usable_bytes, 'B', 3)} usable "
        f"(weights {units.text(held.weights_bytes, 'B', 3)}{cache}, activations "
        f"{units.text(held.activations_bytes, 'B', 3)}); {most}: {held.largest_batch:,}."
    )


def phases(est: Estimate) -> list[tuple[str, Phase]]:
    """The phases of an estimate with their names."""
    if isinstance(est, LanguageEstimate):
        return [("prefill", est.prefill), ("decode step", est.decode)]
    if isinstance(est, ServingEstimate):
        return [("decoding pass", est.decoding), ("mixed pass", est.mixed)]
    return [("batch", est.step)]


def breakdowns(est: Estimate) -> list[Table]:
    """Where the time of every phase goes; of a server, of the kinds of pass that occur."""
    return [breakdown(p, f"Where the {label} time goes{share}") for label, p, share in _occurring(est)]


def _occurring(est: Estimate) -> list[tuple[str, Phase, str]]:
    """The phases that there are, each with how often it comes where it is one of several kinds of pass."""
    if not isinstance(est, ServingEstimate):
        return [(label, phase, "") for label, phase in phases(est)]
    shares = (1 - est.mixed_share, est.mixed_share)
    return [(*named, f" ({s:.0%} of the passes)") for named, s in zip(phases(est), shares, strict=True) if s > 0]


def _what(est: Estimate) -> str:
    """Which model on which chips, and below it what was asked of them."""
    r = est.request
    if isinstance(est, RecommendationEstimate):
        table = f", {r.table_dtype} tables" if r.table_dtype and r.table_dtype != r.dtype else ""
        return f"{est.model.title} on {r.devices} x {est.chip.title}\nbatch {r.batch:,}, {r.dtype}{table}"
    p = r.plan
    split = ", ".join(f"{k}={v}" for k, v in (("tp", p.tp), ("pp", p.pp), ("ep", p.ep), ("dp", p.dp)) if v > 1)
    asked = {"batch": f"{r.batch:,}", "prompt": f"{r.prompt:,}", "output": f"{r.output:,}"}
    if isinstance(est, ServingEstimate):
        s = est.request
        asked = {"concurrency": asked.pop("batch"), **asked}
        for name, spread in (("prompt", s.prompt_sd), ("output", s.output_sd)):
            asked[name] += f" (sd {spread:,.4g})" if spread else ""
        asked["chunk"] = f"{s.chunk:,}"
        asked |= {"beams": f"{s.beams:,}"} if s.beams > 1 else {}
        kept = ["whole outputs reserved"] * s.reserve + ["whole context kept"] * s.whole_cache
    else:
        kept = []
    asked |= {"prefix": f"{r.prefix:,}"} if r.prefix else {}
    narrow = [
        f"{d} {what}" for d, what in ((r.weight_dtype, "weights"), (r.kv_dtype, "KV cache")) if d and d != r.dtype
    ]
    how = "served on" if isinstance(est, ServingEstimate) else "on"
    return (
        f"{est.model.title} {how} {p.devices} x {est.chip.title}"
        + (f" ({split})\n" if split else "\n")
        + ", ".join([*(f"{name} {value}" for name, value in asked.items()), r.dtype, *narrow, *kept])
    )


def why(est: Estimate) -> str:
    """One sentence on what bounds each phase and how much of the time that is."""
    parts = []
    for label, phase, _ in _occurring(est):
        shares = sorted(((t / phase.time_s, b) for b, t in phase.time_by_bound.items() if t > 0), reverse=True)
        parts.append(
            f"{label} {shares[0][1]} ({shares[0][0]:.0%}" + "".join(f", {b} {s:.0%}" for s, b in shares[1:3]) + ")"
        )
    text = "Bound by: " + "; ".join(parts) + "."
    if isinstance(est, RecommendationEstimate):
        return f"{text} Sparse part {est.sparse_share:.0%} of the time. MFU {est.mfu:.1%}, MBU {est.mbu:.1%}."
    if isinstance(est, ServingEstimate):
        use = [f"{label} MFU {phase.mfu:.1%}, MBU {phase.mbu:.1%}" for label, phase, _ in _occurring(est)]
        return f"{text} Of the peaks: {'; '.join(use)}."
    return f"{text} MFU {est.prefill.mfu:.1%} in prefill, MBU {est.decode.mbu:.1%} in decode."


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
    """The operators of a phase, longest first."""
    table = Table(title, ["operator", ">count", ">FLOP", ">bytes", ">FLOP/B", ">time", ">share", "bound"])
    table.expendable = ["bytes", "FLOP", "count", "FLOP/B"]
    records = sorted(phase.records, key=lambda r: -r["time_s"])
    for r in (r for r in records if r["share"] >= smallest):
        table.rows.append(
            [
                r["op"],
                f"{r['count']:g}",
                units.text(r["flops"], "", 3) if r["flops"] < 1e3 else _si(r["flops"]),
                _si(r["bytes"]),
                _ratio(r["intensity"]),
                units.text(r["time_s"], "s", 3),
                f"{r['share']:.1%}",
                r["bound"],
            ]
        )
    table.notes.append(f"All operators: {units.text(phase.time_s, 's', 4)}.")
    return table


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _si(value: float) -> str:
    return units.text(value, "B", 3).removesuffix("B").strip()


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
    if chip.aliases:
        table.notes.append("Also called: " + ", ".join(chip.aliases) + ".")
    if chip.note:
        table.notes.append(chip.note)
    return table


def _figure(number: Number, value: Any) -> str:
    """A figure with its unit; capacities that are whole KiB, MiB or GiB as such."""
    if number.dimension == "capacity":
        for power, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if value % power == 0 and value % 1000:
                return f"{value / power:g} {unit}"
    return units.text(value, units.DIMENSIONS[number.dimension][0], 5)


# How to set it ---------------------------------------------------------------------------------------------------


# Characters: between columns; the least for running text, for a few words, and for these where nothing else helps.
_GAP, _PROSE, _WORDS, _NARROW = 2, 36, 20, 12


def show(console: Console, table: Table) -> None:
    """Print a table to a terminal.

    A number is never cut. Where the terminal is too narrow, columns of running text are set below their row, then
    expendable columns are left out, then those furthest to the right; what is left wraps between words.
    """
    from rich.text import Text

    title, _, under = table.title.partition("\n")
    if title:
        console.print(Text(title, style="bold"))
    if under:
        console.print(Text(under))
    widths, below, left_out = _fitting(table, console.width)
    names = [c.lstrip(">") for c in table.columns]
    for line in _set(table, names, widths):
        console.print(Text(line, style="bold"), soft_wrap=True)
    console.print("\u2500" * (sum(widths.values()) + _GAP * (len(widths) - 1)), soft_wrap=True)
    for row in table.rows:
        for line in _set(table, row, widths):
            console.print(Text(line), soft_wrap=True)
        for i in (i for i in below if row[i]):
            wrapped = textwrap.wrap(row[i], max(_WORDS, console.width - 4), break_on_hyphens=False)
            console.print(Text(textwrap.indent("\n".join(wrapped), "    ")), soft_wrap=True)
    for note in table.notes:
        console.print(Text(note))
    if any(left_out):
        console.print(Text(f"Left out for width: {', '.join(filter(None, left_out))}."))


def _set(table: Table, cells: Sequence[str], widths: dict[int, int]) -> list[str]:
    """One row of a table as lines of text, cells wrapped between words (rich cuts numbers, and spans no columns)."""
    from itertools import zip_longest

    columns = []
    for i, width in widths.items():
        parts = textwrap.wrap(cells[i], max(width, 1), break_on_hyphens=False) or [""]
        columns.append([p.rjust(width) if table.columns[i].startswith(">") else p.ljust(width) for p in parts])
    blank = [" " * width for width in widths.values()]
    lines = zip_longest(*columns)
    return [(" " * _GAP).join(b if c is None else c for c, b in zip(line, blank, strict=True)).rstrip()
            for line in lines]  # fmt: skip


def _fitting(table: Table, width: int) -> tuple[dict[int, int], list[int], list[str]]:
    """Index -> width of the columns that fit, the columns to set below the rows, and the headings left out."""
    names = [c.lstrip(">") for c in table.columns]
    least, most = [], []
    for i, name in enumerate(names):
        cells = [row[i] for row in table.rows]
        longest = max(map(len, cells), default=0)
        words = max((len(word) for text in (name, *cells) for word in text.split()), default=0)
        most.append(max(len(name), longest))
        if table.columns[i].startswith(">"):  # a number stands on one line; its heading may take two
            lines = range(max(longest, *map(len, name.split()), 1), len(name) + 1)
            least.append(next((w for w in lines if len(textwrap.wrap(name, w)) <= 2), longest))
        else:
            least.append(min(most[i], _PROSE if name in table.prose else max(_WORDS, min(words, _PROSE))))

    def need() -> int:
        return sum(least[i] for i in kept) + _GAP * (len(kept) - 1)

    kept, below, left_out = list(range(len(names))), [], []
    if need() > width:
        below = [i for i in kept if names[i] in table.prose]
        kept = [i for i in kept if i not in below]
    waiting = [i for i in map(names.index, table.expendable) if i in kept]
    while need() > width and len(kept) > 1:
        if not waiting:  # rather words in a narrow column than a number less
            least = [v if c.startswith(">") else min(v, _NARROW) for v, c in zip(least, table.columns, strict=True)]
        if need() > width:
            kept.remove(i := waiting.pop(0) if waiting else kept[-1])
            left_out.append(names[i])
    # What is over goes to the columns in equal shares, none getting more than it can use.
    spare, widths = max(0, width - need()), {}
    for n, i in enumerate(sorted(kept, key=lambda i: most[i] - least[i])):
        more = min(most[i] - least[i], spare // (len(kept) - n))
        widths[i], spare = least[i] + more, spare - more
    return {i: widths[i] for i in kept}, below, left_out


def markdown(tables: Iterable[Table]) -> str:
    """Tables as Markdown."""
    out = []
    for table in tables:
        title, _, under = table.title.partition("\n")
        out += [f"## {_md(title)}", ""] + ([_md(under), ""] if under else [])
        out.append("| " + " | ".join(_md(c.lstrip(">")) for c in table.columns) + " |")
        out.append("| " + " | ".join("---:" if c.startswith(">") else "---" for c in table.columns) + " |")
        out += ["| " + " | ".join(_md(cell) for cell in row) + " |" for row in table.rows]
        out += [""] + [f"{_md(note)}\n" for note in table.notes]
    return "\n".join(out)


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: .6rem 0 1rem; font-variant-numeric: tabular-nums; }
th, td { padding: .18rem .7rem; border-bottom: 1px solid #ddd; text-align: left; }
.r { text-align: right; } h2 { margin: 1.8rem 0 .2rem; font-size: 1.15rem; } svg { max-width: 100%; height: auto; }
"""


def html_page(title: str, tables: Iterable[Table], pictures: Sequence[Any] = ()) -> str:
    """One self-contained page: tables, and matplotlib Axes as inline SVG. Nothing is loaded from elsewhere."""
    body = []
    for table in tables:
        heading, _, under = table.title.partition("\n")
        body.append(f"<h2>{html.escape(heading)}</h2>" + (f"<p>{html.escape(under)}</p>" if under else ""))
        side = ["r" if c.startswith(">") else "" for c in table.columns]
        body.append(
            "<table><thead><tr>"
            + "".join(
                f'<th class="{s}">{html.escape(c.lstrip(">"))}</th>' for c, s in zip(table.columns, side, strict=True)
            )
            + "</tr></thead><tbody>"
        )
        for row in table.rows:
            cells = (f'<td class="{s}">{html.escape(cell)}</td>' for cell, s in zip(row, side, strict=True))
            body.append("<tr>" + "".join(cells) + "</tr>")
        body.append("</tbody></table>")
        body += [f"<p>{html.escape(note)}</p>" for note in table.notes]
    for ax in pictures:
        buffer = io.StringIO()
        ax.figure.savefig(buffer, format="svg")
        body.append(buffer.getvalue()[buffer.getvalue().index("<svg") :])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


_ASKED = ("prompt", "output", "prefix", "dtype", "weight_dtype", "kv_dtype")


def _request(est: Estimate) -> dict[str, Any]:
    r = est.request
    if isinstance(est, RecommendationEstimate):
        return {k: getattr(r, k) for k in ("batch", "devices", "dtype", "table_dtype", "skew")}
    plan = {k: getattr(r.plan, k) for k in ("tp", "pp", "ep", "dp")}
    if isinstance(est, LanguageEstimate):
        return {k: getattr(r, k) for k in ("batch", *_ASKED)} | plan
    own = ("prompt_sd", "output_sd", "chunk", "beams", "reserve", "whole_cache")
    return {"concurrency": r.batch} | {k: getattr(r, k) for k in (*_ASKED, *own)} | plan


def as_json(est: Estimate) -> dict[str, Any]:
    """Everything an estimate says, as plain data."""
    facts = ("active", "mixed_share") if isinstance(est, ServingEstimate) else ("lower_s", "upper_s", "mfu", "mbu")
    held = est.memory
    return {
        "model": est.model.name,
        "chip": est.chip.name,
        "chip_title": est.chip.title,  # says what a what-if changed, and the stack
        "request": _request(est),
        **{name: getattr(est, name) for name in (*est.FIGURES, *facts, "bound")},
        "interval_90": {name: list(pair) for name, pair in est.interval(0.9).items()},
        "memory": {
            "weights_bytes": held.weights_bytes,
            "cache_bytes": held.cache_bytes,
            "activations_bytes": held.activations_bytes,
            "usable_bytes": held.usable_bytes,
            "largest_batch": held.largest_batch,
        },
        "phases": {
            label: {"time_s": p.time_s, "lower_s": p.lower_s, "upper_s": p.upper_s, "bound": p.bound, "ops": p.records}
            for label, p in phases(est)
        },
    }
