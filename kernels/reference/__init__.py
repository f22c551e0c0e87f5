"""The kernels once more, in plain numpy over arrays: the same names and arguments, written to be read.

The clearest statement of each formula, with its source. Tests hold the fast kernels to these.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any


@functools.cache
def by_name() -> dict[str, Callable[..., Any]]:
    """Every reference function that is the twin of a kernel, by name."""
    from roofline import kernels

    modules = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return {name: getattr(m, name) for m in modules for name in kernels.by_name() if hasattr(m, name)}
