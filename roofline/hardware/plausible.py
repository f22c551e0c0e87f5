"""Whether the figures of a chip are near those of known ones."""

from __future__ import annotations

import re
from collections.abc import Mapping

from roofline.hardware.number import Number


def warnings(numbers: Mapping[str, Number]) -> list[str]:
    """Figures outside the range of known chips. Warnings only: a what-if may leave the range on purpose.

    Bounds: the lowest and highest of the built-in descriptors, widened by about three times.
    """
    levels = [p.split(".")[1] for p in numbers if re.fullmatch(r"memory\.\w+\.capacity", p)]
    main = numbers[f"memory.{levels[-1]}.bandwidth"].value
    peaks = {p.split(".")[2]: n.value for p, n in numbers.items() if re.fullmatch(r"engines\.matrix\.\w+", p)}
    peaks = peaks or {p.split(".")[2]: n.value for p, n in numbers.items() if re.fullmatch(r"engines\.vector\.\w+", p)}
    found = []

    def check(what: str, value: float, low: float, high: float, unit: str) -> None:
        if not low <= value <= high:
            found.append(f"{what} is {value:.3g} {unit}, outside the {low:g} to {high:g} of known chips")

    dtype, peak = max(peaks.items(), key=lambda item: item[1])
    check(f"the {dtype} ridge point", peak / main, 0.25, 10_000.0, "FLOP per byte of main memory")
    if "power.tdp" in numbers:
        check(f"the {dtype} efficiency", peak / numbers["power.tdp"].value / 1e12, 0.01, 30.0, "TFLOP/s per watt")
    capacity = numbers[f"memory.{levels[-1]}.capacity"].value
    check("the time to read all of main memory", capacity / main, 1e-6, 3.0, "s")
    for wide, narrow in (("bf16", "fp32"), ("fp8", "bf16"), ("fp4", "fp8"), ("int8", "bf16")):
        if wide in peaks and narrow in peaks and peaks[wide] < peaks[narrow] * 0.99 and wide != "int8":
            found.append(f"{wide} ({peaks[wide]:.3g} FLOP/s) is slower than the wider {narrow} ({peaks[narrow]:.3g})")
    return found
