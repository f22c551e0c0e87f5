"""Quantities as people write them: what is read, what is refused and in which words, and dtype widths."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from roofline.base import units
from roofline.base.errors import BadWorkload, RooflineError
from roofline.base.units import DIMENSIONS, dtype_bytes, dtype_name, parse, text
from tests.strategies import magnitudes, quantities

SI = sorted({unit for unit, _ in DIMENSIONS.values()} - {""})


@given(quantities())
def test_a_quantity_reads_as_its_number_times_its_unit(quantity: tuple[str, str, float]) -> None:
    written, dimension, value = quantity
    assert parse(written, dimension) == pytest.approx(value, rel=1e-15)


@given(st.sampled_from(sorted(DIMENSIONS)), magnitudes, st.integers(-15, 18))
def test_writing_and_reading_give_the_number_back(dimension: str, mantissa: float, exponent: int) -> None:
    value, unit = mantissa * 10.0**exponent, DIMENSIONS[dimension][0]
    assert parse(text(value, unit, 17), dimension) == pytest.approx(value, rel=1e-14)
    assert parse(text(value, unit), dimension) == pytest.approx(value, rel=0.5e-3)


@given(st.sampled_from(SI), magnitudes, st.integers(-15, 18))
def test_text_is_short_and_has_no_exponent_in_the_usual_range(unit: str, mantissa: float, exponent: int) -> None:
    value = mantissa * 10.0**exponent
    written = text(value, unit)
    if unit in ("s", "W", "Hz") and 1e-8 < value < 1e3:
        assert "e" not in written.removesuffix(unit)
        assert 1 <= float(written.split()[0]) < 1000
    assert text(-value, unit) == f"-{written}"


@pytest.mark.parametrize("prefix", sorted(units._PREFIXES))
@pytest.mark.parametrize("si", SI)
def test_units_known_by_heart_agree_with_pint(prefix: str, si: str) -> None:
    for unit in [si, "OP/s"] if si == "FLOP/s" else [si]:
        factor = units._by_heart(prefix + unit, si)
        if prefix and si == "mm^2":
            assert factor is None
        else:
            assert factor == pytest.approx(units._registry().Quantity(1.0, prefix + unit).to(si).magnitude, rel=1e-15)


@pytest.mark.parametrize(
    ("written", "dimension", "value"),
    [
        ("80 GB", "capacity", 80e9),
        ("80 GiB", "capacity", 80 * 2**30),
        ("256 KiB", "capacity", 262144),
        ("0.5 TiB", "capacity", 2**39),
        ("3.35 TB/s", "bandwidth", 3.35e12),
        ("3,350 GB/s", "bandwidth", 3.35e12),
        ("400 Gb/s", "bandwidth", 50e9),
        ("1978.9 TOPS", "rate", 1978.9e12),
        ("989.4 TFLOPS", "rate", 989.4e12),
        ("2.5 us", "time", 2.5e-6),
        ("2.5 \u00b5s", "time", 2.5e-6),
        ("2.5 \u03bcs", "time", 2.5e-6),
        (".5 us", "time", 5e-7),
        ("814 mm\u00b2", "area", 814.0),
        ("30_000 $", "money", 30000.0),
        ("1e3 W", "power", 1000.0),
        ("80 %", "fraction", 0.8),
        (132, "count", 132.0),
        ("132", "count", 132.0),
    ],
)
def test_worked(written: Any, dimension: str, value: float) -> None:
    assert parse(written, dimension) == value


def test_gb_and_gib_differ_by_seven_percent() -> None:
    assert parse("80 GiB", "capacity") / parse("80 GB", "capacity") == pytest.approx(1.073741824)


@pytest.mark.parametrize(
    ("written", "dimension", "words"),
    [
        ("74.5 GiB", "capacity", ["74.5 GiB", "not a whole number of GiB", "'79.99 GB'"]),
        ("3.35 TFLOP/s", "bandwidth", ["expected a bandwidth", "'3.35 TB/s'", "'TFLOP/s'"]),
        ("3.35 TB", "bandwidth", ["expected a bandwidth", "did you mean 'TB/s'"]),
        ("80 GB/s", "capacity", ["expected a capacity", "'80 GB'", "did you mean 'GB'"]),
        ("989 TB/s", "rate", ["expected a rate", "'TB/s'"]),
        ("989 TFLOP", "rate", ["expected a rate", "did you mean 'TFLOP/s'"]),
        ("989 TFlops", "rate", ["did you mean 'TFLOP/s'"]),
        ("80", "capacity", ["a number without a unit"]),
        (80, "capacity", ["a number without a unit"]),
        ("80 gb", "capacity", ["'gb'", "did you mean 'GB'"]),
        ("256 KB", "capacity", ["'KB'", "did you mean 'kB'"]),
        ("3.35 TBps", "bandwidth", ["did you mean 'TB/s'"]),
        ("1.8 Ghz", "frequency", ["did you mean 'GHz'"]),
        ("700 w", "power", ["did you mean 'W'"]),
        ("5 m", "time", ["expected a time", "did you mean 'ms'"]),
        ("814 cm", "area", ["expected an area", "'cm'"]),
        ("132 SM", "count", ["expected a count", "without a unit", "'SM'"]),
        ("80 %", "time", ["expected a time", "'%'"]),
        ("3,35 TB/s", "bandwidth", ["',35 TB/s'", "a comma only groups thousands"]),
        ("1_0__0 GB", "capacity", ["cannot read the unit"]),
        ("$30000", "money", ["expected a price such as '30000 USD'", "'$30000'"]),
        ("GB", "capacity", ["expected a capacity", "found 'GB'"]),
        ("", "capacity", ["expected a capacity", "found ''"]),
        ("nan", "count", ["expected a count", "found 'nan'"]),
        ("inf GB", "capacity", ["expected a capacity", "found 'inf GB'"]),
        (math.nan, "count", ["not finite"]),
        (math.inf, "fraction", ["not finite"]),
        ("1e400 GB", "capacity", ["'1e400 GB'", "not finite"]),
        ("1e300 PB", "capacity", ["'1e300 PB'", "not finite"]),
        (10**400, "count", ["not finite"]),
        (True, "count", ["expected a count", "found True"]),
        (None, "count", ["expected a count", "found None"]),
        ([80], "capacity", ["expected a capacity", "found [80]"]),
        ("--1 GB", "capacity", ["found '--1 GB'"]),
        ("0x10 GB", "capacity", ["cannot read the unit 'x10 GB'"]),
        ("1 9^9^9^9 B", "capacity", ["cannot read the unit"]),
        ("1 __import__('os')", "capacity", ["cannot read the unit"]),
        ("80 GB\x1b[2J", "capacity", [r"'GB\x1b[2J'"]),
        ("\u0663 GB", "capacity", ["expected a capacity"]),
        ("9" * 5000 + " GB", "capacity", ["expected a capacity", "..."]),
        ("9" * 1_000_000, "count", ["expected a count", "..."]),
        (" " * 1_000_000 + "x", "count", ["expected a count"]),
    ],
)
def test_what_is_no_quantity_is_refused_in_words(written: Any, dimension: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        parse(written, dimension)
    message = str(error.value)
    assert [w for w in words if w not in message] == [], message
    assert len(message) < 300
    assert "\x1b" not in message


@given(st.text(max_size=60), st.sampled_from(sorted(DIMENSIONS)))
def test_any_text_is_a_finite_number_or_refused(written: str, dimension: str) -> None:
    try:
        value = parse(written, dimension)
    except ValueError as error:
        refusal = str(error)
    else:
        assert math.isfinite(value)
        return
    assert "expected" in refusal or "not a whole number of GiB" in refusal


@given(st.from_regex(r"[0-9]{1,3} [a-zA-Z0-9/*^ ()%-]{0,12}", fullmatch=True), st.sampled_from(sorted(DIMENSIONS)))
def test_any_unit_is_known_or_refused(written: str, dimension: str) -> None:
    value = 0.0
    with contextlib.suppress(ValueError):  # and no other error, of pint or of anything else
        value = parse(written, dimension)
    assert math.isfinite(value)


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (3.35e12, "B/s", "3.35 TB/s"),
        (80e9, "B", "80 GB"),
        (999.96e9, "B/s", "1 TB/s"),
        (2.5e-6, "s", "2.5 us"),
        (65.8e-3, "s", "65.8 ms"),
        (3600.0, "s", "3600 s"),
        (0.5, "B", "0.5 B"),
        (9999.9, "", "10,000"),
        (9999.0, "", "9,999"),
        (27500.0, "USD", "27,500 USD"),
        (1e30, "", "1e+30"),
        (0.0, "W", "0 W"),
        (math.inf, "B", "inf B"),
        (-3e9, "B/s", "-3 GB/s"),
    ],
)
def test_text_as_people_write_it(value: float, unit: str, written: str) -> None:
    assert text(value, unit) == written


# Widths in bits by the name of the format: IEEE 754 half, single, double; bfloat16; OCP 8-bit (E4M3, E5M2) and
# microscaling formats (MXFP6, MXFP4); tf32 is stored in 32 bits.
BITS = {"fp64": 64, "fp32": 32, "tf32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "fp6": 6, "fp4": 4, "int4": 4}


def test_dtype_widths() -> None:
    assert {name: dtype_bytes(name) * 8 for name in units.DTYPE_BYTES} == BITS


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("bfloat16", "bf16"),
        ("torch.bfloat16", "bf16"),
        ("torch.float8_e4m3fn", "fp8"),
        ("FP16", "fp16"),
        (" bf16 ", "bf16"),
        ("half", "fp16"),
        ("float32", "fp32"),
        ("f16", "fp16"),
        ("nvfp4", "fp4"),
        ("w8a8", "int8"),
    ],
)
def test_dtype_spellings(name: str, short: str) -> None:
    assert dtype_name(name) == short


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bf17", "did you mean 'bf16'"),
        ("uint8", "did you mean 'int8'"),
        ("complex64", "known: fp64"),
        ("", "known: fp64"),
        (None, "unknown dtype None"),
        (16, "unknown dtype 16"),
        (["bf16"], "did you mean 'bf16'"),
        ("x" * 100_000, "..."),
    ],
)
def test_an_unknown_dtype_names_the_known_ones(name: Any, words: str) -> None:
    with pytest.raises(BadWorkload) as error:
        dtype_name(name)
    assert words in str(error.value)
    assert "bf16" in str(error.value)
    assert isinstance(error.value, RooflineError)
    assert len(str(error.value)) < 300
