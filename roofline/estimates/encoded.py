"""The estimate of an encoder with a decoder: one pass over the prompt, then tokens that attend across to its states."""

from __future__ import annotations

from roofline.base.numeric import Numeric, maximum
from roofline.estimates import seen
from roofline.estimates.language import LanguageEstimate
from roofline.models.llm import LanguageModel
from roofline.work import parallel
from roofline.work.op import step_overhead
from roofline.work.workload import Workload, workload


class EncodedEstimate(LanguageEstimate):
    """A model whose encoder reads the prompt and whose decoder makes the output; figures as of a language model.

    The decoder begins with one token that says "begin". What it keeps of its own grows with the output; keys and values
    of the encoder's states, in every layer, are as many as the prompt from the first step on.

    Attributes
    ----------
    prefill : Phase
        The encoder's pass, keys and values of its states, and the decoder's first step.
    decode : Phase
        One further token for every sequence.
    """

    @property
    def _source(self) -> Numeric:
        return self.request.prompt

    @property
    def encoder(self) -> LanguageModel:
        """The half that reads."""
        assert self.model.encoder is not None
        return self.model.encoder

    def work(self, phase: str) -> tuple[Workload, Numeric]:
        """The operators of prefill or of a decode step on one chip, and what their time is multiplied by."""
        r = self.request
        _, micro, _ = self._split
        if phase == "decode":
            return self._engine(self._step(micro, 1, 2, maximum(r.output - 1, 1))), 1.0
        read = self.encoder.step(micro, r.prompt, r.prompt, r.dtype, r.weight_dtype)
        first = self._reading(micro) + self._step(micro, 1, 1, 1)
        return workload(step_overhead()) + seen.once(read, r.plan, self.encoder) + self._engine(first), 1.0

    def _cache_bytes(self, local: Numeric, kv_dtype: str) -> Numeric:
        """Bytes of the decoder's own keys and values at the end of the output, and of those of the states."""
        r = self.request
        own = parallel.kv_bytes(self.model, r.plan, local, r.output, kv_dtype)
        return own + parallel.source_bytes(self.model, r.plan, local, r.prompt, kv_dtype)

    def _activations(self, micro: Numeric) -> Numeric:
        """Working space of the encoder's pass, which reads whole prompts, or of a step of the decoder."""
        r = self.request
        reads = parallel.activation_bytes(self.encoder, r.plan, micro, r.prompt, r.dtype)
        return maximum(reads, parallel.activation_bytes(self.model, r.plan, micro, 1, r.dtype))
