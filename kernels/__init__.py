"""Operator costs over floats and float64 arrays, in SI units: numbers in, numbers out.

Every kernel is a plain Python function of one operator on one chip, named after the operator kind. Its arguments are
bound by name: first the operator's own (sizes, widths), then the chip's machine numbers, then the efficiency
parameters of that operator class. It returns the :data:`COST` quantities. ``kernels/reference/`` holds the same names
in plain numpy: read that first.
"""

import importlib
import pkgutil
from collections.abc import Callable

from roofline.kernels._jit import KERNELS

#: What every kernel returns, in this order. FLOP and bytes per call; seconds.
COST = (
    "flops",  # useful FLOP on the matrix engine
    "vector_flops",  # FLOP on the vector engine
    "bytes",  # compulsory bytes: every tensor once
    "memory_bytes",  # expected traffic of main memory
    "cache_bytes",  # expected traffic of the last-level cache or shared scratchpad
    "network_bytes",  # sent by one chip
    "lower_s",  # largest ideal time over the resources
    "time_s",  # expected time
    "upper_s",  # nothing overlapped, every overhead
    "compute_s",  # busy times of the resources, efficiency included
    "memory_s",
    "cache_s",
    "network_s",
    "overhead_s",  # fixed costs that nothing hides
)


def by_name() -> dict[str, Callable[..., tuple[float, ...]]]:
    """Every kernel of every file of this package, by name."""
    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            importlib.import_module(f"{__name__}.{module.name}")
    return KERNELS
