"""A server in its steady state: in-flight batching under a constant number of requests.

A static batch (``estimate``) prefills its prompts together and decodes until all are done. A server keeps a number of
requests in flight: as one ends the next is prefilled, in the same forward pass in which the others decode. Passes then
come in two kinds, those that only decode and those that carry prompt tokens as well, and everything a server shows
follows from how often each comes.

With `C` requests in flight, mean output `O`, and a prompt of which `N` tokens are new (not in a cached prefix), so that
it needs `k` passes (1 where they fit into the `chunk` of prompt tokens that a pass takes, else ``N / chunk``):

- a request stays for ``R = O - 1 + k`` passes, so ``r = C / R`` requests start in each pass (Little's law), but no more
  than ``chunk / N``: beyond that, prefill is the bottleneck and requests wait;
- a pass with a prompt carries ``n = max(1, r)`` of them, and is a share ``f = k r / n`` of all passes;
- a mean pass takes ``T = (1 - f) T_decode + f T_mixed``; throughput is ``r O / T``;
- a request is not delayed by its own prefill: of a request's ``O - 1`` decoding passes, the share
  ``(f R - k) / (O - 1)`` is mixed. That mean is TPOT;
- the first token comes after half a pass, if any is under way, and `k` mixed ones.

Lengths vary. Of their distributions the mean and the second moment count, because a step's cost is linear in the
context that is attended and the work of causal attention quadratic in the prompt:

- a request that is in flight is a long one more often than not: the mean position in its output is not ``O / 2`` but
  ``O (1 + v^2) / 2``, `v` being the output's standard deviation over its mean;
- the attention of `n` prompts is that of ``n / (1 + u^2)`` prompts of ``P (1 + u^2)`` tokens, `u` being the prompt's.

One constant is a host's and not the chip's: what the scheduler takes between two passes, ``overheads.step``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from roofline.base.numeric import Label, Numeric, Truth, choose, maximum, minimum
from roofline.base.units import text
from roofline.estimates import setaside
from roofline.estimates.figures import Estimate, with_errors
from roofline.estimates.inference import Phase
from roofline.estimates.language import PREFILL_TOKENS, LanguageEstimate
from roofline.estimates.memory import Memory
from roofline.estimates.power import TokensPowered
from roofline.estimates.request import Request
from roofline.models.llm import LanguageModel
from roofline.work import parallel
from roofline.work.engine import joined
from roofline.work.op import Op, wide
from roofline.work.workload import Workload


@dataclass(frozen=True)
class ServingRequest(Request):
    """The arguments of :func:`serve`, resolved. `batch` is the concurrency.

    Attributes
    ----------
    prompt_sd, output_sd : number or array
        Standard deviations of the lengths (tokens).
    chunk : number or array
        Prompt tokens that one pass takes.
    beams : number or array
        Sequences that decode for each request.
    reserve : bool
        Whether a request starts only when its whole output has room.
    whole_cache : bool
        Whether layers with a window keep the whole context all the same.
    """

    prompt_sd: Numeric = 0.0
    output_sd: Numeric = 0.0
    chunk: Numeric = PREFILL_TOKENS
    beams: Numeric = 1
    reserve: bool = False
    whole_cache: bool = False


class ServingEstimate(TokensPowered, Estimate):
    """A language model under a constant number of requests. Figures are per system unless the name says per chip.

    Attributes
    ----------
    model, chip, request
        What was asked.
    decoding, mixed : Phase
        A pass that only decodes, and one that prefills as well; ``.ops`` is the breakdown.
    """

    FIGURES: ClassVar = {
        "tokens_per_s": "tokens/s",
        "tokens_per_s_per_chip": "tokens/s",
        "total_tokens_per_s": "tokens/s",
        "requests_per_s": "1/s",
        "tpot_s": "s",
        "ttft_s": "s",
    }

    model: LanguageModel
    request: ServingRequest

    @functools.cached_property
    def _static(self) -> LanguageEstimate:
        return LanguageEstimate(self.model, self.chip, self.request)

    # How many requests are where --------------------------------------------------------------------------------

    @functools.cached_property
    def _output(self) -> tuple[Numeric, Numeric]:
        """Mean output, and the mean output of a request found in flight (tokens)."""
        r = self.request
        return r.output, r.output + r.output_sd**2 / r.output

    @property
    def _new(self) -> Numeric:
        """Prompt tokens that are computed: those that no cached prefix holds."""
        return self.request.prompt - self.request.prefix

    @functools.cached_property
    def memory(self) -> Memory:
        """What one chip holds when the requests are halfway through their output, paged as they grow.

        Or, of an engine that reserves it, with room for all of their output.
        """
        r = self.request
        empty, per_request = self._resident
        whole: Numeric = np.floor(empty.room_bytes / per_request) * r.plan.dp
        largest = whole if isinstance(whole, np.ndarray) and whole.ndim else int(whole)
        return replace(empty, cache_bytes=minimum(r.batch, largest) / r.plan.dp * per_request, largest_batch=largest)

    @property
    def least_memory(self) -> Memory:
        """What one chip would hold with one request, whether there is room for it or not."""
        empty, per_request = self._resident
        return replace(empty, cache_bytes=per_request)

    @functools.cached_property
    def _resident(self) -> tuple[Memory, Numeric]:
        """What one chip holds without a request, and the bytes that one takes on it."""
        r = self.request
        plan, kv_dtype = r.plan, r.kv_dtype or wide(r.dtype)
        resident = r.prompt + r.beams * (self._output[0] if r.reserve else self._output[1] / 2)
        model = self.model.without_windows if r.whole_cache else self.model
        per_request = parallel.kv_bytes(model, plan, 1, resident, kv_dtype)
        per_request = per_request + parallel.state_bytes(model, plan, r.beams)
        aside = self._static.set_aside
        activations = aside.working_bytes
        if activations is None:
            # Whoever serves sets working space aside for whole prompts: a cached prefix frees none of it.
            room = minimum(r.chunk, r.prompt)
            activations = parallel.activation_bytes(self.model, plan, maximum(1, r.chunk // r.prompt), room, r.dtype)
        empty = Memory(
            weights_bytes=self._static.weights_bytes,
            cache_bytes=0.0,
            activations_bytes=activations,
            capacity_bytes=self.chip.visible_bytes,
            usable_fraction=r.usable_memory,
            largest_batch=0,
            engine_bytes=aside.terms,
            spared=aside.spared,
        )
        return empty, per_request

    @property
    def kv_tokens(self) -> Numeric:
        """Tokens that the KV cache of one replica has room for, as its engine counts them when it starts."""
        r = self.request
        return setaside.kv_tokens(
            self.model, self.chip, r.plan, self._resident[0].room_bytes, r.kv_dtype or wide(r.dtype)
        )

    @property
    def fits(self) -> Truth:
        """Whether at least one request fits on every replica."""
        return self.memory.largest_batch >= self.request.plan.dp

    @functools.cached_property
    def _flow(self) -> tuple[Numeric, Numeric, Numeric, Numeric]:
        """Of one lane: requests in flight, passes that a prompt takes, prompts in a mixed pass, their share.

        A lane is what shares a pass: one of `pp` microbatches of one of `dp` replicas.
        """
        r = self.request
        lanes = r.plan.dp * r.plan.pp
        in_flight = minimum(r.batch, maximum(self.memory.largest_batch, lanes)) / lanes
        passes = maximum(self._new / r.chunk, 1.0)
        stay = self._output[0] - 1 + passes
        starts = minimum(in_flight / stay, r.chunk / self._new)
        at_once = maximum(starts, 1.0)
        return starts * stay, passes, at_once, passes * starts / at_once

    @property
    def active(self) -> Numeric:
        """Requests in flight on the system; the others wait for memory or for their prefill."""
        return self._flow[0] * (self.request.plan.dp * self.request.plan.pp)

    @property
    def saturated(self) -> Truth:
        """Whether more requests are asked for than run at once: the others wait for memory or for their prefill.

        The figures are then those of a full server, and no wait in its queue is in them: see :func:`roofline.simulate`.
        """
        found = self.active < 0.99 * self.request.batch
        return found if np.ndim(found) else bool(found)

    @property
    def mixed_share(self) -> Numeric:
        """Share of the passes that carry prompt tokens."""
        return self._flow[3]

    @property
    def full(self) -> ServingEstimate:
        """The same with as many requests as the memory holds, at least one a lane."""
        lanes = self.request.plan.dp * self.request.plan.pp
        empty = ServingEstimate(self.model, self.chip, replace(self.request, batch=lanes))
        most = maximum(empty.memory.largest_batch, lanes)
        return ServingEstimate(self.model, self.chip, replace(self.request, batch=most))

    # The two kinds of pass --------------------------------------------------------------------------------------

    def _decode_step(self, sequences: Numeric) -> Workload:
        r = self.request
        steps = maximum(self._output[1] - 1, 1)
        options: dict[str, Any] = {"dtype": r.dtype, "weight_dtype": r.weight_dtype, "kv_dtype": r.kv_dtype}
        step = self.model.step(sequences, 1, r.prompt + 1, steps=steps, **options)
        return step.map(self._shared) if np.any(np.asarray(r.beams) > 1) else step

    def _shared(self, one: Op) -> Op:
        """Beams decode side by side: the pages of their prompt are fetched once, those of each output by itself.

        As heads that share keys: all beams of a request on the prompt and everything that follows it.
        """
        r = self.request
        if one.kind != "attention":
            return one
        args = one.args
        own = (r.beams - 1) * maximum(args["kv_len"] - r.prompt, 0)
        return one.with_args(batch=args["batch"] / r.beams, heads=args["heads"] * r.beams, kv_len=args["kv_len"] + own)

    @functools.cached_property
    def decoding(self) -> Phase:
        """A pass in which every request in flight decodes."""
        return self._static.run_step(self._decode_step(maximum(self._flow[0] * self.request.beams, 1)), 1.0)

    @functools.cached_property
    def mixed(self) -> Phase:
        """A pass in which prompts are prefilled, or a piece of one, and the other requests decode."""
        r = self.request
        in_flight, _, at_once, _ = self._flow
        longer = 1 + (r.prompt_sd / r.prompt) ** 2
        options: dict[str, Any] = {"dtype": r.dtype, "weight_dtype": r.weight_dtype, "kv_dtype": r.kv_dtype}
        piece = minimum(self._new, r.chunk)
        # The pieces of a long prompt attend, in the mean, over half of it more than a prompt of their own length.
        seen = maximum((r.prompt + piece) / 2, piece) + r.prefix / 2
        prefill = self.model.step(at_once, piece, seen, **options)
        factors = {"batch": 1 / longer, "q_len": longer, "kv_len": longer}

        def varied(one: Op) -> Op:
            # By factors: attention within chunks has sequences and lengths of its own.
            return one.with_args(**{name: one.args[name] * factor for name, factor in factors.items()})

        prefill = prefill.map(lambda one: varied(one) if "kv_len" in one.args else one)
        decoding = maximum(in_flight - at_once, 0.0) * r.beams
        return self._static.run_step(joined(self._decode_step(maximum(decoding, 1)), prefill, decoding), 1.0)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the estimate is made of."""
        return self.decoding, self.mixed

    @property
    def devices(self) -> Any:
        """Chips in all."""
        return self.request.plan.devices

    def _loads(self) -> list[tuple[Phase, Any, Any]]:
        busy = minimum(self._flow[0], 1.0)  # a lane without a request waits
        mixing = self.mixed_share * self.mixed.time_s
        return [(self.decoding, (1 - self.mixed_share) * self.decoding.time_s, busy), (self.mixed, mixing, busy)]

    # Figures ----------------------------------------------------------------------------------------------------

    def _figures(self, decoding: Numeric, mixed: Numeric) -> dict[str, Numeric]:
        """The headline figures, from the times of the two kinds of pass (s)."""
        r = self.request
        lanes = r.plan.dp * r.plan.pp
        in_flight, passes, _, share = self._flow
        stay = self._output[0] - 1 + passes
        delayed = maximum(share * stay - passes, 0.0) / maximum(self._output[0] - 1, 1)
        period = (1 - share) * decoding + share * mixed
        requests = lanes * in_flight / stay / period
        tokens = requests * self._output[0]
        return {
            "tokens_per_s": tokens,
            "tokens_per_s_per_chip": tokens / r.plan.devices,
            "total_tokens_per_s": requests * (self._output[0] + r.prompt),
            "requests_per_s": requests,
            "tpot_s": (1 - delayed) * decoding + delayed * mixed,
            "ttft_s": passes * mixed + 0.5 * period * (1 - 1 / maximum(in_flight, 1)),
        }

    @functools.cached_property
    def _expected(self) -> dict[str, Numeric]:
        return self._figures(self.decoding.time_s, self.mixed.time_s)

    def _figures_with_errors(self, factors: np.ndarray) -> dict[str, Numeric]:
        return self._figures(with_errors(self.decoding, factors), with_errors(self.mixed, factors))

    @property
    def tokens_per_s(self) -> Numeric:
        """Output tokens per second of the system."""
        return self._expected["tokens_per_s"]

    @property
    def tokens_per_s_per_chip(self) -> Numeric:
        """`tokens_per_s` over the number of chips."""
        return self._expected["tokens_per_s_per_chip"]

    @property
    def total_tokens_per_s(self) -> Numeric:
        """Prompt and output tokens per second of the system."""
        return self._expected["total_tokens_per_s"]

    @property
    def requests_per_s(self) -> Numeric:
        """Requests that the system answers in a second."""
        return self._expected["requests_per_s"]

    @property
    def tpot_s(self) -> Numeric:
        """Time per output token after the first (s), the mean over requests."""
        return self._expected["tpot_s"]

    @property
    def ttft_s(self) -> Numeric:
        """Time to first token (s) of a request that finds a free place; queueing is not in it."""
        return self._expected["ttft_s"]

    @property
    def time_s(self) -> Numeric:
        """Time of a request (s), from its start to its last token."""
        return self.ttft_s + (self._output[0] - 1) * self.tpot_s

    @functools.cached_property
    def ideal(self) -> dict[str, Numeric]:
        """The same figures from the lower bounds of the passes: a naive roofline, and what no machine beats."""
        return self._figures(self.decoding.lower_s, self.mixed.lower_s)

    @property
    def bound(self) -> Label:
        """What bounds the kind of pass in which most of the time goes."""
        share = self.mixed_share
        mixing = share * self.mixed.time_s > (1 - share) * self.decoding.time_s
        return choose(mixing, self.mixed.bound, self.decoding.bound)

    def __repr__(self) -> str:
        what = f"{self.model.name} served on {self.request.plan.devices} x {self.chip.name}"
        if np.shape(self.time_s):
            return f"<ServingEstimate: {what}, shape {np.shape(self.time_s)}>"
        return (
            f"<ServingEstimate: {what}: {self.tokens_per_s:,.0f} tokens/s with {self.active:,.0f} requests in flight, "
            f"TPOT {text(self.tpot_s, 's', 3)}, {self.bound}>"
        )
