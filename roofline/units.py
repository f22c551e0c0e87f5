"""Units live here and nowhere else: text such as ``"3.35 TB/s"`` to SI floats and back, and dtype widths.

Inside the library every quantity is a bare float in SI units (bytes, seconds, FLOP, watts), its unit in its name.
FLOP counts a multiply and an add as two; OP (integer) is the same unit. GB is 10^9 bytes, GiB is 2^30.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from roofline.errors import BadWorkload, closest

#: Bytes of one element. Four-bit formats pack two elements a byte; their block scales are not counted.
DTYPE_BYTES: dict[str, float] = {
    "fp64": 8.0, "fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0,
    "fp6": 0.75, "fp4": 0.5, "int4": 0.5,
}  # fmt: skip

_DTYPE_ALIASES = {
    "float64": "fp64", "double": "fp64", "float32": "fp32", "float": "fp32", "bfloat16": "bf16", "float16": "fp16",
    "half": "fp16", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "float8": "fp8", "e4m3": "fp8", "e5m2": "fp8", "i8": "int8",
    "w8a8": "int8", "i4": "int4", "mxfp4": "fp4", "nvfp4": "fp4", "mxfp8": "fp8", "mxfp6": "fp6",
}  # fmt: skip

#: The dimensions a descriptor uses: SI unit, and an example that error messages show.
DIMENSIONS: dict[str, tuple[str, str]] = {
    "bandwidth": ("B/s", "3.35 TB/s"),
    "rate": ("FLOP/s", "989.4 TFLOP/s"),
    "capacity": ("B", "80 GB"),
    "time": ("s", "2.5 us"),
    "frequency": ("Hz", "1.83 GHz"),
    "power": ("W", "700 W"),
    "area": ("mm^2", "814 mm^2"),
    "money": ("USD", "30000 USD"),
    "count": ("", "132"),
    "fraction": ("", "0.8"),
}

_DEFINITIONS = """
nano- = 1e-9 = n-
micro- = 1e-6 = µ- = u- = μ-
milli- = 1e-3 = m-
kilo- = 1e3 = k-
mega- = 1e6 = M-
giga- = 1e9 = G-
tera- = 1e12 = T-
peta- = 1e15 = P-
exa- = 1e18 = E-
kibi- = 2**10 = Ki-
mebi- = 2**20 = Mi-
gibi- = 2**30 = Gi-
tebi- = 2**40 = Ti-
bit = [information] = b
byte = 8 * bit = B
second = [time] = s
minute = 60 * second = min
hour = 3600 * second = h
hertz = 1 / second = Hz
flop = [computation] = FLOP
op = flop = OP
watt = [power] = W
meter = [length] = m
dollar = [currency] = USD
"""

_NUMBER = re.compile(r"\s*([+-]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*\Z", re.DOTALL)


@functools.cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(None)
    for line in _DEFINITIONS.strip().splitlines():
        registry.define(line)
    return registry


@functools.cache
def _factor(unit: str, dimension: str) -> float:
    """SI units in one `unit`; raises ValueError with what was expected."""
    si, example = DIMENSIONS[dimension]
    expected = f"expected a {dimension} such as {example!r}"
    if not si:
        raise ValueError(f"{expected}, without a unit, found the unit {unit!r}")
    if not unit:
        raise ValueError(f"{expected}, found a number without a unit")
    text = unit.replace("TOPS", "TOP/s").replace("FLOPS", "FLOP/s").replace("FLOPs", "FLOP/s").replace("²", "^2")
    text = re.sub(r"(?<=[kMGTPE])OPS\b", "OP/s", text).replace("$", "USD")
    if len(text) > 40 or not re.fullmatch(r"[A-Za-zµμ/^*0-9 ()-]+", text):
        raise ValueError(f"{expected}, cannot read the unit {unit!r}")
    registry = _registry()
    try:
        return float(registry.Quantity(1.0, text).to(si).magnitude)
    except Exception as error:  # pint raises many types; each means the same to the reader
        hint = closest(unit, ["GB/s", "TB/s", "GiB/s", "TFLOP/s", "TOP/s", "GB", "GiB", "MB", "MiB", "KiB", "GHz", "us"])
        more = f"; did you mean {hint[0]!r}?" if hint and type(error).__name__ == "UndefinedUnitError" else ""
        raise ValueError(f"{expected}, found the unit {unit!r}{more}") from None


def parse(text: str | float, dimension: str) -> float:
    """Read a quantity written for people as an SI float.

    Parameters
    ----------
    text : str or float
        ``"3.35 TB/s"``, ``"80 GiB"``, ``"2.5 us"``; a bare number only for counts and fractions.
    dimension : str
        One of :data:`DIMENSIONS`.

    Returns
    -------
    float
        In B/s, FLOP/s, B, s, Hz, W, mm^2, USD, or no unit.

    Raises
    ------
    ValueError
        When the text is no number, has the wrong unit, is not finite, or claims GiB for a figure that is not whole GiB.

    Examples
    --------
    >>> parse("3.35 TB/s", "bandwidth")
    3350000000000.0
    """
    example = DIMENSIONS[dimension][1]
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"expected a {dimension} such as {example!r}, found {text!r}")
    if isinstance(text, str):
        match = _NUMBER.match(text)
        if match is None:
            raise ValueError(f"expected a {dimension} such as {example!r}, found {text!r}")
        number, unit = float(match[1].replace("_", "").replace(",", "")), match[2]
    else:
        number, unit = float(text), ""
    if not math.isfinite(number):
        raise ValueError(f"expected a finite {dimension} such as {example!r}, found {text!r}")
    if DIMENSIONS[dimension][0] == "" and unit == "":
        return number
    if DIMENSIONS[dimension][0] == "" and unit == "%" and dimension == "fraction":
        return number / 100.0
    value = number * _factor(unit, dimension)
    if unit == "GiB" and dimension == "capacity" and value % 2**30:
        raise ValueError(
            f"{text!r} is not a whole number of GiB (2^30 bytes): a datasheet's {value / 1e9:.4g} GB is written "
            f"'{value / 1e9:.4g} GB'"
        )
    return value


def text(value: float, unit: str, digits: int = 4) -> str:
    """A float in SI units as people write it: ``text(3.35e12, "B/s") == "3.35 TB/s"``.

    Parameters
    ----------
    value : float
        In the SI unit that `unit` names.
    unit : str
        Such as ``"B/s"``, ``"FLOP/s"``, ``"s"``, ``"B"``.
    digits : int, optional
        Significant digits.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    if unit in ("", "mm^2", "USD"):
        return f"{value:,.{digits}g} {unit}".rstrip() if abs(value) < 1e4 else f"{value:,.0f} {unit}".rstrip()
    prefixes = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
    # Round first: 999.96 with 4 digits is 1000, which wants the next prefix.
    rounded = float(f"{value:.{digits}g}")
    exponent = min(18, max(-9, 3 * math.floor(math.log10(abs(rounded)) / 3)))
    if unit == "s":
        exponent = min(exponent, 0)
    return f"{rounded / 10**exponent:.{digits}g} {prefixes[exponent]}{unit}"


def dtype_name(name: str) -> str:
    """The short name of a dtype (``"bfloat16"`` -> ``"bf16"``).

    Raises
    ------
    BadWorkload
        For a dtype that roofline does not know, with the ones it does.
    """
    if isinstance(name, str):
        if name in DTYPE_BYTES:
            return name
        key = name.lower().removeprefix("torch.")
        key = _DTYPE_ALIASES.get(key, key)
        if key in DTYPE_BYTES:
            return key
    near = closest(str(name), [*DTYPE_BYTES, *_DTYPE_ALIASES], 1)
    raise BadWorkload(
        f"unknown dtype {name!r}" + (f"; did you mean {near[0]!r}?" if near else "") + " known: " + ", ".join(DTYPE_BYTES)
    )


def dtype_bytes(name: str) -> float:
    """Bytes of one element of a dtype: ``dtype_bytes("fp4") == 0.5``."""
    return DTYPE_BYTES[dtype_name(name)]
