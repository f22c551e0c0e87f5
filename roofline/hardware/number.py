"""One figure of a chip: its value in SI units, where it comes from, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Number:
    """One resolved figure: SI value, provenance and range.

    Attributes
    ----------
    value : float or ndarray
        In SI units.
    dimension : str
        Key of :data:`roofline.base.units.DIMENSIONS`.
    kind, source, note : str
        Provenance; `kind` is ``"what-if"`` for a figure that a caller changed.
    low, high : float or None
        The believed range, in SI units.
    shape : str
        ``uniform``, ``triangular`` or ``loguniform``.
    inherited : str
        Name of the chip or family that the figure comes from; empty for the chip's own.
    correlates_with : str
        What the figure shares its luck with; empty: nothing.
    correlation : float
        How closely figures do that correlate with the same.
    """

    value: Any
    dimension: str
    kind: str
    source: str
    note: str = ""
    low: float | None = None
    high: float | None = None
    shape: str = "triangular"
    inherited: str = ""
    correlates_with: str = ""
    correlation: float = 1.0

    def of(self, origin: str) -> Number:
        """The same figure as one that comes from the chip or family `origin`."""
        return Number(  # a third of the time of dataclasses.replace, for every figure of every chip
            self.value,
            self.dimension,
            self.kind,
            self.source,
            self.note,
            self.low,
            self.high,
            self.shape,
            origin,
            self.correlates_with,
            self.correlation,
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way that what is not known of a chip may turn out.

    Attributes
    ----------
    weight : float
        Its probability.
    numbers : mapping of str to Number
        The figures that are others then, by path.
    note : str
    """

    weight: float
    numbers: Mapping[str, Number]
    note: str = ""
