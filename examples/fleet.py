"""How many chips serve a stated load of Meta's models, what do they draw and cost, and how many of 350,000 H100 is it?

    python examples/fleet.py            # writes examples/fleet/README.md and its pictures; a minute or two
    python examples/fleet.py --small    # a small grid, in seconds, into a folder of its own

Two answers each time: what is expected, and what is enough nine times in ten, given all that is in doubt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from pages import bars, chip_of, compared, count, enough, frontiers, mega, pair, run, save, table, within, write

import roofline as rl

HERE = Path(__file__).parent

# The load -----------------------------------------------------------------------------------------------------------

#: The busiest hour over the mean of a day (assumed), for both families.
PEAK = 2.0
DAY_S = 86400

#: Predictions a day: Facebook's in 2018 (ZDNet). Their split over model classes is assumed.
PREDICTIONS = 200e12
MIX = {"meta-lc1": 0.60, "meta-lc3": 0.25, "meta-hc1": 0.10, "meta-hc4": 0.05}
WITHIN = {"latency_s": 0.05}

#: Requests a day: 50 million users (a quarter of the 185 million weekly ones of August 2024), ten each (assumed).
REQUESTS = 500e6
PROMPT, OUTPUT = 1024, 256
SHARE = {"llama-3.1-405b": 0.1, "llama-3.1-70b": 0.9}
LIMITS = {"llama-3.1-405b": {"ttft_s": 6.0, "tpot_s": 0.175}, "llama-3.1-70b": {"ttft_s": 2.0, "tpot_s": 0.2}}

# The chips ----------------------------------------------------------------------------------------------------------

H100S = 350_000

#: USD for an H100 (its descriptor), and what rl.estimate takes where nothing else is said.
PRICE, YEARS, KWH_USD, PUE = 27_500, 5, 0.086, 1.2

LPDDR, HBM = "artemis[scenario=lpddr]", "artemis[scenario=hbm]"
TITLES = {"h100-sxm": "H100", "mtia-2i": "MTIA 2i", "artemis": "Artemis", LPDDR: "Artemis, LPDDR", HBM: "Artemis, HBM"}

#: A fleet's chip for the language models, and for recommendation.
FLEETS = {
    "all on H100": ("h100-sxm", "h100-sxm"),
    "recommendation on MTIA 2i": ("h100-sxm", "mtia-2i"),
    "recommendation on Artemis": ("h100-sxm", "artemis"),
    "all on MTIA 2i": ("mtia-2i", "mtia-2i"),
    "all on Artemis, LPDDR": (LPDDR, LPDDR),
    "all on Artemis, HBM": (HBM, HBM),
}

#: The H100 has fp8; the others keep their weights in int8 and compute in fp16. No copy leaves its server.
NUMBERS = {"h100-sxm": {"dtype": "fp8", "kv_dtype": "fp8"}}
OTHERS = {"dtype": "fp16", "weight_dtype": "int8"}
MOST = {"h100-sxm": 8}
WIDTHS = np.array([1, 2, 4, 8, 16])


def samples_per_s(model: str) -> float:
    """Samples a second of a recommendation model in the busiest hour."""
    return PEAK * PREDICTIONS * MIX[model] / DAY_S


def tokens_per_s(model: str) -> float:
    """Output tokens a second of a language model in the busiest hour."""
    return PEAK * REQUESTS * SHARE[model] * OUTPUT / DAY_S


# What is found ------------------------------------------------------------------------------------------------------


def language(model: str, name: str, small: bool) -> dict[str, Any]:
    """Chips and watts for a language model: as expected, and so that targets and load hold nine times in ten."""
    chip, most = chip_of(name), MOST.get(name, 16)
    options = {"prompt": PROMPT, "output": OUTPUT, **NUMBERS.get(name, OTHERS)}
    fewest = rl.fewest_chips(model, chip, **LIMITS[model], tokens_per_s=tokens_per_s(model), most=most, **options)
    if fewest.empty:
        return {"why": fewest.attrs["why"]}
    best = fewest.iloc[0]
    found = {"expected": plan(model, chip, int(best.tp), int(best.concurrency), int(best.replicas), options)}
    widths = WIDTHS[: most.bit_length()]
    # What fits in nine draws of ten, of those figures of the chip that are in doubt.
    room = rl.sweep(model, chip, tp=widths, concurrency=1, draws=16 if small else 256, **options)["fits"]
    widths = widths[room.mean("draw").values >= 0.9][:, None]
    if not len(widths):
        return found
    loads = np.array([16]) if small else np.unique(np.geomspace(1, 1024, 31).round().astype(int))
    est = rl.serve(model, chip, tp=widths, concurrency=loads, check=False, **options)
    ends = est.interval(0.8)  # leaves a tenth on either side
    good = np.logical_and.reduce([ends[figure][1] <= limit for figure, limit in LIMITS[model].items()])
    replicas = np.ceil(tokens_per_s(model) / ends["tokens_per_s"][0])
    chips = np.where(good, replicas * widths, np.inf)
    at = np.unravel_index(np.argmin(chips), chips.shape)
    if np.isfinite(chips[at]):
        found["sure"] = plan(model, chip, int(widths[at[0], 0]), int(loads[at[1]]), int(replicas[at]), options)
    return found


def plan(model: str, chip: Any, tp: int, concurrency: int, replicas: int, options: dict[str, Any]) -> dict[str, Any]:
    """So many copies of a model, each on `tp` chips with so many requests in flight."""
    est = rl.serve(model, chip, tp=tp, concurrency=concurrency, **options)
    return {
        "chips": tp * replicas,
        "watts": replicas * est.power_w,
        "tp": tp,
        "concurrency": concurrency,
        "tpot_s": est.tpot_s,
        "ttft_s": est.ttft_s,
        "bound": est.bound,
    }


def recommendation(chips: list[Any], small: bool) -> dict[str, Any]:
    """Chips and watts for the recommendation mix, in each draw; infinite where a model is not served."""
    batches = (1024,) if small else (256, 1024, 4096)
    plans = {
        m: [{"dtype": "fp16", "batch": b, "devices": n} for n in ((2,) if small else (1, 2, 4)) for b in batches]
        for m in MIX
    }
    found = compared(chips, plans, 16 if small else 512)
    out: dict[str, Any] = {"probability": found["comparison"].probability}
    for chip in found["comparison"].table["chip"].unique():
        best = {model: within(found, model, chip, WITHIN) for model in MIX}
        with np.errstate(divide="ignore"):
            each = {model: samples_per_s(model) / rate for model, (rate, _) in best.items()}
            watts = sum(samples_per_s(model) / per_watt for model, (_, per_watt) in best.items())
        count = sum(each.values())
        served = found["comparison"].probability(np.isfinite(count))
        out[chip] = {"chips": count, "watts": watts, "each": each, "served": served}
    return out


def study(small: bool = False) -> dict[str, Any]:
    """All that the page tells."""
    loads = np.unique(np.geomspace(1, 1024, 3 if small else 60).round().astype(int))
    shape = {"prompt": PROMPT, "output": OUTPUT, "figures": ["tpot_s", "tokens_per_s_per_chip"]}
    alone = ["h100-sxm", "mtia-2i"] if small else [name for name in TITLES if name != "artemis"]
    return {
        "language": {(model, name): language(model, name, small) for model in SHARE for name in alone},
        "recommendation": recommendation([chip_of(name) for name in TITLES], small),
        "sweeps": {
            name: rl.sweep(
                list(SHARE),
                chip_of(name),
                tp=WIDTHS[: MOST.get(name, 16).bit_length()],
                concurrency=loads,
                **shape,
                **NUMBERS.get(name, OTHERS),
            )
            for name in alone
        },
    }


# Money --------------------------------------------------------------------------------------------------------------


def electricity_usd(watts: Any) -> Any:
    """USD of electricity for a year at these watts at the wall, with the site's share."""
    return watts / 1000 * 8766 * PUE * KWH_USD


def bought_usd(chips: Any, price: float, name: str) -> Any:
    """USD a year of chips bought with their servers."""
    return chips * price * chip_of(name)["server.price_factor"] / YEARS


def worth_usd(f: dict[str, Any], name: str) -> np.ndarray:
    """In each draw, what a chip may cost for the recommendation mix to be no dearer than on H100."""
    h100, other = f["recommendation"]["h100-sxm"], f["recommendation"][name]
    both = np.isfinite(h100["chips"]) & np.isfinite(other["chips"])
    saved = electricity_usd(h100["watts"][both] - other["watts"][both])
    spent = bought_usd(h100["chips"][both], PRICE, "h100-sxm")
    return np.asarray((spent + saved) / bought_usd(other["chips"][both], 1.0, name))


# The page -----------------------------------------------------------------------------------------------------------


def needed(f: dict[str, Any], work: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Chips and watts for a workload, each as expected and nine times in ten; infinite where it cannot be done."""
    if work == "recommendation":
        found = f["recommendation"][name]
        return np.array(enough(found["chips"])), np.array(enough(found["watts"]))
    both = [f["language"].get((work, name), {}).get(key, {}) for key in ("expected", "sure")]
    chips, watts = ([one.get(what, np.inf) for one in both] for what in ("chips", "watts"))
    return np.array(chips), np.array(watts)


def workloads(f: dict[str, Any]) -> str:
    """Chips and megawatts for each workload on each chip."""
    rows = []
    for work in (*SHARE, "recommendation"):
        for name in TITLES:
            if work == "recommendation":
                share, error = f["recommendation"][name]["served"]
                how = f"all four models served: {100 * share:.0f} ± {100 * error:.1f} %"
            elif "expected" in (found := f["language"].get((work, name), {"why": ""})):
                one = found["expected"]
                how = f"tp {one['tp']}, {one['concurrency']} in flight, {1e3 * one['tpot_s']:.0f} ms a token"
            else:
                how = found["why"]
            if how:
                chips, watts = needed(f, work, name)
                rows.append([f"{work.title()} on {TITLES[name]}", pair(chips), pair(watts, mega), how])
    return table(["workload", "chips (9 in 10)", "MW (9 in 10)", "how"], rows)


def whole(f: dict[str, Any], fleet: str) -> dict[str, np.ndarray]:
    """H100, other chips and watts of a fleet, each as expected and nine times in ten (the sum of such)."""
    of_language, of_recommendation = FLEETS[fleet]
    found = {"h100": np.zeros(2), "other": np.zeros(2), "watts": np.zeros(2)}
    for work, name in [*((m, of_language) for m in SHARE), ("recommendation", of_recommendation)]:
        chips, watts = needed(f, work, name)
        found["h100" if name == "h100-sxm" else "other"] += chips
        found["watts"] += watts
    found["usd"] = bought_usd(found["h100"], PRICE, "h100-sxm") + electricity_usd(found["watts"])
    return found


def summed(f: dict[str, Any]) -> str:
    """The fleets, a row each."""
    rows = []
    for fleet in FLEETS:
        one = whole(f, fleet)
        of_all = pair(one["h100"] / H100S, lambda share: f"{100 * share:.1f} %")
        rows.append(
            [fleet, pair(one["h100"]), pair(one["other"]), pair(one["watts"], mega), pair(one["usd"], mega), of_all]
        )
    money = "million USD a year, but for the price of an MTIA"
    return table(["fleet", "H100 (9 in 10)", "MTIA or Artemis", "MW", money, f"of {H100S:,} H100"], rows)


def by_model(f: dict[str, Any]) -> str:
    """The recommendation mix, model by model."""
    rows = []
    for model, part in MIX.items():
        each = [f["recommendation"][name]["each"][model] for name in ("h100-sxm", "mtia-2i", "artemis")]
        asked = [f"{100 * part:.0f} %", f"{samples_per_s(model) / 1e6:,.0f} M"]
        rows.append([model.removeprefix("meta-").upper(), *asked, *(pair(np.array(enough(chips))) for chips in each)])
    return table(["model", "of the samples", "a second", "H100", "MTIA 2i", "Artemis"], rows)


def rate(f: dict[str, Any], model: str, name: str, limit: float) -> float:
    """The most tokens a second and chip within a time per token."""
    grid = f["sweeps"][name].sel(model=model)
    good = grid["fits"] & (grid["tpot_s"] <= limit)
    return float(grid["tokens_per_s_per_chip"].where(good, 0.0).max())


def in_short(f: dict[str, Any]) -> str:
    """The findings, a line each."""
    one, mix = whole(f, "all on H100"), f["recommendation"]
    shares = [100 * chips / H100S for chips in one["h100"]]
    lines = [
        f"- **On H100 alone** the load takes {count(one['h100'][0])} of them as expected, and {count(one['h100'][1])} "
        f"to be enough nine times in ten: {shares[0]:.1f} % ({shares[1]:.1f} %) of {H100S:,}. They draw "
        f"{pair(one['watts'], mega)} MW and cost {pair(one['usd'], mega)} million USD a year."
    ]
    for name in ("mtia-2i", "artemis"):
        share, error = mix["probability"](mix[name]["watts"] < mix["h100-sxm"]["watts"])
        low, middle, high = np.percentile(worth_usd(f, name), [5, 50, 95])
        lines.append(
            f"- **The recommendation mix on {TITLES[name]}** takes {pair(needed(f, 'recommendation', name)[0])} chips "
            f"in place of {pair(needed(f, 'recommendation', 'h100-sxm')[0])} H100. It draws less than they do with a "
            f"probability of {100 * share:.0f} ± {100 * error:.1f} %. For it to be no dearer, a chip may cost "
            f"{count(middle)} USD ({count(low)} to {count(high)} in 90 % of the draws)."
        )
    for model, limit in LIMITS.items():
        chips = [f"{count(needed(f, model, name)[0][0])} {TITLES[name]}" for name in TITLES if name != "artemis"]
        at, later = (rate(f, model, "mtia-2i", factor * limit["tpot_s"]) for factor in (1, 2))
        slower = f"{later / at:.1f} times as many of them" if at else f"{later:.1f} a second, and none within it"
        lines.append(
            f"- **{model.title()}** takes, as expected, {', '.join(chips[:-1])} or {chips[-1]}. With twice the time "
            f"for a token an MTIA 2i does {slower}."
        )
    return "\n".join(lines)


# The pictures -------------------------------------------------------------------------------------------------------


def draw_fleets(f: dict[str, Any], folder: Path) -> None:
    """Chips and megawatts of the fleets."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True, layout="constrained")
    found = [whole(f, fleet) for fleet in FLEETS]
    chips = {"H100": [one["h100"] for one in found], "MTIA or Artemis": [one["other"] for one in found]}
    bars(panels[0], chips, list(FLEETS), "chips")
    bars(panels[1], {"": [one["watts"] / 1e6 for one in found]}, list(FLEETS), "MW at the wall")
    panels[0].invert_yaxis()
    panels[0].legend(loc="upper right", fontsize=9)
    save(folder, "fleets.png", figure)


def draw_frontiers(f: dict[str, Any], folder: Path) -> None:
    """Tokens a second and chip over time per token: the best plans of each chip."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for panel, model in zip(panels, SHARE, strict=True):
        grids = {TITLES[name]: grid.sel(model=model) for name, grid in f["sweeps"].items()}
        frontiers(panel, grids, LIMITS[model]["tpot_s"], model.title())
    panels[0].set_ylabel("output tokens a second and chip")
    panels[1].legend(fontsize=9)
    save(folder, "frontiers.png", figure)


def write_page(f: dict[str, Any], folder: Path) -> None:
    """The page and its pictures."""
    draw_fleets(f, folder)
    draw_frontiers(f, folder)
    text = (HERE / "fleet.page.md").read_text(encoding="utf-8")
    tokens = ", ".join(f"{count(tokens_per_s(m))} output tokens a second of {m.title()}" for m in SHARE)
    write(
        folder,
        text.format(
            in_short=in_short(f),
            workloads=workloads(f),
            fleets=summed(f),
            by_model=by_model(f),
            tokens=tokens,
            samples=sum(map(samples_per_s, MIX)) / 1e9,
            prompt=PROMPT,
            output=OUTPUT,
            price=PRICE,
            h100s=H100S,
            factor=chip_of("h100-sxm")["server.price_factor"],
            years=YEARS,
            kwh=KWH_USD,
            pue=PUE,
        ),
    )


def main(arguments: list[str] | None = None) -> Path:
    """Run the study and write its page; returns the folder."""
    return run(study, write_page, __file__, __doc__, arguments)


if __name__ == "__main__":
    print(f"written: {main()}")
