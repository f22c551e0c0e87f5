"""``estimate(model, chip, ...)``: throughput, latency, memory and the reason for them.

A language model is costed as one prefill of the whole batch and one decode step at the mean context of the output; a
recommendation model as one batch. Every numeric argument may be an array; they broadcast, and so do the results.
"""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from roofline import inference, memory as memory_module, parallel, uncertainty
from roofline.catalog import Model, load_chip, load_model
from roofline.chip import Chip
from roofline.errors import BadWorkload, DoesNotFit
from roofline.inference import Phase
from roofline.memory import Memory
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender
from roofline.op import ceil_div, maximum, minimum, step_overhead, wide
from roofline.request import Request, language_request, recommendation_request
from roofline.units import DTYPE_BYTES, text
from roofline.workload import workload

#: Samples behind an interval.
SAMPLES = 256

#: Tokens that engines prefill at a time (TensorRT-LLM's ``max_num_tokens``, vLLM's ``max_num_batched_tokens``): what
#: activations are held for.
PREFILL_TOKENS = 8192


class _Estimate:
    """What both kinds of estimate share: intervals, and the figures by name."""

    #: The headline figures and their units.
    FIGURES: ClassVar[dict[str, str]] = {}

    def __init__(self, model: Model, chip: Chip, request: Request) -> None:
        self.model = model
        self.chip = chip
        self.request = request

    def _on(self, chip: Chip) -> Any:
        return type(self)(self.model, chip, self.request)

    def figures(self) -> dict[str, Any]:
        """The headline figures by name."""
        return {name: getattr(self, name) for name in self.FIGURES}

    def interval(self, level: float = 0.9, figure: str | None = None) -> Any:
        """The central interval that holds the true figure with a probability.

        Two doubts are added: the ranges of the chip's figures (sampled, a Latin hypercube of 256), and the error of
        the model itself on each operator class (log-normal; see :attr:`roofline.inference.Phase.spread`). No sample
        is faster than the lower bound of its chip.

        Parameters
        ----------
        level : float
            Probability, such as 0.9.
        figure : str, optional
            One of :attr:`FIGURES`; default: all of them.

        Returns
        -------
        tuple of float, or dict of str to tuple
            (low, high).

        Raises
        ------
        BadWorkload
            For a level outside (0, 1) or an unknown figure.
        """
        if not 0 < level < 1:
            raise BadWorkload(f"interval: expected a level between 0 and 1, such as 0.9, found {level!r}")
        if figure is not None and figure not in self.FIGURES:
            raise BadWorkload(f"interval: no figure {figure!r}; there are {', '.join(self.FIGURES)}")
        names = list(self.FIGURES) if figure is None else [figure]
        out = {}
        for name in names:
            samples = self._samples[name]
            low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
            out[name] = (_plain(low), _plain(high))
        return out if figure is None else out[figure]

    @functools.cached_property
    def _samples(self) -> dict[str, Any]:
        shape = np.shape(self.time_s)  # type: ignore[attr-defined]
        sampled = self._on(uncertainty.sample(self.chip, SAMPLES, trailing=len(shape)))
        return sampled._with_errors(uncertainty.error_factors(np.ones(()), SAMPLES).reshape((-1,) + (1,) * len(shape)))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value


def _erred(phase: Phase, factors: Any) -> Any:
    """The phase's time with model error: `factors` are samples of exp(z) for standard normal z."""
    return np.maximum(phase.time_s * np.exp(np.log(factors) * phase.spread), phase.lower_s)


class LanguageEstimate(_Estimate):
    """A language model served on chips of one kind. Figures are per system unless the name says per chip.

    Attributes
    ----------
    model, chip, request
        What was asked.
    prefill, decode : Phase
        One prefill of the whole batch, and one decode step at the mean context; ``.ops`` is the breakdown.
    """

    FIGURES: ClassVar = {
        "ttft_s": "s",
        "tpot_s": "s",
        "time_s": "s",
        "tokens_per_s": "tokens/s",
        "tokens_per_s_per_chip": "tokens/s",
        "total_tokens_per_s": "tokens/s",
        "decode_tokens_per_s": "tokens/s",
    }

    model: LanguageModel

    @functools.cached_property
    def _split(self) -> tuple[Any, Any, Any]:
        """Sequences a data-parallel replica serves, those in one pipeline microbatch, and microbatches in flight."""
        r = self.request
        local = ceil_div(r.batch, r.plan.dp)
        micro = ceil_div(local, r.plan.pp)
        return local, micro, ceil_div(local, micro)

    @functools.cached_property
    def prefill(self) -> Phase:
        """The prompts of the whole batch, up to the first token."""
        r = self.request
        _, micro, count = self._split
        step = self.model.step(
            micro, r.prompt - r.prefix, r.prompt, dtype=r.dtype, weight_dtype=r.weight_dtype, kv_dtype=r.kv_dtype
        )
        # A pipeline of pp stages passes `count` microbatches in count + pp - 1 stage times.
        return self._run(step, (count + r.plan.pp - 1) / r.plan.pp)

    @functools.cached_property
    def decode(self) -> Phase:
        """One token for every sequence, at the mean context of the output."""
        r = self.request
        step = self.model.step(
            self._split[1],
            1,
            r.prompt + 1,
            dtype=r.dtype,
            weight_dtype=r.weight_dtype,
            kv_dtype=r.kv_dtype,
            steps=maximum(r.output - 1, 1),
        )
        return self._run(step, 1.0)

    def _run(self, step: Any, scale: Any) -> Phase:
        sharded = parallel.shard(step, self.request.plan, self.model)
        # Weights that the last-level cache holds whole stay there from step to step.
        held = self.weights_bytes <= self.chip.machine["cache_capacity"]
        if np.any(held):
            reuse = np.where(held, 1.0, 0.0) if isinstance(held, np.ndarray) else 1.0
            sharded = sharded.map(lambda op: op.with_args(reuse=reuse) if op.kind in ("gemm", "moe") else op)
        return inference.run(workload(step_overhead()) + sharded, self.chip, scale)

    # Time and throughput ----------------------------------------------------------------------------------------

    @property
    def ttft_s(self) -> Any:
        """Time to first token (s): all prompts of the batch arrive together and are prefilled together."""
        return self.prefill.time_s

    @property
    def tpot_s(self) -> Any:
        """Time per output token after the first (s), the mean over the output."""
        return self.decode.time_s

    @property
    def time_s(self) -> Any:
        """Time of the whole batch of requests (s): prefill, then ``output - 1`` decode steps."""
        return self.ttft_s + (self.request.output - 1) * self.tpot_s

    @property
    def lower_s(self) -> Any:
        """What no machine of that description can beat for `time_s` (s)."""
        return self.prefill.lower_s + (self.request.output - 1) * self.decode.lower_s

    @property
    def upper_s(self) -> Any:
        """`time_s` with nothing overlapped and every overhead (s)."""
        return self.prefill.upper_s + (self.request.output - 1) * self.decode.upper_s

    @property
    def tokens_per_s(self) -> Any:
        """Output tokens per second of the system, prefill time included."""
        return self.request.batch * self.request.output / self.time_s

    @property
    def tokens_per_s_per_chip(self) -> Any:
        """`tokens_per_s` over the number of chips."""
        return self.tokens_per_s / self.request.plan.devices

    @property
    def total_tokens_per_s(self) -> Any:
        """Prompt and output tokens per second of the system."""
        return self.request.batch * (self.request.prompt + self.request.output) / self.time_s

    @property
    def decode_tokens_per_s(self) -> Any:
        """Output tokens per second of the system while it decodes."""
        return self.request.batch / self.tpot_s

    # Why --------------------------------------------------------------------------------------------------------

    @property
    def bound(self) -> Any:
        """What bounds the longer of the two: all of prefill, or all of decode."""
        decoding = (self.request.output - 1) * self.tpot_s > self.ttft_s
        if isinstance(decoding, np.ndarray):
            return np.where(decoding, self.decode.bound, self.prefill.bound)
        return self.decode.bound if decoding else self.prefill.bound

    @property
    def mfu(self) -> Any:
        """Model FLOP utilisation over the whole request, at each operator's own peak."""
        work = self.prefill.model_flops_s + (self.request.output - 1) * self.decode.model_flops_s
        return work / self.time_s

    @property
    def mbu(self) -> Any:
        """Memory bandwidth utilisation of decode: main-memory bytes moved over what the datasheet rate would move."""
        return self.decode.mbu

    # Memory -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def weights_bytes(self) -> Any:
        """Weights on one chip (bytes)."""
        r = self.request
        return parallel.weight_bytes(self.model, r.plan, r.dtype, r.weight_dtype)

    def _memory(self, batch: Any) -> Memory:
        r = self.request
        local = ceil_div(batch, r.plan.dp)
        return Memory(
            weights_bytes=self.weights_bytes,
            cache_bytes=parallel.kv_bytes(self.model, r.plan, local, r.prompt + r.output, r.kv_dtype or wide(r.dtype)),
            activations_bytes=self._activations(ceil_div(local, r.plan.pp)),
            capacity_bytes=self.chip.level(self.chip.main_level, "capacity"),
            usable_fraction=r.usable_memory,
            largest_batch=0,
        )

    def _activations(self, micro: Any) -> Any:
        """Working space of a prefill, which engines cut into pieces, or of a decode step of the same sequences."""
        r = self.request
        new = maximum(1, minimum(r.prompt - r.prefix, PREFILL_TOKENS // micro))
        return parallel.activation_bytes(self.model, r.plan, micro, new, r.dtype)

    @functools.cached_property
    def memory(self) -> Memory:
        """What one chip holds at the end of the output, and the largest batch that would fit."""
        held = self._memory(self.request.batch)
        return replace(held, largest_batch=self._largest_batch(np.shape(held.fits)))

    def _largest_batch(self, shape: tuple[int, ...]) -> Any:
        if not shape:
            return memory_module.largest_batch(lambda b: bool(self._memory(b).fits))
        # Every point at once: bisection on the exponent, then on the batch.
        low, high = np.zeros(shape), np.full(shape, float(1 << 22))
        while np.any(high - low > 1):
            middle = np.floor((low + high) / 2)
            fits = np.broadcast_to(self._memory(middle).fits, shape)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return low

    @property
    def fits(self) -> Any:
        """Whether weights, KV cache and activations fit."""
        return self._memory(self.request.batch).fits

    def _with_errors(self, factors: Any) -> dict[str, Any]:
        ttft, tpot = _erred(self.prefill, factors), _erred(self.decode, factors)
        r = self.request
        time = ttft + (r.output - 1) * tpot
        rate = r.batch * r.output / time
        return {
            "ttft_s": ttft,
            "tpot_s": tpot,
            "time_s": time,
            "tokens_per_s": rate,
            "tokens_per_s_per_chip": rate / r.plan.devices,
            "total_tokens_per_s": r.batch * (r.prompt + r.output) / time,
            "decode_tokens_per_s": r.batch / tpot,
        }

    def __repr__(self) -> str:
        what = f"{self.model.name} on {self.request.plan.devices} x {self.chip.name}"
        if np.shape(self.time_s):
            return f"<LanguageEstimate: {what}, shape {np.shape(self.time_s)}>"
        return (
            f"<LanguageEstimate: {what}: {self.tokens_per_s:,.0f} tokens/s, TTFT {text(self.ttft_s, 's', 3)}, "
            f"TPOT {text(self.tpot_s, 's', 3)}, {self.bound}>"
        )


class RecommendationEstimate(_Estimate):
    """A recommendation model scoring batches. Figures are per system unless the name says per chip.

    Attributes
    ----------
    model, chip, request
        What was asked.
    step : Phase
        One batch; ``.ops`` is the breakdown.
    """

    FIGURES: ClassVar = {"latency_s": "s", "samples_per_s": "samples/s", "samples_per_s_per_chip": "samples/s"}

    model: Recommender

    @functools.cached_property
    def step(self) -> Phase:
        """One batch, from the host's inputs to the scores."""
        r = self.request
        ops = self.model.step(r.batch, r.dtype, table_dtype=r.table_dtype, devices=r.devices, skew=r.skew)
        dense = self.model.dense_params * DTYPE_BYTES[r.dtype]
        held = dense <= self.chip.machine["cache_capacity"]
        if np.any(held):
            reuse = np.where(held, 1.0, 0.0) if isinstance(held, np.ndarray) else 1.0
            ops = ops.map(lambda op: op.with_args(reuse=reuse) if op.kind == "gemm" else op)
        return inference.run(workload(step_overhead()) + ops, self.chip)

    @property
    def ops(self) -> Any:
        """The breakdown of a batch by operator."""
        return self.step.ops

    @property
    def latency_s(self) -> Any:
        """Time of one batch (s)."""
        return self.step.time_s

    time_s = latency_s

    @property
    def lower_s(self) -> Any:
        """What no machine of that description can beat (s)."""
        return self.step.lower_s

    @property
    def upper_s(self) -> Any:
        """Nothing overlapped, every overhead (s)."""
        return self.step.upper_s

    @property
    def samples_per_s(self) -> Any:
        """Samples (user-item pairs) per second of the system, one batch after the other."""
        return self.request.batch / self.latency_s

    @property
    def samples_per_s_per_chip(self) -> Any:
        """`samples_per_s` over the number of chips."""
        return self.samples_per_s / self.request.devices

    @property
    def bound(self) -> Any:
        """The resource that bounds the operators with the largest share of the time."""
        return self.step.bound

    @property
    def mfu(self) -> Any:
        """Model FLOP utilisation."""
        return self.step.mfu

    @property
    def mbu(self) -> Any:
        """Memory bandwidth utilisation."""
        return self.step.mbu

    @property
    def sparse_share(self) -> Any:
        """Share of the time that the embedding lookups and their exchange take."""
        sparse: Any = 0.0
        for op, values in zip(self.step.workload, self.step.costs, strict=True):
            if op.shard == "tables" or op.kind == "all_to_all":
                sparse = sparse + op.count * values[inference.COST.index("time_s")]
        return sparse / self.step.time_s

    def _memory(self, batch: Any) -> Memory:
        r = self.request
        tables = self.model.table_bytes(r.table_dtype or r.dtype) / r.devices
        dense = self.model.dense_params * DTYPE_BYTES[r.dtype]
        # The pooled vectors of the local samples, three times over: looked up, exchanged, read by the dense part.
        vectors = 3 * ceil_div(batch, r.devices) * self.model.embedding_width * DTYPE_BYTES[wide(r.dtype)]
        return Memory(
            tables + dense,
            vectors * 0.0,
            vectors,
            self.chip.level(self.chip.main_level, "capacity"),
            r.usable_memory,
            0,
        )

    @functools.cached_property
    def memory(self) -> Memory:
        """What one chip holds: its share of the tables, the dense weights, the vectors of a batch."""
        held = self._memory(self.request.batch)
        if np.shape(held.fits):
            return held
        return replace(held, largest_batch=memory_module.largest_batch(lambda b: bool(self._memory(b).fits)))

    @property
    def fits(self) -> Any:
        """Whether tables, weights and vectors fit."""
        return self._memory(self.request.batch).fits

    def _with_errors(self, factors: Any) -> dict[str, Any]:
        time = _erred(self.step, factors)
        rate = self.request.batch / time
        return {"latency_s": time, "samples_per_s": rate, "samples_per_s_per_chip": rate / self.request.devices}

    def __repr__(self) -> str:
        what = f"{self.model.name} on {self.request.devices} x {self.chip.name}"
        if np.shape(self.time_s):
            return f"<RecommendationEstimate: {what}, shape {np.shape(self.time_s)}>"
        return (
            f"<RecommendationEstimate: {what}: {self.samples_per_s:,.0f} samples/s, "
            f"{text(self.latency_s, 's', 3)} a batch, {self.bound}>"
        )


# The entry point -------------------------------------------------------------------------------------------------


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
        `dtype` (arithmetic; default the chip's 16-bit), `weight_dtype` (in memory; default `dtype`), `kv_dtype`.
        For a recommendation model: `batch` (user-item pairs over the whole system; 1024), `devices` (1), `dtype`,
        `table_dtype` (default `dtype`), `skew` (Zipf exponent of the indices, 0).
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
    model = model if isinstance(model, LanguageModel | Recommender) else load_model(model)
    chip = chip if isinstance(chip, Chip) else load_chip(chip)
    if isinstance(model, LanguageModel):
        result: Any = LanguageEstimate(model, chip, language_request(model, chip, options))
    else:
        result = RecommendationEstimate(model, chip, recommendation_request(model.name, chip, options))
    if check and not np.all(result.fits):
        if np.shape(result.fits):
            raise DoesNotFit(
                f"{model.name} does not fit at every point; check=False marks them in `fits`", 0.0, 0.0, []
            )
        raise _refusal(result)
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
