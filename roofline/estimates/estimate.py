"""``estimate(model, chip, ...)``: throughput, latency, memory and the reason for them.

A language model is costed as one prefill of the whole batch and one decode step at the mean context of the output; a
recommendation model as one batch. Every numeric argument may be an array; they broadcast, and so do the results.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np

from roofline.base.errors import DoesNotFit
from roofline.base.numeric import everywhere
from roofline.base.units import DTYPE_BYTES
from roofline.catalog.load import Model, as_chip, as_model
from roofline.estimates import memory as memory_module
from roofline.estimates.language import LanguageEstimate
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.estimates.request import language_request, recommendation_request
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel


def estimate(
    model: Model | str | os.PathLike[str], chip: Chip | str | os.PathLike[str], *, check: bool = True, **options: Any
) -> Any:
    """Throughput, latency, memory and the reason for them.

    Parameters
    ----------
    model : LanguageModel, Recommender or str
        A model, or its name or path.
    chip : Chip or str
        A chip, or its name or path.
    check : bool
        Raise when the model does not fit; with False the result says so in ``fits``.
    **options
        For a language model: `batch` (sequences in flight over the whole system; default 1), `prompt` (tokens, 1024),
        `output` (tokens, 256), `prefix` (tokens of the prompt whose KV is cached, 0), `tp`, `pp`, `ep`, `dp` (1),
        `dtype` (arithmetic; default a quantised checkpoint's own where the chip has it, else the chip's 16-bit;
        ``notes`` say which), `weight_dtype` (in memory; default `dtype`), `kv_dtype`.
        For a recommendation model: `batch` (user-item pairs over the whole system; 1024), `devices` (1), `dtype`,
        `table_dtype` (default `dtype`), `skew` (Zipf exponent of the indices, 0), `compiled` (the dense part as one
        engine, activations in `dtype`, as TensorRT builds it; False).
        For both: `usable_memory` (share of the capacity that the model may fill, 0.9).

    Returns
    -------
    LanguageEstimate or RecommendationEstimate

    Raises
    ------
    UnknownName, BadDescriptor, BadModel
        From loading.
    BadWorkload
        For arguments that no workload can have, or a dtype that the chip has no rate for.
    DoesNotFit
        With what is needed, what there is, and the smallest changes that fit.
    """
    model, chip = as_model(model), as_chip(chip)
    if isinstance(model, LanguageModel):
        result: Any = LanguageEstimate(model, chip, language_request(model, chip, options))
    else:
        result = RecommendationEstimate(model, chip, recommendation_request(model.name, chip, options))
    if check and not everywhere(result.fits):
        if np.shape(result.fits):
            raise DoesNotFit(
                f"{model.name} does not fit at every point; check=False marks them in `fits`", 0.0, 0.0, []
            )
        raise _refusal(result)
    result.time_s  # noqa: B018  what cannot be costed is told here, not at the first look at a figure
    return result


def _refusal(result: Any) -> DoesNotFit:
    """The error for an estimate that does not fit, with the smallest single changes that do."""
    r, found = result.request, []

    def fits(**changes: Any) -> bool:
        return bool(type(result)(result.model, result.chip, replace(r, **changes)).fits)

    if isinstance(result, LanguageEstimate):
        devices = r.plan.devices
        for tp in (
            t for t in (2 * r.plan.tp, 4 * r.plan.tp, 8 * r.plan.tp, 16 * r.plan.tp) if result.model.heads % t == 0
        ):
            if fits(plan=replace(r.plan, tp=tp)):
                found.append(f"tp={tp} ({tp * devices // r.plan.tp} chips)")
                break
        for dtype in (d for d in ("fp8", "int8", "int4") if DTYPE_BYTES[d] < DTYPE_BYTES[r.weight_dtype or r.dtype]):
            if fits(weight_dtype=dtype):
                found.append(f"weight_dtype={dtype!r} on the same {devices} chip{'s' if devices > 1 else ''}")
                break
        batch = memory_module.largest_batch(lambda b: bool(result._memory(b).fits)) if r.batch > 1 else 0
        if batch:
            found.append(f"batch={batch}")
        what, chips = result.model.name, f"{devices} x {result.chip.name}"
        dtype = r.weight_dtype or r.dtype
        return memory_module.refuse(f"{what} in {dtype}", result._memory(r.batch), chips, found)
    for devices in (2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256):
        if devices > r.devices and fits(devices=devices):
            found.append(f"devices={devices}")
            break
    for dtype in (d for d in ("fp16", "int8", "int4") if DTYPE_BYTES[d] < DTYPE_BYTES[r.table_dtype or r.dtype]):
        if fits(table_dtype=dtype):
            found.append(f"table_dtype={dtype!r}")
            break
    what = f"{result.model.name} with {r.table_dtype or r.dtype} tables"
    return memory_module.refuse(what, result._memory(r.batch), f"{r.devices} x {result.chip.name}", found)
