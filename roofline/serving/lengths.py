"""How long prompts and outputs are, and how many pairs a query holds: a number, or a distribution of whole numbers.

A distribution is asked for its quantiles at numbers between 0 and 1, so that the same luck gives the same requests
whatever else changes. What it gives is rounded to whole numbers, at least 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.face import NUMBER
from roofline.base.numeric import as_numeric

#: No prompt, output or query is longer than this.
LONGEST = 100_000_000


class Lengths:
    """A distribution of lengths: its `mean`, its standard deviation `sd`, and its quantiles."""

    @property
    def mean(self) -> float:
        """Mean, before rounding to whole numbers."""
        raise NotImplementedError

    @property
    def sd(self) -> float:
        """Standard deviation, before rounding."""
        raise NotImplementedError

    def at(self, quantile: np.ndarray) -> np.ndarray:
        """Lengths at these quantiles (0 to 1), before rounding."""
        raise NotImplementedError

    def drawn(self, quantile: np.ndarray) -> np.ndarray:
        """Whole lengths at these quantiles: int32 of the same shape, at least 1."""
        found: np.ndarray = np.clip(np.rint(self.at(quantile)), 1, LONGEST).astype(np.int32)
        return found


@dataclass(frozen=True)
class Fixed(Lengths):
    """Every length the same."""

    length: float

    @property
    def mean(self) -> float:
        """The length."""
        return self.length

    @property
    def sd(self) -> float:
        """None of them differs."""
        return 0.0

    def at(self, quantile: np.ndarray) -> np.ndarray:
        """The length, whatever the quantile."""
        return np.full(np.shape(quantile), self.length)


@dataclass(frozen=True)
class Uniform(Lengths):
    """Whole numbers from `low` to `high`, both of them included, each as likely as the others."""

    low: int
    high: int

    @property
    def mean(self) -> float:
        """Halfway."""
        return (self.low + self.high) / 2

    @property
    def sd(self) -> float:
        """Of a discrete uniform distribution."""
        return math.sqrt(((self.high - self.low + 1) ** 2 - 1) / 12)

    def at(self, quantile: np.ndarray) -> np.ndarray:
        """Quantiles."""
        found: np.ndarray = np.minimum(self.low + np.floor(quantile * (self.high - self.low + 1)), self.high)
        return found


@dataclass(frozen=True)
class Lognormal(Lengths):
    """Lengths whose logarithm is normal, cut off above `most`.

    `location` and `scale` are the mean and the standard deviation of the logarithm, before the cut.
    """

    location: float
    scale: float
    most: float = math.inf

    @property
    def mean(self) -> float:
        """Mean, of those that are not cut off."""
        return self._moment(1)

    @property
    def sd(self) -> float:
        """Standard deviation, of those that are not cut off."""
        return math.sqrt(max(0.0, self._moment(2) - self._moment(1) ** 2))

    def _moment(self, n: int) -> float:
        whole = math.exp(n * self.location + (n * self.scale) ** 2 / 2)
        return whole if math.isinf(self.most) else whole * self._kept(n * self.scale**2) / self._kept(0.0)

    def _kept(self, shift: float) -> float:
        """Share of a normal distribution, moved by `shift`, that lies below the logarithm of `most`."""
        from scipy.special import ndtr

        return 1.0 if math.isinf(self.most) else float(ndtr((math.log(self.most) - self.location - shift) / self.scale))

    def at(self, quantile: np.ndarray) -> np.ndarray:
        """Quantiles."""
        from scipy.special import ndtri

        below = ndtri(np.maximum(quantile * self._kept(0.0), np.finfo(float).tiny))
        found: np.ndarray = np.exp(self.location + self.scale * below)
        return found


class Empirical(Lengths):
    """Lengths as they were found, each as often as its weight says.

    Parameters
    ----------
    lengths, weights : array
        One dimension, alike; weights not negative, their sum positive.
    """

    def __init__(self, lengths: np.ndarray, weights: np.ndarray) -> None:
        order = np.argsort(lengths, kind="stable")
        self.lengths, self.weights = lengths[order], weights[order] / weights.sum()
        self._below = np.cumsum(self.weights)

    @property
    def mean(self) -> float:
        """Weighted mean."""
        return float(self.weights @ self.lengths)

    @property
    def sd(self) -> float:
        """Weighted standard deviation."""
        return math.sqrt(float(self.weights @ (self.lengths - self.mean) ** 2))

    def at(self, quantile: np.ndarray) -> np.ndarray:
        """Quantiles: one of the lengths that were given."""
        place = np.searchsorted(self._below, quantile, side="right")
        found: np.ndarray = self.lengths[np.minimum(place, np.flatnonzero(self.weights)[-1])]
        return found

    def __repr__(self) -> str:
        return f"Empirical({len(self.lengths):,} lengths, mean {self.mean:,.1f})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Empirical):
            return NotImplemented
        return np.array_equal(self.lengths, other.lengths) and np.array_equal(self.weights, other.weights)

    def __hash__(self) -> int:
        return hash((self.lengths.tobytes(), self.weights.tobytes()))


def lognormal(mean: float, sd: float, most: float | None = None) -> Lengths:
    """Lengths whose logarithm is normal, as those of prompts and outputs roughly are.

    Parameters
    ----------
    mean, sd : number
        Mean and standard deviation of the lengths themselves (tokens or pairs), not of their logarithms.
    most : number, optional
        The longest there is, such as a model's context: what is longer does not occur, which lowers mean and deviation.

    Returns
    -------
    Lengths
        An argument of :class:`roofline.Traffic`.

    Raises
    ------
    BadWorkload
        For a mean below 1, a negative deviation, or a `most` below the mean.

    Examples
    --------
    >>> import roofline as rl
    >>> round(rl.lognormal(1155, 1109).mean)
    1155
    """
    mean, sd = _length("lognormal: mean", mean), _number("lognormal: sd", sd, 0, LONGEST)
    longest = math.inf if most is None else _length("lognormal: most", most)
    if longest < mean:
        raise BadWorkload(f"lognormal: most: expected at least the mean of {mean:g}, found {shown(most)}")
    if sd == 0:
        return Fixed(mean)
    scale = math.sqrt(math.log1p((sd / mean) ** 2))
    return Lognormal(math.log(mean) - scale**2 / 2, scale, longest)


def uniform(low: float, high: float) -> Lengths:
    """Whole lengths from `low` to `high`, both included, each as likely as the others.

    Parameters
    ----------
    low, high : number
        The shortest and the longest (tokens or pairs).

    Returns
    -------
    Lengths
        An argument of :class:`roofline.Traffic`.

    Raises
    ------
    BadWorkload
        For lengths below 1 or not whole, and for `low` above `high`.

    Examples
    --------
    >>> import roofline as rl
    >>> rl.uniform(100, 440).mean
    270.0
    """
    least, most = _length("uniform: low", low), _length("uniform: high", high)
    for name, value in (("low", least), ("high", most)):
        if value != int(value):
            raise BadWorkload(f"uniform: {name}: expected a whole number, found {shown(value)}")
    if least > most:
        raise BadWorkload(f"uniform: expected low to be at most high, found {shown(low)} and {shown(high)}")
    return Uniform(int(least), int(most))


def empirical(lengths: Sequence[float] | Any, weights: Sequence[float] | Any = None) -> Lengths:
    """Lengths as they were found: each is drawn as often as it is there, or as its weight says.

    Parameters
    ----------
    lengths : list, array or column
        Tokens or pairs, each at least 1.
    weights : list, array or column, optional
        As many, none negative.

    Returns
    -------
    Lengths
        An argument of :class:`roofline.Traffic`.

    Raises
    ------
    BadWorkload

    Examples
    --------
    >>> import roofline as rl
    >>> rl.empirical([100, 300], weights=[1, 3]).mean
    250.0
    """
    found = _column("empirical: lengths", lengths)
    if not ((found >= 1) & (found <= LONGEST)).all():
        raise BadWorkload(f"empirical: lengths: expected 1 to {LONGEST:,} each, found {shown(lengths)}")
    if weights is None:
        return Empirical(found, np.ones(found.shape))
    often = _column("empirical: weights", weights)
    if often.shape != found.shape:
        raise BadWorkload(f"empirical: expected as many weights as lengths, found {often.size} and {found.size}")
    if not (np.isfinite(often) & (often >= 0)).all() or not 0 < often.sum() < math.inf:
        raise BadWorkload(f"empirical: weights: expected none negative and some positive, found {shown(weights)}")
    return Empirical(found, often)


def as_lengths(where: str, value: object) -> Lengths:
    """A distribution as it is, a number as one that gives nothing else.

    Raises
    ------
    BadWorkload
        For what is neither.
    """
    if isinstance(value, Lengths):
        return value
    if NUMBER.holds(value):
        return Fixed(_length(where, value))
    raise BadWorkload(
        f"{where}: expected a number or a distribution (lognormal(mean, sd), uniform(low, high), "
        f"empirical(lengths)), found {shown(value)}"
    )


def _length(where: str, value: object) -> float:
    return _number(where, value, 1, LONGEST)


def _number(where: str, value: Any, least: float, most: float) -> float:
    if not (NUMBER.holds(value) and least <= value <= most):
        raise BadWorkload(f"{where}: expected a number from {least:g} to {most:,}, found {shown(value)}")
    return float(value)


def _column(where: str, value: object) -> np.ndarray:
    found = np.asarray(as_numeric(value, where))
    if found.dtype.kind not in "iuf" or found.ndim != 1 or not found.size:
        raise BadWorkload(f"{where}: expected a list of numbers, found {shown(value)}")
    return found.astype(float)
