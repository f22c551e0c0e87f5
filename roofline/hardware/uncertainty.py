"""Ranges on descriptor figures, as one more axis: a chip whose uncertain numbers are arrays of samples.

Nothing else in the library knows about sampling: an estimate on a sampled chip is an estimate whose figures are
arrays.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.kept import kept
from roofline.base.numeric import quantiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from roofline.hardware.chip import Chip
    from roofline.hardware.number import Number


#: Samples behind an interval: draws of so many are kept from run to run.
SAMPLES = 256


def ranged(chip: Chip) -> dict[str, Number]:
    """The figures of a chip, and of its family where the chip has none of its own, that carry a range."""
    merged = {**chip.defaults, **chip.numbers}
    return {path: n for path, n in merged.items() if _doubted(n)}


def quantile(number: Number, q: np.ndarray) -> np.ndarray:
    """The value of a ranged figure at cumulative probability `q`.

    Parameters
    ----------
    number : Number
        With `low`, `high` and a `shape`: uniform, loguniform, or triangular with its peak at the value.
    q : ndarray
        Probabilities in [0, 1].
    """
    low, high, peak = float(number.low or 0.0), float(number.high or 0.0), float(number.value)
    if low == high:
        return np.full(np.shape(q), low)
    if number.shape == "uniform":
        return np.clip(low + q * (high - low), low, high)
    if number.shape == "loguniform":
        return np.clip(low * np.exp(q * math.log(high / low)), low, high)
    split = (peak - low) / (high - low)
    rising = low + np.sqrt(q * (high - low) * (peak - low))
    falling = high - np.sqrt((1 - q) * (high - low) * (high - peak))
    return np.clip(np.where(q < split, rising, falling), low, high)


def sample(
    chip: Chip,
    count: int = SAMPLES,
    seed: int = 0,
    trailing: int = 0,
    only: Iterable[str] | None = None,
    *,
    method: str = "hypercube",
    scenarios: bool = False,
) -> Chip:
    """A chip whose ranged figures are arrays of samples.

    Figures are independent of each other, but for those that the descriptor says share their luck
    (``correlates_with``): these are tied by a Gaussian copula of one factor, two of them with the correlation
    ``sqrt(a b)`` of their own `correlation` a and b; 1, the default, makes them rise and fall as one.

    Parameters
    ----------
    chip : Chip
    count : int
        Samples.
    seed : int
        The same seed gives the same samples.
    trailing : int
        Axes of length 1 to append to the sample axis, so that it broadcasts against other axes.
    only : iterable of str, optional
        The figures to sample; default: all that have a range.
    method : str
        ``"hypercube"``: each figure by itself is stratified over `count` equal slices of its belief (a Latin
        hypercube); ``"sobol"``: a scrambled Sobol sequence, even in many of them together, best with a power of two.
    scenarios : bool
        Let each sample choose one of the chip's scenarios, by their weights; otherwise its figures are as they stand.

    Returns
    -------
    Chip
        Unchanged when nothing has a range.

    Raises
    ------
    UnknownName
        For a figure in `only` that the chip does not have.
    BadWorkload
        For no samples, negative axes, and a method that there is not.
    """
    if count < 1 or trailing < 0:
        raise BadWorkload(f"expected at least one sample and no negative axes, found {count!r} and {trailing!r}")
    if method not in ("hypercube", "sobol"):
        raise BadWorkload(f"expected the method hypercube or sobol, found {shown(method)}")
    wanted = None if only is None else {chip.path(path) for path in only}
    unknown = chances(chip, wanted, scenarios=scenarios)
    if not unknown:
        return chip
    uniform = (_hypercube if method == "hypercube" else sobol)(len(unknown), count, seed)
    return settled(chip, dict(zip(unknown, uniform.T, strict=True)), trailing, wanted, scenarios=scenarios)


def luck(unknown: Iterable[str], count: int = SAMPLES, seed: int = 0) -> dict[str, np.ndarray]:
    """Numbers between 0 and 1 for each of some :func:`chances`, a Latin hypercube: what :func:`settled` takes."""
    names = list(unknown)
    return dict(zip(names, _hypercube(len(names), count, seed).T, strict=True)) if names else {}


def chances(chip: Chip, only: Iterable[str] | None = None, *, scenarios: bool = True) -> tuple[str, ...]:
    """What is left to chance on a chip, by names that other chips have in common with it where they inherit the figure.

    Parameters
    ----------
    chip : Chip
    only : iterable of str, optional
        Paths of the figures in question; default: all that have a range.
    scenarios : bool
        Whether the choice of a scenario is one of them, and what is in doubt in each.

    Returns
    -------
    tuple of str
        Such as ``"artemis:memory.dram.bandwidth"``, ``"artemis:scenario"``.
    """
    found: dict[str, None] = {}
    for path, number in _beliefs(chip, only, scenarios):
        found.update(dict.fromkeys(name for name, _ in _parts(chip, path, number)))
    if scenarios and chip.scenarios:
        found[_choice(chip)] = None
    return tuple(found)


def settled(
    chip: Chip,
    uniform: Mapping[str, np.ndarray],
    trailing: int = 0,
    only: Iterable[str] | None = None,
    *,
    scenarios: bool = True,
) -> Chip:
    """The chip as chance has it: each figure that has a range an array.

    Parameters
    ----------
    chip : Chip
    uniform : mapping of str to ndarray
        For each of its :func:`chances` numbers between 0 and 1, all of one length.
    trailing, only, scenarios
        As for :func:`sample` and :func:`chances`.
    """
    own, family = dict(chip.numbers), dict(chip.defaults)
    forks = dict(chip.scenarios) if scenarios else {}
    edges = np.cumsum([one.weight for one in forks.values()])
    chosen = np.searchsorted(edges[:-1], uniform[_choice(chip)], side="right") if forks else None
    values: dict[str, np.ndarray] = {}
    for path, number in _beliefs(chip, only, scenarios=False):
        values[path] = quantile(number, _place(chip, path, number, uniform))
    for i, fork in enumerate(forks.values()):
        assert chosen is not None
        for path, number in fork.numbers.items():
            here = quantile(number, _place(chip, path, number, uniform)) if _doubted(number) else float(number.value)
            usual = values.get(path, np.asarray(float(chip[path])))
            values[path] = np.where(chosen == i, here, usual)
    for path, drawn in values.items():
        place = own if path in own else family  # a family's figure must not come to outrank the chip's own
        array: Any = drawn.reshape(drawn.shape + (1,) * trailing)
        place[path] = dataclasses.replace(place[path], value=array, low=None, high=None)
    left = {} if scenarios else chip.scenarios
    return dataclasses.replace(chip, numbers=own, defaults=family, scenarios=left)


def _doubted(number: Number) -> bool:
    return number.low is not None and number.high is not None and number.low < number.high


def _beliefs(chip: Chip, only: Iterable[str] | None, scenarios: bool) -> Iterator[tuple[str, Number]]:
    """The figures that are in doubt, those of scenarios too."""
    wanted = None if only is None else set(only)
    for path, number in ranged(chip).items():
        if wanted is None or path in wanted:
            yield path, number
    for fork in chip.scenarios.values() if scenarios else ():
        yield from ((path, number) for path, number in fork.numbers.items() if _doubted(number))


def _parts(chip: Chip, path: str, number: Number) -> list[tuple[str, float]]:
    """The chances that a figure hangs on, and its weight on each as a normal score."""
    origin = number.inherited or chip.name.partition("[")[0]
    if not number.correlates_with:
        return [(f"{origin}:{path}", 1.0)]
    together = (f"{origin}:{number.correlates_with}", math.sqrt(number.correlation))
    rest = math.sqrt(1.0 - number.correlation)
    return [together, (f"{origin}:{path}", rest)] if rest else [together]


def _choice(chip: Chip) -> str:
    """The chance that decides which scenario comes true."""
    first = next((n for fork in chip.scenarios.values() for n in fork.numbers.values()), None)
    origin = first.inherited if first is not None and first.inherited else chip.name.partition("[")[0]
    return f"{origin}:scenario"


def _place(chip: Chip, path: str, number: Number, uniform: Mapping[str, np.ndarray]) -> np.ndarray:
    """How far up its range a figure lies, as a probability."""
    parts = _parts(chip, path, number)
    if len(parts) == 1:
        return uniform[parts[0][0]]
    from scipy.special import ndtr, ndtri

    inside = {name: np.clip(uniform[name], 1e-15, 1 - 1e-15) for name, _ in parts}
    score: np.ndarray = ndtr(sum(weight * ndtri(inside[name]) for name, weight in parts))
    return score


def sobol(chances: int, count: int, seed: int) -> np.ndarray:
    """The first `count` points of a scrambled Sobol sequence (Owen 1998; scipy.stats.qmc), [count, chances]."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(chances, scramble=True, seed=np.random.default_rng(seed))
    drawn: np.ndarray = sequence.random_base2(max(0, math.ceil(math.log2(count))))[:count]
    return drawn


def error_factors(spread: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    """Samples of measured over predicted time: log-normal, median 1.

    Parameters
    ----------
    spread : ndarray
        Standard deviation of ln(measured / predicted), any shape S.
    count : int
        Samples.

    Returns
    -------
    ndarray
        Shape (count, *S).
    """
    normal = _normal(count, seed)
    factors: np.ndarray = np.exp(normal.reshape((count,) + (1,) * np.ndim(spread)) * spread)
    return factors


def _hypercube(figures: int, count: int, seed: int) -> np.ndarray:
    """A Latin hypercube, [count, figures], by scipy: which takes longer to import than all else of a first answer."""

    def make() -> np.ndarray:
        from scipy.stats import qmc

        return np.asarray(qmc.LatinHypercube(figures, seed=np.random.default_rng(seed)).random(count))

    name = f"hypercube-{figures}-{count}-{seed}"
    return kept(name, "scipy", (count, figures), make) if count == SAMPLES else make()


def _normal(count: int, seed: int) -> np.ndarray:
    """Standard normal samples, [count], one in each of `count` equally probable slices."""

    def make() -> np.ndarray:
        from scipy.special import ndtri

        return np.asarray(ndtri((np.random.default_rng(seed).permutation(count) + 0.5) / count))

    return kept(f"normal-{count}-{seed}", "scipy", (count,), make) if count == SAMPLES else make()


def central(samples: np.ndarray, level: float, value: Any) -> tuple[Any, Any]:
    """The central interval of samples, widened where it has to be to hold the expected value.

    A belief whose peak lies at an end of its range puts nothing beyond that end, so that its central interval leaves
    the peak itself out; so does the sum of many that lean to one side. What is expected is among what is likely: the
    interval reaches to it, and holds at least as often as it says.

    Parameters
    ----------
    samples : ndarray
        Along the first axis.
    level : float
        Probability, such as 0.9.
    value : float or ndarray
        What is expected, of the samples' remaining shape.

    Returns
    -------
    tuple
        (low, high), shaped as the samples without their first axis.
    """
    low, high = quantiles(samples, (1 - level) / 2, (1 + level) / 2)
    return np.minimum(low, value), np.maximum(high, value)
