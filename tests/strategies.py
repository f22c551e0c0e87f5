"""Hypothesis strategies that several test files share: quantities as people write them, chips, what-if changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from roofline.base.units import DIMENSIONS
from roofline.catalog.load import chip_records, load_chip
from roofline.hardware import ranges
from roofline.hardware.chip import Chip
from roofline.hardware.number import Number
from tests.operators import sizes

__all__ = ["CHIPS", "changes", "chip_names", "chips_and_figures", "magnitudes", "quantities", "sizes"]

CHIPS = sorted(record["name"] for record in chip_records() if record["origin"] == "built in")

#: Names: a chip itself is too large to print.
chip_names = st.sampled_from(CHIPS)

#: Positive numbers over the magnitudes that hardware has, none near overflow.
magnitudes = st.floats(1e-6, 1e6, allow_nan=False, allow_infinity=False)

_UNITS: dict[str, dict[str, float]] = {
    "bandwidth": {"B/s": 1, "MB/s": 1e6, "GB/s": 1e9, "TB/s": 1e12, "GiB/s": 2**30, "Gb/s": 1e9 / 8, "kbit/s": 125.0},
    "rate": {"FLOP/s": 1, "GFLOP/s": 1e9, "TFLOP/s": 1e12, "TOP/s": 1e12, "TOPS": 1e12, "TFLOPS": 1e12},
    "capacity": {"B": 1, "kB": 1e3, "KiB": 2**10, "MB": 1e6, "MiB": 2**20, "GB": 1e9, "TB": 1e12, "TiB": 2**40},
    "time": {"s": 1, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9, "min": 60, "h": 3600},
    "frequency": {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "power": {"W": 1, "kW": 1e3, "mW": 1e-3},
    "area": {"mm^2": 1, "mm\u00b2": 1, "mm2": 1},
    "money": {"USD": 1, "$": 1, "kUSD": 1e3},
    "count": {"": 1},
    "fraction": {"": 1, "%": 0.01},
}
assert set(_UNITS) == set(DIMENSIONS)


@st.composite
def quantities(draw: Any, dimension: str | None = None) -> tuple[str, str, float]:
    """A quantity as a person writes it, its dimension, and its value in SI units."""
    dimension = dimension or draw(st.sampled_from(sorted(_UNITS)))
    unit, factor = draw(st.sampled_from(sorted(_UNITS[dimension].items())))
    number = draw(st.one_of(st.integers(1, 10**6), magnitudes))
    written = draw(st.sampled_from([repr(number), f"{number:,}" if isinstance(number, int) else f"{number:e}"]))
    space = draw(st.sampled_from([" ", "", "  ", "\u00a0"]))
    return f"{written}{space}{unit}", dimension, float(written.replace(",", "")) * factor


@st.composite
def chips_and_figures(draw: Any) -> tuple[Chip, str, Number]:
    """A built-in chip and one of its figures, its family's included."""
    chip = load_chip(draw(chip_names))
    path = draw(st.sampled_from(sorted({**chip.numbers, **chip.defaults})))
    return chip, path, chip.number(path)


@st.composite
def changes(draw: Any, path: str, number: Number) -> Any:
    """A value that a what-if may give to this figure: a float, "x2", or an array."""
    allowed = ranges.of(path, number.dimension)
    if number.dimension in ("fraction", "count") or ("efficiency." in path and number.dimension == "time"):
        near = number.value or allowed.most
        value = draw(st.floats(max(allowed.least, near * 1e-6), min(allowed.most, near * 1e6)))
        return max(1, round(value)) if allowed.whole else value
    factors = st.floats(0.1, 10.0)
    return draw(
        st.one_of(
            factors.map(lambda f: f * (number.value or 1.0)),
            factors.map(lambda f: f"x{f!r}"),
            st.lists(factors, min_size=1, max_size=4).map(lambda fs: np.array(fs) * (number.value or 1.0)),
        )
    )
