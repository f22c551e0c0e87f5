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
from pages import compared, run, save, table, within, write

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
PRICE = 27_500
LPDDR, HBM = "artemis[scenario=lpddr]", "artemis[scenario=hbm]"
TITLES = {"h100-sxm": "H100", "mtia-2i": "MTIA 2i", "artemis": "Artemis", LPDDR: "Artemis, LPDDR", HBM: "Artemis, HBM"}

#: The H100 has fp8; the others keep their weights in int8 and compute in fp16. No copy leaves its server.
NUMBERS = {"h100-sxm": {"dtype": "fp8", "kv_dtype": "fp8"}}
OTHERS = {"dtype": "fp16", "weight_dtype": "int8"}
MOST = {"h100-sxm": 8}


def samples_per_s(model: str) -> float:
    """Samples a second of a recommendation model in the busiest hour."""
    return PEAK * PREDICTIONS * MIX[model] / DAY_S


def tokens_per_s(model: str) -> float:
    """Output tokens a second of a language model in the busiest hour."""
    return PEAK * REQUESTS * SHARE[model] * OUTPUT / DAY_S


# What is found ------------------------------------------------------------------------------------------------------


def chip_of(name: str) -> Any:
    """A chip by its name, or Artemis in one of its scenarios."""
    plain, _, scenario = name.rstrip("]").partition("[scenario=")
    chip = rl.load_chip(plain)
    return chip.scenario(scenario) if scenario else chip


def language(model: str, name: str, small: bool) -> dict[str, Any]:
    """Chips and watts for a language model: as expected, and so that targets and load hold nine times in ten."""
    chip, most = chip_of(name), MOST.get(name, 16)
    options = {"prompt": PROMPT, "output": OUTPUT, **NUMBERS.get(name, OTHERS)}
    fewest = rl.fewest_chips(model, chip, **LIMITS[model], tokens_per_s=tokens_per_s(model), most=most, **options)
    if fewest.empty:
        return {"why": fewest.attrs["why"]}
    best = fewest.iloc[0]
    found = {"expected": plan(model, chip, int(best.tp), int(best.concurrency), int(best.replicas), options)}
    widths = np.array([n for n in (1, 2, 4, 8, 16) if n <= most])
    # What fits in nine draws of ten, of those figures of the chip that are in doubt.
    room = rl.sweep(model, chip, tp=widths, concurrency=1, draws=16 if small else 256, **options)["fits"]
    widths = widths[room.mean("draw").values >= 0.9][:, None]
    if not len(widths):
        return found
    loads = np.unique(np.geomspace(1, 1024, 4 if small else 31).round().astype(int))
    est = rl.serve(model, chip, tp=widths, concurrency=loads, check=False, **options)
    # An interval of 80 % leaves a tenth on either side.
    good = np.logical_and.reduce([est.interval(0.8, name)[1] <= limit for name, limit in LIMITS[model].items()])
    replicas = np.ceil(tokens_per_s(model) / est.interval(0.8, "tokens_per_s")[0])
    chips = np.where(good, replicas * widths, np.inf)
    at = np.unravel_index(np.argmin(chips), chips.shape)
    if np.isfinite(chips[at]):
        found["sure"] = plan(model, chip, int(widths[at[0], 0]), int(loads[at[1]]), int(replicas[at]), options)
    return found


def plan(model: str, chip: Any, tp: int, concurrency: int, replicas: int, options: dict[str, Any]) -> dict[str, Any]:
    """So many copies of a model, each on `tp` chips with so many requests in flight."""
    est = rl.serve(model, chip, tp=tp, concurrency=concurrency, **options)
    return {"chips": tp * replicas, "watts": replicas * est.power_w, "tp": tp, "concurrency": concurrency,
            "tpot_s": est.tpot_s, "ttft_s": est.ttft_s, "bound": est.bound}  # fmt: skip


def recommendation(chips: list[Any], small: bool) -> dict[str, Any]:
    """Chips and watts for the recommendation mix, in each draw; infinite where a model is not served."""
    batches = (1024,) if small else (256, 1024, 4096)
    plans = {m: [{"dtype": "fp16", "batch": b, "devices": n} for n in (1, 2) for b in batches] for m in MIX}
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
    loads = np.unique(np.geomspace(1, 1024, 5 if small else 60).round().astype(int))
    shape = {"prompt": PROMPT, "output": OUTPUT, "figures": ["tpot_s", "tokens_per_s_per_chip"]}
    alone = [name for name in TITLES if name != "artemis"]
    return {
        "language": {(model, name): language(model, name, small) for model in SHARE for name in alone},
        "recommendation": recommendation([chip_of(name) for name in TITLES], small),
        "sweeps": {
            name: rl.sweep(list(SHARE), chip_of(name), tp=[1, 2, 4, 8], concurrency=loads, **shape,
                           **NUMBERS.get(name, OTHERS))
            for name in alone
        },
    }  # fmt: skip


# Money --------------------------------------------------------------------------------------------------------------


def electricity_usd(watts: Any) -> Any:
    """USD of electricity for a year at these watts at the wall, with the site's share."""
    terms = rl.estimate("llama-3.1-8b", "h100-sxm").request.terms
    return watts / 1000 * 8766 * terms.pue * terms.electricity


def year_usd(chips: Any, watts: Any, price: float, name: str = "h100-sxm") -> Any:
    """USD for a year of so many chips, bought with their servers, and of their electricity."""
    terms = rl.estimate("llama-3.1-8b", "h100-sxm").request.terms
    return chips * price * chip_of(name)["server.price_factor"] / terms.amortise_years + electricity_usd(watts)


def worth_usd(f: dict[str, Any], name: str) -> np.ndarray:
    """In each draw, what a chip may cost for the recommendation mix to be no dearer than on bought H100."""
    terms = rl.estimate("llama-3.1-8b", "h100-sxm").request.terms
    h100, other = f["recommendation"]["h100-sxm"], f["recommendation"][name]
    left = year_usd(h100["chips"], h100["watts"], PRICE) - electricity_usd(other["watts"])
    served = np.isfinite(h100["chips"]) & np.isfinite(other["chips"])
    return (left[served] * terms.amortise_years) / (other["chips"][served] * chip_of(name)["server.price_factor"])


# The page -----------------------------------------------------------------------------------------------------------


def ends(values: np.ndarray) -> tuple[float, float]:
    """The median, and what is enough nine times in ten."""
    middle, high = np.quantile(values, [0.5, 0.9], method="higher")
    return float(middle), float(high)


def needed(f: dict[str, Any], work: str, name: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Chips and watts for a workload, each as expected and nine times in ten; infinite where it cannot be done."""
    if work == "recommendation":
        found = f["recommendation"][name]
        return ends(found["chips"]), ends(found["watts"])
    both = [f["language"][work, name].get(key, {"chips": np.inf, "watts": np.inf}) for key in ("expected", "sure")]
    return (both[0]["chips"], both[1]["chips"]), (both[0]["watts"], both[1]["watts"])


def count(number: float) -> str:
    """A number of chips, to three digits."""
    if not np.isfinite(number):
        return "not served"
    return f"{float(f'{number:.3g}'):,.0f}"


def megawatts(watts: float) -> str:
    return f"{watts / 1e6:.2g}" if np.isfinite(watts) else "–"


def workloads(f: dict[str, Any]) -> str:
    """Chips and megawatts for each workload on each chip."""
    rows = []
    for work in (*SHARE, "recommendation"):
        for name in TITLES:
            if work != "recommendation" and name == "artemis":
                continue
            chips, watts = needed(f, work, name)
            rows.append([f"{work.capitalize()}, {TITLES[name]}", count(chips[0]), count(chips[1]), megawatts(watts[0]),
                         megawatts(watts[1]), how(f, work, name)])  # fmt: skip
    return table(["workload, chip", "chips", "9 in 10", "MW", "9 in 10", "how"], rows)


def how(f: dict[str, Any], work: str, name: str) -> str:
    """The expected plan of a language model, or how sure it is that a mix is served at all."""
    if work == "recommendation":
        chance, error = f["recommendation"][name]["served"]
        return f"all four models served: {100 * chance:.0f} ± {100 * error:.1f} %"
    found = f["language"][work, name]
    if "expected" not in found:
        return str(found["why"])
    one = found["expected"]
    return f"tp {one['tp']}, {one['concurrency']} in flight, {1e3 * one['tpot_s']:.0f} ms a token, {one['bound']}"


def fleets() -> dict[str, tuple[str, str]]:
    """Fleets: the chip of the language models, and that of recommendation."""
    return {
        "all on H100": ("h100-sxm", "h100-sxm"),
        "recommendation on MTIA 2i": ("h100-sxm", "mtia-2i"),
        "recommendation on Artemis": ("h100-sxm", "artemis"),
        "all on MTIA 2i": ("mtia-2i", "mtia-2i"),
        "all on Artemis, LPDDR": (LPDDR, LPDDR),
        "all on Artemis, HBM": (HBM, HBM),
    }


def whole(f: dict[str, Any], fleet: str) -> dict[str, np.ndarray]:
    """H100, other chips and watts of a fleet, each as expected and nine times in ten (the sum of such)."""
    of_language, of_recommendation = fleets()[fleet]
    parts = [(of_language, needed(f, work, of_language)) for work in SHARE]
    parts.append((of_recommendation, needed(f, "recommendation", of_recommendation)))
    found = {key: np.zeros(2) for key in ("h100", "other", "watts")}
    for name, (chips, watts) in parts:
        found["h100" if name == "h100-sxm" else "other"] += chips
        found["watts"] += watts
    return found


def summed(f: dict[str, Any]) -> str:
    """The fleets, a row each."""
    rows = []
    for fleet in fleets():
        one = whole(f, fleet)
        usd = year_usd(one["h100"], one["watts"], PRICE)
        mine = "all" if not np.any(one["other"]) else "without its chips"
        rows.append([
            fleet, f"{count(one['h100'][0])} ({count(one['h100'][1])})", f"{count(one['other'][0])} ({count(one['other'][1])})",
            f"{megawatts(one['watts'][0])} ({megawatts(one['watts'][1])})",
            f"{usd[0] / 1e6:,.0f} ({usd[1] / 1e6:,.0f}) {mine}" if np.isfinite(usd[0]) else "–",
            f"{100 * one['h100'][0] / H100S:.2f} % ({100 * one['h100'][1] / H100S:.2f} %)",
        ])  # fmt: skip
    return table(["fleet", "H100 (9 in 10)", "MTIA or Artemis", "MW", "million USD a year", f"of {H100S:,} H100"], rows)


def by_model(f: dict[str, Any]) -> str:
    """The recommendation mix, model by model."""
    rows = []
    for model, part in MIX.items():
        cells = []
        for name in ("h100-sxm", "mtia-2i", "artemis"):
            chips = f["recommendation"][name]["each"][model]
            low, middle, high = np.quantile(chips, [0.1, 0.5, 0.9], method="higher")
            cells.append(f"{count(middle)} ({count(low)} to {count(high)})")
        rows.append(
            [model.removeprefix("meta-").upper(), f"{100 * part:.0f} %", f"{samples_per_s(model) / 1e6:,.0f} M", *cells]
        )
    return table(["model", "of the samples", "a second", "H100", "MTIA 2i", "Artemis"], rows)


def in_short(f: dict[str, Any]) -> str:
    """The findings, a line each."""
    h100, lines = whole(f, "all on H100"), []
    mix = f["recommendation"]
    usd = year_usd(h100["h100"], h100["watts"], PRICE)
    lines.append(
        f"- **On H100 alone** the load takes {count(h100['h100'][0])} of them, {count(h100['h100'][1])} to be enough nine "
        f"times in ten: {100 * h100['h100'][0] / H100S:.1f} % ({100 * h100['h100'][1] / H100S:.1f} %) of {H100S:,}. They "
        f"draw {megawatts(h100['watts'][0])} MW ({megawatts(h100['watts'][1])}) and cost "
        f"{usd[0] / 1e6:,.0f} million USD a year ({usd[1] / 1e6:,.0f})."
    )
    for name in ("mtia-2i", "artemis"):
        own, other = mix[name], mix["h100-sxm"]
        share, error = mix["probability"](own["watts"] < other["watts"])
        low, middle, high = np.percentile(worth_usd(f, name), [5, 50, 95])
        middle_n, high_n = ends(own["chips"])
        lines.append(
            f"- **The recommendation mix on {TITLES[name]}** takes {count(middle_n)} chips ({count(high_n)} nine times in "
            f"ten) in place of {count(ends(other['chips'])[0])} H100 ({count(ends(other['chips'])[1])}). It draws less than "
            f"they do with a probability of {100 * share:.0f} ± {100 * error:.1f} %. A chip may cost {count(middle)} USD "
            f"({count(low)} to {count(high)}) to be no dearer than bought H100."
        )
    for model in SHARE:
        cells = [f"{TITLES[name]} {count(needed(f, model, name)[0][0])}" for name in TITLES if name != "artemis"]
        lines.append(f"- **{model.title()}**, chips as expected: {', '.join(cells)}.")
    return "\n".join(lines)


# The pictures -------------------------------------------------------------------------------------------------------


def draw_fleets(f: dict[str, Any], folder: Path) -> None:
    """Megawatts and chips of the fleets: bars as expected, whiskers to nine times in ten."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True, layout="constrained")
    for row, fleet in enumerate(fleets()):
        one = whole(f, fleet)
        chips = one["h100"] + one["other"]
        for panel, values, left in ((panels[0], chips, one["h100"][0]), (panels[1], one["watts"] / 1e6, 0.0)):
            if np.isfinite(values[0]):
                panel.barh(row, values[0], color="C1" if left < values[0] and panel is panels[0] else "C7")
                panel.text(
                    values[0],
                    row,
                    f" {count(values[0]) if panel is panels[0] else f'{values[0]:.2g} MW'}",
                    va="center",
                    fontsize=9,
                )
            if np.isfinite(values[1]):
                panel.plot(values, [row, row], color="0.2", linewidth=1.2, marker="|")
        if one["h100"][0]:
            panels[0].barh(row, one["h100"][0], color="C0")
    panels[0].set_xscale("log")
    panels[1].set_xscale("log")
    panels[0].set_yticks(range(len(fleets())), list(fleets()))
    panels[0].invert_yaxis()
    save(folder, "fleets.png", figure)


def draw_frontiers(f: dict[str, Any], folder: Path) -> None:
    """Tokens a second and chip over time per token: the best width at each."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for panel, model in zip(panels, SHARE, strict=True):
        for place, (name, grid) in enumerate(f["sweeps"].items()):
            one = grid.sel(model=model)
            if one["fits"].any():
                best = rl.pareto(one, maximise="tokens_per_s_per_chip", minimise="tpot_s").sort_values("tpot_s")
                panel.plot(best["tpot_s"], best["tokens_per_s_per_chip"], color=f"C{place}", label=TITLES[name])
        panel.axvline(LIMITS[model]["tpot_s"], color="0.3", linestyle=":", linewidth=1)
        panel.set(xscale="log", yscale="log", xlabel="time per output token (s)", title=model.title())
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("output tokens a second and chip")
    panels[0].legend(fontsize=8)
    save(folder, "frontiers.png", figure)


def write_page(f: dict[str, Any], folder: Path) -> None:
    """The page and its pictures."""
    draw_fleets(f, folder)
    draw_frontiers(f, folder)
    text = (HERE / "fleet.page.md").read_text(encoding="utf-8")
    write(folder, text.format(
        in_short=in_short(f), workloads=workloads(f), fleets=summed(f), by_model=by_model(f),
        tokens=", ".join(f"{tokens_per_s(m):,.0f} output tokens a second of {m.title()}" for m in SHARE),
        samples=sum(samples_per_s(m) for m in MIX) / 1e9, prompt=PROMPT, output=OUTPUT, price=PRICE, h100s=H100S,
    ))  # fmt: skip


def main(arguments: list[str] | None = None) -> Path:
    """Run the study and write its page; returns the folder."""
    return run(study, write_page, __file__, __doc__, arguments)


if __name__ == "__main__":
    print(f"written: {main()}")
