"""What every estimate offers, whatever the model: its figures by name, and their intervals."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.catalog.load import Model
from roofline.estimates.inference import Phase
from roofline.estimates.request import Request
from roofline.hardware import uncertainty
from roofline.hardware.chip import Chip

#: Samples behind an interval.
SAMPLES = 256


class Estimate:
    """What both kinds of estimate share: intervals, and the figures by name."""

    #: The headline figures and their units.
    FIGURES: ClassVar[dict[str, str]] = {}

    def __init__(self, model: Model, chip: Chip, request: Request) -> None:
        self.model = model
        self.chip = chip
        self.request = request

    time_s: Any

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken where nothing was asked, a sentence each, such as the arithmetic of a quantised checkpoint."""
        return self.request.notes

    def _on(self, chip: Chip) -> Any:
        return type(self)(self.model, chip, self.request)

    def figures(self) -> dict[str, Any]:
        """The headline figures by name."""
        return {name: getattr(self, name) for name in self.FIGURES}

    def interval(self, level: float = 0.9, figure: str | None = None) -> Any:
        """The central interval that holds the true figure with a probability.

        Two doubts are added: the ranges of the chip's figures (sampled, a Latin hypercube of 256), and the error of
        the model itself on each operator class (log-normal; see :attr:`roofline.estimates.inference.Phase.spread`).
        No sample is faster than the lower bound of its chip.

        Parameters
        ----------
        level : float
            Probability, such as 0.9.
        figure : str, optional
            One of :attr:`FIGURES`; default: all of them.

        Returns
        -------
        tuple of float, or dict of str to tuple
            (low, high).

        Raises
        ------
        BadWorkload
            For a level outside (0, 1) or an unknown figure.
        """
        if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
            raise BadWorkload(f"interval: expected a level between 0 and 1, such as 0.9, found {level!r}")
        if figure is not None and figure not in self.FIGURES:
            raise BadWorkload(f"interval: no figure {figure!r}; there are {', '.join(self.FIGURES)}")
        names = list(self.FIGURES) if figure is None else [figure]
        out = {}
        for name in names:
            samples = self._samples[name]
            low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
            out[name] = (_plain(low), _plain(high))
        return out if figure is None else out[figure]

    @functools.cached_property
    def _samples(self) -> dict[str, Any]:
        """Samples of every headline figure, along the first axis."""
        axes = (1,) * len(np.shape(self.time_s))
        sampled = self._on(uncertainty.sample(self.chip, SAMPLES, trailing=len(axes)))
        factors = uncertainty.error_factors(np.ones(()), SAMPLES).reshape(-1, *axes)
        return dict(sampled._figures_with_errors(factors))


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value


def with_errors(phase: Phase, factors: Any) -> Any:
    """The phase's time with model error: `factors` are samples of exp(z) for standard normal z."""
    return np.maximum(phase.time_s * np.exp(np.log(factors) * phase.spread), phase.lower_s)
