"""Where MTIA 2i's disclosed figures fell in the estimate of Artemis.

``python benchmarks/artemis.py > docs/artemis.md`` writes the page.
"""

from __future__ import annotations

import roofline as rl
from roofline.base import units
from roofline.fidelity import recommendation

SAME = [
    ("clock", "clock"),
    ("cores.count", "cores.count"),
    ("engines.matrix.int8", "engines.matrix.int8"),
    ("engines.matrix.fp16", "engines.matrix.fp16"),
    ("engines.matrix.bf16", "engines.matrix.bf16"),
    ("engines.vector.fp16", "engines.vector.fp16"),
    ("engines.vector.fp32", "engines.vector.fp32"),
    ("memory.local.capacity", "memory.local.capacity"),
    ("memory.local.bandwidth", "memory.local.bandwidth"),
    ("memory.sram.capacity", "memory.sram.capacity"),
    ("memory.sram.bandwidth", "memory.sram.bandwidth"),
    ("memory.dram.capacity", "memory.dram.capacity"),
    ("memory.dram.bandwidth", "memory.dram.bandwidth"),
    ("links.host.bandwidth", "links.host.bandwidth"),
    ("power.tdp", "power.tdp"),
    ("power.typical", "power.typical"),
    ("die_area", "die_area"),
]
MODELS = [
    ("llama-2-7b", {"dtype": "fp16", "prompt": 512, "output": 128}, "tokens_per_s"),
    ("dlrm-v1", {"dtype": "int8", "batch": 1024}, "samples_per_s"),
    ("rm2", {"dtype": "int8", "batch": 256}, "samples_per_s"),
]

TEXT = """# Artemis: what could be estimated in February 2024, and what came

Artemis was the name, in a report of 1 February 2024, of Meta's second in-house inference chip. Nothing about its
silicon was public. `chips/artemis.toml` estimates each figure by one mechanical rule: MTIA v1's figure times the
ratios by which six successors had outgrown their predecessors by then (value: geometric mean; range: smallest to
largest). The file holds the derivation of every field. MTIA 2i, disclosed on 10 April 2024 and taken by the press for
Artemis, is a descriptor of its own.

The people who wrote the rule's inputs down knew how the story ended; the rule leaves no room to use it, and its
ranges were not adjusted. A miss stays a miss.
"""


def inside(low: float, value: float, high: float) -> str:
    return "inside" if low <= value <= high else ("above" if value > high else "below")


def figures(name: str) -> list[str]:
    estimate, disclosed, before = (rl.load_chip(n) for n in (name, "mtia-2i", "mtia-v1"))
    rows, hits, counted = [], 0, 0
    for path, other in SAME:
        if path not in estimate.numbers or other not in disclosed.numbers:
            continue
        e, d = estimate.number(path), disclosed.number(other)
        unit = units.DIMENSIONS[e.dimension][0]
        low, high = (e.value if bound is None else bound for bound in (e.low, e.high))
        verdict = inside(low, d.value, high)
        hits, counted = hits + (verdict == "inside"), counted + 1
        v1 = before.numbers.get(path)
        rows.append(
            f"| `{path}` | {units.text(v1.value, unit, 3) if v1 else '-'} | {units.text(e.value, unit, 3)} | "
            f"{units.text(low, unit, 3)} to {units.text(high, unit, 3)} | {units.text(d.value, unit, 4)} | {verdict} |"
        )
    return [
        f"\n## {estimate.title}\n",
        f"{hits} of {counted} disclosed figures fell inside.\n",
        "| figure | MTIA v1 | estimate | range | MTIA 2i, disclosed | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
        *rows,
    ]


def throughput() -> list[str]:
    rows = [
        "\n## What it meant for throughput\n",
        "| expected, and 90 % interval | Artemis (LPDDR) | Artemis (HBM) | MTIA 2i, from what was disclosed |",
        "| --- | ---: | ---: | ---: |",
    ]
    for model, options, figure in MODELS:
        cells = []
        for chip in ("artemis", "artemis-hbm", "mtia-2i"):
            est = rl.estimate(model, chip, **options)
            low, high = est.interval(0.9, figure)
            cells.append(f"{getattr(est, figure):,.0f} ({low:,.0f} to {high:,.0f})")
        rows.append(f"| {model}, {', '.join(f'{k} {v}' for k, v in options.items())}: {figure} | {' | '.join(cells)} |")
    return rows


WORTH = """
## What HBM and SRAM are worth to each class of model

Throughput (fp16, batches in a pipeline) over that of the estimate as it is, by class of Meta's models (`roofline models
meta-retrieval` and so on; shapes ours), DLRM-v2 and RM2. Lookups wait for their latency: v1's software keeps few rows
under way, the estimate some more, so that SRAM (rows found nearer), cores and rows under way move the ranking models,
and bandwidth hardly does. Bandwidth is for long rows and for weights that the SRAM does not hold: the HSTU classes.
"""


def worth() -> list[str]:
    rows = [WORTH]
    lpddr, hbm = (recommendation.worth(name) for name in ("artemis", "artemis-hbm"))
    gain = hbm["samples/s"] / lpddr["samples/s"]
    changes = list(recommendation.CHANGES)
    rows.append("| class | samples/s | HBM for LPDDR | " + " | ".join(changes) + " |")
    rows.append("| --- | ---: | ---: |" + " ---: |" * len(changes))
    for name, line in lpddr.iterrows():
        cells = " | ".join(f"{line[words]:.2f}" for words in changes)
        rows.append(f"| {name} | {line['samples/s']:,.0f} | {gain[name]:.2f} | {cells} |")
    return rows


def main() -> None:
    print("\n".join([TEXT, *figures("artemis"), *figures("artemis-hbm"), *throughput(), *worth()]))


if __name__ == "__main__":
    main()
