"""Parts of a grid: the arrays of a request and of a chip cut alike, so that memory holds a part at a time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from roofline.estimates.request import Request
from roofline.hardware.chip import Chip

#: A slice of each axis.
Part = tuple[slice, ...]


def arrays(request: Request, chip: Chip) -> dict[str, np.ndarray]:
    """Every array that was asked for, and every figure of the chip that is one, by name."""
    asked = vars(request) | vars(request.plan) | vars(request.terms)
    return {name: value for name, value in asked.items() if isinstance(value, np.ndarray)} | varied(chip)


def varied(chip: Chip) -> dict[str, np.ndarray]:
    """The figures of a chip, and of its family, that are arrays."""
    found: dict[str, np.ndarray] | None = chip.bound_cache.get("varied")
    if found is None:
        both = {**chip.defaults, **chip.numbers}
        found = {path: n.value for path, n in both.items() if isinstance(n.value, np.ndarray)}
        chip.bound_cache["varied"] = found
    return found


def parts(shape: tuple[int, ...], most: int) -> Iterator[Part]:
    """Slices that together make up an array of this shape, in order, of at most so many points each."""
    lengths, inner = [], math.prod(shape)
    for size in shape:
        inner //= size
        lengths.append(max(1, most // inner))
    cuts = [
        [slice(start, min(start + length, size)) for start in range(0, size, length)]
        for size, length in zip(shape, lengths, strict=True)
    ]
    return itertools.product(*cuts)


def cut(request: Request, chip: Chip, part: Part) -> tuple[Request, Chip]:
    """Request and chip for a part of the grid that their arrays broadcast to."""

    def own(value: object) -> Any:
        return value[place(value, part)] if isinstance(value, np.ndarray) else value

    plan, terms = _with(request.plan, own), _with(request.terms, own)
    request = dataclasses.replace(_with(request, own), plan=plan, terms=terms)
    if varied(chip):
        numbers, defaults = (
            {path: dataclasses.replace(n, value=own(n.value)) for path, n in figures.items()}
            for figures in (chip.numbers, chip.defaults)
        )
        chip = dataclasses.replace(chip, numbers=numbers, defaults=defaults)
    return request, chip


def place(array: np.ndarray, part: Part) -> Part:
    """Where the part is in an array, which may have fewer axes than the grid, and axes of length 1."""
    own = part[len(part) - array.ndim :]
    return tuple(one if size > 1 else slice(None) for one, size in zip(own, array.shape, strict=True))


def _with(value: Any, change: Callable[[Any], Any]) -> Any:
    """A dataclass with every field that is an array changed."""
    changes = {name: change(field) for name, field in vars(value).items() if isinstance(field, np.ndarray)}
    return dataclasses.replace(value, **changes) if changes else value


def together(sums_apart: list[np.ndarray]) -> list[np.ndarray]:
    """Those that vary along some of the axes of others added to these: what is left has to be spread point by point."""
    left: list[np.ndarray] = []
    for values in sorted(sums_apart, key=lambda values: -values.size):
        for i, larger in enumerate(left):
            if np.broadcast_shapes(larger.shape, values.shape) == larger.shape:
                left[i] = larger + values
                break
        else:
            left.append(values)
    return left
