"""What drafting tokens costs: passes of a smaller model, or of a layer more, before each pass of the model itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.catalog.load import as_model
from roofline.estimates.language import LanguageEstimate
from roofline.models.besides import Linear
from roofline.models.llm import LanguageModel
from roofline.serving.systems import MTP, NGRAM, Draft
from roofline.work import parallel
from roofline.work.op import wide

#: The times of a pass that tables are made of.
TIMES = ("time_s", "lower_s", "upper_s")


class Drafting:
    """Speculative decoding of a model on a chip under a plan.

    Parameters
    ----------
    draft : Draft
    target : LanguageEstimate
        The model that is served. What drafts is on the same chips, split alike where its sizes allow it, else whole on
        each of them.

    Raises
    ------
    BadWorkload
        For what cannot draft.
    """

    def __init__(self, draft: Draft, target: LanguageEstimate) -> None:
        self.draft, self.target = draft, target
        self.estimate = _drafter(draft, target)

    def _cost(self, **sizes: Any) -> dict[str, np.ndarray | float]:
        one = self.estimate
        if one is None:
            return dict.fromkeys(TIMES, 0.0)
        r = one.request
        step = one.model.step(**sizes, dtype=r.dtype, weight_dtype=r.weight_dtype, kv_dtype=r.kv_dtype)
        phase = one.run_step(step)
        return {name: getattr(phase, name) for name in TIMES}

    def writing(self, sequences: Any, context: Any) -> dict[str, Any]:
        """Times of drafting for so many sequences: a pass for each token, one after the other (s)."""
        once = self._cost(batch=sequences, q_len=1, kv_len=context)
        return {name: self.draft.tokens * time for name, time in once.items()}

    def reading(self, prompts: Any, new: Any, before: Any) -> dict[str, Any]:
        """Times of the drafter's own pass over pieces of prompts (s)."""
        return self._cost(batch=prompts, q_len=new, kv_len=new + before)

    @property
    def weights_bytes(self) -> float:
        """Weights of the drafter on one chip; of a layer of the model itself that layer's alone."""
        if self.estimate is None:
            return 0.0
        if self.draft.model == MTP and self.target.model.mtp is None:
            model, r = self.target.model, self.target.request
            longer = replace(model, layers=(*model.layers, *self.estimate.model.layers))
            each = [parallel.weight_bytes(one, r.plan, r.dtype, r.weight_dtype) for one in (longer, model)]
            return float(each[0] - each[1])
        return float(self.estimate.weights_bytes)

    def room(self, tokens: float, context: int) -> float:
        """Tokens of KV cache that are left of those that the model alone had room for, at a context of so many."""
        if self.estimate is None:
            return tokens
        mine, its = (_token_bytes(one, context) for one in (self.target, self.estimate))
        return max(0.0, (tokens * mine - self.weights_bytes) / (mine + its))


def _token_bytes(one: LanguageEstimate, context: int) -> float:
    """Bytes of KV cache on one chip for each token of a context."""
    r = one.request
    return float(parallel.kv_bytes(one.model, r.plan, 1, context, r.kv_dtype or wide(r.dtype))) / context


def _drafter(draft: Draft, target: LanguageEstimate) -> LanguageEstimate | None:
    """The estimate whose steps are the drafter's; None where drafting costs the chip nothing."""
    if draft.model == NGRAM:
        return None
    model = target.model
    if draft.model == MTP and model.mtp is not None:
        one = model.mtp
    elif draft.model == MTP:
        # Of a model whose file has none: the next token's embedding beside its last state, projected, and one more of
        # its last layers (DeepSeek-V3).
        layer = replace(model.layers[-1], count=1)
        joins = Linear("mtp_proj", model.hidden, 2 * model.hidden, scope="model")
        one = replace(model, name=f"{model.name} mtp", layers=(layer,), besides=(joins,), towers=())
    else:
        found = as_model(draft.model)
        if not isinstance(found, LanguageModel) or not found.decodes:
            raise BadWorkload(
                f"Draft: model: expected a language model that decodes, {MTP!r} or {NGRAM!r}, found {found.name}"
            )
        one = found
    plan = target.request.plan
    if not plan.suits(one, target.request.weight_dtype):
        plan = replace(plan, tp=1, ep=1)
    request = replace(target.request, plan=replace(plan, pp=1))
    return LanguageEstimate(one, target.chip, request)
