"""Mean and percentiles of what many requests saw, and how sure they are.

Percentiles are interpolated as ``numpy.percentile`` does it, and ``vllm bench serve`` with it. How far luck may have
moved one is told from the scatter of the same percentile over parts of the run (or over the seeds, where there were
several): requests that follow each other wait in the same queue, so that taking them for independent would make every
interval too narrow. (Asmussen and Glynn, *Stochastic Simulation*, 2007, section III.5, "sectioning"; recalled.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload, NotKnown, UnknownName, shown
from roofline.base.face import NUMBER
from roofline.base.units import text

#: Requests that must lie beyond a percentile, or it rests on too few.
FEWEST = 10

#: Parts of one run whose scatter makes an interval, and the fewest that do.
PARTS, FEWEST_PARTS = 20, 4

#: What is shown of a distribution: its name, and the quantile that it is.
SHOWN = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

#: What there is of what requests saw.
STATISTICS = ("mean", *SHOWN)


class Percentiles:
    """What requests saw: ``mean``, ``p50``, ``p90``, ``p99``, any other with ``at(0.95)``, and :meth:`interval`.

    Parameters
    ----------
    runs : sequence of array
        The values of each run (one a seed), in the order in which the requests came.
    weights : sequence of array, optional
        How often each value was seen, where runs counted instead of keeping every one.
    unit : str
        Of the values.
    """

    def __init__(
        self, runs: Sequence[np.ndarray], weights: Sequence[np.ndarray] | None = None, unit: str = "s"
    ) -> None:
        self.unit = unit
        self._runs = [np.asarray(run, float) for run in runs]
        self._weights = None if weights is None else [np.asarray(one, float) for one in weights]

    @property
    def count(self) -> int:
        """Requests (or tokens, where each was counted) that stand behind it."""
        if self._weights is not None:
            return round(sum(float(one.sum()) for one in self._weights))
        return sum(len(run) for run in self._runs)

    @functools.cached_property
    def _ordered(self) -> tuple[np.ndarray, np.ndarray | None]:
        return _ordered(self._runs, self._weights)

    @property
    def mean(self) -> float:
        """Mean over all requests.

        Raises
        ------
        NotKnown
            Where no request was answered.
        """
        self._require()
        return _mean(self._runs, self._weights)

    @property
    def p50(self) -> float:
        """The median."""
        return self.at(0.5)

    @property
    def p90(self) -> float:
        """What nine requests in ten stay below."""
        return self.at(0.9)

    @property
    def p99(self) -> float:
        """What 99 requests in 100 stay below."""
        return self.at(0.99)

    def at(self, quantile: float) -> float:
        """The value that a share `quantile` (0 to 1) of the requests stays below.

        Raises
        ------
        BadWorkload
            For no such share.
        NotKnown
            Where no request was answered.
        """
        if not (NUMBER.holds(quantile) and 0 <= quantile <= 1):
            raise BadWorkload(f"at: expected a share from 0 to 1 (0.99 for p99), found {shown(quantile)}")
        self._require()
        return _quantile(*self._ordered, quantile)

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """The values in order, and the share of the requests at or below each: the distribution as a curve."""
        self._require()
        values, weights = self._ordered
        below = np.arange(1.0, len(values) + 1) if weights is None else np.cumsum(weights)
        return values, below / below[-1]

    def share_within(self, limit: float) -> float:
        """The share of the requests that stays at or below a limit."""
        self._require()
        values, weights = self._ordered
        place = int(np.searchsorted(values, limit, side="right"))
        if weights is None:
            return place / len(values)
        return float(weights[:place].sum() / weights.sum())

    def interval(self, level: float = 0.9, of: str | float = "mean") -> tuple[float, float]:
        """Where the mean or a percentile lies over all luck that requests could have had.

        Parameters
        ----------
        level : float
            How often the interval holds, above 0 and below 1.
        of : str or float
            ``"mean"``, ``"p50"``, ``"p90"``, ``"p99"``, or a share such as 0.95.

        Raises
        ------
        BadWorkload
        NotKnown
            Where too few requests stand behind it; see :attr:`note`.
        """
        from scipy.special import stdtrit

        if not (NUMBER.holds(level) and 0 < level < 1):
            raise BadWorkload(f"interval: level: expected a share above 0 and below 1, found {shown(level)}")
        share = self._share(of)
        found = self.mean if share is None else self.at(share)
        parts = self._parts(share)
        if len(parts) < FEWEST_PARTS:
            raise NotKnown(
                f"an interval of {of} wants {FEWEST_PARTS} parts of the run (or seeds) with {self._least(share):,} "
                f"requests each, and there are {self.count:,} requests: ask for more requests or seeds"
            )
        half = float(stdtrit(len(parts) - 1, 0.5 + level / 2)) * float(np.std(parts, ddof=1)) / math.sqrt(len(parts))
        return max(0.0, found - half), found + half

    def _share(self, of: str | float) -> float | None:
        """The quantile of a name; None for the mean."""
        if isinstance(of, str):
            if of != "mean" and of not in SHOWN:
                raise BadWorkload(f"interval: of: expected mean, {', '.join(SHOWN)} or a share, found {shown(of)}")
            return SHOWN.get(of)
        return of

    @staticmethod
    def _least(share: float | None) -> int:
        """Requests that a part must have, so that one beyond the quantile is to be expected."""
        return 2 if share is None else math.ceil(round(1 / max(min(share, 1 - share), 1e-6), 6))

    def _parts(self, share: float | None) -> np.ndarray:
        """The figure in each part of the run, or in each run where there are enough of them."""
        weights: list[Any] = [None] * len(self._runs) if self._weights is None else list(self._weights)
        pairs = [pair for pair in zip(self._runs, weights, strict=True) if len(pair[0])]
        if len(pairs) < FEWEST_PARTS and self._weights is None:
            each = min(PARTS // max(len(pairs), 1), *(len(run) // self._least(share) for run, _ in pairs))
            pairs = [(part, None) for run, _ in pairs for part in np.array_split(run, max(each, 1))]
        alone = [([run], None if weight is None else [weight]) for run, weight in pairs]
        return np.array([_mean(*one) if share is None else _quantile(*_ordered(*one), share) for one in alone])

    @property
    def note(self) -> str:
        """Which percentiles rest on too few requests, in words; "" where none does."""
        rests = {name: self.count * (1 - share) for name, share in SHOWN.items()}
        few = [f"{name} rests on {int(beyond):,}" for name, beyond in rests.items() if beyond < FEWEST - 1e-6]
        if not few:
            return ""
        return f"of {self.count:,} requests {', '.join(few)} beyond it: too few, {FEWEST} are wanted"

    def as_dict(self) -> dict[str, float]:
        """Mean and percentiles by name."""
        return {"mean": self.mean, **{name: self.at(share) for name, share in SHOWN.items()}}

    def _require(self) -> None:
        if not self.count:
            raise NotKnown("no request was answered: there is nothing to take a mean or a percentile of")

    def __repr__(self) -> str:
        if not self.count:
            return "<Percentiles: no request was answered>"
        figures = ", ".join(f"{name} {text(value, self.unit, 3)}" for name, value in self.as_dict().items())
        return f"<Percentiles: {figures}{'; ' + self.note if self.note else ''}>"


def _ordered(runs: Sequence[np.ndarray], weights: Sequence[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray | None]:
    """All values, sorted, and the weights in the same order."""
    values = np.concatenate([*runs, np.empty(0)])
    if weights is None:
        return np.sort(values), None
    order = np.argsort(values, kind="stable")
    return values[order], np.concatenate([*weights, np.empty(0)])[order]


def _mean(runs: Sequence[np.ndarray], weights: Sequence[np.ndarray] | None) -> float:
    values = np.concatenate(runs)
    return float(values.mean() if weights is None else np.average(values, weights=np.concatenate(weights)))


def _quantile(values: np.ndarray, weights: np.ndarray | None, share: float) -> float:
    """Interpolated between the two values beside it; of weighted ones the first that reaches the share."""
    if weights is None:
        place = share * (len(values) - 1)
        low = values[int(place)]
        return float(low + (values[math.ceil(place)] - low) * (place - int(place)))
    below = np.cumsum(weights)
    return float(values[min(int(np.searchsorted(below, share * below[-1])), len(values) - 1)])


def figure_of(run: object, name: str, figures: Sequence[str], seen: Sequence[str]) -> float:
    """A figure of a run by its name: one of `figures`, or a part of what requests saw, such as ``"ttft_s.p99"``.

    Raises
    ------
    UnknownName
    """
    names = (*figures, *(f"{one}.{part}" for one in seen for part in STATISTICS))
    if name not in names:
        raise UnknownName("figure of a run", name, names)
    first, _, part = name.partition(".")
    found = getattr(run, first)
    return float(getattr(found, part) if part else found)


def limits(slo: object, known: Sequence[str], example: str) -> dict[str, float]:
    """The limits of an SLO (s), by which of the `known` times they limit; `example` is one for the error.

    Raises
    ------
    BadWorkload, UnknownName
    """
    if slo is None:
        return {}
    if not isinstance(slo, Mapping):
        raise BadWorkload(f"slo: expected limits by name, such as {example}, found {shown(slo)}")
    for name, limit in slo.items():
        if name not in known:
            raise UnknownName("limit of an SLO", str(name), known)
        if not (NUMBER.holds(limit) and 0 < limit < 1e9):
            raise BadWorkload(f"slo: {name}: expected seconds above 0, found {shown(limit)}")
    return {str(name): float(limit) for name, limit in slo.items()}
