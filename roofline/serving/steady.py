"""``serve(model, chip, concurrency=...)``: what is asked of a server, checked; ``server.py`` answers."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from roofline.base.errors import BadWorkload, DoesNotFit
from roofline.base.face import FLAG, takes
from roofline.base.numeric import NumericLike, anywhere, broadcastable, not_negative
from roofline.catalog.load import CHIP, MODEL, Model, Name, as_chip, as_model
from roofline.estimates import memory as memory_module, stacks
from roofline.estimates.language import PREFILL_TOKENS
from roofline.estimates.request import Request, RequestOptions, language_request, refuse_unknown, whole
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving.server import ServingEstimate, ServingRequest


class LoadOptions(RequestOptions, total=False):
    """What :func:`serve` takes beside the concurrency, and says what each is."""

    prompt_sd: NumericLike
    output_sd: NumericLike
    chunk: NumericLike
    beams: NumericLike
    reserve: bool
    whole_cache: bool


#: The names of the options of :func:`serve`.
SERVING = ("concurrency", *LoadOptions.__annotations__)

#: Most that lengths may spread, in means: beyond lies a slip, not a distribution of lengths.
MOST_SPREAD = 10


@takes(model=MODEL, chip=CHIP, reserve=FLAG, whole_cache=FLAG, check=FLAG)
def serve(
    model: Model | Name,
    chip: Chip | Name,
    *,
    concurrency: NumericLike | None = None,
    prompt_sd: NumericLike = 0.0,
    output_sd: NumericLike = 0.0,
    chunk: NumericLike = PREFILL_TOKENS,
    beams: NumericLike = 1,
    reserve: bool = False,
    whole_cache: bool = False,
    check: bool = True,
    **options: Unpack[RequestOptions],
) -> ServingEstimate:
    """Throughput and latency of a language model under a constant number of requests; see the module's text.

    Parameters
    ----------
    model : LanguageModel or str
        A language model, or its name or path.
    chip : Chip or str
        A chip, or its name or path.
    concurrency : number or array, optional
        Requests over the whole system, each followed by the next as it ends. What exceeds the memory waits.
        Default: as many as the memory holds, which is how throughput is measured offline.
    prompt_sd, output_sd : number or array
        Standard deviations of prompt and output (tokens; 0).
    chunk : number or array
        Prompt tokens that one pass takes: TensorRT-LLM's ``max_num_tokens``, vLLM's ``max_num_batched_tokens`` (8192).
    beams : number or array
        Sequences that decode for each request: the width of a beam search (1).
    reserve : bool
        Whether a request starts only when there is room for its whole output (TensorRT-LLM's default,
        ``GUARANTEED_NO_EVICT``), so that fewer are in flight; else the cache is paged as it grows (vLLM, SGLang).
    whole_cache : bool
        Whether the engine keeps the whole context of layers that attend to a window (TensorRT-LLM unless
        ``max_attention_window`` is set).
    check : bool
        Raise when not even one request fits; with False the result says so in ``fits``.
    **options
        As for :func:`roofline.estimate`: `prompt` and `output` (mean tokens), `prefix`, `tp`, `pp`, `ep`, `dp`,
        `dtype`, `weight_dtype`, `kv_dtype`, `stack`, `usable_memory`, and what chips and electricity cost.

    Returns
    -------
    ServingEstimate
        ``tokens_per_s``, ``tpot_s``, ``ttft_s`` (without queueing), ``requests_per_s``, ``active``, ``bound``,
        ``memory``, ``interval(0.9)``.

    Raises
    ------
    BadWorkload, UnknownName, DoesNotFit
        As :func:`roofline.estimate`; also for a recommendation model, or a spread below zero.

    Examples
    --------
    >>> import roofline as rl
    >>> server = rl.serve("llama-3.1-8b", "h100-sxm", concurrency=[1, 32])
    >>> bool(server.tokens_per_s[1] > server.tokens_per_s[0]), bool(server.tpot_s[1] > server.tpot_s[0])
    (True, True)
    """
    loaded = as_model(model)
    if not isinstance(loaded, LanguageModel):
        raise BadWorkload(f"serve: {loaded.name} is a recommendation model, which has no tokens; use estimate")
    if not loaded.decodes:
        raise BadWorkload(f"serve: {loaded.name} answers in one pass, with nothing to decode; use estimate")
    if loaded.encoder is not None:
        raise BadWorkload(f"serve: {loaded.name} is an encoder with a decoder, which no server plays; use estimate")
    if "batch" in options:
        raise BadWorkload("serve: expected concurrency, found batch: a server has no fixed batch")
    spread = not_negative("serve", prompt_sd=prompt_sd, output_sd=output_sd)
    policy: dict[str, Any] = {"reserve": bool(reserve), "whole_cache": bool(whole_cache)}
    refuse_unknown(options, SERVING, f"serve({loaded.name})")
    sizes = {"chunk": whole("serve: chunk", chunk), "beams": whole("serve: beams", beams)}
    lanes = whole("dp", options.get("dp", 1)) * whole("pp", options.get("pp", 1))
    batch = lanes if concurrency is None else whole("serve: concurrency", concurrency)
    chip, notes = stacks.chosen(loaded, as_chip(chip), options)
    asked = language_request(loaded, chip, {"batch": batch, **options}, notes)
    lengths = {"batch": batch, "prompt": asked.prompt, "output": asked.output, "devices": asked.plan.devices}
    broadcastable(f"serve({loaded.name})", lengths | spread | sizes | vars(asked.terms))
    for name, mean in (("prompt_sd", asked.prompt), ("output_sd", asked.output)):
        if anywhere(spread[name] > MOST_SPREAD * np.asarray(mean)):
            raise BadWorkload(
                f"serve: {name} is at most {MOST_SPREAD} times the mean of {mean!r} tokens, found {spread[name]!r}"
            )
    plain: dict[str, Any] = {name: getattr(asked, name) for name in Request.__dataclass_fields__}
    request = ServingRequest(**plain | spread | sizes | policy)
    result = ServingEstimate(loaded, chip, request)
    result = result.full if concurrency is None else result
    if check:
        memory_module.require(result, _refusal, ": at some points not even one request fits")
    return result


def _refusal(result: ServingEstimate) -> DoesNotFit:
    """The error where not even one request fits: what one a replica would hold if there were room for it."""
    chips = f"{result.request.plan.devices} x {result.chip.name}"
    return memory_module.refuse(f"{result.model.name} with one request", result.least_memory, chips, [])


__all__ = ["ServingEstimate", "ServingRequest", "serve"]
