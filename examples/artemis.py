"""Which of Meta's workloads would Artemis serve? A chip of which nothing was public, asked as of February 2024.

    python examples/artemis.py            # writes examples/artemis/README.md and its pictures; some minutes
    python examples/artemis.py --small    # a small grid, in seconds, into a folder of its own

Everything that is in doubt (the ranges of the chips' figures, LPDDR or HBM, the model's own error) is drawn once for
all chips and workloads; in each draw every chip takes its best plan; what is told are shares of the draws.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from pages import chequer, chip_of, compared, count, intervals, odds, ratio, run, save, spread, table, within, write

import roofline as rl

HERE = Path(__file__).parent

# What is asked ------------------------------------------------------------------------------------------------------

#: The nine models of the MTIA 2i paper (ISCA 2025, figure 6), by MFLOP a sample.
RECOMMENDATION = {
    "meta-lc1": 15, "meta-lc2": 50, "meta-lc3": 57, "meta-lc4": 91, "meta-lc5": 105,
    "meta-hc1": 480, "meta-hc2": 600, "meta-hc3": 940, "meta-hc4": 1000,
}  # fmt: skip
BATCHES = (256, 1024, 4096)

#: A sample waits at most for the batch that runs when it comes, and for its own: half of 100 ms for a batch.
WITHIN = {"latency_s": 0.05}

#: Time to first token and time per output token (s).
LANGUAGE = {
    "llama-2-7b": {"ttft_s": 0.6, "tpot_s": 0.06},
    "llama-3.1-8b": {"ttft_s": 0.6, "tpot_s": 0.06},
    "llama-3.1-70b": {"ttft_s": 2.0, "tpot_s": 0.2},
}
PROMPT, OUTPUT = 1024, 256
SEQUENCES = (1, 8, 32, 128)

#: The most chips that one copy of a model is split over.
MOST = {"recommendation": 4, "language": 8}

LPDDR, HBM = "artemis[scenario=lpddr]", "artemis[scenario=hbm]"
TITLES = {
    "mtia-v1": "MTIA v1", "artemis": "Artemis", LPDDR: "with LPDDR", HBM: "with HBM", "mtia-2i": "MTIA 2i",
    "h100-sxm": "H100",
}  # fmt: skip


def plans(small: bool) -> dict[str, list[dict[str, Any]]]:
    """Every plan that a chip may choose from, of each model; fp16 throughout."""
    models = ["meta-lc1"] if small else RECOMMENDATION
    batches = BATCHES[:1] if small else BATCHES
    counts = (1,) if small else (1, 2, 4)
    found = {m: [{"dtype": "fp16", "batch": b, "devices": n} for n in counts for b in batches] for m in models}
    shape = {"dtype": "fp16", "prompt": PROMPT, "output": OUTPUT}
    for model in ["llama-2-7b"] if small else LANGUAGE:
        widths, batches = ((1,), SEQUENCES[:1]) if small else ((1, 2, 4, 8), SEQUENCES)
        found[model] = [{**shape, "batch": b, "tp": tp} for tp in widths for b in batches]
    return found


def limits(model: str) -> dict[str, float]:
    """The latency targets of a model (s)."""
    return LANGUAGE.get(model, WITHIN)


# What is found ------------------------------------------------------------------------------------------------------


def study(small: bool = False) -> dict[str, Any]:
    """All that the page tells; of each model and chip the rate per chip and per watt in each draw."""
    asked = plans(small)
    found = compared([chip_of(c) for c in TITLES], asked, 16 if small else 512)
    pairs = [(model, chip) for model in asked for chip in TITLES]
    lpddr = chip_of(LPDDR)
    language = {m: limit["tpot_s"] for m, limit in LANGUAGE.items() if m in asked and m != "llama-3.1-70b"}
    options = {"batch": 1, "prompt": PROMPT, "output": OUTPUT, "dtype": "fp16"}
    bandwidths = {"memory.main.bandwidth": np.geomspace(150e9, 3.5e12, 6 if small else 48)}
    doubted = ["llama-2-7b"] if small else ["meta-lc1", "meta-hc4", "llama-2-7b"]
    return {
        "asked": asked,
        "comparison": found["comparison"],
        "best": {(m, c): within(found, m, c, limits(m)) for m, c in pairs},
        "alone": {(m, c): within(found, m, c, limits(m), most=1)[0] > 0 for m, c in pairs},
        "room": {(m, c): within(found, m, c, {}, most=1)[0] > 0 for m, c in pairs},
        "grid": rl.sweep(
            list(language), lpddr, draws=16 if small else 256, figures=["tpot_s"], **options, **bandwidths
        ),
        "needed": {
            m: rl.solve(m, lpddr, "tpot_s", limit, vary="memory.main.bandwidth", **options)
            for m, limit in language.items()
        },
        "doubts": {m: rl.indices(m, "artemis", draws=16 if small else 128, **asked[m][0]) for m in doubted},
    }


# The page -----------------------------------------------------------------------------------------------------------


def name(model: str) -> str:
    """A model, and the work that it is."""
    title = model.removeprefix("meta-").upper() if model in RECOMMENDATION else model.title()
    return f"{title}, {RECOMMENDATION[model]:,} MFLOP" if model in RECOMMENDATION else title


def span(values: list[Any]) -> str:
    """From the least to the most, to two digits."""
    least, most = (f"{float(f'{end:.2g}'):g}" for end in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"


def share(holds: np.ndarray) -> str:
    """A share of the draws in percent."""
    return f"{100 * float(np.mean(holds)):.0f} %"


def in_short(f: dict[str, Any]) -> str:
    """The findings, a line each."""
    best, alone, room = f["best"], f["alone"], f["room"]
    models = [m for m in f["asked"] if m in RECOMMENDATION]

    def percent(chip: str, split: bool) -> str:
        return span([100 * float(np.mean(best[m, chip][0] > 0 if split else alone[m, chip])) for m in models]) + " %"

    def times(one: str, other: str, which: int) -> str:
        found = [ratio(best[m, one][which], best[m, other][which]) for m in models]
        return span([float(np.median(draws)) for draws in found if len(draws)])

    where_room = [100 * np.mean(alone[m, "artemis"][room[m, "artemis"]]) for m in models if room[m, "artemis"].any()]
    lines = [
        f"- **Recommendation.** One Artemis serves these models with a probability of {percent('artemis', False)} "
        f"(from model to model), one to {MOST['recommendation']} chips with {percent('artemis', True)}. In doubt is "
        "the room for the tables, not the speed: where they fit one chip, the target is met in "
        f"{span(where_room)} % of the draws.",
        f"- **Against the H100 and MTIA v1.** An Artemis does {times('artemis', 'h100-sxm', 0)} of the work of an "
        f"H100, and for a watt {times('artemis', 'h100-sxm', 1)} times as much; of MTIA v1 "
        f"{times('artemis', 'mtia-v1', 0)} times a chip and {times('artemis', 'mtia-v1', 1)} times a watt (medians of "
        "each model).",
        f"- **LPDDR or HBM.** For recommendation HBM is {times(HBM, LPDDR, 0)} times as fast a chip: it has less room, "
        f"so that tables are split over more of them. One chip serves with {percent(HBM, False)}, with LPDDR "
        f"{percent(LPDDR, False)}. For language it is what decides.",
        f"- **Where MTIA 2i fell.** For recommendation it does {times('mtia-2i', 'artemis', 0)} times the work of the "
        f"estimate a chip, and {times('mtia-2i', 'artemis', 1)} times a watt (medians): faster, and hungrier.",
    ]
    for m in (m for m in f["asked"] if m in LANGUAGE):
        lines.append(
            f"- **{name(m)}.** One chip alone meets {targets(m)} with {share(alone[m, LPDDR])} if it has LPDDR, "
            f"{share(alone[m, HBM])} if it has HBM, {odds(f['comparison'], alone[m, 'artemis'])} as things stood; up "
            f"to {MOST['language']} chips together with {odds(f['comparison'], best[m, 'artemis'][0] > 0)}, at "
            f"{float(np.median(ratio(best[m, 'artemis'][0], best[m, 'h100-sxm'][0]))):.2g} of an H100's tokens a chip "
            f"(median). MTIA 2i: alone {share(alone[m, 'mtia-2i'])}, together {share(best[m, 'mtia-2i'][0] > 0)}."
        )
    came = rl.load_chip("mtia-2i")["memory.dram.bandwidth"] / 1e9
    belief = chip_of(LPDDR).numbers["memory.dram.bandwidth"]
    words = ", ".join(f"{found.value / 1e9:.0f} GB/s for {name(m)}" for m, found in f["needed"].items())
    lines.append(
        f"- **The bandwidth that it takes.** One request at a time at 60 ms a token needs {words}. LPDDR was put at "
        f"{belief.value / 1e9:.0f} ({belief.low / 1e9:.0f} to {belief.high / 1e9:.0f}); MTIA 2i came with {came:.1f}."
    )
    return "\n".join(lines)


def targets(model: str) -> str:
    """Latency targets in words."""
    limit = LANGUAGE[model]
    return f"{1e3 * limit['ttft_s']:,.0f} ms to the first token and {1e3 * limit['tpot_s']:.0f} ms a token"


def served(f: dict[str, Any]) -> str:
    """The probability that a chip serves a model at all: alone, and on the most chips."""

    def cell(m: str, chip: str) -> str:
        return f"{share(f['alone'][m, chip])}, {odds(f['comparison'], f['best'][m, chip][0] > 0)}"

    rows = [[name(m), *(cell(m, chip) for chip in TITLES)] for m in f["asked"]]
    return table(["alone, and split", *TITLES.values()], rows)


def against(f: dict[str, Any], which: int) -> str:
    """Rates per chip (0) or per watt (1) over those of the H100, and the odds against the H100 and MTIA v1."""
    c, rows = f["comparison"], []
    for m in f["asked"]:
        own = {chip: f["best"][m, chip][which] for chip in TITLES}
        rows.append(
            [
                name(m),
                *(spread(ratio(own[chip], own["h100-sxm"])) for chip in TITLES if chip != "h100-sxm"),
                odds(c, own["artemis"] > own["h100-sxm"]),
                odds(c, own["artemis"] > own["mtia-v1"]),
            ]
        )
    head = [title for title in TITLES.values() if title != "H100"]
    return table(["over the H100", *head, "Artemis > H100", "Artemis > MTIA v1"], rows)


def servers(f: dict[str, Any]) -> str:
    """A full server's rate over one of eight H100, in medians."""
    full = {"mtia-v1": (12,), "artemis": (12, 24), "mtia-2i": (24,)}
    rows = []
    for m in f["asked"]:
        rate = {chip: float(np.median(f["best"][m, chip][0])) for chip in TITLES}
        cells = [n * rate[chip] / (8 * rate["h100-sxm"]) for chip, several in full.items() for n in several]
        rows.append([name(m), *(f"{cell:.2f}" for cell in cells), count(8 * rate["h100-sxm"])])
    head = [f"{n} {TITLES[chip]}" for chip, several in full.items() for n in several]
    return table(["over 8 H100", *head, "8 H100, samples or tokens a second"], rows)


def disclosed(f: dict[str, Any]) -> str:
    """Where MTIA 2i came to lie among the draws of Artemis that serve."""
    rows = []
    for m in f["asked"]:
        cells = []
        for which in (0, 1):
            artemis, came = f["best"][m, "artemis"][which], f["best"][m, "mtia-2i"][which]
            both = ratio(came, artemis)
            cells += [spread(both), share(both > 1) if len(both) else "–"]
        rows.append([name(m), share(f["best"][m, "mtia-2i"][0] > 0), *cells])
    return table(["MTIA 2i over Artemis", "2i serves", "per chip", "2i ahead", "per watt", "2i ahead"], rows)


def doubts(f: dict[str, Any]) -> str:
    """What the doubt of a rate comes from."""
    rows = []
    for m, found in f["doubts"].items():
        top = found.head(4)
        cells = [
            f"{what} {100 * total:.0f} % (± {100 * error:.0f})"
            for what, total, error in zip(top.index, top["total"], top["total_error"], strict=True)
        ]
        rows.append([name(m), f"{np.exp(found.attrs['deviation']):.2f} x", ", ".join(cells)])
    return table(["model", "one deviation", "share of the variance that stays if all else is known"], rows)


# The pictures -------------------------------------------------------------------------------------------------------


def draw_served(f: dict[str, Any], folder: Path) -> None:
    """The probabilities, alone and split."""
    rows, columns = [name(m) for m in f["asked"]], list(TITLES.values())
    figure, panels = plt.subplots(1, 2, figsize=(11, 0.42 * len(rows) + 1.6), sharey=True, layout="constrained")
    alone = np.array([[np.mean(f["alone"][m, c]) for c in TITLES] for m in f["asked"]])
    split = np.array([[np.mean(f["best"][m, c][0] > 0) for c in TITLES] for m in f["asked"]])
    chequer(panels[0], alone, rows, columns, "on one chip")
    chequer(panels[1], split, rows, columns, "split over up to four chips (recommendation) or eight")
    figure.suptitle("Probability that the targets are met", fontsize=11)
    save(folder, "served.png", figure)


def draw_against(f: dict[str, Any], folder: Path) -> None:
    """Rates per chip and per watt over the H100's."""
    rows = [name(m) for m in f["asked"]]
    labels = {"mtia-v1": "MTIA v1", LPDDR: "Artemis with LPDDR", HBM: "Artemis with HBM", "mtia-2i": "MTIA 2i"}
    figure, panels = plt.subplots(1, 2, figsize=(11, 0.5 * len(rows) + 1.6), sharey=True, layout="constrained")
    for which, title in ((0, "per chip, H100 = 1; where both serve"), (1, "per watt at the wall, H100 = 1")):
        found = {
            label: [ratio(f["best"][m, chip][which], f["best"][m, "h100-sxm"][which]) for m in f["asked"]]
            for chip, label in labels.items()
        }
        intervals(panels[which], found, rows, title)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    save(folder, "against_h100.png", figure)


def draw_bandwidth(f: dict[str, Any], folder: Path) -> None:
    """Time per token over memory bandwidth, and where LPDDR, HBM and MTIA 2i lie."""
    axes = f["grid"].roofline.band("memory.main.bandwidth", "model", title="One request on one Artemis, any memory")
    for words, chip in (("LPDDR", LPDDR), ("HBM", HBM)):
        number = chip_of(chip).numbers["memory.dram.bandwidth"]
        axes.axvspan(number.low, number.high, color="0.5", alpha=0.15, zorder=0)
        axes.text(
            np.sqrt(number.low * number.high), axes.get_ylim()[1], f"{words}\n", ha="center", va="top", fontsize=9
        )
    axes.axvline(rl.load_chip("mtia-2i")["memory.dram.bandwidth"], color="C3", linewidth=1, linestyle="--")
    axes.axhline(LANGUAGE["llama-2-7b"]["tpot_s"], color="0.2", linewidth=1, linestyle=":")
    save(folder, "bandwidth.png", axes.figure)


def write_page(f: dict[str, Any], folder: Path) -> None:
    """The page and its pictures."""
    draw_served(f, folder)
    draw_against(f, folder)
    draw_bandwidth(f, folder)
    first = next(iter(f["comparison"].draws.values()))
    models = [m for m in f["asked"] if m in RECOMMENDATION]
    text = (HERE / "artemis.page.md").read_text(encoding="utf-8")
    write(
        folder,
        text.format(
            draws=len(first["fits"]),
            in_short=in_short(f),
            served=served(f),
            per_chip=against(f, 0),
            per_watt=against(f, 1),
            servers=servers(f),
            disclosed=disclosed(f),
            doubts=doubts(f),
            came=span(
                [float(np.median(ratio(f["best"][m, "mtia-2i"][1], f["best"][m, "h100-sxm"][1]))) for m in models]
            ),
            batches=", ".join(f"{b:,}" for b in BATCHES),
            sequences=", ".join(map(str, SEQUENCES)),
            prompt=PROMPT,
            output=OUTPUT,
            plan=f"one chip, batches of {BATCHES[0]}; one request of a language model",
        ),
    )


def main(arguments: list[str] | None = None) -> Path:
    """Run the study and write its page; returns the folder."""
    return run(study, write_page, __file__, __doc__, arguments)


if __name__ == "__main__":
    print(f"written: {main()}")
