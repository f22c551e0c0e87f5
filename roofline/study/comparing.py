"""Chips side by side on the workloads of both families of models, with the odds that one beats another."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, NotKnown, RooflineError, UnknownName, shown
from roofline.base.face import FLAG, NUMBER, TEXT, optional, takes
from roofline.base.numeric import MOST, quantiles
from roofline.catalog.load import Model, as_chip, as_model
from roofline.hardware import uncertainty
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.study import asked, chance, variables
from roofline.study.chance import OF_POWER, REPLICATES, SHARED_ERROR

if TYPE_CHECKING:
    import pandas as pd

#: The most chips that are taken of a kind for a model to fit, where no plan is given.
_MOST_CHIPS = 64


#: Column -> the figure of a language model, and of a recommendation model.
_COLUMNS = {
    "throughput": ("tokens_per_s", "samples_per_s"),
    "per_chip": ("tokens_per_s_per_chip", "samples_per_s_per_chip"),
    "latency_s": ("tpot_s", "latency_s"),
    "ttft_s": ("ttft_s", ""),
    "per_joule": ("tokens_per_joule", "samples_per_joule"),
    "usd_per_million": ("usd_per_million_tokens", "usd_per_million_samples"),
}


@dataclass(frozen=True)
class Comparison:
    """Chips side by side; see :func:`compare`.

    Attributes
    ----------
    table : DataFrame
        One row a workload and chip.
    odds : DataFrame
        One row a workload and ordered pair of chips: the probability that the first beats the second.
    targets : DataFrame
        One row a workload, chip and target: the probability that it holds.
    draws : dict
        (workload, chip) -> figure -> one value a draw; with ``fits``.
    """

    table: pd.DataFrame
    odds: pd.DataFrame
    targets: pd.DataFrame
    draws: Mapping[tuple[str, str], Mapping[str, np.ndarray]]

    def __repr__(self) -> str:
        return f"{self.table.to_string()}\n\n{self.odds.to_string()}"

    def probability(self, holds: np.ndarray) -> tuple[float, float]:
        """The share of the draws in which something holds that is made of :attr:`draws`, and its standard error.

        Parameters
        ----------
        holds : ndarray of bool
            One a draw, such as ``(drawn["ttft_s"] <= 2) & (drawn["tpot_s"] <= 0.2)``.

        Raises
        ------
        BadWorkload
            For any other length.
        """
        count = len(next(iter(next(iter(self.draws.values())).values())))
        if np.shape(holds) != (count,):
            raise BadWorkload(f"probability: expected {count} values, one a draw, found the shape {np.shape(holds)}")
        return chance.probability(np.asarray(holds, dtype=bool))

    def beats(
        self, workload: str, chip: str, other: str, by: float = 1.0, figure: str | None = None
    ) -> tuple[float, float]:
        """The probability that one chip beats another on a workload, and its standard error.

        Parameters
        ----------
        workload, chip, other : str
            As the table has them.
        by : float
            By which factor: 1.5 is one and a half times the rate, or the time over one and a half.
        figure : str, optional
            Default: the rate per chip.

        Returns
        -------
        tuple of float
            Probability and standard error.

        Raises
        ------
        UnknownName
            For what was not compared.
        """
        one, two = (self._of(workload, name) for name in (chip, other))
        figure = figure or next(name for name in _COLUMNS["per_chip"] if name in one)
        for drawn in (one, two):
            if figure not in drawn:
                raise UnknownName(f"figure that was drawn of {workload}", figure, drawn)
        return _beats(one, two, figure, by)

    def _of(self, workload: str, chip: str) -> Mapping[str, np.ndarray]:
        if (workload, chip) not in self.draws:
            known = {name for pair in self.draws for name in pair}
            missing = next((name for name in (workload, chip) if name not in known), f"{workload} on {chip}")
            raise UnknownName("workload or chip of the comparison", missing, known)
        return self.draws[workload, chip]


@takes(model_error=FLAG, scenarios=FLAG, figure=optional(TEXT))
def compare(
    chips: Chip | str | os.PathLike[str] | Sequence[Chip | str | os.PathLike[str]],
    models: Any,
    *,
    draws: int = 256,
    seed: int = 0,
    level: float = 0.9,
    by: float = 1.0,
    figure: str | None = None,
    targets: Mapping[str, float] | None = None,
    model_error: bool = True,
    scenarios: bool = True,
    shared_error: float = SHARED_ERROR,
    **options: Any,
) -> Comparison:
    """Chips side by side on workloads of both families of models: figures with intervals, and odds.

    Parameters
    ----------
    chips : Chip, str or several
        Chips, or their names or paths.
    models : model, str or several
        Each a model, or a pair of one and its own options: ``("dlrm-v2", {"batch": 4096})``.
    draws : int
        Draws of all that is in doubt, rounded up to a multiple of 8.
    seed : int
        The same seed draws the same.
    level : float
        Probability of the intervals.
    by : float
        What beating means: by this factor at least.
    figure : str, optional
        What the odds are on; default: the rate per chip. One that a workload does not have leaves it at that.
    targets : mapping of str to float, optional
        Figure -> target: the most of a time, a power or a price, the least of a rate. Each counts where it exists.
    model_error : bool
        Draw the model's own error too, not only the ranges of the chips' figures.
    scenarios : bool
        Let each draw choose one of a chip's scenarios by their weights; otherwise the chips are as they stand.
    shared_error : float
        Share, from 0 to 1, of the variance of the model's error on a class of operators that chips of one family have
        in common. Variants of one chip on one software stack have all of it in common, chips of two families none.
    **options
        As for :func:`roofline.estimate`, for every model that knows them. A language model with `concurrency` among
        its options is served: they are then as for :func:`roofline.serve`, ``concurrency=None`` for as many requests
        as each chip's memory holds, and all its figures are a server's. Where no plan is asked for (`tp`, `pp`, `ep`,
        `dp`; `devices`), a model that does not fit on one chip is split over the fewest that hold it, a power of two.

    Returns
    -------
    Comparison
        ``table``: `workload`, `chip`, `chips` (taken), `fits` (the probability), `bound`, and with their intervals
        (`_low`, `_high`) `throughput` and `per_chip` (`unit`), `latency_s` (time per output token, or of a batch),
        `ttft_s`; `per_joule` and `usd_per_million` (tokens or samples) where the power and the price are known.
        A figure that does not exist or is not known is missing. ``odds``: `workload`, `chip`, `other`, `odds`, `error`.
        ``targets``: `workload`, `chip`, `figure`, `target`, `odds`, `error`.

    Raises
    ------
    BadWorkload, UnknownName
        For what cannot be compared, and options that no model knows: those of a server without `concurrency`, a batch
        that no model takes beside it, and a recommendation model, which has no tokens, with it.

    Notes
    -----
    Draws are scrambled Sobol points (scipy.stats.qmc) in 8 independent scramblings, whose scatter gives each
    probability its standard error. A figure that two chips inherit from one place, or that shares its luck with others
    (``correlates_with``), is one and the same chance for all of them, as is what `shared_error` says of the model's
    error; so odds between chips of a make hang on what they differ in. A draw in which a model does not fit loses.

    Examples
    --------
    >>> import roofline as rl
    >>> both = rl.compare(["mtia-2i", "mtia-v1"], "dlrm-kaggle", draws=16)
    >>> both.table["chip"].tolist()
    ['mtia-2i', 'mtia-v1']
    >>> float(both.odds["odds"].sum())  # of one over the other, and the other way round
    1.0
    """
    import pandas as pd

    _check(draws, seed, level, by, shared_error, targets)
    on = _chips(chips)
    workloads = _workloads(models, options)
    cases = {(name, chip.name): _case(model, chip, own) for name, (model, own) in workloads.items() for chip in on}
    known = {name for est in cases.values() for name in (*est.FIGURES, *est.EXTRA)}
    if figure is not None and figure not in known:
        raise UnknownName("figure of the models compared", figure, known)
    weights = {key: chance.error_weights(est) if model_error else {} for key, est in cases.items()}
    names = [name for est in cases.values() for name in uncertainty.chances(est.chip, scenarios=scenarios)]
    names += [name for key, est in cases.items() for name in chance.error_names(est.chip, weights[key])]
    if model_error:
        names += [name for est in cases.values() for name in chance.error_names(est.chip, OF_POWER)]
    count = REPLICATES * -(-draws // REPLICATES)
    uniform = chance.draw(names, count, seed)

    def draw(est: Any, own: Mapping[str, float], full: bool) -> dict[str, np.ndarray]:
        on_chance = type(est)(est.model, uncertainty.settled(est.chip, uniform, scenarios=scenarios), est.request)
        on_chance = on_chance.full if full else on_chance
        errors, of_power = (
            np.exp(chance.error_scores(est.chip, parts, uniform, shared_error))
            if model_error and parts
            else np.ones(count)
            for parts in (own, OF_POWER)
        )
        found = on_chance._figures_with_errors(errors) if model_error else on_chance.figures()
        found = {**found, **_power_and_money(on_chance, found, of_power), "fits": on_chance.fits}
        return {name: np.broadcast_to(values, (count,)) for name, values in found.items()}

    drawn = {
        key: draw(est, weights[key], workloads[key[0]][1].get("concurrency", 0) is None) for key, est in cases.items()
    }
    rows = [_row(key, est, drawn[key], level) for key, est in cases.items()]
    odds = [
        _odds(workload, one.name, two.name, drawn, figure, by)
        for workload in workloads
        for one, two in itertools.permutations(on, 2)
    ]
    held = [row for key in cases for row in _held(key, drawn[key], targets or {})]
    return Comparison(
        table=pd.DataFrame(rows).dropna(axis="columns", how="all"),
        odds=pd.DataFrame(odds, columns=["workload", "chip", "other", "figure", "by", "odds", "error"]),
        targets=pd.DataFrame(held, columns=["workload", "chip", "figure", "target", "odds", "error"]),
        draws=drawn,
    )


# What is asked ------------------------------------------------------------------------------------------------------


def _check(draws: Any, seed: Any, level: Any, by: Any, shared: Any, targets: Mapping[str, float] | None) -> None:
    def need(fine: bool, what: str, expected: str, found: Any) -> None:
        if not fine:
            raise BadWorkload(f"compare: {what}: expected {expected}, found {shown(found)}")

    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in (draws, seed))
    need(whole and 16 <= draws <= 2**20, "draws", "a whole number from 16 to 1,048,576", draws)
    need(whole and 0 <= seed < 2**63, "seed", "a whole number that is not negative", seed)
    need(NUMBER.holds(level) and 0 < level < 1, "level", "a number between 0 and 1, such as 0.9", level)
    need(NUMBER.holds(by) and 0 < by < 1e9, "by", "a positive factor, such as 1.5", by)
    need(NUMBER.holds(shared) and 0 <= shared <= 1, "shared_error", "a share from 0 to 1", shared)
    need(targets is None or isinstance(targets, Mapping), "targets", "figures and their targets", targets)
    for name, target in (targets or {}).items():
        known = {one for pair in _COLUMNS.values() for one in pair if one} | {"time_s", "power_w"}
        if name not in known:
            raise UnknownName("figure with a target", str(name), known)
        need(NUMBER.holds(target) and 0 < target < MOST, f"targets: {name}", "a positive number (SI)", target)


def _chips(given: Any) -> list[Chip]:
    several = given if isinstance(given, list | tuple) else [given]
    chips = [as_chip(one) for one in several]
    if not chips:
        raise BadWorkload("compare: expected at least one chip, found none")
    _refuse_twice("chip", [chip.name for chip in chips])
    for chip in chips:
        if any(isinstance(n.value, np.ndarray) for n in (*chip.numbers.values(), *chip.defaults.values())):
            raise BadWorkload(f"compare: {chip.title} has figures that are arrays; give each variant as a chip")
    return chips


def _workloads(given: Any, options: dict[str, Any]) -> dict[str, tuple[Model, dict[str, Any]]]:
    """Each workload by name: its model, and the options that it knows."""
    is_pair = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping)
    several = given if isinstance(given, list | tuple) and not is_pair else [given]
    if not several:
        raise BadWorkload("compare: expected at least one model, found none")
    pairs = []
    for one in several:
        model, own = one if isinstance(one, tuple) and len(one) == 2 else (one, {})
        if not isinstance(own, Mapping):
            raise BadWorkload(f"compare: expected a model, or a pair of one and its options, found {shown(one)}")
        loaded = as_model(model)
        if "concurrency" in own:
            asked.refuse_unserved("compare", loaded)
        known = _known(loaded, options, own)
        pairs.append((loaded, {**{n: v for n, v in options.items() if n in known}, **own}))
    every = {name for model, own in pairs for name in _known(model, options, own)}
    if "concurrency" in options and "concurrency" not in every:
        asked.refuse_unserved("compare", pairs[0][0])
    asked.refuse_misplaced("compare", [name for name in options if name not in every], "concurrency" in options)
    for name in options:
        if name not in every:
            raise UnknownName("option of the models compared", name, every)
    names = [model.name for model, _ in pairs]
    labels = [_label(model, own, names.count(model.name) > 1) for model, own in pairs]
    _refuse_twice("workload", labels)
    return dict(zip(labels, pairs, strict=True))


def _known(model: Model, options: Mapping[str, object], own: Mapping[str, object]) -> tuple[str, ...]:
    """The options of a workload: those of a server, where one is asked for."""
    return asked.options_of(model, "concurrency" in options or "concurrency" in own)


def _label(model: Model, own: Mapping[str, object], twice: bool) -> str:
    asked = ", ".join(f"{name}={value}" for name, value in own.items())
    return f"{model.name} ({asked})" if twice and asked else model.name


def _refuse_twice(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadWorkload(f"compare: the {what} {name} is given twice")


def _case(model: Model, chip: Chip, options: dict[str, object]) -> Any:
    """The estimate of a workload on a chip: as planned, else on the fewest chips that hold it."""
    est = asked.answer(model, chip, options)
    if np.shape(est.time_s):
        raise BadWorkload("compare: expected one point a workload, found arrays: sweep and estimate do arrays")
    widths = variables.PLAN if isinstance(model, LanguageModel) else ("devices",)
    if est.fits or any(name in options for name in widths):
        return est
    count = 2
    while count <= _MOST_CHIPS:
        try:
            wider = asked.answer(model, chip, {**options, widths[0]: count})
        except RooflineError:
            break  # no link, or no such split
        if wider.fits:
            return wider
        count *= 2
    return est


# What is drawn ------------------------------------------------------------------------------------------------------


def _power_and_money(est: Any, found: Mapping[str, Any], factors: np.ndarray) -> dict[str, Any]:
    """Figures of power and money at each draw, where they are known."""
    try:
        values: dict[str, Any] = est._extra_with_errors(found[est.RATE], factors)
    except NotKnown:
        return {}
    return values


def _row(key: tuple[str, str], est: Any, drawn: Mapping[str, np.ndarray], level: float) -> dict[str, Any]:
    fits = drawn["fits"].astype(bool)
    language = isinstance(est.model, LanguageModel)
    row: dict[str, Any] = {
        "workload": key[0], "chip": key[1], "chips": int(est.devices), "fits": float(np.mean(fits)),
        "bound": str(est.bound), "unit": f"{'tokens' if language else 'samples'}/s",
    }  # fmt: skip
    for column, (of_language, of_recommendation) in _COLUMNS.items():
        name = of_language if language and of_language in {*est.FIGURES, *est.EXTRA} else of_recommendation
        value = _figure(est, name) if est.fits else None
        low = high = None
        if value is not None and name in drawn and fits.any():
            ends = [float(end) for end in quantiles(drawn[name][fits], (1 - level) / 2, (1 + level) / 2)]
            low, high = min(ends[0], value), max(ends[1], value)
        row |= {column: value, f"{column}_low": low, f"{column}_high": high}
    return row


def _figure(est: object, name: str) -> float | None:
    try:
        return float(getattr(est, name)) if name else None
    except NotKnown:
        return None


# Odds ---------------------------------------------------------------------------------------------------------------


def _odds(
    workload: str,
    one: str,
    two: str,
    drawn: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
    figure: str | None,
    by: float,
) -> dict[str, object]:
    mine, others = drawn[workload, one], drawn[workload, two]
    usual = next(name for name in _COLUMNS["per_chip"] if name in mine)
    name = figure if figure is not None and figure in mine and figure in others else usual
    share, error = _beats(mine, others, name, by)
    return {"workload": workload, "chip": one, "other": two, "figure": name, "by": by, "odds": share, "error": error}


def _beats(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray], figure: str, by: float) -> tuple[float, float]:
    """How often the first is better by a factor; where only one fits it is that one, where neither does none is."""
    mine, others = _worth(one, figure), _worth(two, figure)
    return chance.probability(mine > by * others)


def _worth(drawn: Mapping[str, np.ndarray], figure: str) -> np.ndarray:
    """What is better the more of it there is; nothing where the model does not fit."""
    less = variables.less_is_better(figure)
    worth = 1 / drawn[figure] if less else drawn[figure]
    kept: np.ndarray = np.where(drawn["fits"].astype(bool), worth, 0.0)
    return kept


def _held(
    key: tuple[str, str], drawn: Mapping[str, np.ndarray], targets: Mapping[str, float]
) -> list[dict[str, object]]:
    rows = []
    for name, target in targets.items():
        if name in drawn:
            reached: Callable[[Any, Any], Any] = np.less_equal if variables.less_is_better(name) else np.greater_equal
            share, error = chance.probability(reached(drawn[name], target) & drawn["fits"].astype(bool))
            rows.append(
                {"workload": key[0], "chip": key[1], "figure": name, "target": target, "odds": share, "error": error}
            )
    return rows
