"""What an inference engine makes of a model's step: kernels merged, prompts and decoding sequences in one pass.

A model lists what is computed. Engines (TensorRT-LLM, vLLM, SGLang) run some of it together, and serve prompts and
decoding sequences in one forward pass ("in-flight" or "continuous" batching, Yu et al., "Orca", OSDI 2022).
"""

from __future__ import annotations

from dataclasses import replace

from roofline.base.numeric import Numeric, anywhere, choose, maximum, minimum
from roofline.work.op import Op
from roofline.work.workload import Workload

#: The argument of each kind of operator that counts tokens, where a merged pass simply has more of them.
_TOKENS = {"gemm": "m", "moe": "tokens"}

#: The kinds of operator between products that 8 bits pass through where a whole step is compiled.
_NARROWED = ("elementwise", "gate", "copy")

#: The kinds of operator that read weights.
_WEIGHTS = ("gemm", "moe")


def fused(step: Workload) -> Workload:
    """The same step with the kernels merged that every engine merges.

    - A residual addition is part of the norm that follows it: the norm's kernel reads the residual as well and writes
      the sum, at an addition's rate; nothing starts for it alone. Additions beyond the norms (two blocks side by side,
      shared experts) stay kernels of their own.
    - Activations are quantised by the kernel that produces them (norm, gated activation, attention), at scales known
      beforehand, so that no kernel of its own stands before a product in 8 bits.

    Parameters
    ----------
    step : Workload
        As :meth:`roofline.models.llm.LanguageModel.step` returns it, not yet split over chips.
    """
    free = sum(one.count for one in step if one.name == "norm")
    out: list[Op] = []
    for one in step:
        if one.kind == "gemm" and one.args["quantize"]:
            out.append(one.with_args(quantize=0.0))
        elif one.kind == "residual_add":  # those of the residual stream come first, and have the norms first
            within = minimum(one.count, free)
            free = free - within
            if anywhere(within > 0):
                out.append(one.with_args(reads=1.0, writes=1.0, merged=1.0).times(within / one.count))
            if anywhere(within < one.count):
                out.append(one.times((one.count - within) / one.count))
        else:
            out.append(one)
    return Workload(tuple(out))


def cached(step: Workload, weight_bytes: Numeric, capacity_bytes: Numeric) -> Workload:
    """The same step where a cache of some capacity that holds all its weights keeps them from one step to the next."""
    return resident(step, choose(weight_bytes <= capacity_bytes, 1.0, 0.0))


def resident(step: Workload, share: Numeric) -> Workload:
    """The same step where a share of the weights stays on the chip from one step to the next."""
    if not anywhere(share > 0):
        return step
    return step.map(lambda one: one.with_args(warm_weights=share) if one.kind in _WEIGHTS else one)


def joined(decode: Workload, prefill: Workload, decoding: Numeric) -> Workload:
    """One pass in which sequences decode while prompts, or pieces of them, are prefilled.

    Products, norms and collectives run once over the tokens of both; attention runs once for each.

    Parameters
    ----------
    decode, prefill : Workload
        Steps of the same model, not yet split over chips; `decode` at one sequence or more.
    decoding : number or array
        Sequences that decode; below one, the share of such passes that have a sequence at all.
    """
    share = decoding / maximum(decoding, 1)
    waiting: dict[tuple[str, str], list[Op]] = {}
    for one in decode:
        waiting.setdefault((one.kind, one.name), []).append(one)
    out: list[Op] = []
    for other in prefill:
        same = waiting.get((other.kind, other.name))
        met: Op | None = same.pop(0) if same else None
        key = _TOKENS.get(other.kind, "rows" if "rows" in other.args else "")
        if met is None:
            out.append(other)
        elif key:
            out.append(_together(other, met, share, key))
        else:
            out += [met.times(share), other]
    # What only decoding runs: latent attention multiplies by other matrices there.
    out += [one.times(share) for left in waiting.values() for one in left]
    return Workload(tuple(out))


def _together(prefill: Op, decode: Op, share: Numeric, key: str) -> Op:
    """One operator over the tokens of both; where prefill does without it (a count of 0), what decoding runs alone."""
    both = prefill.args[key] + share * decode.args[key]
    absent = prefill.count == 0
    if not anywhere(absent):
        return prefill.with_args(**{key: both})
    tokens = choose(absent, decode.args[key], both)
    return replace(prefill.with_args(**{key: tokens}), count=choose(absent, share * decode.count, prefill.count))


def compiled(step: Workload) -> Workload:
    """A recommendation step whose dense part is compiled whole, as TensorRT does.

    - Activations stay in the 8 bits of the arithmetic from layer to layer, at scales calibrated beforehand; embedding
      bags hand over their sums in the same. With wider arithmetic nothing changes here.
    - Concatenations are not copied: what is concatenated is written where it belongs.
    - Elementwise work stays a kernel of its own: a product's epilogue adds a bias, applies a nonlinearity or adds
      another tensor, but multiplies by none ("Layer Fusion Catalog" of NVIDIA's TensorRT documentation), and the
      elementwise work of these models multiplies: a cross layer by the features, attention by the behaviours.

    Parameters
    ----------
    step : Workload
        As :meth:`roofline.models.recommender.Recommender.step` returns it.
    """
    narrow = {one.args["width"] for one in step if one.kind == "gemm" and one.args["quantize"]}

    def change(one: Op) -> Op | tuple[Op, ...]:
        if one.kind != "embedding_bag" and one.name.endswith(".concat"):
            return ()
        if not narrow:
            return one
        if one.kind == "gemm" and one.args["quantize"]:
            return one.with_args(quantize=0.0, out_width=one.args["width"])
        if one.kind in _NARROWED:
            return one.with_args(width=min(narrow), out_width=min(narrow))
        return one.with_args(out_width=min(narrow)) if one.kind == "embedding_bag" else one

    return step.map(change)


__all__ = ["cached", "compiled", "fused", "joined", "resident"]
