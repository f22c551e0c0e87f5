"""What a backend offers: a machine, its ceilings, and operators ready to be timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from roofline.measure.suites import Case
from roofline.measure.system import System
from roofline.measure.timing import Timing


@dataclass(frozen=True)
class Probe:
    """One ceiling of the machine.

    Attributes
    ----------
    probe : str
        bandwidth, peak, launch, latency or host_copy.
    mode : str
        Of a bandwidth: read, write, copy, triad. Of a peak: the shape.
    dtype : str
    bytes : int
        Working set; 0 where it does not matter.
    value : float
        B/s, FLOP/s or s: the best of the samples.
    median : float
        Of the samples.
    samples : int
    """

    probe: str
    mode: str
    dtype: str
    bytes: int
    value: float
    median: float
    samples: int


@dataclass(frozen=True)
class Prepared:
    """An operator with its buffers.

    Attributes
    ----------
    run : callable
        Runs call i; other i take other buffers.
    check : callable
        Runs once into poisoned outputs and returns the relative error against a reference in higher precision.
    tolerance : float
        The largest relative error that the arithmetic explains.
    flush : bool
        Whether the caches are to be emptied before each call.
    """

    run: Callable[[int], Any]
    check: Callable[[], float]
    tolerance: float
    flush: bool = False


class CannotMeasure(Exception):
    """This backend has no way to run a case; says why."""


class Backend(Protocol):
    """A way of running operators on one device."""

    name: str
    kind: str  # cpu or gpu: which suites, which family of chips
    system: System
    framework: str
    version: str
    devices: int

    def probes(self, size: str, names: tuple[str, ...]) -> Iterator[Callable[[], list[Probe]]]:
        """The ceilings to measure, one step of work each.

        `names` picks some of launch, peak, bandwidth, latency, host_copy; ``"main"`` is the bandwidth of main memory.
        """
        ...

    def prepare(self, case: Case) -> Prepared:
        """Buffers, a way to run and a way to check a case.

        Raises
        ------
        CannotMeasure
        """
        ...

    def time(self, prepared: Prepared, budget_s: float) -> Timing:
        """Time one call."""
        ...


#: Relative error that rounding explains, by dtype (norm of the difference over norm of the reference).
TOLERANCE = {"fp64": 1e-10, "fp32": 1e-4, "tf32": 2e-3, "fp16": 5e-3, "bf16": 2e-2, "fp8": 2e-2, "int8": 2e-2}


def ring_count(set_bytes: float, span_bytes: float, most: int = 20_000) -> int:
    """Sets of buffers to cycle through so that `span_bytes` pass before one is used again."""
    return int(min(max(1.0, -(-span_bytes // max(set_bytes, 1.0))), most))


def _normed(x: Any) -> Any:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)


def _softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


#: What a row-wise operator computes (weights and biases are ones): float64 inputs [reads, rows, cols] -> output.
REFERENCE: dict[str, Callable[[Any], Any]] = {
    "elementwise": lambda x: 1.5 * x[0],
    "residual_add": lambda x: x[0] + x[1],
    "silu_mul": lambda x: x[0] / (1 + np.exp(-x[0])) * x[1],
    "rms_norm": lambda x: _normed(x[0]),
    "layer_norm": lambda x: _normed(x[0] - x[0].mean(axis=-1, keepdims=True)) + 1,
    "softmax": lambda x: _softmax(x[0]),
}
