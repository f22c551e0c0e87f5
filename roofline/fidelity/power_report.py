"""The page ``docs/power.md``: ``python -m roofline.fidelity.power_report > docs/power.md``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from roofline.base.units import text
from roofline.catalog.load import list_chips, load_chip
from roofline.estimates import terms
from roofline.fidelity import power
from roofline.hardware import limits

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.number import Number

_EIA = (
    "industry in the United States, mean of the months of 2025 (EIA, Electric Power Monthly; by way of ycharts.com, "
    "read November 2026)"
)
_EMBER = (
    "the world's mean of 2022 (Ember, Global Electricity Review 2023; by way of financialexpress.com, "
    "read November 2026)"
)

_HEAD = f"""\
# Power and money

Every estimate, and every server, says what it draws and costs, beside how fast it is:

```python
est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8, batch=64, electricity=0.12, utilisation=0.6)
est.chip_power_w  # mean of one chip, as its sensor has it
est.power_w  # of the system at the wall, with its share of host, fans, network and power supplies
est.tokens_per_joule, est.co2_g_per_million_tokens, est.usd_per_million_tokens  # a recommendation model: samples
est.price_basis  # what the cost rests on: an hour's rent, or a purchase
est.interval(0.9, "usd_per_million_tokens")
est.with_terms(price_per_hour=2.2).usd_per_million_tokens  # nothing else is worked out again
rl.estimate("dlrm-v2", "mtia-2i", devices=4).unknown  # what cannot be said and why: no price of this chip is public
```

Where no price is known, `usd_per_million_tokens` raises `rl.NotKnown`, which names what to give; tables say "not
known". These figures are worked out when first asked for, broadcast like all others, and stand in `EXTRA` beside
`FIGURES`: `est.figures(*est.EXTRA)`; `sensitivity(..., figure="power_w")` takes them as well.

## The model

    load  = active_share + compute_share * MFU + memory_share * MBU     (at most 1; 0 while it waits for another stage)
    chip  = idle + (TDP - idle) * load
    wall  = (chip + server.power) * server.factor
    site  = wall * pue

MFU and MBU are the shares of the datasheet's rates at which the matrix engine and main memory work, so that an
operation and a byte take the same energy however fast they come: `compute_share` is what the engine would draw at a
rate that no chip sustains, and may pass 1. Vector engines, caches and links are in `active_share`: fits gave them
nothing of their own. Where the sum passes 1 the power limit holds the clocks down; the sustained efficiencies have
that in them. A chip with a `typical` power (MTIA, TPU v4) draws that at `typical_load`, and less and more along
straight lines to idle and TDP. A chip without an `idle` of its own takes its family's `idle_share` of the TDP, one
without `server.power` the family's `server.power_share`.

All of these are figures of the descriptor with a source: `roofline chips h100-sxm --all --sources` lists them, and a
what-if changes them like any other. `--set power.tdp="500 W"` is a chip made for 500 W at the same speed, whose
operations take less energy in proportion. `--set power.limit_share=0.714` holds the chip as it is to 500 of 700 W, and
makes it slower: see "Under a limit" below. As an axis: `rl.sweep(..., **{{"power.limit_share": [0.5, 0.7, 1]}})`.

Money: a price of an hour has everything in it. A purchase is written off over the years together with its server and
network (`server.price_factor`), and the site's electricity comes on top. What is asked goes before what the
descriptor has, and in each a price of an hour before a purchase. With `utilisation` below 1 the other hours are paid
for, too, and the chips idle in them.

| argument | default | from |
| --- | ---: | --- |
| `price_per_hour`, `price` | the chip's | USD for a chip; ranges below |
| `electricity` | {terms.ELECTRICITY} USD/kWh | {_EIA} |
| `pue` | {terms.PUE} | judgement: between the largest operators' own (1.1) and the industry's mean (1.5), from memory |
| `amortise_years` | {terms.AMORTISE_YEARS:g} | judgement: accounts have 4 to 6 |
| `utilisation` | {terms.UTILISATION:g} | what a busy hour costs |
| `carbon` | {terms.CARBON:g} g/kWh | {_EMBER} |

Intervals: the ranges of idle power, shares, server and prices are sampled beside those that make a chip fast or slow,
and the model's own error is a factor on the watts above idle (`power.spread`). None of these moves an interval of
time.

## What it was set on, and what it was not

`roofline/evidence/measured/power.csv` has the rows. The three shares are least squares
(`roofline.fidelity.power.fit`) on the runs of Llama 3.1 on H100 (ML.ENERGY Benchmark v3: vLLM, steady state, power of
the GPUs' sensors), at the throughput that this model predicts; the server is solved from two of MLPerf's results.
Nothing else had a part in the numbers; the form, which rates are counted, was chosen in sight of all rows of both
chips. Prompt lengths of these runs are not published: 500 tokens (chat) and 300 (GPQA) are assumed, which puts
throughput near what was measured. All figures of a family other than GPUs are judgement: no power of such a chip
under a known load was found.

Power of a chip under language models. "Naive" is the TDP. Where throughput is further off than by a factor of 1.5,
the chip waited for something that no estimate has, or did more than it has: the B200 waited for its host under this
vLLM, and drew far less than is predicted here:
"""

_BY_MODEL = """\
By model, rows that nothing was set on and whose throughput is near. gpt-oss draws more than predicted on both chips,
and so does the B200 with few requests in flight:
"""

_WALL = """
At the wall of a server of eight. Runs under a limit draw the limit, as every one of them would draw more without it,
by this model: so these rows test the server and not the chips. Where the limit was not read (MLPerf 4.0) one that is
taken too high shows as a ratio above 1. The last lines are what owners plan for and vendors state as the most, which
is more than is drawn:
"""

_LIMIT = """
## Under a limit

    clock at full tilt, as a share of that at the TDP = sqrt((limit_share - floor_share) / (1 - floor_share))

Power above a floor (120 of 700 W: leakage, memory, links) goes with the square of the clock. Engines and on-chip
memories follow that clock, as in any what-if of it; main memory does not. A chip is taken to run at this clock all the
time: the controller is slower than a batch, and prompts are among the tokens of most. Work that draws less than the
limit throughout is not held down in truth; here it is, by a few percent where it waits for main memory.

The form and the floor were set on three of NVIDIA's submissions with and without a limit, read as if all of the time
were the engine's; that the clock takes all with it, and not the matrix engine alone, was chosen in sight of all four
rows. Mixtral had no other part. Throughput under the limit as a share of that of the best submission of the chip to
that round, Offline:

"""

_LIMITED = """
Of another make there is an RTX 3090 (350 W): six of them under llama.cpp read prompts at 94, 85, 60, 26 and 14 % of
full speed at 300, 250, 200, 150 and 100 W, and wrote at 99, 97, 94, 86 and 17 %
(llmgarage.ai/power-limit-tokens-per-second-benchmark, February 2026); one under vLLM read at 75 % at 180 W
(github.com/noonghunna/club-3090, issue 104, May 2026); both read November 2026. The clock by this law:
{law} at 300, 250, 200, 180, 150 and 100 W. So it holds from the TDP down to about 0.6 of it; what
happens below is not in it. Only GPUs have the figure: for the other families no run under a limit was found.
"""

_MORE = """
NVIDIA's H200 under a limit of 500 W scored 503,719 DLRM-v2 queries a second at 5,997 W; without it 637,342, and no
meter. By this model the server draws {full:,.0f} W then: the limit {saves}, for {slower:.0%}
of the throughput, both as published.

Not in the table, for want of what ran: arXiv 2605.11999 has decode on an H200 under an engine without CUDA graphs at
137 to 300 W; one request of Llama 3.1 8B comes out at {one:.0f} W here, where the engine is taken to keep the chip
busy. POLCA and Splitwise (prefill near the TDP, decode well below) could be read in summary only: of Llama 3.1 70B on
eight H100, batch 64, prefill comes out at {prefill:.0%} of the TDP and decode at {decode:.0%}.
"""

_CHIPS = """
## Chips

Watts and dollars of each chip, ranges in brackets; `roofline chips NAME --sources` has the sources. Prices of hours
are public on-demand ones where they were read, else from memory, and move from month to month.

"""


def page(table: pd.DataFrame | None = None) -> str:
    """The text of the page, from :func:`roofline.fidelity.power.rows`."""
    table = power.rows() if table is None else table
    parts = (_HEAD, "\n", _chips_under_load(table), _WALL, "\n", _walls(table), _more(), _LIMIT, _limited(), _list())
    return "".join(parts)


def _markdown(rows: list[list[str]], heads: list[str]) -> str:
    ruler = ["---:" if head.startswith(">") else "---" for head in heads]
    lines = [[head.removeprefix(">") for head in heads], ruler, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _chips_under_load(table: pd.DataFrame) -> str:
    rows = [
        [
            r["chip"],
            r["rows"],
            str(r["count"]),
            f"{r['error']:.1%}",
            f"{r['bias']:+.1%}",
            f"{r['naive']:.0%}",
            f"{r['joules']:.0%}",
        ]
        for r in power.summary(table).to_dict("records")
    ]
    heads = ["chip", "rows", ">count", ">mean error", ">bias", ">naive", ">tokens a joule, median error"]
    return f"{_markdown(rows, heads)}\n{_BY_MODEL}\n{_by_model(table)}"


def _by_model(table: pd.DataFrame) -> str:
    near = table["rate_ratio"].between(1 / power.RATE_NEAR, power.RATE_NEAR)
    some = table[(table["metric"] == "chip_power_w") & near & (table["set_on"] == "")]
    rows = [
        [
            str(chip),
            str(model),
            str(len(part)),
            f"{part['published'].min():.0f} to {part['published'].max():.0f} W",
            f"{part['predicted'].min():.0f} to {part['predicted'].max():.0f} W",
            f"{part['ratio'].min():.2f} to {part['ratio'].max():.2f}",
        ]
        for (chip, model), part in some.groupby(["chip", "model"])
    ]
    return _markdown(rows, ["chip", "model", ">rows", ">published", ">predicted", ">ratio"])


def _walls(table: pd.DataFrame) -> str:
    rows = [
        [
            r["source"],
            f"{r['chips']} x {r['chip']}",
            r["model"],
            r["setting"],
            r["note"],
            f"{r['published']:,.0f} W",
            f"{r['predicted']:,.0f} W",
            f"{r['ratio']:.2f}",
            "yes" if r["set_on"] else "",
        ]
        for r in table[table["metric"] == "power_w"].to_dict("records")
    ]
    return _markdown(
        rows, ["source", "chips", "model", "setting", "note", ">published", ">predicted", ">ratio", "set on"]
    )


def _limited() -> str:
    found = [
        [
            r["model"],
            f"{r['cap_w']:.0f} of {r['tdp_w']:.0f} W",
            f"{r['published']:.2f}",
            f"{r['law']:.2f}",
            f"{r['predicted']:.2f}",
            "yes" if r["set_on"] else "",
        ]
        for r in power.limited().to_dict("records")
    ]
    gpu = load_chip("rtx-3090")
    floor, tdp = gpu["power.floor_share"], gpu["power.tdp"]
    shares = [100 * limits.sustained_clock(watts / tdp, floor) for watts in (300, 250, 200, 180, 150, 100)]
    words = ", ".join(f"{share:.0f}" for share in shares[:-1]) + f" and {shares[-1]:.0f} %"
    heads = ["model", "limit", ">published", ">by the law alone", ">estimated", "set on"]
    return _markdown(found, heads) + _LIMITED.format(law=words)


def _more() -> str:
    from roofline.estimates import power as model
    from roofline.estimates.estimate import estimate

    h200 = load_chip("h200")
    dlrm = power.published().set_index("id", drop=False).loc["mlperf-4.1-power-07"].to_dict()
    full = power.predict({str(name): value for name, value in dlrm.items()} | {"cap_w": math.nan})[1]
    few = model.watts(h200, model.load(h200, estimate("llama-3.1-8b", h200, output=1024).decode))
    big = estimate("llama-3.1-70b", "h100-sxm", tp=8, batch=64)
    phases = [float(model.watts(big.chip, model.load(big.chip, p)) / big.chip["power.tdp"]) for p in big.phases]
    more = (dlrm["value"] / 503719) / (full / 637342) - 1
    kind = "less" if more < 0 else "more"
    return _MORE.format(
        full=full,
        saves=f"makes a query take {abs(more):.1%} {kind} energy",
        slower=503719 / 637342,
        one=float(few),
        prefill=phases[0],
        decode=phases[1],
    )


def _list() -> str:
    rows = []
    for name in list_chips().index:
        chip = load_chip(name)
        figures = [chip.numbers.get(path) for path in ("power.idle", "power.typical", "power.tdp")]
        prices = [chip.numbers.get(path) for path in ("price.hour", "price.purchase")]
        rows.append([name, *(_figure(n, "W") for n in figures), *(_figure(n, "USD") for n in prices)])
    return _CHIPS + _markdown(rows, ["chip", ">idle", ">typical", ">TDP", ">an hour", ">bought"])


def _figure(number: Number | None, unit: str) -> str:
    if number is None:
        return "not known"
    value = text(number.value, unit, 5)
    if number.low is None or number.high is None or number.low == number.high:
        return value
    return f"{value} ({_grouped(number.low)} to {_grouped(number.high)})"


def _grouped(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


if __name__ == "__main__":
    print(page(), end="")
