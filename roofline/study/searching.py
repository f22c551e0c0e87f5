"""The best chip or plan within limits: several variables at once, by differential evolution."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, RooflineError, UnknownName, shown
from roofline.base.face import FLAG, NUMBER, TEXT, optional, takes
from roofline.catalog.load import CHIP, MODEL, Model, as_chip, as_model
from roofline.hardware.chip import Chip
from roofline.serving.server import ServingEstimate
from roofline.study import asked, variables
from roofline.study.variables import Variable

if TYPE_CHECKING:
    import pandas as pd

#: No limit is so large.
_LARGEST = 1e30

#: What stands for a point that breaks a limit: above every logarithm of a figure.
_BROKEN = 1e6

#: A limit binds where no more than this share of it is left.
_BINDS = 1e-3

#: Limits beside the figures of the estimate and of the chip.
_RATIOS: dict[str, Callable[[Any], Any]] = {
    "bytes_per_flop": lambda est: est.chip.level(est.chip.main_level, "bandwidth") / est.chip.rate(est.request.dtype),
    "watts_per_tflops": lambda est: est.chip["power.tdp"] / (est.chip.rate(est.request.dtype) / 1e12),
}


@dataclass(frozen=True)
class Design:
    """What a search found; see :func:`search`.

    Attributes
    ----------
    figure : str
        What was made large or small.
    values : dict of str to float
        The variables, in SI units; empty where nothing within the limits was found.
    result : float or None
        The figure there.
    found : bool
        Whether all limits hold.
    why : str
        In a sentence: which limits bind, or which could not be kept.
    table : DataFrame
        One row a variable: `variable`, `value`, `text`, `present`, `low`, `high`, `at_end` (low, high or empty).
    limits : DataFrame
        One row a limit: `limit`, `value`, `least`, `most`, `slack` (relative; negative where it is broken), `binds`.
    estimates : int
        Points that were evaluated.
    """

    figure: str
    values: dict[str, float]
    result: float | None
    found: bool
    why: str
    table: pd.DataFrame
    limits: pd.DataFrame
    estimates: int

    def __repr__(self) -> str:
        where = ", ".join(f"{row.variable} = {row.text}" for row in self.table.itertuples())
        found = f"{self.figure} = {self.result:.6g} at {where}" if self.found else "nothing"
        return f"<Design: {found}: {self.why}>"


class _Limit:
    """One thing that has to stay between two numbers."""

    def __init__(self, name: str, value: Callable[[Any], Any], least: float, most: float) -> None:
        self.name, self.value, self.least, self.most = name, value, least, most

    def slack(self, values: Any) -> Any:
        """How much of the limit is left, relative to it; negative where it is broken."""
        below = (self.most - values) / abs(self.most) if math.isfinite(self.most) else np.inf
        above = (values - self.least) / abs(self.least) if math.isfinite(self.least) else np.inf
        return np.minimum(below, above)


@takes(model=MODEL, chip=CHIP, maximise=optional(TEXT), minimise=optional(TEXT), check=FLAG)
def search(
    model: Model | str | os.PathLike[str],
    chip: Chip | str | os.PathLike[str],
    *,
    vary: Mapping[str, tuple[Any, Any]],
    maximise: str | None = None,
    minimise: str | None = None,
    subject_to: Mapping[str, Any] | None = None,
    check: bool = True,
    seed: int = 0,
    population: int = 64,
    generations: int = 200,
    **options: Any,
) -> Design:
    """The values of several variables that make a figure best, within limits.

    Parameters
    ----------
    model : LanguageModel, Recommender or str
        A model, or its name or path.
    chip : Chip or str
        A chip, or its name or path.
    vary : mapping of str to (low, high)
        Figures of the chip by their paths, and options that are numbers (`batch`, `prompt` ...), as for
        :func:`roofline.solve`, each with its range: SI numbers, or for a figure text as in a what-if ("x0.5").
    maximise, minimise : str
        One of the two: the figure to make large, or small. Default: the rate, to be made large.
    subject_to : mapping of str to limits, optional
        What has to hold. A name is a figure of the estimate (``tpot_s``, ``power_w`` ...), a figure of the chip by its
        path, ``bytes_per_flop`` (of main memory and the dtype's rate), ``watts_per_tflops`` (of the TDP), or any word
        where a function is given. The limits are ``(least, most)``, either None; or ``(function, least, most)``: the
        function gets the estimate, whose figures are arrays, and returns one value a point, such as an area:
        ``("area", (lambda est: 200 + est.chip["memory.sram.capacity"] / 1e6, None, 800))``.
    check : bool
        Only what fits into memory counts; with False anything does.
    seed : int
        The same seed finds the same.
    population, generations : int
        Points of a generation, and how many there are at most.
    **options
        As for :func:`roofline.estimate`; a single point. With `concurrency` among them, or varied, the question is one
        of a server, and they are as for :func:`roofline.serve`: that a single request fits is then enough.

    Returns
    -------
    Design
        ``found`` is False where no point within the limits was seen; then ``why`` names the limit that is furthest off.

    Raises
    ------
    BadWorkload, UnknownName
        For variables, ranges, limits and figures that there are not.

    Notes
    -----
    Differential evolution (Storn and Price 1997; ``scipy.optimize.differential_evolution``), each generation one array
    estimate. Ranges are searched by ratio where they do not reach 0. A point that breaks limits is worse than any that
    does not, and the worse the more it breaks them (Deb 2000). A search finds no proof that nothing is better.

    Examples
    --------
    >>> import roofline as rl
    >>> best = rl.search("llama-3.1-8b", "h100-sxm", vary={"batch": (1, 64)}, subject_to={"tpot_s": (None, 0.01)})
    >>> best.found
    True
    """
    if maximise is not None and minimise is not None:
        raise BadWorkload("search: expected maximise= or minimise=, found both; put a limit on one of them")
    _check(vary, subject_to, seed, population, generations)
    loaded = as_model(model)
    options = asked.settled("search", loaded, options, [name for name in vary if isinstance(name, str)])
    base = asked.answer(loaded, as_chip(chip), options)
    figure = variables.figure_named("search", base, maximise if minimise is None else minimise)
    several = [_variable(base, options, name, ends) for name, ends in vary.items()]
    _refuse_twice(several)
    limits = [_limit(base, name, given) for name, given in (subject_to or {}).items()]
    return _Search(base, options, several, figure, minimise is None, limits, check).run(seed, population, generations)


def _check(vary: Any, subject_to: Any, seed: Any, population: Any, generations: Any) -> None:
    if not isinstance(vary, Mapping) or not vary:
        raise BadWorkload(f"search: vary: expected {{figure or option: (low, high)}}, found {shown(vary)}")
    if subject_to is not None and not isinstance(subject_to, Mapping):
        raise BadWorkload(f"search: subject_to: expected {{figure: (least, most)}}, found {shown(subject_to)}")
    for name, value, least, most in (
        ("seed", seed, 0, 2**63),
        ("population", population, 8, 2**16),
        ("generations", generations, 1, 10**6),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise BadWorkload(f"search: {name}: expected a whole number from {least} to {most}, found {shown(value)}")


def _variable(base: Any, options: Mapping[str, Any], name: str, ends: Any) -> Variable:
    if not isinstance(ends, tuple | list) or len(ends) != 2:
        raise BadWorkload(f"search: vary: expected (low, high) for {shown(name)}, found {shown(ends)}")
    found = variables.variable(base, options, name, *ends, what="search")
    if found.name in variables.PLAN:
        raise BadWorkload(
            f"search: {found.name} is one of few numbers that split the model: solve, or sweep and pareto"
        )
    return found


def _refuse_twice(several: list[Variable]) -> None:
    names = [one.name for one in several]
    for name in names:
        if names.count(name) > 1:
            raise BadWorkload(f"search: {name} is varied twice, under two names")


def _limit(base: Any, name: Any, given: Any) -> _Limit:
    ends = tuple(given) if isinstance(given, tuple | list) else ()
    function = ends[0] if len(ends) == 3 else None
    least, most = ends[-2:] if len(ends) in (2, 3) else ("?", "?")
    fine = (end is None or (NUMBER.holds(end) and abs(end) < _LARGEST) for end in (least, most))
    if not isinstance(name, str) or not all(fine) or (least is None and most is None):
        raise BadWorkload(
            f"search: subject_to: expected (least, most) for {shown(name)}, at most one of them None, found "
            f"{shown(given)}"
        )
    if least is not None and most is not None and least > most:
        raise BadWorkload(f"search: subject_to: {name}: expected least <= most, found {least!r} and {most!r}")
    ends = (-math.inf if least is None else float(least), math.inf if most is None else float(most))
    if 0.0 in ends:
        raise BadWorkload(
            f"search: subject_to: {name}: a limit of 0 leaves nothing to be relative to; give a small one"
        )
    return _Limit(name, _measure(base, name, function), *ends)


def _measure(base: Any, name: str, function: Any) -> Callable[[Any], Any]:
    """What a limit is on, from an estimate."""
    if function is not None:
        if not callable(function):
            raise BadWorkload(
                f"search: subject_to: {name}: expected a function of the estimate, found {shown(function)}"
            )
        measure: Callable[[Any], Any] = function
    elif name in base.FIGURES or name in base.EXTRA:
        measure = lambda est: getattr(est, name)  # noqa: E731
    elif name in _RATIOS:
        measure = _RATIOS[name]
    else:
        try:
            path = base.chip.path(name)
        except UnknownName as error:
            known = [*base.FIGURES, *base.EXTRA, *_RATIOS, *error.known]
            raise UnknownName("figure to limit", name, known) from None
        measure = lambda est: est.chip[path]  # noqa: E731
    try:
        value = measure(base)
    except RooflineError:
        raise
    except Exception as error:
        raise BadWorkload(f"search: subject_to: {name}: the function failed: {error!r}") from error
    if not NUMBER.holds(value) or not math.isfinite(value):
        raise BadWorkload(f"search: subject_to: {name}: expected a number of the estimate, found {shown(value)}")
    return measure


class _Search:
    def __init__(
        self,
        base: Any,
        options: dict[str, Any],
        several: list[Variable],
        figure: str,
        large: bool,
        limits: list[_Limit],
        check: bool,
    ) -> None:
        self.base, self.options, self.several, self.figure = base, options, several, figure
        self.large, self.limits, self.check, self.estimates = large, limits, check, 0

    def run(self, seed: int, population: int, generations: int) -> Design:
        from scipy.optimize import Bounds, differential_evolution

        ends = [self._scaled(one) for one in self.several]
        free = [i for i, (low, high) in enumerate(ends) if low < high]
        starting = np.array([low for low, _ in ends])

        def whole(places: np.ndarray) -> np.ndarray:
            """The free coordinates with the fixed ones beside them."""
            every = np.repeat(starting[:, None], places.shape[1], axis=1)
            every[free] = places
            return every

        def worse(places: np.ndarray, /) -> Any:
            many = places if places.ndim == 2 else places[:, None]
            return self.rank(self.values(whole(many)))

        best = starting[free]
        if free:
            start = np.random.default_rng(seed).random((population, len(free)))
            low, high = (np.array([ends[i][side] for i in free]) for side in (0, 1))
            done = differential_evolution(
                worse,
                Bounds(low, high),
                init=low + start * (high - low),
                maxiter=generations,
                tol=1e-8,
                atol=1e-12,
                vectorized=True,
                updating="deferred",
                polish=False,
                seed=np.random.default_rng(seed + 1),
            )
            best = done.x
        return self._design({one: float(v[0]) for one, v in self.values(whole(best[:, None])).items()})

    def _scaled(self, one: Variable) -> tuple[float, float]:
        """The range as it is searched: by ratio, or by size where it reaches 0."""
        wide = (
            (one.low, one.high + 1 - 1e-9) if one.whole else (one.low, one.high)
        )  # a whole number is as likely as another
        if one.low == one.high:
            wide = (one.low, one.high)
        return (math.log(wide[0]), math.log(wide[1])) if one.low > 0 else wide

    def values(self, places: np.ndarray) -> dict[Variable, np.ndarray]:
        found = {}
        for one, row in zip(self.several, places, strict=True):
            values = np.exp(row) if one.low > 0 else row
            found[one] = np.clip(np.floor(values + 1e-9) if one.whole else values, one.low, one.high)
        return found

    def rank(self, values: dict[Variable, np.ndarray]) -> np.ndarray:
        """How bad each point is: its figure's logarithm, or above all of these by how far it breaks the limits."""
        count = len(next(iter(values.values())))
        self.estimates += count
        est = variables.varied(self.base, self.options, values)
        figure = np.broadcast_to(np.asarray(getattr(est, self.figure), dtype=float), (count,))
        worth = np.log(figure) if not self.large else -np.log(figure)
        broken = np.zeros(count)
        for limit in self.limits:
            broken = broken + np.maximum(-limit.slack(np.asarray(limit.value(est), dtype=float)), 0.0)
        if self.check:
            served = isinstance(est, ServingEstimate)  # whose requests wait until there is room
            held = est.least_memory if served else est._memory(est.request.batch)
            broken = broken + np.where(held.fits, 0.0, np.maximum(held.total_bytes / held.usable_bytes - 1, 1e-12))
        ranked: np.ndarray = np.where(broken > 0, _BROKEN + broken, worth)
        return ranked

    def _design(self, values: dict[Variable, float]) -> Design:
        import pandas as pd

        est = variables.varied(self.base, self.options, values)
        rows, broken = [], []
        for limit in self.limits:
            value = float(limit.value(est))
            slack = float(limit.slack(value))
            rows.append((limit.name, value, _end(limit.least), _end(limit.most), slack, 0 <= slack < _BINDS))
            if slack < 0:
                broken.append(f"{limit.name} is {value:.6g}, {-slack:.1%} past its limit")
        if self.check and not est.fits:
            broken.append("the model does not fit")
        variable = [
            (one.name, value, one.text(value), one.present, one.low, one.high, _at_end(one, value))
            for one, value in values.items()
        ]
        binding = [row[0] for row in rows if row[-1]] + [
            f"{row[0]} (at its {row[-1]} end)" for row in variable if row[-1]
        ]
        why = (
            f"nothing within the limits was found: {'; '.join(broken)} at best"
            if broken
            else (f"what binds: {', '.join(binding)}" if binding else "no limit binds")
        )
        return Design(
            figure=self.figure,
            values={} if broken else {one.name: value for one, value in values.items()},
            result=None if broken else float(getattr(est, self.figure)),
            found=not broken,
            why=why,
            table=pd.DataFrame(variable, columns=["variable", "value", "text", "present", "low", "high", "at_end"]),
            limits=pd.DataFrame(rows, columns=["limit", "value", "least", "most", "slack", "binds"]),
            estimates=self.estimates,
        )


def _end(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _at_end(one: Variable, value: float) -> str:
    if one.low == one.high:
        return ""
    near = 0.0 if one.whole else _BINDS
    if value >= one.high * (1 - near):
        return "high"
    return "low" if value <= one.low * (1 + near) else ""
