"""How fast inference runs on a chip, why, and how sure that is.

>>> import roofline as rl
>>> est = rl.estimate("llama-3.1-70b", "h100", tp=8, batch=64)  # doctest: +SKIP
>>> est.tokens_per_s, est.bound  # doctest: +SKIP

Names are imported when first used, so that ``import roofline`` and the command start fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from roofline.estimates import questions as _questions

if TYPE_CHECKING:
    from roofline.base.errors import (
        BadData as BadData,
        BadDescriptor as BadDescriptor,
        BadModel as BadModel,
        BadWorkload as BadWorkload,
        DoesNotFit as DoesNotFit,
        NotKnown as NotKnown,
        RooflineError as RooflineError,
        UnknownName as UnknownName,
    )
    from roofline.catalog.load import (
        list_chips as list_chips,
        list_models as list_models,
        load_chip as load_chip,
        load_model as load_model,
    )
    from roofline.estimates.estimate import estimate as estimate
    from roofline.estimates.inference import (
        cost as cost,
        run as run,
    )
    from roofline.estimates.placing import place as place
    from roofline.evidence.calibration import calibrate as calibrate
    from roofline.explorer.explore import explore as explore
    from roofline.fidelity.end_to_end import validate_end_to_end as validate_end_to_end
    from roofline.fidelity.validation import validate as validate
    from roofline.hardware.chip import Chip as Chip
    from roofline.serving.capacity import fewest_chips as fewest_chips
    from roofline.serving.lengths import (
        empirical as empirical,
        lognormal as lognormal,
        uniform as uniform,
    )
    from roofline.serving.planning import capacity as capacity
    from roofline.serving.recorded import load_traffic as load_traffic
    from roofline.serving.simulation import simulate as simulate
    from roofline.serving.steady import serve as serve
    from roofline.serving.systems import (
        Autoscale as Autoscale,
        Draft as Draft,
        Pool as Pool,
    )
    from roofline.serving.traffic import Traffic as Traffic
    from roofline.show.plot import (
        plot_breakdown as plot_breakdown,
        plot_cdf as plot_cdf,
        plot_comparison as plot_comparison,
        plot_indices as plot_indices,
        plot_odds as plot_odds,
        plot_percentiles as plot_percentiles,
        plot_roofline as plot_roofline,
        plot_sensitivity as plot_sensitivity,
        plot_timeline as plot_timeline,
        plot_tradeoff as plot_tradeoff,
    )
    from roofline.study.comparing import compare as compare
    from roofline.study.explaining import explain as explain
    from roofline.study.frontiers import pareto as pareto
    from roofline.study.grids import sweep as sweep
    from roofline.study.indices import indices as indices
    from roofline.study.searching import search as search
    from roofline.study.sensitivity import sensitivity as sensitivity
    from roofline.study.solving import solve as solve
    from roofline.study.takeovers import takeovers as takeovers
    from roofline.work.op import (
        all_gather as all_gather,
        all_reduce as all_reduce,
        all_to_all as all_to_all,
        attention as attention,
        causal_conv as causal_conv,
        elementwise as elementwise,
        embedding_bag as embedding_bag,
        gemm as gemm,
        host_copy as host_copy,
        index_scores as index_scores,
        layer_norm as layer_norm,
        mla_attention as mla_attention,
        moe as moe,
        quantize as quantize,
        recurrence as recurrence,
        reduce_scatter as reduce_scatter,
        rms_norm as rms_norm,
        rope as rope,
        send as send,
        silu_mul as silu_mul,
        softmax as softmax,
        sparse_attention as sparse_attention,
    )

__version__ = "0.1.0"

#: The public names, and the module that each lives in.
_MODULE_OF = {
    "calibrate": "evidence.calibration",
    "list_chips": "catalog.load",
    "list_models": "catalog.load",
    "load_chip": "catalog.load",
    "load_model": "catalog.load",
    "Chip": "hardware.chip",
    "BadData": "base.errors",
    "BadDescriptor": "base.errors",
    "BadModel": "base.errors",
    "BadWorkload": "base.errors",
    "DoesNotFit": "base.errors",
    "NotKnown": "base.errors",
    "RooflineError": "base.errors",
    "UnknownName": "base.errors",
    "estimate": "estimates.estimate",
    "place": "estimates.placing",
    "cost": "estimates.inference",
    "run": "estimates.inference",
    "all_gather": "work.op",
    "all_reduce": "work.op",
    "all_to_all": "work.op",
    "attention": "work.op",
    "causal_conv": "work.op",
    "elementwise": "work.op",
    "embedding_bag": "work.op",
    "gemm": "work.op",
    "host_copy": "work.op",
    "index_scores": "work.op",
    "layer_norm": "work.op",
    "mla_attention": "work.op",
    "moe": "work.op",
    "quantize": "work.op",
    "recurrence": "work.op",
    "reduce_scatter": "work.op",
    "rms_norm": "work.op",
    "rope": "work.op",
    "send": "work.op",
    "silu_mul": "work.op",
    "softmax": "work.op",
    "sparse_attention": "work.op",
    "plot_breakdown": "show.plot",
    "plot_cdf": "show.plot",
    "plot_percentiles": "show.plot",
    "plot_timeline": "show.plot",
    "plot_tradeoff": "show.plot",
    "plot_comparison": "show.plot",
    "plot_indices": "show.plot",
    "plot_odds": "show.plot",
    "plot_roofline": "show.plot",
    "plot_sensitivity": "show.plot",
    "serve": "serving.steady",
    "simulate": "serving.simulation",
    "capacity": "serving.planning",
    "validate_end_to_end": "fidelity.end_to_end",
    "fewest_chips": "serving.capacity",
    "Autoscale": "serving.systems",
    "Draft": "serving.systems",
    "Pool": "serving.systems",
    "Traffic": "serving.traffic",
    "load_traffic": "serving.recorded",
    "empirical": "serving.lengths",
    "lognormal": "serving.lengths",
    "uniform": "serving.lengths",
    "compare": "study.comparing",
    "explain": "study.explaining",
    "explore": "explorer.explore",
    "indices": "study.indices",
    "pareto": "study.frontiers",
    "search": "study.searching",
    "sensitivity": "study.sensitivity",
    "solve": "study.solving",
    "sweep": "study.grids",
    "takeovers": "study.takeovers",
    "validate": "fidelity.validation",
}

__all__ = list(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"roofline.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    from roofline.base.errors import closest

    near = closest(name, _MODULE_OF, 1)
    raise AttributeError(
        f"module 'roofline' has no attribute {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    )


_questions.ANSWERS["explain"] = lambda: __getattr__("explain")
_questions.ANSWERS["accessor"] = lambda: importlib.import_module("roofline.show.accessor").GridAccessor


def __dir__() -> list[str]:
    return [*globals(), *_MODULE_OF]
