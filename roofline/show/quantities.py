"""Numbers as people read them, in tables and on pictures alike."""

from __future__ import annotations

from roofline.base import units
from roofline.base.numeric import Numeric


def quantity(value: Numeric, unit: str) -> str:
    """A headline figure with its unit: ``"2,563 tokens/s"``, ``"14.2 ms"``."""
    if unit in ("s", "B"):
        return units.text(value, unit, 3)
    unit = "requests/s" if unit == "1/s" else unit
    return f"{ratio(float(value))} {unit}"


def ratio(value: float) -> str:
    """A number without a unit, grouped where it is large: 62.9, 295, 1,729."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def si(value: float) -> str:
    """A number with a prefix and no unit: ``"601 G"``."""
    return units.text(value, "B", 3).removesuffix("B").strip()


def times(value: float) -> str:
    """How often something happens: a whole number where it is one."""
    return f"{round(value):,}" if abs(value - round(value)) < 1e-6 * max(1.0, value) else f"{value:,.3g}"
