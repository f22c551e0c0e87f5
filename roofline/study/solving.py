"""The inverse question: which value of one variable makes a figure reach a target."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.face import FLAG, NUMBER, TEXT, takes
from roofline.base.numeric import MOST
from roofline.catalog.load import CHIP, MODEL, Model, as_chip, as_model
from roofline.hardware.chip import Chip
from roofline.study import asked, variables
from roofline.study.variables import Variable

#: Values of the first scan: a few hundred for each factor of ten where a what-if sets the limits.
_SCAN = 4096

#: How far past a root the value may stand for the target to be reached on the dot, relatively.
_STEPS = 2.0 ** np.arange(-50, -20)


@dataclass(frozen=True)
class Solution:
    """The value that reaches a target, or the reason that none does.

    Attributes
    ----------
    model, chip, figure : str
        What was asked.
    target : float
        In SI units.
    vary : str
        The figure's own path, or the option.
    value : float or None
        In SI units; None where no value reaches the target.
    text : str
        The value with its unit; empty where there is none.
    result : float or None
        The figure at that value: the target or better.
    reached : bool
    why : str
        In a sentence: what the figure is there and at the present value, or why no value reaches the target.
    best, best_value : float or None
        The best that the figure can be in the range, and the value where it is so; None where nothing fits.
    low, high : float
        The range that was searched.
    """

    model: str
    chip: str
    figure: str
    target: float
    vary: str
    value: float | None
    text: str
    result: float | None
    reached: bool
    why: str
    best: float | None
    best_value: float | None
    low: float
    high: float

    def __repr__(self) -> str:
        found = f"{self.vary} = {self.text}" if self.reached else f"no {self.vary}"
        return f"<Solution: {found} for {self.figure} {self.target:g} of {self.model} on {self.chip}: {self.why}>"


@takes(model=MODEL, chip=CHIP, figure=TEXT, check=FLAG)
def solve(
    model: Model | str | os.PathLike[str],
    chip: Chip | str | os.PathLike[str],
    figure: str,
    target: float,
    *,
    vary: str,
    low: Any = None,
    high: Any = None,
    check: bool = True,
    **options: Any,
) -> Solution:
    """The value of one variable that makes a figure reach a target, or the reason that none does.

    Of a time, a power or a price, the target is the most that it may be; of a rate, the least. Where a larger value
    helps, the answer is the smallest one that reaches the target; where it hurts, the largest. So ``vary="batch"``
    with a limit on `tpot_s` gives the largest batch within it, and with `tokens_per_s` the smallest that reaches it.

    Parameters
    ----------
    model : LanguageModel, Recommender or str
        A model, or its name or path.
    chip : Chip or str
        A chip, or its name or path.
    figure : str
        A headline figure, such as ``"tpot_s"``.
    target : float
        In SI units.
    vary : str
        A figure of the chip by its path (``"memory.main.bandwidth"``; what follows it in a what-if follows here), or an
        option that is a number: `batch`, `prompt`, `output`, `prefix`, `tp`, `pp`, `ep`, `dp`, `devices`, `skew`,
        `usable_memory`; of a server `concurrency` in place of `batch`, and `chunk`.
    low, high : float or str, optional
        The range to search. Default: what a what-if allows of a figure; what model and memory allow of an option.
    check : bool
        Only what fits into memory is an answer; with False anything is.
    **options
        As for :func:`roofline.estimate`; a single point. With `concurrency` among them, or varied, the question is one
        of a server, and they are as for :func:`roofline.serve`; ``concurrency=None`` is as many as the memory holds.

    Returns
    -------
    Solution
        ``reached``, ``value``, and ``why`` where nothing reaches it.

    Raises
    ------
    BadWorkload
        For an unknown figure, a target that is none, arrays, and limits that the variable cannot have; for options of a
        server without `concurrency`, a batch with it, and a recommendation model, which has no tokens.
    UnknownName
        For what is neither a figure of the chip nor an option.
    DoesNotFit
        When the model does not fit to begin with, and what is varied has no part in that.

    Notes
    -----
    One array estimate scans 4,096 values over the range, evenly apart by ratio; whole numbers are all tried where they
    are no more. Between the last value that misses and the first that reaches the target, Brent's method
    (``scipy.optimize.brentq``) refines on a logarithmic scale; the answer stands on the side that reaches it, at a
    step (the end of a tile) on its far edge. A dip narrower than a step of the scan can be missed.

    Examples
    --------
    >>> import roofline as rl
    >>> needed = rl.solve("llama-3.1-8b", "mtia-v1", "tpot_s", 0.06, vary="memory.main.bandwidth")
    >>> needed.reached
    True
    >>> never = rl.solve("llama-3.1-8b", "mtia-v1", "tpot_s", 1e-6, vary="memory.main.bandwidth")
    >>> never.reached
    False
    """
    if not NUMBER.holds(target) or not 0 < target < MOST:
        raise BadWorkload(f"solve: expected a positive, finite target for {shown(figure)}, found {shown(target)}")
    loaded, on = as_model(model), as_chip(chip)
    options = asked.settled("solve", loaded, options, [vary] if isinstance(vary, str) else [])
    base = asked.answer(loaded, on, options)
    figure = variables.figure_named("solve", base, figure)
    one = variables.variable(base, options, vary, low, high, what="solve")
    if check and not base.fits and not _moves_memory(one):
        asked.answer(loaded, on, options, check=True)  # raises, and says what would fit
    return _Search(base, options, one, figure, float(target), check).answer()


def _moves_memory(one: Variable) -> bool:
    """Whether the memory that is needed, or there is, goes with it; a server's requests wait until there is room."""
    return one.name.endswith(".capacity") if one.of_chip else one.name != "concurrency"


class _Search:
    """One search: the figure against the target along a variable."""

    def __init__(
        self, base: Any, options: dict[str, Any], one: Variable, figure: str, target: float, check: bool
    ) -> None:
        self.base, self.options, self.one, self.figure, self.target, self.check = (
            base, options, one, figure, target, check,
        )  # fmt: skip
        self.less = variables.less_is_better(figure)

    def answer(self) -> Solution:
        values = variables.possible(
            self.base, self.options, self.one, self.one.points(self.one.low, self.one.high, _SCAN)
        )
        results, fits = self.at(values)
        fine = self.holds(results) & fits
        if not fine.any():
            return self._none(values, results, fits)
        if fine.all():
            return self._all(values, results)
        edge = self._refined(*self._bracket(values, fine), values)
        return self._solution(edge, self._why_there(edge), values, results, fits)

    def at(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The figure at each value, and whether the model fits there."""
        if not len(values):
            raise BadWorkload(
                f"solve: the workload can have no {self.one.name} from {self.one.low:g} to {self.one.high:g}"
            )
        est = variables.varied(self.base, self.options, {self.one: values})
        results = np.broadcast_to(np.asarray(getattr(est, self.figure), dtype=float), values.shape)
        fits = np.broadcast_to(est.fits, values.shape) if self.check else np.ones(values.shape, bool)
        return results, fits

    def holds(self, results: Any) -> Any:
        """Whether the target is reached."""
        return results <= self.target if self.less else results >= self.target

    def single(self, value: float) -> tuple[float, bool]:
        """The figure at one value, and whether that is an answer."""
        est = variables.varied(self.base, self.options, {self.one: value})
        result = float(getattr(est, self.figure))
        return result, bool(self.holds(result)) and (not self.check or bool(est.fits))

    def _bracket(self, values: np.ndarray, fine: np.ndarray) -> tuple[float, float]:
        """A value that misses and one beside it that reaches the target, of all such pairs the one that is meant."""
        edges = np.flatnonzero(fine[1:] != fine[:-1])
        if not fine[0] and fine[-1]:
            edge = edges[0]  # the smallest value that reaches it
        elif fine[0] and not fine[-1]:
            edge = edges[-1]  # the largest
        else:  # the nearest to the present one
            near = max(self.one.present, values[values > 0].min())
            edge = edges[np.argmin(np.abs(np.log(np.maximum(values[edges], values[values > 0].min()) / near)))]
        before, after = float(values[edge]), float(values[edge + 1])
        return (before, after) if fine[edge + 1] else (after, before)

    def _refined(self, misses: float, reaches: float, values: np.ndarray) -> float:
        if self.one.name in variables.PLAN:
            return reaches  # every value that there is has been tried
        return self._whole(misses, reaches) if self.one.whole else self._root(misses, reaches)

    def _whole(self, misses: float, reaches: float) -> float:
        while abs(reaches - misses) > 1:
            between = self.one.points(min(misses, reaches), max(misses, reaches), _SCAN)
            between = between if reaches > misses else between[::-1]
            results, fits = self.at(between)
            first = int(np.argmax(self.holds(results) & fits))
            misses, reaches = float(between[first - 1]), float(between[first])
        return reaches

    def _root(self, misses: float, reaches: float) -> float:
        """Where the figure crosses the target, on the side that reaches it."""
        from scipy.optimize import brentq

        to, back = _scale(misses, reaches)

        def apart(place: float) -> float:
            result, fine = self.single(back(place))
            distance = abs(math.log(result / self.target))
            return -distance if fine else max(distance, 1e-300)

        first, last = sorted((to(misses), to(reaches)))
        root = back(float(brentq(apart, first, last, xtol=1e-14, rtol=8.9e-16, disp=False)))
        for step in (0.0, *_STEPS):
            value = root + step * (reaches - root) if step else root
            value = value if step == 0.0 else _towards(root, reaches, step)
            if self.single(value)[1]:
                return value
        return reaches

    def _none(self, values: np.ndarray, results: np.ndarray, fits: np.ndarray) -> Solution:
        one, range_ = self.one, f"{self.one.text(values[0])} to {self.one.text(values[-1])}"
        if not fits.any():
            return self._solution(None, f"the model fits at no value from {range_}", values, results, fits)
        best = self._best(results, fits)
        est = variables.varied(self.base, self.options, {one: float(values[best])})
        bounds = "; ".join(f"{name} is bound by {phase.bound} there" for name, phase in variables.phases(est).items())
        outside = " (values that reach it do not fit)" if self.holds(results).any() else ""
        side = "above" if self.less else "below"
        why = (
            f"{self.figure} stays {side} {self._text(self.target)} from {range_}{outside}; its best is "
            f"{self._text(results[best])} at {one.text(values[best])}: {bounds}"
        )
        return self._solution(None, why, values, results, fits)

    def _all(self, values: np.ndarray, results: np.ndarray) -> Solution:
        """The end that asks for least: the smallest value where a larger one helps, the largest where it hurts."""
        first, last = (-results[[0, -1]]) if self.less else results[[0, -1]]
        now = float(np.clip(self.one.present, values[0], values[-1]))
        value = now if first == last else float(values[0] if last > first else values[-1])
        why = f"every value from {self.one.text(values[0])} to {self.one.text(values[-1])} reaches it"
        return self._solution(value, why, values, results, np.ones(len(values), bool))

    def _why_there(self, value: float) -> str:
        now = float(getattr(self.base, self.figure))
        there = self._text(self.single(value)[0])
        return f"{self.figure} is {there} there, and {self._text(now)} at the present {self.one.text(self.one.present)}"

    def _best(self, results: np.ndarray, fits: np.ndarray) -> int:
        kept = np.where(fits, results if self.less else -results, np.inf)
        return int(np.argmin(kept))

    def _text(self, result: float) -> str:
        return variables.figure_text(self.base, self.figure, float(result))

    def _solution(
        self, value: float | None, why: str, values: np.ndarray, results: np.ndarray, fits: np.ndarray
    ) -> Solution:
        best = self._best(results, fits) if fits.any() else None
        return Solution(
            model=self.base.model.name,
            chip=self.base.chip.name,
            figure=self.figure,
            target=self.target,
            vary=self.one.name,
            value=value,
            text="" if value is None else self.one.text(value, 6),
            result=None if value is None else self.single(value)[0],
            reached=value is not None,
            why=why,
            best=None if best is None else float(results[best]),
            best_value=None if best is None else float(values[best]),
            low=float(values[0]),
            high=float(values[-1]),
        )


def _scale(one: float, other: float) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """To the scale that a root is sought on, and back: logarithmic, but for what may be 0."""
    return (math.log, math.exp) if min(one, other) > 0 else (float, float)


def _towards(root: float, end: float, step: float) -> float:
    """A value past the root, by so much of its size, and not past the end."""
    moved = root + math.copysign(step * max(abs(root), 1e-300), end - root)
    return min(moved, end) if end > root else max(moved, end)
