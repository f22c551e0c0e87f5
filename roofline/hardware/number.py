"""One figure of a chip: its value in SI units, where it comes from, and how sure it is."""

from __future__ import annotations

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

    def of(self, origin: str) -> Number:
        """The same figure as one that comes from the chip or family `origin`."""
        return Number(  # a third of the time of dataclasses.replace, for every figure of every chip
            self.value, self.dimension, self.kind, self.source, self.note, self.low, self.high, self.shape, origin
        )
