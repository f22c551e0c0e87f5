"""Units live here and nowhere else: text such as ``"3.35 TB/s"`` to SI floats and back, and dtype widths.

Inside the library every quantity is a bare float in SI units (bytes, seconds, FLOP, watts), its unit in its name.
FLOP counts a multiply and an add as two; OP (integer) is the same unit. GB is 10^9 bytes, GiB is 2^30.
"""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadWorkload, closest, shown

if TYPE_CHECKING:
    from roofline.base.numeric import Numeric

#: Bytes of one element. Four-bit formats pack two elements a byte; their block scales are not counted.
DTYPE_BYTES: dict[str, float] = {
    "fp64": 8.0, "fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0,
    "fp6": 0.75, "fp4": 0.5, "int4": 0.5,
}  # fmt: skip

#: The dtypes that can stand for a vector engine; the first that it has does.
VECTOR_DTYPES = ("fp32", "bf16", "fp16", "int8", "fp64")

_DTYPE_ALIASES = {
    "float64": "fp64", "double": "fp64", "float32": "fp32", "float": "fp32", "bfloat16": "bf16", "float16": "fp16",
    "half": "fp16", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "float8": "fp8", "e4m3": "fp8", "e5m2": "fp8", "i8": "int8",
    "w8a8": "int8", "i4": "int4", "mxfp4": "fp4", "nvfp4": "fp4", "mxfp8": "fp8", "mxfp6": "fp6",
    "float8_e4m3fn": "fp8", "float8_e5m2": "fp8", "float8_e4m3fnuz": "fp8", "float8_e5m2fnuz": "fp8",
    "f64": "fp64", "f32": "fp32", "f16": "fp16",
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

#: Prefixes by symbol: their names and what they multiply by.
_PREFIXES: dict[str, tuple[str, float]] = {
    "n": ("nano", 1e-9), "u": ("micro", 1e-6), "m": ("milli", 1e-3), "": ("", 1.0), "k": ("kilo", 1e3),
    "M": ("mega", 1e6), "G": ("giga", 1e9), "T": ("tera", 1e12), "P": ("peta", 1e15), "E": ("exa", 1e18),
    "Ki": ("kibi", 2.0**10), "Mi": ("mebi", 2.0**20), "Gi": ("gibi", 2.0**30), "Ti": ("tebi", 2.0**40),
}  # fmt: skip

_DEFINITIONS = """
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

#: What a mistyped unit may have meant.
_USUAL = {
    "bandwidth": ["GB/s", "TB/s", "MB/s", "GiB/s"], "rate": ["TFLOP/s", "TOP/s", "GFLOP/s", "PFLOP/s"],
    "capacity": ["GB", "GiB", "MB", "MiB", "KiB", "kB", "TB"], "time": ["us", "ns", "ms", "s"],
    "frequency": ["GHz", "MHz"], "power": ["W", "kW"], "area": ["mm^2"], "money": ["USD"],
}  # fmt: skip

# A comma groups thousands and is never a decimal point: "3,35 TB/s" must not become 335.
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+(?:_[0-9]+)*)"
_NUMBER = re.compile(rf"[+-]?(?:{_WHOLE}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNIT = re.compile(r"[A-Za-z]+(?:\^[0-9])?(?: ?[*/] ?[A-Za-z]+(?:\^[0-9])?)*")


@functools.cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(None)
    for symbol, (name, factor) in _PREFIXES.items():
        if symbol:
            registry.define(f"{name}- = {factor!r} = {symbol}-")
    for line in _DEFINITIONS.strip().splitlines():
        registry.define(line)
    return registry


def expected(dimension: str) -> str:
    """What an error message says of a dimension: ``"expected a bandwidth such as '3.35 TB/s'"``."""
    words = {"area": "an area", "money": "a price"}.get(dimension, f"a {dimension}")
    return f"expected {words} such as {DIMENSIONS[dimension][1]!r}"


def _by_heart(unit: str, si: str) -> float | None:
    """The factor of a prefixed SI unit, told without pint, whose import takes longer than to read every chip."""
    for base in (si, "OP/s") if si == "FLOP/s" else (si,):
        prefix = unit.removesuffix(base)
        if prefix != unit and prefix in _PREFIXES and not (prefix and "^" in base):
            return _PREFIXES[prefix][1]
    return None


@functools.lru_cache(maxsize=1024)
def _factor(unit: str, dimension: str) -> float:
    """SI units in one `unit`; raises ValueError with what was expected."""
    si = DIMENSIONS[dimension][0]
    if not si:
        raise ValueError(f"{expected(dimension)}, without a unit, found the unit {shown(unit)}")
    if not unit:
        raise ValueError(f"{expected(dimension)}, found a number without a unit")
    text = re.sub(r"FLOP[Ss]\b", "FLOP/s", re.sub(r"(?<=[kMGTPE])OPS\b", "OP/s", unit))
    for written, meant in (("$", "USD"), ("µ", "u"), ("μ", "u"), ("²", "^2"), ("mm2", "mm^2")):
        text = text.replace(written, meant)
    factor = _by_heart(text, si)
    if factor is not None:
        return factor
    if len(text) > 40 or not _UNIT.fullmatch(text):
        comma = ": a comma only groups thousands, the decimal point is '.'" if unit.startswith(",") else ""
        raise ValueError(f"{expected(dimension)}, cannot read the unit {shown(unit)}{comma}")
    registry = _registry()
    try:
        return float(registry.Quantity(1.0, text).to(si).magnitude)
    except Exception:  # pint raises many types; each means the same to the reader
        near = closest(unit, _USUAL[dimension], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{expected(dimension)}, found the unit {shown(unit)}{hint}") from None


def parse(text: object, dimension: str) -> float:
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
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"{expected(dimension)}, found {shown(text)}")
    unit = ""
    if isinstance(text, str):
        stripped = text.strip()
        match = _NUMBER.match(stripped) if len(stripped) <= 100 else None
        if match is None:
            raise ValueError(f"{expected(dimension)}, found {shown(text)}")
        number, unit = float(match[0].replace("_", "").replace(",", "")), stripped[match.end() :].lstrip()
    else:
        number = float(text) if isinstance(text, float) or abs(text) < 10**300 else math.inf
    if DIMENSIONS[dimension][0] == "" and unit == "":
        value = number
    elif unit == "%" and dimension == "fraction":
        value = number / 100.0
    else:
        factor = _factor(unit, dimension)
        # Dividing by a whole number rounds once: 2.5 us is 2.5e-06 and not 2.4999999999999998e-06.
        value = number * factor if factor >= 1 else number / round(1 / factor)
    if not math.isfinite(value):
        raise ValueError(f"{expected(dimension)}, found {shown(text)}, which is not finite")
    if unit == "GiB" and dimension == "capacity" and value % 2**30:
        raise ValueError(
            f"{text!r} is not a whole number of GiB (2^30 bytes): a datasheet's {value / 1e9:.4g} GB is written "
            f"'{value / 1e9:.4g} GB'"
        )
    return value


def text(value: Numeric, unit: str, digits: int = 4) -> str:
    """A float in SI units as people write it: ``text(3.35e12, "B/s") == "3.35 TB/s"``.

    Parameters
    ----------
    value : float
        One number, in the SI unit that `unit` names.
    unit : str
        Such as ``"B/s"``, ``"FLOP/s"``, ``"s"``, ``"B"``.
    digits : int, optional
        Significant digits.
    """
    value = float(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    if unit in ("", "mm^2", "USD"):
        number = f"{value:,.{digits}g}"
        if "e" in number and 1 < abs(value) < 1e15:
            number = f"{value:,.0f}"  # 12,345 rather than 1.234e+04
        return f"{number} {unit}".rstrip()
    prefixes = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
    # Round first: 999.96 with 4 digits is 1000, which wants the next prefix.
    rounded = float(f"{value:.{digits}g}")
    exponent = min(18, max(-9, 3 * math.floor(math.log10(abs(rounded)) / 3)))
    if unit == "s":
        exponent = min(exponent, 0)
    elif unit.startswith(("B", "FLOP")):
        exponent = max(exponent, 0)  # there is no millibyte
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
        key = name.strip().lower().removeprefix("torch.")
        key = _DTYPE_ALIASES.get(key, key)
        if key in DTYPE_BYTES:
            return key
    near = closest(name if isinstance(name, str) else shown(name), [*DTYPE_BYTES, *_DTYPE_ALIASES], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    raise BadWorkload(f"unknown dtype {shown(name)}{hint} known: {', '.join(DTYPE_BYTES)}")


def width(name: str | None, usual: str) -> float:
    """Bytes of one element of a dtype; of the usual one where there is None."""
    return DTYPE_BYTES[usual if name is None else dtype_name(name)]


def dtype_bytes(name: str) -> float:
    """Bytes of one element of a dtype: ``dtype_bytes("fp4") == 0.5``."""
    return DTYPE_BYTES[dtype_name(name)]
