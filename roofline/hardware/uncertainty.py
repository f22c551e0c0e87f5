"""Ranges on descriptor figures, as one more axis: a chip whose uncertain numbers are arrays of samples.

Nothing else in the library knows about sampling: an estimate on a sampled chip is an estimate whose figures are
arrays.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.kept import kept
from roofline.base.numeric import quantiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roofline.hardware.chip import Chip
    from roofline.hardware.number import Number


#: Samples behind an interval: draws of so many are kept from run to run.
SAMPLES = 256


def ranged(chip: Chip) -> dict[str, Number]:
    """The figures of a chip, and of its family where the chip has none of its own, that carry a range."""
    merged = {**chip.defaults, **chip.numbers}
    return {path: n for path, n in merged.items() if n.low is not None and n.high is not None and n.low < n.high}


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
    chip: Chip, count: int = SAMPLES, seed: int = 0, trailing: int = 0, only: Iterable[str] | None = None
) -> Chip:
    """A chip whose ranged figures are arrays of samples, independent of each other.

    Parameters
    ----------
    chip : Chip
    count : int
        Samples. Each figure is stratified over `count` equal slices of its belief (a Latin hypercube).
    seed : int
        The same seed gives the same samples.
    trailing : int
        Axes of length 1 to append to the sample axis, so that it broadcasts against other axes.
    only : iterable of str, optional
        The figures to sample; default: all that have a range.

    Returns
    -------
    Chip
        Unchanged when nothing has a range.

    Raises
    ------
    UnknownName
        For a figure in `only` that the chip does not have.
    """
    if count < 1 or trailing < 0:
        raise BadWorkload(f"expected at least one sample and no negative axes, found {count!r} and {trailing!r}")
    wanted = None if only is None else {chip.path(path) for path in only}
    beliefs = {path: number for path, number in ranged(chip).items() if wanted is None or path in wanted}
    if not beliefs:
        return chip
    own, family = dict(chip.numbers), dict(chip.defaults)
    draws = _hypercube(len(beliefs), count, seed)
    for (path, number), q in zip(beliefs.items(), draws.T, strict=True):
        values: Any = quantile(number, q).reshape((count,) + (1,) * trailing)
        place = own if path in own else family  # a family's figure must not come to outrank the chip's own
        place[path] = dataclasses.replace(number, value=values, low=None, high=None)
    return dataclasses.replace(chip, numbers=own, defaults=family)


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
