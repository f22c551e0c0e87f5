"""The estimate of a model that answers in one pass: an encoder, or a decoder that embeds, classifies or reranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from roofline.base.numeric import Numeric
from roofline.base.units import text
from roofline.estimates.encoded import EncodedEstimate
from roofline.estimates.figures import Made, with_errors
from roofline.estimates.inference import Phase
from roofline.estimates.language import LanguageEstimate
from roofline.models.llm import LanguageModel
from roofline.work import parallel


class PassEstimate(LanguageEstimate):
    """One pass over the prompts of a batch, with nothing decoded. Figures are per system unless the name says per chip.

    Attributes
    ----------
    model, chip, request
        What was asked; `output` is 0.
    prefill : Phase
        The pass; ``.ops`` is the breakdown.
    """

    FIGURES: ClassVar = {
        "latency_s": "s",
        "requests_per_s": "1/s",
        "tokens_per_s": "tokens/s",
        "tokens_per_s_per_chip": "tokens/s",
    }

    PHASES = ("prefill",)

    @property
    def latency_s(self) -> Numeric:
        """Time of the batch (s)."""
        return self.prefill.time_s

    @property
    def time_s(self) -> Numeric:
        """Time of the batch (s)."""
        return self.prefill.time_s

    @property
    def lower_s(self) -> Numeric:
        """What no machine of that description can beat for `time_s` (s)."""
        return self.prefill.lower_s

    @property
    def upper_s(self) -> Numeric:
        """`time_s` with nothing overlapped and every overhead (s)."""
        return self.prefill.upper_s

    @property
    def requests_per_s(self) -> Numeric:
        """Sequences answered a second by the system."""
        return self.request.batch / self.time_s

    @property
    def tokens_per_s(self) -> Numeric:
        """Prompt tokens read a second by the system."""
        return self.request.batch * self.request.prompt / self.time_s

    @property
    def bound_codes(self) -> Numeric:
        """:attr:`bound` as a number, or array of uint8."""
        return self.prefill.bound_codes

    @property
    def mfu(self) -> Numeric:
        """Model FLOP utilisation of the pass, at each operator's own peak."""
        return self.prefill.mfu

    @property
    def mbu(self) -> Numeric:
        """Memory bandwidth utilisation of the pass."""
        return self.prefill.mbu

    def _activations(self, micro: Numeric) -> Numeric:
        """Working space of whole prompts: what makes no tokens is not cut into pieces."""
        r = self.request
        return parallel.activation_bytes(self.model, r.plan, micro, r.prompt - r.prefix, r.dtype)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the estimate is made of."""
        return (self.prefill,)

    def _loads(self) -> list[tuple[Phase, Numeric, Numeric]]:
        pp, count = self.request.plan.pp, self._split[2]
        return [(self.prefill, self.prefill.time_s, count / (count + pp - 1))]

    def _figures_with_errors(self, factors: np.ndarray) -> Mapping[str, Any]:
        r = self.request
        return Made(
            {
                "latency_s": lambda made: with_errors(self.prefill, factors),
                "requests_per_s": lambda made: r.batch / made["latency_s"],
                "tokens_per_s": lambda made: r.batch * r.prompt / made["latency_s"],
                "tokens_per_s_per_chip": lambda made: made["tokens_per_s"] / r.plan.devices,
            }
        )

    def __repr__(self) -> str:
        what = f"{self.model.name} on {self.request.plan.devices} x {self.chip.name}"
        if np.shape(self.time_s):
            return f"<PassEstimate: {what}, shape {np.shape(self.time_s)}>"
        latency = text(self.latency_s, "s", 3)
        return f"<PassEstimate: {what}: {self.requests_per_s:,.0f} requests/s, latency {latency}, {self.bound}>"


def kind_of(model: LanguageModel) -> type[LanguageEstimate]:
    """The kind of estimate that a language model gets."""
    if model.encoder is not None:
        return EncodedEstimate
    return LanguageEstimate if model.decodes else PassEstimate
