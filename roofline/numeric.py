"""Numbers that may be arrays: the few things done to them that numpy does not do to plain numbers, and their checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from roofline.errors import BadWorkload

#: A number or an array of numbers; arrays broadcast against each other.
Numeric = Any


def positive(where: str, **values: Numeric) -> None:
    """Refuse sizes that no tensor has."""
    for name, value in values.items():
        if type(value) is int or type(value) is float:
            good = 0 < value < float("inf")
        else:
            array = _numbers(where, name, value)
            good = array.size > 0 and bool(np.all((array > 0) & np.isfinite(array)))
        if not good:
            raise BadWorkload(f"{where}: {name} must be positive and finite, found {value!r}")


def not_negative(where: str, **values: Numeric) -> None:
    for name, value in values.items():
        if type(value) is int or type(value) is float:
            good = 0 <= value < float("inf")
        else:
            array = _numbers(where, name, value)
            good = array.size > 0 and bool(np.all((array >= 0) & np.isfinite(array)))
        if not good:
            raise BadWorkload(f"{where}: {name} must be finite and not negative, found {value!r}")


def _numbers(where: str, name: str, value: Numeric) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise BadWorkload(f"{where}: {name} must be a number, found {value!r}")
    return array


def anywhere(condition: Numeric) -> bool:
    """Whether a comparison holds anywhere; plain numbers take no detour through numpy."""
    return bool(condition.any() if isinstance(condition, np.ndarray) else condition)


def as_numeric(value: Numeric) -> Numeric:
    """Lists, ranges and columns become arrays; numbers and arrays stay, and what is neither is left to be refused."""
    if type(value) is int or type(value) is float or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, range)) or hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind in "iuf":
            return array.astype(float) if array.ndim else float(array)
        return array
    return value


def ceil_div(a: Numeric, b: Numeric) -> Numeric:
    """``ceil(a / b)`` for numbers and arrays."""
    return -(-a // b)


def maximum(a: Numeric, b: Numeric) -> Numeric:
    """The larger, elementwise; plain numbers stay plain."""
    return np.maximum(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else max(a, b)


def minimum(a: Numeric, b: Numeric) -> Numeric:
    """The smaller, elementwise; plain numbers stay plain."""
    return np.minimum(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else min(a, b)
