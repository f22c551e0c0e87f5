"""What a size may be: the one place for the bounds that every operator holds its arguments to.

Three kinds of number, each a plain one or an array:

- a *shape* (:func:`whole`): the width of a matrix, heads, experts, chips. A whole number;
- a *mean* (:func:`mean`): what a workload has of something on average, such as the context of a decode step over a
  whole output, or the sequences of a pass. At least one, and perhaps a fraction more;
- an *amount* (:func:`amount`): bytes, or lookups in a table, of which a call may have less than one on average.

What splitting over chips makes of a shape (half a head, a tenth of a table) goes through `Op.with_args`, unchecked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import Numeric, NumericLike, everywhere, number

#: No tensor has a side as long; products of any few sides stay far from infinity.
MOST = 10**15

#: Bounds of an amount: the whole of memory that exists, and a millionth of a byte.
LEAST_AMOUNT, MOST_AMOUNT = 1e-6, 1e18

#: Zipf exponent of an index distribution: at 5 nearly every lookup asks for the same row.
MOST_SKEW = 5

#: Share of a batch's lookups that repeat those of the batch before: short of all, which would draw no new row ever.
MOST_REPEAT = 0.99

#: Bytes of scales beside a row of a table.
MOST_SCALE_BYTES = 4096

#: Imbalance of a router: relative variance of the experts' popularity, plus one.
MOST_IMBALANCE = 1000


def whole(where: str, least: int = 1, **values: NumericLike) -> dict[str, Numeric]:
    """The values as :func:`~roofline.base.numeric.as_numeric` makes them; refuse what is no shape.

    Raises
    ------
    BadWorkload
        For what is not a whole number from `least` to :data:`MOST`.
    """
    for name, value in values.items():
        if not (type(value) is int and least <= value <= MOST):
            values[name] = _checked(
                where,
                name,
                value,
                f"a whole number from {least} to 10^15",
                lambda found: _lies(found, least, MOST) and everywhere(found % 1 == 0),
            )
    return cast("dict[str, Numeric]", values)


def mean(where: str, **values: NumericLike) -> dict[str, Numeric]:
    """The same for means: numbers from 1 to :data:`MOST`."""
    for name, value in values.items():
        if not ((type(value) is int or type(value) is float) and 1 <= value <= MOST):
            values[name] = _checked(where, name, value, "a number from 1 to 10^15", lambda found: _lies(found, 1, MOST))
    return cast("dict[str, Numeric]", values)


def amount(where: str, **values: NumericLike) -> dict[str, Numeric]:
    """The same for amounts: numbers from :data:`LEAST_AMOUNT` to :data:`MOST_AMOUNT`."""
    return within(where, LEAST_AMOUNT, MOST_AMOUNT, **values)


def within(where: str, least: float, most: float, **values: NumericLike) -> dict[str, Numeric]:
    """The same for numbers from `least` to `most`."""
    for name, value in values.items():
        if not ((type(value) is int or type(value) is float) and least <= value <= most):
            values[name] = _checked(
                where,
                name,
                value,
                f"a number from {least:g} to {most:g}",
                lambda found: _lies(found, least, most),
            )
    return cast("dict[str, Numeric]", values)


def _lies(found: Numeric, least: float, most: float) -> bool:
    """Whether a number, or all of an array, lies between two others: the ends of an array speak for all of it."""
    if isinstance(found, np.ndarray):
        return bool(found.min() >= least and found.max() <= most)
    return bool(least <= found <= most)


def _checked(where: str, name: str, value: object, expected: str, holds: Callable[[Numeric], bool]) -> Numeric:
    found = number(where, name, value)
    if not holds(found):
        raise BadWorkload(f"{where}: {name} must be {expected}, found {shown(value)}")
    return found
