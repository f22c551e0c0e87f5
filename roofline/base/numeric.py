"""Numbers that may be arrays: the few things done to them that numpy does not do to plain numbers, and their checks."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.traced import Traced

#: A number or an array of numbers; arrays broadcast against each other, and so do the figures made of them.
Numeric: TypeAlias = float | np.ndarray

#: What holds or not, and what something is called: for each point, where there are several.
Truth: TypeAlias = bool | np.ndarray
Label: TypeAlias = str | np.ndarray


class Column(Protocol):
    """What numpy makes an array of: its own arrays and numbers, a column of a table."""

    def __array__(self) -> np.ndarray: ...


#: What public functions take for a :data:`Numeric`: also lists, ranges and columns.
NumericLike: TypeAlias = float | Column | Sequence[float | Column] | Sequence[Sequence[float | Column]]


#: What :func:`choose` chooses between.
Chosen = TypeVar("Chosen", Numeric, Label)

#: No size of a tensor, and no number of bytes or calls, comes near it; products of a few of them stay finite.
MOST = 1e18

#: Arrays of more axes than these go together with no others in numpy.
MOST_AXES = 16


def not_negative(where: str, **values: NumericLike) -> dict[str, Numeric]:
    """The values as :func:`as_numeric` makes them; refuse what is below 0 or absurd."""
    for name, value in values.items():
        if not ((type(value) is int or type(value) is float) and 0 <= value < MOST):
            values[name] = found = number(where, name, value)
            if not everywhere((found >= 0) & (found < MOST)):
                raise BadWorkload(
                    f"{where}: {name} must be finite and not negative (below {MOST:g}), found {shown(value)}"
                )
    return cast("dict[str, Numeric]", values)


def flags(where: str, **values: object) -> dict[str, Numeric]:
    """Flags as kernels take them, 1.0 or 0.0; refuse what is neither true nor false."""
    for name, value in values.items():
        if type(value) is bool:
            continue
        if not isinstance(value, bool | np.bool_) and not (isinstance(value, int | float) and value in (0, 1)):
            raise BadWorkload(f"{where}: {name} is True or False, found {shown(value)}")
    return {name: 1.0 if value else 0.0 for name, value in values.items()}


def broadcastable(where: str, values: Mapping[str, Numeric]) -> None:
    """Refuse arrays whose shapes do not go together."""
    arrays = {name: value.shape for name, value in values.items() if isinstance(value, np.ndarray)}
    if len(arrays) > 1:
        try:
            np.broadcast_shapes(*arrays.values())
        except ValueError:
            raise BadWorkload(
                f"{where}: arrays do not broadcast against each other: {arrays}; give each an axis of its own"
            ) from None


def number(where: str, name: str, value: object) -> Numeric:
    """The value as :func:`as_numeric` makes it; :class:`BadWorkload` for what holds no numbers.

    An integer that no float holds comes back as an infinity of its sign.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= MOST:
        return math.inf if value > 0 else -math.inf
    if type(value) is Traced:
        return cast("Numeric", value)
    # What comes from another operator is as it should be: in a sweep, copies cost as much as the costs themselves.
    ready = type(value) is np.ndarray and value.dtype == np.float64 and 0 < value.ndim <= MOST_AXES
    found = cast("Numeric", value) if ready else as_numeric(value, f"{where}: {name}")
    array = np.asarray(found)
    if array.dtype.kind not in "iuf":
        raise BadWorkload(f"{where}: {name} must be a number, found {shown(value)}")
    if not array.size:
        raise BadWorkload(f"{where}: {name} must hold at least one number, found {shown(value)}")
    return found


def anywhere(condition: Numeric) -> bool:
    """Whether a comparison holds anywhere; plain numbers take no detour through numpy."""
    return bool(condition.any() if isinstance(condition, np.ndarray) else condition)


def everywhere(condition: Numeric) -> bool:
    """Whether a comparison holds everywhere."""
    return bool(condition.all() if isinstance(condition, np.ndarray) else condition)


def is_masked(value: object) -> bool:
    """Whether it is a masked array; where nobody has made one, the module that they are from is not even loaded."""
    return "numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray)


def as_numeric(value: object, where: str = "") -> Any:
    """Lists, ranges and columns become arrays; numbers and arrays stay, and what is neither is left to be refused.

    Parameters
    ----------
    value : number, array, list, range or column
    where : str, optional
        What it is, for the error.

    Raises
    ------
    BadWorkload
        For a masked array, whose mask no arithmetic here would heed, and for rows of unequal length.
    """
    if type(value) is int or type(value) is float or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, range)) or hasattr(value, "__array__"):
        prefix = f"{where}: " if where else ""
        if is_masked(value):
            raise BadWorkload(f"{prefix}expected a plain array, found a masked one: fill its gaps, or leave them out")
        try:
            array = np.asarray(value)
        except (ValueError, RecursionError, RuntimeError):  # rows of several lengths, lists nested without end
            raise BadWorkload(f"{where or 'an array'} must have rows of one length, found {shown(value)}") from None
        if array.ndim > MOST_AXES:
            raise BadWorkload(f"{prefix}expected at most {MOST_AXES} axes, found {array.ndim}")
        if array.dtype.kind in "iuf":
            return array.astype(float) if array.ndim else float(array)
        return array
    return value


def choose(condition: Truth, a: Chosen, b: Chosen) -> Chosen | np.ndarray:
    """``a`` where the condition holds, else ``b``, elementwise; plain numbers stay plain."""
    return np.where(condition, a, b) if isinstance(condition, np.ndarray) else (a if condition else b)


def ceil_div(a: Numeric, b: Numeric) -> Numeric:
    """``ceil(a / b)`` for numbers and arrays."""
    return -(-a // b)


def maximum(a: Numeric, b: Numeric) -> Numeric:
    """The larger, elementwise; plain numbers stay plain."""
    return np.maximum(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else max(a, b)


def minimum(a: Numeric, b: Numeric) -> Numeric:
    """The smaller, elementwise; plain numbers stay plain."""
    return np.minimum(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else min(a, b)


def quantiles(samples: np.ndarray, *at: float) -> list[np.ndarray]:
    """Quantiles along the first axis, interpolated between the two samples beside each.

    Each of n samples stands for its n-th of the probability and lies in the middle of it, at (i + 1/2) / n, as those do
    that are drawn slice by slice. So this is ``np.quantile(samples, at, axis=0, method="hazen")``, to the bit, in a
    fraction of its time; the default would take the first and the last sample for the ends of the distribution, and
    make every interval too narrow.
    """
    last = len(samples) - 1
    ordered = np.sort(np.ascontiguousarray(np.moveaxis(samples, 0, -1)), axis=-1)
    found = []
    for q in at:
        place = min(max(len(samples) * q - 0.5, 0.0), float(last))
        low, high = ordered[..., int(place)], ordered[..., min(int(place) + 1, last)]
        way = place - int(place)  # from the nearer of the two, as numpy does: np.quantile imports all of np.ma for it
        found.append(np.asarray(low + (high - low) * way if way < 0.5 else high - (high - low) * (1 - way)))
    return found
