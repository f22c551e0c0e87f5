"""The estimate of a language model: prefill, decode, throughput, memory."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from roofline.base.numeric import Label, Numeric, Truth, ceil_div, choose, maximum, minimum
from roofline.base.units import text
from roofline.estimates import inference, memory as memory_module, seen, setaside
from roofline.estimates.figures import Estimate, Made, with_errors
from roofline.estimates.inference import Phase
from roofline.estimates.memory import Memory, narrower
from roofline.estimates.power import TokensPowered
from roofline.estimates.setaside import SetAside
from roofline.models.llm import LanguageModel
from roofline.work import parallel
from roofline.work.engine import cached, fused
from roofline.work.op import step_overhead, wide
from roofline.work.workload import Workload, workload

#: Tokens that engines prefill at a time (TensorRT-LLM's ``max_num_tokens``, vLLM's ``max_num_batched_tokens``): what
#: activations are kept for.
PREFILL_TOKENS = 8192


class LanguageEstimate(TokensPowered, Estimate):
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

    PHASES: ClassVar[tuple[str, ...]] = ("prefill", "decode")
    NUMBERS = ("batch", "prompt", "output", "prefix")

    model: LanguageModel

    @functools.cached_property
    def _split(self) -> tuple[Numeric, Numeric, Numeric]:
        """Sequences a data-parallel replica serves, those in one pipeline microbatch, and microbatches in flight."""
        r = self.request
        local = ceil_div(r.batch, r.plan.dp)
        micro = ceil_div(local, r.plan.pp)
        return local, micro, ceil_div(local, micro)

    @functools.cached_property
    def prefill(self) -> Phase:
        """The prompts of the whole batch, up to the first token."""
        return self._phase("prefill")

    @functools.cached_property
    def decode(self) -> Phase:
        """One token for every sequence, at the mean context of the output."""
        return self._phase("decode")

    def work(self, phase: str) -> tuple[Workload, Numeric]:
        """The operators of prefill or of a decode step on one chip, and what their time is multiplied by."""
        r = self.request
        _, micro, count = self._split
        if phase == "decode":
            return self._engine(self._step(micro, 1, r.prompt + 1, maximum(r.output - 1, 1))), 1.0
        # A pipeline of pp stages passes `count` microbatches in count + pp - 1 stage times.
        scale = (count + r.plan.pp - 1) / r.plan.pp
        step = self._step(micro, r.prompt - r.prefix, r.prompt, 1)
        if not r.sees:
            return self._engine(step), scale
        towers = seen.tower_passes(self.model, vars(r), r.plan, micro, wide(r.dtype))
        # The first stage alone has them to do, for each of the microbatches.
        return towers.times(count / scale) + self._engine(self._reading(micro) + step), scale

    def _step(self, batch: Numeric, q_len: Numeric, kv_len: Numeric, steps: Numeric) -> Workload:
        r = self.request
        return self.model.step(
            batch,
            q_len,
            kv_len,
            dtype=r.dtype,
            weight_dtype=r.weight_dtype,
            kv_dtype=r.kv_dtype,
            steps=steps,
            source=self._source,
        )

    @property
    def _source(self) -> Numeric | None:
        """States of a sequence that layers attend across to; None where there are none."""
        return seen.tokens(self.model, vars(self.request)) if self.model.attends_across and self.request.sees else None

    def _reading(self, micro: Numeric) -> Workload:
        """What makes keys and values of those states."""
        r, source = self.request, self._source
        if source is None:
            return Workload(())
        return self.model.reading(micro, maximum(1, source), r.dtype, r.weight_dtype, r.kv_dtype)

    def _engine(self, step: Workload) -> Workload:
        """A step as an engine runs it on this plan: kernels merged, split over chips, begun by the framework."""
        sharded = parallel.shard(fused(step), self.request.plan, self.model)
        sharded = cached(sharded, self.weights_bytes, self.chip.machine["cache_capacity"])
        return workload(step_overhead()) + sharded

    def run_step(self, step: Workload, scale: Numeric = 1.0) -> Phase:
        """One step of the model as an engine runs it on this plan, kernels merged and split over chips."""
        return inference.run(self._engine(step), self.chip, scale)

    # Time and throughput ----------------------------------------------------------------------------------------

    @property
    def ttft_s(self) -> Numeric:
        """Time to first token (s): all prompts of the batch arrive together and are prefilled together."""
        return self.prefill.time_s

    @property
    def tpot_s(self) -> Numeric:
        """Time per output token after the first (s), the mean over the output."""
        return self.decode.time_s

    @functools.cached_property
    def time_s(self) -> Numeric:
        """Time of the whole batch of requests (s): prefill, then ``output - 1`` decode steps."""
        return self.ttft_s + (self.request.output - 1) * self.tpot_s

    @functools.cached_property
    def lower_s(self) -> Numeric:
        """What no machine of that description can beat for `time_s` (s)."""
        return self.prefill.lower_s + (self.request.output - 1) * self.decode.lower_s

    @functools.cached_property
    def upper_s(self) -> Numeric:
        """`time_s` with nothing overlapped and every overhead (s)."""
        return self.prefill.upper_s + (self.request.output - 1) * self.decode.upper_s

    @functools.cached_property
    def tokens_per_s(self) -> Numeric:
        """Output tokens per second of the system, prefill time included."""
        return self.request.batch * self.request.output / self.time_s

    @property
    def tokens_per_s_per_chip(self) -> Numeric:
        """`tokens_per_s` over the number of chips."""
        return self.tokens_per_s / self.request.plan.devices

    @property
    def total_tokens_per_s(self) -> Numeric:
        """Prompt and output tokens per second of the system."""
        return self.request.batch * (self.request.prompt + self.request.output) / self.time_s

    @property
    def decode_tokens_per_s(self) -> Numeric:
        """Output tokens per second of the system while it decodes."""
        return self.request.batch / self.tpot_s

    # Why --------------------------------------------------------------------------------------------------------

    @property
    def bound_codes(self) -> Numeric:
        """:attr:`bound` as a number, or array of uint8: its place in :func:`inference.bound_names` of the chip."""
        decoding = (self.request.output - 1) * self.tpot_s > self.ttft_s
        return choose(decoding, self.decode.bound_codes, self.prefill.bound_codes)

    @property
    def bound(self) -> Label:
        """What bounds the longer of the two: all of prefill, or all of decode."""
        return inference.names_of(self.bound_codes, self.chip)

    @property
    def mfu(self) -> Numeric:
        """Model FLOP utilisation over the whole request, at each operator's own peak."""
        work = self.prefill.model_flops_s + (self.request.output - 1) * self.decode.model_flops_s
        return work / self.time_s

    @property
    def mbu(self) -> Numeric:
        """Memory bandwidth utilisation of decode: main-memory bytes moved over what the datasheet rate would move."""
        return self.decode.mbu

    # Memory -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def weights_bytes(self) -> Numeric:
        """Weights on one chip (bytes)."""
        r = self.request

        return self._constant(
            "weights_bytes", lambda: parallel.weight_bytes(self.model, r.plan, r.dtype, r.weight_dtype)
        )

    def _memory(self, batch: Numeric) -> Memory:
        r = self.request
        local = ceil_div(batch, r.plan.dp)
        kv_bytes = self._cache_bytes(local, r.kv_dtype or wide(r.dtype))
        aside = self.set_aside
        working = aside.working_bytes
        return Memory(
            weights_bytes=self.weights_bytes,
            cache_bytes=kv_bytes + parallel.state_bytes(self.model, r.plan, local),
            activations_bytes=self._activations(ceil_div(local, r.plan.pp)) if working is None else working,
            capacity_bytes=self.chip.visible_bytes,
            usable_fraction=r.usable_memory,
            largest_batch=0,
            engine_bytes=aside.terms,
            spared=aside.spared,
        )

    def _cache_bytes(self, local: Numeric, kv_dtype: str) -> Numeric:
        """Bytes of keys and values on one chip at the end of the output."""
        r, source = self.request, self._source
        own = parallel.kv_bytes(self.model, r.plan, local, r.prompt + r.output, kv_dtype)
        return own if source is None else own + parallel.source_bytes(self.model, r.plan, local, source, kv_dtype)

    @functools.cached_property
    def set_aside(self) -> SetAside:
        """What the engine of the chip's stack takes of one chip's memory beside weights and KV cache."""
        r = self.request
        return self._constant("set_aside", lambda: setaside.of(self.model, self.chip, r.plan, r.dtype, r.weight_dtype))

    @property
    def kv_tokens(self) -> Numeric:
        """Tokens that the KV cache of one replica has room for, as its engine counts them when it starts."""
        r = self.request
        kv_dtype = r.kv_dtype or wide(r.dtype)
        return setaside.kv_tokens(self.model, self.chip, r.plan, self._resident.room_bytes, kv_dtype)

    def _activations(self, micro: Numeric) -> Numeric:
        """Working space of a prefill, which engines cut into pieces, or of a decode step of the same sequences."""
        r = self.request
        new = maximum(1, minimum(r.prompt - r.prefix, PREFILL_TOKENS // micro))
        return parallel.activation_bytes(self.model, r.plan, micro, new, r.dtype)

    @functools.cached_property
    def _resident(self) -> Memory:
        return self._memory(self.request.batch)

    @functools.cached_property
    def memory(self) -> Memory:
        """What one chip holds at the end of the output, and the largest batch that would fit."""
        return replace(self._resident, largest_batch=self._largest_batch(np.shape(self.fits)))

    def _largest_batch(self, shape: tuple[int, ...]) -> Numeric:
        if not shape:
            return memory_module.largest_batch(lambda b: bool(self._memory(b).fits))
        # Every point at once: bisection on the exponent, then on the batch.
        low, high = np.zeros(shape), np.full(shape, float(1 << 40))
        while np.any(high - low > 1):
            middle = np.floor((low + high) / 2)
            fits = np.broadcast_to(self._memory(middle).fits, shape)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return low

    @property
    def fits(self) -> Truth:
        """Whether weights, KV cache, activations and what the engine sets aside fit."""
        return self._resident.fits

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the estimate is made of."""
        return (self.prefill, self.decode)

    def _loads(self) -> list[tuple[Phase, Numeric, Numeric]]:
        pp, count = self.request.plan.pp, self._split[2]  # a stage works while a microbatch is in it
        decoding = (self.request.output - 1) * self.tpot_s
        return [(self.prefill, self.ttft_s, count / (count + pp - 1)), (self.decode, decoding, count / pp)]

    @property
    def devices(self) -> Numeric:
        """Chips in all."""
        return self.request.plan.devices

    @property
    def stored_as(self) -> str:
        """What decides how much memory the model takes, in words."""
        return f"in {self.request.weight_dtype or self._stored_dtype}"

    def changes(self) -> list[list[tuple[str, dict[str, Any]]]]:
        """Changes of the request that take less memory of a chip, by kind: in words and as its fields, smallest first.

        Narrower weights, or more chips to split the model over.
        """
        plan, chips = self.request.plan, self.devices
        widths = [plan.tp * factor for factor in (2, 4, 8, 16)] if self.chip.has_links else []
        wider = [
            (f"tp={width} ({width * chips // plan.tp} chips)", {"plan": changed})
            for width in widths
            if (changed := replace(plan, tp=width)).suits(self.model, self.request.weight_dtype)
        ]
        same = f"on the same {chips} chip{'s' if chips > 1 else ''}"
        own = self.request.weight_dtype or self._stored_dtype
        dtypes = narrower(own, ("fp8", "int8", "int4"))
        return [wider, [(f"weight_dtype={d!r} {same}", {"weight_dtype": d}) for d in dtypes]]

    @property
    def _stored_dtype(self) -> str:
        """The dtype of most weights as they lie in memory where nobody asks for another."""
        if not self.model.checkpoint.quantised:
            return self.request.dtype
        return self.model.expert_dtype if self.model.experts else self.model.weight_dtype

    def _figures_with_errors(self, factors: np.ndarray) -> Mapping[str, Any]:
        r = self.request
        return Made(
            {
                "ttft_s": lambda made: with_errors(self.prefill, factors),
                "tpot_s": lambda made: with_errors(self.decode, factors),
                "time_s": lambda made: made["ttft_s"] + (r.output - 1) * made["tpot_s"],
                "tokens_per_s": lambda made: r.batch * r.output / made["time_s"],
                "tokens_per_s_per_chip": lambda made: made["tokens_per_s"] / r.plan.devices,
                "total_tokens_per_s": lambda made: r.batch * (r.prompt + r.output) / made["time_s"],
                "decode_tokens_per_s": lambda made: r.batch / made["tpot_s"],
            }
        )

    def __repr__(self) -> str:
        what = f"{self.model.name} on {self.request.plan.devices} x {self.chip.name}"
        if np.shape(self.time_s):
            return f"<LanguageEstimate: {what}, shape {np.shape(self.time_s)}>"
        return (
            f"<LanguageEstimate: {what}: {self.tokens_per_s:,.0f} tokens/s, TTFT {text(self.ttft_s, 's', 3)}, "
            f"TPOT {text(self.tpot_s, 's', 3)}, {self.bound}>"
        )
