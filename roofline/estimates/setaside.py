"""What a serving engine sets aside of a chip's memory beside weights and KV cache, and how it counts what is left.

Engines take a share of main memory, load the weights, run one pass at the largest size that they will ever schedule,
and give what is left to the KV cache. The three in use differ in what the share is of, and in what they count:

- *vLLM* takes ``gpu_memory_utilization`` of all memory, and counts the peak of a full pass against it. That pass ends
  in sampling for every sequence that may run at once, which is the peak wherever the vocabulary is large:
  ``sequences x vocab x logit_width`` bytes, the same on each of tp chips;
- *SGLang* takes ``mem_fraction_static`` of what is free before the weights come. Passes live in the rest;
- *TensorRT-LLM* takes ``free_gpu_memory_fraction`` of what the model and one pass of it leave free.

The figures are those of the stack that the chip is on (``[stack.vllm.serving]`` in the family's file or the chip's
own); a chip on none, or on its plain figures, sets nothing aside but the pass that was asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.numeric import Numeric, anywhere, ceil_div, choose, maximum
from roofline.base.units import dtype_bytes, text
from roofline.hardware.chip import Chip
from roofline.models.attention import Attention, LatentAttention
from roofline.models.feed_forward import Experts
from roofline.models.llm import LanguageModel
from roofline.models.mixers import Span
from roofline.work import parallel
from roofline.work.op import wide
from roofline.work.parallel import Plan

#: Share of the main memory that the model may fill where no engine says otherwise: serving engines' usual default.
USABLE_MEMORY = 0.9


@dataclass(frozen=True)
class SetAside:
    """What an engine takes of one chip's memory before there is a KV cache, weights apart.

    Attributes
    ----------
    terms : dict of str to number or array
        Bytes by what they are for, in words.
    working_bytes : number or array, optional
        The peak of a full pass; None where the engine counts none, or there is no engine.
    spared : number or array
        The share of weights, pass and terms that the engine's fraction leaves out.
    """

    terms: dict[str, Numeric] = field(default_factory=dict)
    working_bytes: Numeric | None = None
    spared: Numeric = 0.0


def of(model: LanguageModel, chip: Chip, plan: Plan, dtype: str, weight_dtype: str | None = None) -> SetAside:
    """What the engine of the stack that a chip is on sets aside for a model.

    Parameters
    ----------
    model : LanguageModel
    chip : Chip
        On a stack, or not.
    plan : Plan
    dtype, weight_dtype : str
        As for ``LanguageModel.step``.
    """
    get = chip.get
    terms: dict[str, Numeric] = {}
    if (context := get("serving.context")) is not None:
        terms["context"] = context
    if (buffers := get("serving.communication")) is not None and anywhere(plan.tp > 1):
        terms["communication"] = choose(plan.tp > 1, buffers, 0.0)
    if (graphs := get("serving.graph_layer")) is not None:
        terms["CUDA graphs"] = graphs * ceil_div(model.num_layers, plan.pp)
    if (rotary := get("serving.rotary_width")) is not None and (dim := _rotated(model)):
        terms["rotary table"] = rotary * dim * model.max_positions
    if (multiple := get("serving.fp4_multiple")) is not None:
        padding = _padding(model, plan, dtype, weight_dtype, multiple)
        if anywhere(padding > 0):
            terms["padding of experts"] = padding
    working = _full_pass(model, chip, plan, dtype, weight_dtype) if get("serving.profiled") is not None else None
    if working is None and terms:  # the pass lives in what the engine leaves
        working = 0.0
    return SetAside(terms, working, get("serving.spared", 0.0))


def _rotated(model: LanguageModel) -> int:
    """Elements of a head that carry rotary positions: cosines and sines of as many stand in the engine's table."""
    mixers = (group.mixer for group in model.layers if group.span.rope)
    return max((mixer.rope_dim for mixer in mixers if isinstance(mixer, Attention | LatentAttention)), default=0)


def usable_share(chip: Chip, plan: Plan) -> Numeric:
    """The share of the memory that the engine of a chip's stack takes where nobody says how much.

    Raises
    ------
    BadWorkload
        Where the engine would keep all of a small memory free.
    """
    fraction = chip.get("serving.fraction")
    if fraction is not None:
        return fraction  # type: ignore[no-any-return]
    kept = chip.get("serving.kept")
    if kept is None:
        return USABLE_MEMORY
    chips = plan.tp * plan.pp
    kept = (
        kept + chip.get("serving.kept_token", 0.0) * _limit(chip, "tokens") + chip.get("serving.kept_chip", 0.0) * chips
    )
    capacity = chip.level(chip.main_level, "capacity")
    share = 1.0 - kept / capacity
    if anywhere(share <= 0):
        raise BadWorkload(
            f"usable_memory: {chip.stack} keeps {text(float(np.max(kept)), 'B')} of the "
            f"{text(float(np.min(capacity)), 'B')} of {chip.name} free unless told; say how much it may take"
        )
    return share  # type: ignore[no-any-return]


def _limit(chip: Chip, name: str) -> Any:
    """The most tokens or sequences of a pass: engines schedule less where memory is small."""
    large, small = chip.get("serving.large"), chip.get(f"serving.small_{name}")
    value = chip.get(f"serving.{name}")
    if large is None or small is None:
        return value
    return choose(chip.level(chip.main_level, "capacity") >= large, value, small)


def _full_pass(model: LanguageModel, chip: Chip, plan: Plan, dtype: str, weight_dtype: str | None) -> Numeric:
    """Bytes at the peak of a pass of as many tokens and sequences as the engine will schedule."""
    tokens, width = _limit(chip, "tokens"), dtype_bytes(wide(dtype))
    states = tokens * model.hidden * width
    stay = chip.get("serving.expert_buffers")
    widest = _widest(model, plan, stay is None)
    peak: Numeric = (2 + chip.get("serving.residuals", 0.0)) * states + tokens * widest * width
    if (logit := chip.get("serving.logit_width")) is not None:
        sampling = states + _limit(chip, "sequences") * model.vocab * logit + chip.get("serving.workspace", 0.0)
        peak = maximum(peak, sampling)
    if stay is not None:
        peak = peak + stay * _expert_buffers(model, plan, tokens, dtype, weight_dtype)
    return peak


def _widest(model: LanguageModel, plan: Plan, routed: bool) -> Numeric:
    """Elements that a token holds at the widest point of any block on one chip, routed experts among them or not."""
    widest: Numeric = 0.0
    for group in model.layers:
        for block in group.blocks:
            if isinstance(block, Experts) and not routed:
                if block.shared is None:
                    continue
                block = block.shared
            widest = maximum(widest, block.live_elements(model.hidden, plan.tp, plan.ep))
    return widest


def _expert_buffers(model: LanguageModel, plan: Plan, tokens: Numeric, dtype: str, weight_dtype: str | None) -> Numeric:
    """Bytes of the two buffers that fused kernels of routed experts work in: each holds every token's choices.

    One is as wide as the hidden state or the product, whichever is wider, the other as that or gate and up side by
    side. Kernels of fp4 experts have buffers of their own kind, which are not counted.
    """
    if _expert_width(model, dtype, weight_dtype) < 1:
        return 0.0
    most: Numeric = 0.0
    for group in model.layers:
        one = group.feed_forward
        if isinstance(one, Experts):
            inter = one.inter / plan.moe_tp
            most = maximum(most, one.topk * (maximum(inter, model.hidden) + maximum(2 * inter, model.hidden)))
    return tokens * most * dtype_bytes(wide(dtype))


def _expert_width(model: LanguageModel, dtype: str, weight_dtype: str | None) -> Numeric:
    """Bytes that a weight of a routed expert takes, scales included; 0 where there are no experts."""
    widths = [model.bytes_per_weight(w, dtype, weight_dtype) for w in model.weights if w.storage == "expert"]
    return max(widths, default=0.0)


def _padding(model: LanguageModel, plan: Plan, dtype: str, weight_dtype: str | None, multiple: Numeric) -> Numeric:
    """Bytes by which kernels of fp4 experts fill up their width, where it is no multiple of what they take."""
    width = _expert_width(model, dtype, weight_dtype)
    if not 0 < width < 1:
        return 0.0
    widths = {group.feed_forward.inter for group in model.layers if isinstance(group.feed_forward, Experts)}
    if not widths:
        return 0.0
    inter = max(widths) / plan.moe_tp
    filled = ceil_div(inter, multiple) * multiple / inter - 1.0
    experts = sum(w.elements * w.count for w in model.weights if w.storage == "expert") * width
    share = ceil_div(model.num_layers, plan.pp) / model.num_layers / maximum(plan.tp, plan.ep)
    return experts * share * filled


# How an engine counts -----------------------------------------------------------------------------------------------


def kv_tokens(model: LanguageModel, chip: Chip, plan: Plan, room_bytes: Numeric, kv_dtype: str) -> Numeric:
    """Tokens that an engine says its KV cache has room for, on one replica: whole blocks times their size.

    Parameters
    ----------
    model : LanguageModel
    chip : Chip
        On the engine's stack; on none, every layer keeps the whole context, and a block is one token.
    plan : Plan
    room_bytes : number or array
        What is left for the cache on one chip.
    kv_dtype : str
    """
    block, share = chip.get("serving.block", 1.0), chip.get("serving.window_share", 1.0)
    stages = ceil_div(model.num_layers, plan.pp) / model.num_layers
    if share == 0.0:
        context = model.max_positions
        each = parallel.kv_bytes(model, plan, 1, context, kv_dtype) + parallel.state_bytes(model, plan, 1)
        return _whole(room_bytes / each * context, block)
    kinds = _kinds(model, plan, kv_dtype)
    sizes = [size for *_, size in kinds if anywhere(size > 0)]
    if not sizes:
        return _whole(room_bytes * 0.0, block)
    if chip.get("serving.grouped") and len(kinds) > 1:
        group = _group([count for count, *_ in kinds])
        groups = sum(math.ceil(count / group) for count, *_ in kinds)
        page = sum(sizes[1:], sizes[0]) / len(sizes) * block
        return _whole(np.floor(room_bytes / (page * group * stages)) / groups * block, block)
    each = sum(count * size * (share if window else 1.0) for count, window, size in kinds)
    return _whole(room_bytes / (each * stages), block)


def _kinds(model: LanguageModel, plan: Plan, kv_dtype: str) -> list[tuple[int, bool, Numeric]]:
    """Layers that are cached alike: how many, whether they see a window only, and the bytes of a token on one chip."""
    counts: dict[Any, int] = {}
    for group in model.layers:
        if group.mixer is not None:
            key = (group.mixer, group.span.window)
            counts[key] = counts.get(key, 0) + group.runs
    width = dtype_bytes(kv_dtype)
    kinds = []
    for (mixer, window), count in counts.items():
        size = mixer.cache_bytes(1.0, width, Span(), plan.tp)
        if anywhere(size + mixer.state_bytes(plan.tp) > 0):
            kinds.append((count, window is not None, size))
    return kinds


def _group(counts: list[int]) -> int:
    """Layers of a group: as many as the rarest kind has, or as the commonest where they are nearly alike."""
    return max(counts) if max(counts) < 1.25 * min(counts) else min(counts)


def _whole(tokens: Numeric, block: Numeric) -> Numeric:
    return np.floor(tokens / block) * block
