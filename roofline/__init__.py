"""How fast inference runs on a chip, why, and how sure that is.

>>> import roofline as rl
>>> est = rl.estimate("llama-3.1-70b", "h100", tp=8, batch=64)  # doctest: +SKIP
>>> est.tokens_per_s, est.bound  # doctest: +SKIP

Names are imported when first used, so that ``import roofline`` and the command start fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roofline.catalog import list_chips, list_models, load_chip, load_model
    from roofline.chip import Chip
    from roofline.errors import (
        BadData,
        BadDescriptor,
        BadModel,
        BadWorkload,
        DoesNotFit,
        RooflineError,
        UnknownName,
    )
    from roofline.estimates import estimate
    from roofline.inference import cost, run
    from roofline.op import (
        all_gather,
        all_reduce,
        all_to_all,
        attention,
        elementwise,
        embedding_bag,
        gemm,
        host_copy,
        layer_norm,
        mla_attention,
        moe,
        quantize,
        reduce_scatter,
        rms_norm,
        rope,
        send,
        silu_mul,
        softmax,
    )
    from roofline.plot import plot_breakdown, plot_roofline
    from roofline.study import fewest_chips, pareto, sensitivity, sweep
    from roofline.workload import workload

__version__ = "0.1.0"

_WHERE = {
    "catalog": ("list_chips", "list_models", "load_chip", "load_model"),
    "chip": ("Chip",),
    "errors": ("BadData", "BadDescriptor", "BadModel", "BadWorkload", "DoesNotFit", "RooflineError", "UnknownName"),
    "estimates": ("estimate",),
    "inference": ("cost", "run"),
    "op": (
        "all_gather", "all_reduce", "all_to_all", "attention", "elementwise", "embedding_bag", "gemm", "host_copy",
        "layer_norm", "mla_attention", "moe", "quantize", "reduce_scatter", "rms_norm", "rope", "send", "silu_mul",
        "softmax",
    ),
    "plot": ("plot_breakdown", "plot_roofline"),
    "study": ("fewest_chips", "pareto", "sensitivity", "sweep"),
    "workload": ("workload",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"roofline.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    from roofline.errors import closest

    near = closest(name, _MODULE_OF, 1)
    raise AttributeError(f"module 'roofline' has no attribute {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def __dir__() -> list[str]:
    return [*globals(), *_MODULE_OF]
