"""An assistant on Llama 3.1 under recorded traffic: H100 against MTIA 300, pools together against pools apart.

    python examples/assistant.py            # writes examples/assistant/README.md and its pictures; a few minutes
    python examples/assistant.py --small    # one model and few requests, in seconds, into a folder of its own

Each system is simulated pass by pass until the fewest replicas are found that answer 99 % of the requests in time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from pages import run, save, table, write

import roofline as rl

HERE = Path(__file__).parent

#: Requests a second of each model in the busiest hour, on one site of a hundred: the load of examples/fleet.py.
LOAD = {"llama-3.1-70b": 104.0, "llama-3.1-405b": 11.6}
SLO = {"llama-3.1-70b": {"ttft_s": 2.0, "tpot_s": 0.2}, "llama-3.1-405b": {"ttft_s": 6.0, "tpot_s": 0.175}}

CHIPS = {"h100-sxm": "H100", "mtia-300": "MTIA 300"}
WIDTHS = {"llama-3.1-70b": [2, 4, 8], "llama-3.1-405b": [8]}
NUMBERS = {"dtype": "fp8", "kv_dtype": "fp8"}
TRACE = "azure-2023-conv"


def systems(model: str, small: bool) -> dict[str, dict[str, Any]]:
    """The plan with the fewest chips of each kind of system, by its name: a row of capacity and its run."""
    traffic = rl.load_traffic(TRACE).head(60 if small else 600).changed(rate=LOAD[model])
    found = rl.capacity(
        model,
        list(CHIPS),
        traffic,
        slo=SLO[model],
        tp=WIDTHS[model][-1:] if small else WIDTHS[model],
        apart=True,
        **NUMBERS,
        **({"max_seqs": 64, "chunk": 2048} if small else {}),
    )
    best: dict[str, dict[str, Any]] = {}
    for row, one in zip(found.to_dict("records"), found.attrs["runs"], strict=True):
        best.setdefault(named(row), {**row, "run": one})
    return best


def named(row: dict[str, Any]) -> str:
    """What kind of system a plan is."""
    reads = CHIPS[row["chip"]]
    if not row["decode_chip"]:
        return f"{reads}, together"
    decodes = CHIPS[row["decode_chip"]]
    return f"{reads}, apart" if reads == decodes else f"{reads} reads, {decodes} decodes"


def study(small: bool = False) -> dict[str, Any]:
    """All that the page tells."""
    return {"models": {model: systems(model, small) for model in (list(LOAD)[:1] if small else LOAD)}}


# The page -----------------------------------------------------------------------------------------------------------


def plan(row: dict[str, Any]) -> str:
    """Replicas and their width."""
    reads = f"{row['replicas']} x tp={row['tp']}"
    return reads if not row["decode_chip"] else f"{reads} and {row['decode_replicas']} x tp={row['decode_tp']}"


def answered(row: dict[str, Any]) -> float:
    """Output tokens a second at the load."""
    one = row["run"]
    return LOAD[one.model.name] * float(np.mean(one.drawn.output))


def rows(found: dict[str, dict[str, Any]]) -> list[list[str]]:
    """A system a row, the fewest chips first."""
    return [
        [
            name,
            plan(row),
            f"{row['chips']:,}",
            f"{row['power_w'] / 1e3:,.1f}",
            f"{answered(row) / row['power_w']:.2f}",
            f"{row['run'].ttft_s.p50:.2f} / {row['run'].ttft_s.p99:.2f}",
            f"{1e3 * row['run'].tpot_s.p50:.0f} / {1e3 * row['run'].tpot_s.p99:.0f}",
        ]
        for name, row in found.items()
    ]


def in_short(f: dict[str, Any]) -> str:
    """The findings, a line a model."""
    lines = []
    for model, found in f["models"].items():
        together = {name: row for name, row in found.items() if name.endswith("together")}
        apart = {name: row for name, row in found.items() if name not in together}
        words = [f"{name} {row['chips']:,} chips and {row['power_w'] / 1e3:,.0f} kW" for name, row in together.items()]
        if apart:
            name, row = min(apart.items(), key=lambda pair: pair[1]["chips"])
            words.append(f"the best of the pools apart ({name}) {row['chips']:,} and {row['power_w'] / 1e3:,.0f} kW")
        lines.append(f"- **{model}**, {LOAD[model]:g} requests a second: {'; '.join(words)}.")
    return "\n".join(lines)


def draw_chips(f: dict[str, Any], folder: Path) -> None:
    """Chips and kilowatts of the systems."""
    figure, panels = plt.subplots(len(f["models"]), 2, figsize=(9, 2.6 * len(f["models"])), squeeze=False)
    for pair, (model, found) in zip(panels, f["models"].items(), strict=True):
        for panel, key, scale, words in zip(
            pair, ("chips", "power_w"), (1, 1e-3), ("chips", "kW at the wall"), strict=True
        ):
            values = [scale * row[key] for row in found.values()]
            panel.barh(range(len(found)), values, color=["C0" if n.endswith("together") else "C1" for n in found])
            for place, value in enumerate(values):
                panel.text(value, place, f" {value:,.3g}", va="center", fontsize=8)
            panel.set(yticks=range(len(found)), xlabel=words, xlim=(0, 1.18 * max(values)))
            panel.set_yticklabels(found if key == "chips" else [])
            panel.invert_yaxis()
            panel.spines[["top", "right"]].set_visible(False)
        pair[0].set_title(model, loc="left", fontsize=10)
    figure.tight_layout()
    save(folder, "chips.png", figure)


def draw_waits(f: dict[str, Any], folder: Path) -> None:
    """What requests see of the systems: times to first token, and per output token."""
    figure, panels = plt.subplots(len(f["models"]), 2, figsize=(10, 3.4 * len(f["models"])), squeeze=False)
    for pair, (model, found) in zip(panels, f["models"].items(), strict=True):
        runs = {name: row["run"] for name, row in found.items()}
        for panel, seen in zip(pair, ("ttft_s", "tpot_s"), strict=True):
            rl.plot_cdf(runs, seen, slo=SLO[model][seen], title=model, ax=panel)
    figure.tight_layout()
    save(folder, "waits.png", figure)


def write_page(f: dict[str, Any], folder: Path) -> None:
    """The page and its pictures."""
    draw_chips(f, folder)
    draw_waits(f, folder)
    head = ("system", "replicas", "chips", "kW", "tokens/J", "TTFT p50 / p99 (s)", "TPOT p50 / p99 (ms)")
    tables = [f"### {model}\n\n{table(head, rows(found))}" for model, found in f["models"].items()]
    trace = rl.load_traffic(TRACE).head(600).drawn()
    text = (HERE / "assistant.page.md").read_text(encoding="utf-8")
    write(
        folder,
        text.format(
            in_short=in_short(f),
            systems="\n\n".join(tables),
            prompt=float(np.mean(trace.prompt)),
            output=float(np.mean(trace.output)),
        ),
    )


def main(arguments: list[str] | None = None) -> Path:
    """Run the study and write its page; returns the folder."""
    return run(study, write_page, __file__, __doc__, arguments)


if __name__ == "__main__":
    print(f"written: {main()}")
