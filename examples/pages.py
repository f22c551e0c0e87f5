"""What both studies need: the best plan in every draw; tables, pictures and the page of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

import roofline as rl

matplotlib.use("Agg")

#: Batches of a recommendation model follow each other in a pipeline (copy, compute, answer); tokens are output tokens.
RATE = {"recommendation": "pipelined_samples_per_s", "language": "tokens_per_s"}


def chip_of(name: str) -> Any:
    """A chip by its name, also in one of its scenarios: ``artemis[scenario=hbm]``."""
    plain, _, scenario = name.rstrip("]").partition("[scenario=")
    chip = rl.load_chip(plain)
    return chip.scenario(scenario) if scenario else chip


def compared(chips: Sequence[Any], plans: Mapping[str, Sequence[dict[str, Any]]], draws: int) -> dict[str, Any]:
    """Every plan of every model on every chip, from the same draws: model -> plans with what was drawn of each."""
    asked = [(model, options) for model, several in plans.items() for options in several]
    comparison = rl.compare(chips, asked, draws=draws)
    labels = comparison.table["workload"].unique()  # in the order asked
    found: dict[str, Any] = {"comparison": comparison}
    for label, (model, options) in zip(labels, asked, strict=True):
        found.setdefault(model, []).append((label, options))
    return found


def within(found: Mapping[str, Any], model: str, chip: str, limits: Mapping[str, float], most: int = 0) -> Any:
    """In each draw the plan of the highest rate per chip among those that fit and meet the limits.

    Returns its rate per chip and its rate per watt at the wall: 0 in the draws where there is none. `most` is the most
    chips that a plan may take.
    """
    rates, per_watt = [], []
    for label, options in found[model]:
        chips = options.get("devices", options.get("tp", 1))
        drawn = found["comparison"].draws[label, chip]
        rate = drawn[next(name for name in RATE.values() if name in drawn)]
        good = drawn["fits"].astype(bool) & (chips <= (most or chips))
        for figure, limit in limits.items():
            good = good & (drawn[figure] <= limit)
        rates.append(np.where(good, rate / chips, 0.0))
        per_watt.append(np.where(good, rate / drawn["power_w"], 0.0))
    best = np.argmax(rates, axis=0)[None]
    return np.take_along_axis(np.array(rates), best, 0)[0], np.take_along_axis(np.array(per_watt), best, 0)[0]


def ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One over the other in the draws in which both serve; empty where there is no such draw."""
    both = (one > 0) & (other > 0)
    return one[both] / other[both]


def spread(values: np.ndarray, form: str = ".2g") -> str:
    """The median, and the 5th and 95th percentile."""
    if not len(values):
        return "–"
    low, middle, high = np.percentile(values, [5, 50, 95])
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def enough(values: np.ndarray) -> tuple[float, float]:
    """The median, and what is enough in nine draws of ten."""
    middle, high = np.quantile(values, [0.5, 0.9], method="higher")
    return float(middle), float(high)


def count(number: float) -> str:
    """A number to three digits; a dash for what cannot be."""
    return f"{float(f'{number:.3g}'):,.0f}" if np.isfinite(number) else "–"


def pair(values: np.ndarray, form: Any = count) -> str:
    """What is expected, and in brackets what is enough nine times in ten."""
    return f"{form(values[0])} ({form(values[1])})" if np.isfinite(values[0]) else "not served"


def mega(value: float) -> str:
    """Millions."""
    return f"{value / 1e6:,.2g}" if value < 1e8 else count(value / 1e6)


def odds(comparison: Any, holds: np.ndarray) -> str:
    """A probability and its Monte-Carlo standard error, in percent."""
    share, error = comparison.probability(holds)
    return f"{100 * share:.0f} ± {100 * error:.1f} %"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown, figures to the right."""
    lines = [list(head), ["---", *["---:"] * (len(head) - 1)], *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(folder: Path, text: str) -> None:
    """The page, beside its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(text.strip() + "\n", encoding="utf-8")


def save(folder: Path, name: str, figure: Any) -> None:
    """A picture of the page; without the version of what drew it, so that the same picture has the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name, dpi=110, metadata={"Software": None})
    plt.close(figure)


def chequer(panel: Any, shares: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str) -> None:
    """Probabilities as a page of shaded squares."""
    panel.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (row, column), value in np.ndenumerate(shares):
        colour = "white" if value > 0.6 else "black"
        panel.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    panel.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    panel.set_yticks(range(len(rows)), rows)
    panel.set_title(title, fontsize=10)


def intervals(panel: Any, found: Mapping[str, Sequence[np.ndarray]], rows: Sequence[str], title: str) -> None:
    """Medians and 90 % of the draws over a logarithmic axis: label -> the draws of each row."""
    for place, (label, several) in enumerate(found.items()):
        named: str | None = label
        for row, values in enumerate(several):
            if len(values):
                low, middle, high = np.percentile(values, [5, 50, 95])
                panel.errorbar(
                    middle,
                    row + 0.18 * (place - (len(found) - 1) / 2),
                    xerr=[[middle - low], [high - middle]],
                    fmt="vosD"[place],
                    color=f"C{place}",
                    markersize=4,
                    linewidth=1.2,
                    label=named,
                )
                named = None
    panel.axvline(1, color="0.4", linewidth=0.9)
    panel.set_xscale("log")
    panel.set_yticks(range(len(rows)), rows)
    panel.set_xlabel(title)
    panel.grid(axis="x", alpha=0.3)


def bars(panel: Any, parts: Mapping[str, Sequence[np.ndarray]], rows: Sequence[str], title: str) -> None:
    """Bars end to end: label -> of each row what is expected and what is enough, to which a whisker leads."""
    ends = np.zeros((len(rows), 2))
    for place, (label, several) in enumerate(parts.items()):
        colour = f"C{place}" if label else "0.6"
        widths = [values[0] if np.isfinite(values[0]) else 0.0 for values in several]
        panel.barh(
            range(len(rows)), widths, left=np.where(np.isfinite(ends[:, 0]), ends[:, 0], 0.0), color=colour, label=label
        )
        ends = ends + np.array(several)
    for row, (expected, sure) in enumerate(ends):
        if not np.isfinite(expected):
            panel.text(0, row, "  not served", va="center")
            continue
        last = sure if np.isfinite(sure) else expected
        panel.plot([expected, last], [row, row], color="0.2", linewidth=1.2, marker="|" if last > expected else "")
        panel.text(last, row, f"  {count(expected) if expected > 1000 else f'{expected:.2g}'}", va="center")
    panel.set(yticks=range(len(rows)), yticklabels=rows, xlabel=title, xlim=(0, 1.2 * panel.get_xlim()[1]))


def frontiers(panel: Any, grids: Mapping[str, Any], limit: float, title: str) -> None:
    """Tokens a second and chip over time per token: the best plans of each chip, and the target."""
    for place, (label, grid) in enumerate(grids.items()):
        if grid["fits"].any():
            best = rl.pareto(grid, maximise="tokens_per_s_per_chip", minimise="tpot_s").sort_values("tpot_s")
            panel.plot(best["tpot_s"], best["tokens_per_s_per_chip"], color=f"C{place}", label=label)
    panel.axvline(limit, color="0.3", linestyle=":", linewidth=1)
    panel.set(xscale="log", yscale="log", xlabel="time per output token (s)", title=title)
    panel.grid(alpha=0.3)


def run(
    study: Callable[[bool], Any],
    write_page: Callable[[Any, Path], None],
    script: str,
    said: str | None,
    arguments: Sequence[str] | None,
) -> Path:
    """The command of a study: make it and write its page; returns the folder."""
    parser = argparse.ArgumentParser(description=said, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small grid, in seconds: to see that it runs")
    parser.add_argument("--out", type=Path, help="folder for the page (default: beside the script)")
    asked = parser.parse_args(arguments)
    beside = Path(script).with_suffix("")
    folder: Path = asked.out or beside.with_name(beside.name + ("-small" if asked.small else ""))
    write_page(study(asked.small), folder)
    return folder
