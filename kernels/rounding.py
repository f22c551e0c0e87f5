"""Rounding of what may be far too large for an integer: products of several sizes."""

from __future__ import annotations

from math import ceil, floor

from roofline.kernels._jit import inner

WHOLE = 2.0**53  # floats from here on are whole numbers, and from 2^63 on no compiled integer holds them


@inner
def rounded_up(x: float) -> float:
    """The least whole number that is not below `x`."""
    return x if x >= WHOLE else float(ceil(x))


@inner
def rounded_down(x: float) -> float:
    """The largest whole number that is not above `x`."""
    return x if x >= WHOLE else float(floor(x))
