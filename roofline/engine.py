"""What an inference engine makes of a model's step: kernels merged, prompts and decoding sequences in one pass.

A model lists what is computed. Engines (TensorRT-LLM, vLLM, SGLang) run some of it together, and serve prompts and
decoding sequences in one forward pass ("in-flight" or "continuous" batching, Yu et al., "Orca", OSDI 2022).
"""

from __future__ import annotations

from roofline.op import Numeric, Op, maximum, minimum
from roofline.workload import Workload

#: The argument of each kind of operator that counts tokens, where a merged pass simply has more of them.
_TOKENS = {"gemm": "m", "moe": "tokens"}


def fused(step: Workload) -> Workload:
    """The same step with the kernels merged that every engine merges.

    - A residual addition is part of the norm that follows it: one kernel that reads and writes both tensors.
    - Activations are quantised by the kernel that produces them (norm, gated activation, attention), at scales known
      beforehand, so that no kernel of its own stands before a product in 8 bits.

    Parameters
    ----------
    step : Workload
        As :meth:`roofline.models.llm.LanguageModel.step` returns it, not yet split over chips.
    """
    adds = sum(one.count for one in step if one.kind == "residual_add")
    norms = sum(one.count for one in step if one.name == "norm")
    both = minimum(adds, norms)

    def change(one: Op) -> list[Op]:
        if one.kind == "gemm" and one.args["quantize"]:
            return [one.with_args(quantize=0.0)]
        if one.kind == "residual_add":
            return [one.times((adds - both) / adds)] if adds > both else []
        if one.name == "norm" and both:
            joined = one.with_args(reads=2.0, writes=2.0).times(both / norms)
            return [joined, one.times((norms - both) / norms)] if norms > both else [joined]
        return [one]

    return step.map(change)


def joined(decode: Workload, prefill: Workload, decoding: Numeric) -> Workload:
    """One pass in which sequences decode while prompts, or pieces of them, are prefilled.

    Products, norms and collectives run once over the tokens of both; attention runs apart for the two.

    Parameters
    ----------
    decode, prefill : Workload
        Steps of the same model, not yet split over chips; `decode` at one sequence or more.
    decoding : number or array
        Sequences that decode; below one, the share of such passes that have a sequence at all.
    """
    share = decoding / maximum(decoding, 1)
    out: list[Op] = []
    for one, other in zip(decode, prefill, strict=True):
        key = _TOKENS.get(one.kind, "rows" if "rows" in one.args else "")
        if one.name != other.name or not key:
            out += [one.times(share), other]
        else:
            out.append(other.with_args(**{key: other.args[key] + share * one.args[key]}))
    return Workload(tuple(out))


__all__ = ["fused", "joined"]
