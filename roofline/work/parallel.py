"""A workload split over chips: each operator's share of one chip, and the collectives between them.

Four kinds of parallelism, as serving engines combine them:

- *tensor* (tp): every layer's matrices are split over tp chips, which hold the same tokens;
- *pipeline* (pp): layers are split into pp stages;
- *data* (dp): whole replicas, each with a batch of its own (batch sizes are per replica throughout);
- *expert* (ep): routed experts are spread over ep of the tp x dp chips.

What an operator splits is said by its `shard` tag:

===================  =============================================  ==========================================
tag                  what one of tp chips does                      collective that follows
===================  =============================================  ==========================================
``""``               all of it                                      none
``"column"``         1/tp of the output columns                     none
``"row"``            1/tp of the inner dimension                    all-reduce of the output
``"row_joined"``     the same                                       that of the routed experts, where they have one
``"heads"``          heads/tp, and at least one key/value head      none
``"heads 64+2x8"``   64/tp + 2 max(1, 8/tp) heads' width            none
``"vocab"``          1/tp of the vocabulary                         all-gather of logits; all-reduce of embeddings
``"experts"``        experts/ep, each split over max(1, tp/ep)      all-reduce, or all-to-all where ep > tp
===================  =============================================  ==========================================

So FLOP summed over chips are those of the whole workload wherever the sizes divide, except for what is computed on
each chip: norms, residuals, routers, down-projections to a latent, and key/value heads that tp exceeds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from roofline.base import numeric
from roofline.base.errors import BadWorkload
from roofline.base.numeric import Numeric
from roofline.base.units import dtype_bytes, dtype_name
from roofline.work import op
from roofline.work.collective import Collective
from roofline.work.op import Op
from roofline.work.sizes import MOST, whole
from roofline.work.splittable import Heads, Share, Splittable
from roofline.work.workload import Workload


@dataclass(frozen=True)
class Plan:
    """How a model is split over chips.

    Attributes
    ----------
    tp, pp, ep, dp : int or array of int
        Tensor-, pipeline-, expert- and data-parallel degree. Arrays broadcast against each other and the workload.

    Raises
    ------
    BadWorkload
        For a degree that is not a whole number of at least 1.
    """

    tp: Numeric = 1
    pp: Numeric = 1
    ep: Numeric = 1
    dp: Numeric = 1

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "ep", "dp"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= MOST:
                degree = whole("a plan's split", **{name: value})[name]
                object.__setattr__(self, name, degree.astype(int) if isinstance(degree, np.ndarray) else int(degree))

    @property
    def devices(self) -> Numeric:
        """Chips in all: expert parallelism reuses those of tp and dp."""
        return self.tp * self.pp * self.dp

    @property
    def moe_tp(self) -> Numeric:
        """Chips that share one expert."""
        return numeric.maximum(1, self.tp // self.ep)

    def suits(self, model: Splittable, weight_dtype: str | None = None) -> bool:
        """Whether :meth:`check` lets it pass."""
        try:
            self.check(model, weight_dtype)
        except BadWorkload:
            return False
        return True

    def check(self, model: Splittable, weight_dtype: str | None = None) -> None:
        """Refuse a split that the model's sizes do not allow.

        Parameters
        ----------
        model : Splittable
        weight_dtype : str, optional
            What the weights were asked to be stored in, as for ``LanguageModel.step``; then none has a scale in common
            with another, as the checkpoint's may.

        Raises
        ------
        BadWorkload
            When tp does not divide the heads of every mixer (or neither divides nor is a multiple of what they share),
            ep does not divide the experts or tp x dp, tp and ep are no multiples of each other, pp exceeds the layers,
            or a share would part weights that have a scale in common; names the nearest degrees that would do.
        """
        degrees = (self.tp, self.pp, self.ep, self.dp)
        sizes = (model.name, model.head_counts, model.num_layers, model.experts)
        shares = model.shares if weight_dtype is None else ()
        if all(type(d) is int for d in degrees):
            points: set[Any] = {degrees}
        else:
            points = set(zip(*(d.ravel().tolist() for d in np.broadcast_arrays(*degrees)), strict=True))
        for tp, pp, ep, dp in sorted(points):
            problem = _problem(tp, pp, ep, dp, *sizes, shares)
            if problem:
                raise BadWorkload(problem)


@lru_cache(maxsize=4096)
def _problem(
    tp: int,
    pp: int,
    ep: int,
    dp: int,
    name: str,
    head_counts: tuple[Heads, ...],
    layers: int,
    experts: int,
    shares: tuple[Share, ...] = (),
) -> str:
    """Why one split does not suit a model of these sizes; empty when it does."""
    uneven = [kind.words for kind in head_counts if not kind.split_by(tp)]
    if uneven:
        fewest = min(kind.heads for kind in head_counts)
        degrees = [t for t in range(1, fewest + 1) if all(kind.split_by(t) for kind in head_counts)]
        return _nearest("tp", tp, degrees, f"does not split the {', the '.join(uneven)} of {name} evenly")
    if pp > layers:
        return _nearest("pp", pp, [layers], f"is more than the {layers} layers of {name}")
    if ep == 1:
        return _broken(tp, ep, dp, name, head_counts, experts, shares)
    if not experts:
        return f"ep={ep} for {name}, which has no experts; expected ep=1"
    degrees = [e for e in range(1, experts + 1) if experts % e == 0]
    if ep not in degrees:
        return _nearest("ep", ep, degrees, f"does not divide the {experts} experts of {name}")
    degrees = [e for e in degrees if (tp * dp) % e == 0 and (tp % e == 0 or e % tp == 0)]
    if ep not in degrees:
        return _nearest("ep", ep, degrees, f"does not divide tp x dp = {tp} x {dp} chips into equal groups")
    return _broken(tp, ep, dp, name, head_counts, experts, shares)


def _broken(
    tp: int, ep: int, dp: int, name: str, head_counts: tuple[Heads, ...], experts: int, shares: tuple[Share, ...]
) -> str:
    """Why a split would part weights that share a scale, which engines refuse to load; empty when it does not.

    vLLM: "The output_size of gate's and up's weight = 192 is not divisible by weight quantization block_n = 128"
    (vllm-project/vllm#17569, sgl-project/sglang#3345).
    """
    parted = next((share for share in shares if not share.split_by(tp, ep)), None)
    if parted is None:
        return ""
    chips = max(1, tp // ep) if parted.experts else tp

    def whole_blocks(t: int, e: int) -> bool:
        return all(share.split_by(t, e) for share in shares)

    fewest = min(kind.heads for kind in head_counts)
    degrees = [t for t in range(1, fewest + 1) if all(kind.split_by(t) for kind in head_counts) and whole_blocks(t, ep)]
    what = "the experts" if parted.experts else parted.part
    why = f"cuts {what} of {name}, {parted.width} wide, into shares of {parted.width / chips:g}, no multiple of "
    message = _nearest("tp", tp, degrees, why + f"the {parted.block} weights that share a scale")
    spread = [e for e in range(ep + 1, experts + 1) if experts % e == 0 and tp * dp % e == 0 and whole_blocks(tp, e)]
    spread = [e for e in spread if tp % e == 0 or e % tp == 0]
    return message + (f" or ep={spread[0]}" if spread else "")


def _nearest(degree: str, found: int, degrees: list[int], why: str) -> str:
    below, above = [d for d in degrees if d < found][-1:], [d for d in degrees if d > found][:1]
    return f"{degree}={found} {why}; nearest that does: " + " or ".join(f"{degree}={f}" for f in below + above)


# -- Operators --------------------------------------------------------------------------------------------------------


def shard(workload: Workload, plan: Plan, model: Splittable) -> Workload:
    """One chip's share of a workload, with the collectives that join the shares.

    Pipeline stages: the result is one microbatch's way through all stages on one chip of each, at the pace of the
    fullest stage (layer counts times ``ceil(layers / pp) * pp / layers``), and the sends between stages.

    Parameters
    ----------
    workload : Workload
        Of one data-parallel replica, unsplit, such as :meth:`roofline.models.llm.LanguageModel.step` returns.
    plan : Plan
        Refused by :meth:`Plan.check` where it does not suit the model; this does not check again.
    model : Splittable
        Whose workload it is.
    """
    split = workload if _is_one(plan.tp) and _is_one(plan.ep) else workload.map(lambda one: _split(one, plan))
    return split if _is_one(plan.pp) else _stages(split, plan.pp, model)


def _is_one(degree: Numeric) -> bool:
    return type(degree) is int and degree == 1


def _split(one: Op, plan: Plan) -> list[Op]:
    tp, tag, args = plan.tp, one.shard, one.args
    if not tag:
        return [one]
    if tag == "experts":
        return _experts(one, plan)
    if one.kind == "gemm":
        whole = args["m"] * args["n"] * args["batch"] * args["out_width"]
        if tag == "column":
            return [one.with_args(n=args["n"] / tp)]
        if tag == "heads":
            return [one.with_args(batch=args["batch"] / tp)]
        if tag == "row":
            return [one.with_args(k=args["k"] / tp), *_collective(op.all_reduce, one, whole, tp)]
        if tag == "row_joined":
            own = numeric.choose(plan.ep > tp, tp, 1)
            return [one.with_args(k=args["k"] / tp), *_collective(op.all_reduce, one, whole, own)]
        if tag == "vocab":
            return [one.with_args(n=args["n"] / tp), *_collective(op.all_gather, one, whole, tp)]
        return [one.with_args(n=args["n"] * kept(tag, tp))]
    if "heads" in args:
        shared = {name: numeric.maximum(1, args[name] / tp) for name in ("kv_heads", "groups") if name in args}
        return [one.with_args(heads=args["heads"] / tp, **shared)]
    if one.kind == "token_embedding":
        # Each chip finds the rows of its part of the vocabulary and writes zeros for the others.
        whole = args["rows"] * args["cols"] * args["out_width"]
        return [one.with_args(reads=args["reads"] / tp), *_collective(op.all_reduce, one, whole, tp)]
    return [one.with_args(cols=args["cols"] * kept(tag, tp))]


def _experts(one: Op, plan: Plan) -> list[Op]:
    """A routed block. With ep <= tp the group's chips hold the same tokens; beyond, it spans dp replicas."""
    tp, ep, args = plan.tp, plan.ep, one.args
    spans = ep > tp
    tokens, hidden, wide = args["tokens"], args["hidden"], args["out_width"]
    local = one.with_args(tokens=tokens * numeric.choose(spans, ep / tp, 1), tp=plan.moe_tp, ep=ep)
    # The tp chips of a replica share out its tokens, and send each once to every chip that has experts for it. Routing
    # at random, a token's top-k experts lie on ep (1 - (1 - 1/ep)^topk) different chips.
    copies = ep * (1 - (1 - 1 / ep) ** args["topk"])
    sent = tokens / tp * copies * hidden
    group = numeric.choose(spans, ep, 1)
    return [
        # Dispatch carries what the experts compute on, combine their wide results.
        *_collective(op.all_to_all, one, sent * numeric.minimum(args["width"], wide), group, "dispatch"),
        local,
        *_collective(op.all_to_all, one, sent * wide, group, "combine"),
        *_collective(op.all_gather, one, tokens * hidden * wide, numeric.choose(spans, tp, 1)),
        *_collective(op.all_reduce, one, tokens * hidden * wide, numeric.choose(spans, 1, tp)),
    ]


def _collective(make: Collective, after: Op, size: Numeric, devices: Numeric, label: str = "") -> list[Op]:
    if _is_one(devices):
        return []
    name = f"{after.name}_{label or make.__name__}"
    return [make(bytes=size, devices=devices, name=name, count=after.count, scope=after.scope)]


def _stages(split: Workload, pp: Numeric, model: Splittable) -> Workload:
    pace = _stage_share(model, pp) * pp
    paced = split.map(lambda one: one.times(pace) if one.scope == "layer" else one)
    # The hidden state of every token travels on, as wide as the model where the embedding is not.
    states = next(one.args for one in split if one.kind == "token_embedding")
    size = states["rows"] * model.hidden * states["out_width"]
    return paced + Workload((op.send(bytes=size, devices=pp, name="pipeline_send", count=pp - 1, scope="model"),))


@lru_cache(maxsize=256)
def _head_widths(tag: str) -> tuple[int, int, int] | None:
    """``"heads 64+2x8"`` -> (64, 2, 8)."""
    match = re.fullmatch(r"heads (\d+)\+(\d+)x(\d+)", tag)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def kept(tag: str, tp: Numeric) -> Numeric:
    """The share of a tensor with this tag that one of tp chips holds, between 1/tp and 1."""
    if tag == "":
        return 1
    widths = _head_widths(tag)
    if widths is None:
        return 1 / tp
    queries, tensors, kv_heads = widths
    return (queries / tp + tensors * numeric.maximum(1, kv_heads / tp)) / (queries + tensors * kv_heads)


# -- Memory of one chip -----------------------------------------------------------------------------------------------


def weight_bytes(model: Splittable, plan: Plan, dtype: str, weight_dtype: str | None = None) -> Numeric:
    """Bytes of weights on the fullest chip.

    Parameters
    ----------
    model : Splittable
    plan : Plan
    dtype, weight_dtype : str
        Of the arithmetic and of the linear layers in memory; as for ``LanguageModel.step``.

    Notes
    -----
    With pipeline stages the fullest chip holds ``ceil(layers / pp)`` layers, and either the token embedding or the
    output projection, whichever is larger.
    """
    in_layers: Numeric = 0
    ends: dict[str, Numeric] = {"token_embedding": 0, "lm_head": 0, "": 0}
    for w in model.weights:
        routed = w.shard == "experts"
        share = 1 / numeric.maximum(plan.tp, plan.ep) if routed else kept(w.shard, plan.tp)
        each = model.bytes_per_weight(w, dtype, weight_dtype, plan.moe_tp if routed else plan.tp)
        size = w.elements * w.count * each * share
        if w.scope == "layer":
            in_layers = in_layers + size
        else:
            key = w.name if w.name in ends else ""
            ends[key] = ends[key] + size
    # Tied, the last stage keeps a copy of the embedding; either end is then as large.
    larger = numeric.maximum(ends["token_embedding"], ends["lm_head"]) + ends[""]
    at_ends = numeric.choose(plan.pp > 1, larger, sum(ends.values()))
    return in_layers * _stage_share(model, plan.pp) + at_ends


def kv_bytes(
    model: Splittable, plan: Plan, batch_per_replica: Numeric, context: Numeric, kv_dtype: str = "bf16"
) -> Numeric:
    """Bytes of KV cache on the fullest chip, for `batch_per_replica` sequences of `context` tokens.

    Key/value heads are copied where tp exceeds them; MLA's latent, which all heads share, lies whole on every chip.
    """
    return model.kv_bytes(batch_per_replica, context, kv_dtype, plan.tp) * _stage_share(model, plan.pp)


def state_bytes(model: Splittable, plan: Plan, batch_per_replica: Numeric) -> Numeric:
    """Bytes of recurrent state on the fullest chip: it grows with the sequences, and not with their tokens."""
    return model.state_bytes(batch_per_replica, plan.tp) * _stage_share(model, plan.pp)


def source_bytes(
    model: Splittable, plan: Plan, batch_per_replica: Numeric, source: Numeric, kv_dtype: str = "bf16"
) -> Numeric:
    """Bytes of keys and values on the fullest chip, of the `source` states that layers attend across to."""
    return model.source_bytes(batch_per_replica, source, kv_dtype, plan.tp) * _stage_share(model, plan.pp)


def _stage_share(model: Splittable, pp: Numeric) -> Numeric:
    return numeric.ceil_div(model.num_layers, pp) / model.num_layers


def activation_bytes(
    model: Splittable, plan: Plan, batch: Numeric, q_len: Numeric, dtype: str = "bf16", logits: str = "last"
) -> Numeric:
    """Bytes of activations on one chip at the peak of a forward step: an estimate.

    Counted: the residual stream and one copy of it (norm or block output), the widest block in between (queries, keys,
    values and attention output; or gate, up and their product; or, for routed experts, a token's top-k copies and the
    same), and the logits in fp32 (or what is wider). An engine's workspace and its memory pool's slack are not.

    Parameters
    ----------
    model : Splittable
    plan : Plan
    batch, q_len : number or array
        Sequences that one replica runs at a time, and new tokens of each.
    dtype : str
        Of the arithmetic; activations have at least 16 bits.
    logits : str
        ``"last"`` or ``"all"``, as for ``LanguageModel.step``.
    """
    widest: Numeric = 0
    for group in model.layers:
        for block in group.blocks:
            widest = numeric.maximum(widest, block.live_elements(model.hidden, plan.tp, plan.ep))
    scored = batch * q_len if logits == "all" else batch
    width = dtype_bytes(op.wide(dtype_name(dtype)))
    return batch * q_len * (2 * model.hidden + widest) * width + max(4, width) * scored * model.vocab
