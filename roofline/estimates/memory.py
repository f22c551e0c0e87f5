"""What one chip holds: weights, KV cache or tables, activations; whether it fits, and the smallest change that does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from roofline.base.errors import DoesNotFit
from roofline.base.numeric import Numeric, Truth, anywhere, everywhere, maximum, minimum
from roofline.base.units import DTYPE_BYTES, text


@dataclass(frozen=True)
class Memory:
    """Bytes on one chip.

    Attributes
    ----------
    weights_bytes, cache_bytes, activations_bytes : float or array
        Weights (for recommendation: dense weights and tables), KV cache at the end of the output and recurrent state,
        working space.
    capacity_bytes : float or array
        Of main memory, as programs see it: less what the driver keeps.
    usable_fraction : float or array
        What serving engines let the model have of it.
    largest_batch : int or array
        The largest batch of the whole system that fits with everything else unchanged; 0 if none does.
    engine_bytes : dict of str to float or array
        What the serving engine sets aside beside these, by what it is for; see :mod:`roofline.estimates.setaside`.
    spared : float or array
        0 where the fraction is one of the whole capacity, 1 where of what all but the cache leaves of it.
    """

    weights_bytes: Numeric
    cache_bytes: Numeric
    activations_bytes: Numeric
    capacity_bytes: Numeric
    usable_fraction: Numeric
    largest_batch: Numeric
    engine_bytes: Mapping[str, Numeric] = field(default_factory=dict, hash=False)
    spared: Numeric = 0.0

    @functools.cached_property
    def held_bytes(self) -> Numeric:
        """All of it but the cache (bytes)."""
        return self.weights_bytes + self.activations_bytes + sum(self.engine_bytes.values())

    @property
    def total_bytes(self) -> Numeric:
        """All of it (bytes)."""
        return self.held_bytes + self.cache_bytes

    @property
    def usable_bytes(self) -> Numeric:
        """The capacity that may be used (bytes)."""
        spared: Numeric = 0.0
        if anywhere(self.spared > 0):  # then no more is kept free than there is
            spared = self.spared * minimum(self.held_bytes, self.capacity_bytes)
        return self.capacity_bytes * self.usable_fraction + (1.0 - self.usable_fraction) * spared

    @property
    def room_bytes(self) -> Numeric:
        """What is left for the cache (bytes); 0 where nothing is."""
        return maximum(self.usable_bytes - self.held_bytes, 0.0)

    @property
    def parts(self) -> dict[str, Numeric]:
        """What there is in it, by name (bytes): weights, KV cache, activations, what the engine sets aside."""
        return {
            "weights": self.weights_bytes,
            "KV cache": self.cache_bytes,
            "activations": self.activations_bytes,
            **self.engine_bytes,
        }

    @property
    def fits(self) -> Truth:
        """Whether it does; an array where the figures are arrays."""
        return self.total_bytes <= self.usable_bytes

    def __repr__(self) -> str:
        if any(isinstance(size, np.ndarray) for size in self.parts.values()):
            return f"<Memory: shape {np.shape(self.total_bytes)}>"
        resident = ", ".join(f"{name} {text(size, 'B')}" for name, size in self.parts.items() if size)
        return f"<Memory: {resident} of {text(self.usable_bytes, 'B')} usable; largest batch {self.largest_batch}>"


class Named(Protocol):
    """What has a name: a model."""

    @property
    def name(self) -> str: ...


class Fitting(Protocol):
    """An estimate, as far as memory is concerned."""

    @property
    def model(self) -> Named: ...

    @property
    def fits(self) -> Truth: ...


Asked = TypeVar("Asked", bound=Fitting)


def largest_batch(fits: Callable[[int], bool], limit: int = 1 << 40) -> int:
    """The largest batch, up to `limit`, for which `fits` holds; it must not hold again above one for which it fails."""
    if not fits(1):
        return 0
    low, high = 1, 2
    while high <= limit and fits(high):
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def narrower(dtype: str, others: tuple[str, ...]) -> list[str]:
    """Those of the others that take fewer bytes than a dtype."""
    return [other for other in others if DTYPE_BYTES[other] < DTYPE_BYTES[dtype]]


def require(result: Asked, refusal: Callable[[Asked], Exception], at_points: str) -> None:
    """Raise where an estimate does not fit: the error that `refusal` makes of it, or words for an array of points.

    Raises
    ------
    DoesNotFit
    """
    if everywhere(result.fits):
        return
    if np.shape(result.fits):
        message = f"{result.model.name}{at_points}; check=False marks them in `fits`"
        raise DoesNotFit(message, 0.0, 0.0, [])
    raise refusal(result)


def refuse(what: str, memory: Memory, chips: str, suggestions: list[str]) -> DoesNotFit:
    """The error for a model that does not fit: needs, has, and what would fit."""
    needs, has = float(memory.total_bytes), float(memory.usable_bytes)
    resident = " + ".join(f"{name} {text(float(size), 'B')}" for name, size in memory.parts.items() if size)
    free = " that is free beside the model" if memory.spared else ""
    message = (
        f"{what} does not fit on {chips}: each chip needs {text(needs, 'B')} ({resident}) and has {text(has, 'B')} "
        f"usable ({memory.usable_fraction:.0%} of {text(float(memory.capacity_bytes), 'B')}{free})"
    )
    return DoesNotFit(message, needs, has, suggestions)
