"""Operator costs over floats and float64 arrays, in SI units: numbers in, numbers out.

Every kernel is a plain Python function of one operator on one chip, named after the operator kind. Its arguments are
bound by name: first the operator's own (sizes, widths), then the chip's machine numbers, then the efficiency
parameters of that operator class. It returns :class:`Quantities`. ``kernels/reference/`` holds the same names
in plain numpy: read that first.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable

from roofline.kernels._jit import KERNELS
from roofline.kernels.quantities import Quantities

#: What every kernel returns, in this order. FLOP and bytes per call; seconds.
COST = Quantities._fields


@functools.cache
def by_name() -> dict[str, Callable[..., Quantities]]:
    """Every kernel of every file of this package, by name."""
    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            importlib.import_module(f"{__name__}.{module.name}")
    return KERNELS
