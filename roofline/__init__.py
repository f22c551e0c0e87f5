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
    from roofline.calibration import calibrate as calibrate
    from roofline.catalog import (
        list_chips as list_chips,
        list_models as list_models,
        load_chip as load_chip,
        load_model as load_model,
    )
    from roofline.chip import Chip as Chip
    from roofline.errors import (
        BadData as BadData,
        BadDescriptor as BadDescriptor,
        BadModel as BadModel,
        BadWorkload as BadWorkload,
        DoesNotFit as DoesNotFit,
        RooflineError as RooflineError,
        UnknownName as UnknownName,
    )
    from roofline.estimates import estimate as estimate
    from roofline.fidelity.end_to_end import validate_end_to_end as validate_end_to_end
    from roofline.fidelity.validation import validate as validate
    from roofline.inference import (
        cost as cost,
        run as run,
    )
    from roofline.op import (
        all_gather as all_gather,
        all_reduce as all_reduce,
        all_to_all as all_to_all,
        attention as attention,
        elementwise as elementwise,
        embedding_bag as embedding_bag,
        gemm as gemm,
        host_copy as host_copy,
        layer_norm as layer_norm,
        mla_attention as mla_attention,
        moe as moe,
        quantize as quantize,
        reduce_scatter as reduce_scatter,
        rms_norm as rms_norm,
        rope as rope,
        send as send,
        silu_mul as silu_mul,
        softmax as softmax,
    )
    from roofline.plot import (
        plot_breakdown as plot_breakdown,
        plot_roofline as plot_roofline,
    )
    from roofline.serving import serve as serve
    from roofline.study import (
        fewest_chips as fewest_chips,
        pareto as pareto,
        sensitivity as sensitivity,
        sweep as sweep,
    )

__version__ = "0.1.0"

#: The public names, and the module that each lives in.
_MODULE_OF = {
    "calibrate": "calibration",
    "list_chips": "catalog",
    "list_models": "catalog",
    "load_chip": "catalog",
    "load_model": "catalog",
    "Chip": "chip",
    "BadData": "errors",
    "BadDescriptor": "errors",
    "BadModel": "errors",
    "BadWorkload": "errors",
    "DoesNotFit": "errors",
    "RooflineError": "errors",
    "UnknownName": "errors",
    "estimate": "estimates",
    "cost": "inference",
    "run": "inference",
    "all_gather": "op",
    "all_reduce": "op",
    "all_to_all": "op",
    "attention": "op",
    "elementwise": "op",
    "embedding_bag": "op",
    "gemm": "op",
    "host_copy": "op",
    "layer_norm": "op",
    "mla_attention": "op",
    "moe": "op",
    "quantize": "op",
    "reduce_scatter": "op",
    "rms_norm": "op",
    "rope": "op",
    "send": "op",
    "silu_mul": "op",
    "softmax": "op",
    "plot_breakdown": "plot",
    "plot_roofline": "plot",
    "serve": "serving",
    "validate_end_to_end": "fidelity.end_to_end",
    "fewest_chips": "study",
    "pareto": "study",
    "sensitivity": "study",
    "sweep": "study",
    "validate": "fidelity.validation",
}

__all__ = list(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"roofline.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    from roofline.errors import closest

    near = closest(name, _MODULE_OF, 1)
    raise AttributeError(
        f"module 'roofline' has no attribute {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    )


def __dir__() -> list[str]:
    return [*globals(), *_MODULE_OF]
