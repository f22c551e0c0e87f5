"""``estimate(model, chip, ...)``: throughput, latency, memory and the reason for them.

A language model is costed as one prefill of the whole batch and one decode step at the mean context of the output; a
recommendation model as one batch, and a language model that makes no tokens (an encoder, a class that embeds or
classifies) as one pass. Every numeric argument may be an array; they broadcast, and so do the results.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack, overload

from roofline.base.errors import DoesNotFit
from roofline.base.face import FLAG, takes
from roofline.catalog.load import CHIP, MODEL, Model, Name, as_chip, as_model
from roofline.estimates import memory as memory_module, stacks
from roofline.estimates.language import LanguageEstimate
from roofline.estimates.one_pass import kind_of
from roofline.estimates.placing import placed
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.estimates.request import (
    LanguageOptions,
    Options,
    RecommendationOptions,
    language_request,
    recommendation_request,
)
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender


@overload
def estimate(
    model: LanguageModel, chip: Chip | Name, *, check: bool = True, **options: Unpack[LanguageOptions]
) -> LanguageEstimate: ...


@overload
def estimate(
    model: Recommender, chip: Chip | Name, *, check: bool = True, **options: Unpack[RecommendationOptions]
) -> RecommendationEstimate: ...


# A name does not tell which kind of model it is. Of the result nothing is promised then: a union would be true,
# and make an error of every figure that only one of the two kinds has.
@overload
def estimate(model: Name, chip: Chip | Name, *, check: bool = True, **options: Unpack[Options]) -> Any: ...


@takes(model=MODEL, chip=CHIP, check=FLAG)
def estimate(
    model: Model | Name, chip: Chip | Name, *, check: bool = True, **options: Any
) -> LanguageEstimate | RecommendationEstimate:
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
        `output` (tokens, 256; 0 of a model that answers in one pass, whose figures are `latency_s`, `requests_per_s`
        and the tokens that it reads), `prefix` (tokens of the prompt whose KV is cached, 0), `tp`, `pp`, `ep`, `dp`
        (1), `dtype` (arithmetic; default a quantised checkpoint's own where the chip has it, else the chip's 16-bit;
        ``notes`` say which), `weight_dtype` (in memory; default `dtype`), `kv_dtype`. Of one with a tower also
        `images` (of a request; 0) of `image_size` (pixels of a side; the tower's usual), and pieces of `audio` (0) of
        `audio_s` (seconds; the tower's usual): their pass is part of prefill, their tokens are among those of the
        prompt. An encoder with a decoder reads the `prompt` and makes the `output`.
        For a recommendation model: `batch` (user-item pairs over the whole system; 1024), `devices` (1), `dtype`,
        `table_dtype` (default `dtype`), `skew` (Zipf exponent of the indices; default each table's own, 0 where the
        model gives none), `repeat` (share of a batch's lookups that repeat those of the batch before; default each
        table's own, 0 where the model gives none), `scale_bytes` (of the scale and the bias beside each row; default 4
        for int8 and int4 tables, as FBGEMM stores them, else 0), `compiled` (the dense part as one engine, activations
        in `dtype` and indices of 32 bits, as TensorRT builds it; False), `fused` (one kernel looks up all tables, and
        nonlinearities run with their products; False: one by one, as eager frameworks do; True), `placement` (of the
        tables: ``"auto"``, what :func:`roofline.place` finds, the default of a single point; ``"even"``, 1/devices of
        every table and lookup on each chip, a bound, which arrays and grids take by default; or a placement), `host`
        (the serving process, such as ``"triton-tensorflow"``; see :mod:`roofline.estimates.hosts`).
        For both: `stack` (the software, by the name of one of the chip's stacks; ``"plain"`` for the chip's own
        figures; default for a language model the one that the chip's descriptor names as best known, which ``notes``
        say, unless the chip was put on one), `usable_memory` (share of the capacity that the model may fill; the
        stack's, else 0.9), and
        what it costs: `price_per_hour` (USD for a chip and an hour, all in) or `price` (USD for a chip, bought;
        default: what the chip's descriptor has, an hour before a purchase), `electricity` (USD for a kWh, 0.086),
        `pue` (watts of the site for each of its servers, 1.2), `amortise_years` (5), `utilisation` (share of the paid
        hours in use, 1), `carbon` (g of CO2 for a kWh, 436): see :class:`roofline.estimates.terms.Terms`.

    Returns
    -------
    LanguageEstimate or RecommendationEstimate
        As the model is. A type checker knows which where it knows the class of the model
        (``model: LanguageModel = load_model(...)``); given by its name, the result is ``Any`` to it, as a union of the
        two would make an error of every figure that only one of them has.

    Raises
    ------
    UnknownName, BadDescriptor, BadModel
        From loading.
    BadWorkload
        For arguments that no workload can have, or a dtype that the chip has no rate for.
    DoesNotFit
        With what is needed, what there is, and the smallest changes that fit.

    Examples
    --------
    >>> import roofline as rl
    >>> est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8, batch=[1, 64])
    >>> bool(est.tokens_per_s[1] > est.tokens_per_s[0])
    True
    >>> est.decode.bound.tolist()
    ['memory:hbm', 'memory:hbm']
    >>> rec = rl.estimate("dlrm-kaggle", "mtia-2i", batch=1024, dtype="int8")
    >>> bool(rec.lower_s <= rec.latency_s <= rec.upper_s)
    True
    """
    model = as_model(model)
    chip, notes = stacks.chosen(model, as_chip(chip), options)
    result: LanguageEstimate | RecommendationEstimate
    if isinstance(model, LanguageModel):
        result = kind_of(model)(model, chip, language_request(model, chip, options, notes))
    else:
        request = recommendation_request(model.name, chip, options)
        result = RecommendationEstimate(model, chip, placed(model, chip, request, options.get("placement")))
    if check:
        memory_module.require(result, _refusal, " does not fit at every point")
    result.time_s  # noqa: B018  what cannot be costed is told here, not at the first look at a figure
    return result


def _refusal(result: LanguageEstimate | RecommendationEstimate) -> DoesNotFit:
    """The error for an estimate that does not fit, with the smallest single changes that do."""
    r, found = result.request, []
    for alternatives in result.changes():
        for words, change in alternatives:
            if bool(type(result)(result.model, result.chip, replace(r, **change)).fits):
                found.append(words)
                break
    batch = memory_module.largest_batch(lambda b: bool(result._memory(b).fits)) if r.batch > 1 else 0
    if batch >= max(1, r.plan.dp, r.devices):
        found.append(f"batch={batch}")
    chips = f"{result.devices} x {result.chip.name}"
    return memory_module.refuse(f"{result.model.name} {result.stored_as}", result._memory(r.batch), chips, found)
