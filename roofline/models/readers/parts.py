"""What the readers of families share: attention, feed-forward and routed blocks from their usual fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from roofline.base.errors import shown
from roofline.models.attention import Attention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Mixer, Span

_Halves = tuple[Mixer | None, FeedForward | Experts | None, Span]
_Again = tuple[Mixer | None, FeedForward | Experts | None, Span, int]

#: One layer: what it mixes tokens with, what it feeds forward with (either may be absent), how far it sees; and, where
#: a token goes through it more than once, how often.
Layer = _Halves | _Again

#: The arguments of a :class:`~roofline.models.llm.LanguageModel` that a family decides.
Parts: TypeAlias = dict[str, Any]

#: What families call the number of routed experts, and how many of them a token goes to.
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
CHOSEN = ("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k")

#: What stands for the width, the number of layers, and what every family has at its ends.
HIDDEN = ("hidden_size", "n_embd", "n_embed", "d_model")
DEPTH = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
ENDS = ("vocab_size", "max_position_embeddings", "n_positions", "torch_dtype", "dtype", "tie_word_embeddings")


# -- Attention --------------------------------------------------------------------------------------------------------


def attention(
    c: Fields,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    heads: int | None = None,
    rotary: float = 1.0,
    norm: str = "",
    **options: Any,
) -> Attention:
    """Grouped-query attention.

    Parameters
    ----------
    c : Fields
        The model's fields.
    kv_heads, head_dim, heads : int, optional
        The family's own defaults for an absent key. A null ``num_key_value_heads`` means as many as heads.
    rotary : float
        The share of a head that is rotated, by default.
    norm : str
        Of queries and keys: ``""`` none, ``"head"`` one weight for every element of a head, ``"all"`` one for every
        element of all heads, ``"bias"`` as ``"head"`` with a bias, ``"plain"`` without weights.
    **options
        Further arguments of :class:`~roofline.models.attention.Attention`.
    """
    hidden = c.integer(*HIDDEN)
    heads = c.integer("num_attention_heads", "n_head", default=heads, limit="heads")
    if c.has("num_key_value_heads") and c.get("num_key_value_heads") is None:
        kv_heads = heads
    kv_heads = c.integer("num_key_value_heads", default=kv_heads or heads, limit="heads")
    c.divides("num_key_value_heads", kv_heads, "num_attention_heads", heads)
    dim = c.integer("head_dim", default=0 if _null(c, "head_dim") else head_dim or 0)
    if not dim:
        c.divides("num_attention_heads", heads, "hidden_size (there is no head_dim)", hidden)
        dim = hidden // heads
    made = Attention(heads, kv_heads, dim, rope_dim=round(dim * rotated_share(c, rotary)), **options)
    return replace(made, **qk_norm(made, norm)) if norm else made


def rotated_share(c: Fields, default: float = 1.0) -> float:
    """The share of a head that carries rotary positions: of the full attention where kinds of layers differ."""
    places = [c]
    table = c.table("rope_parameters")
    if table is not None:
        inner = table.values.get("full_attention")
        places.append(table.table("full_attention") or table if isinstance(inner, dict) else table)
    for place in places:
        share = place.number("partial_rotary_factor", "rotary_pct", default=-1.0, low=0.0, high=1.0)
        if place is not c:
            place.near_misses()
        default = share if share >= 0 else default
    return default


def qk_norm(made: Attention, norm: str) -> Parts:
    """The norm of queries and keys as arguments of an attention block; see :func:`attention` for the kinds."""
    weights = {
        "head": 2 * made.head_dim,
        "bias": 4 * made.head_dim,
        "all": (made.heads + made.kv_heads) * made.head_dim,
        "plain": 0,
    }
    return {"qk_norm": True, "qk_norm_weights": weights[norm]}


def biases(c: Fields, default: bool = False, out: bool | None = None) -> Parts:
    """Biases of the attention projections by ``attention_bias``; `out` where the output's does not follow it."""
    bias = c.flag("attention_bias", default)
    return {"qkv_bias": bias, "out_bias": bias if out is None else out}


def window(c: Fields, default: int | None = None) -> int | None:
    """The sliding window; null means none, absent means the family's default."""
    if _null(c, "sliding_window"):
        return None
    return c.integer("sliding_window", default=default or 0, limit="positions") or None


def spans(
    c: Fields,
    depth: int,
    window: int | None,
    is_local: Callable[[int], bool],
    chunked: bool = False,
    rope: Callable[[int], bool] = lambda i: True,
) -> list[Span]:
    """How far each layer sees: by `layer_types` where given, else local where `is_local` says so."""
    local = Span() if window is None else Span(window, chunked)
    kinds = {"full_attention": Span(), "sliding_attention": local, "chunked_attention": local}
    types = layer_types(c, depth, tuple(kinds))
    found = [local if is_local(i) else Span() for i in range(depth)] if types is None else [kinds[t] for t in types]
    return [span if rope(i) else replace(span, rope=False) for i, span in enumerate(found)]


def layer_types(c: Fields, depth: int, known: Sequence[str], key: str = "layer_types") -> list[str] | None:
    """The kind of each layer where the file lists them, else None."""
    types = c.array(key)
    if types is None:
        return None
    if len(types) != depth:
        c.fail(key, f"found {len(types)} entries, expected num_hidden_layers = {depth}")
    for kind in types:
        if not isinstance(kind, str) or kind not in known:
            c.fail(key, f"found {shown(kind)}, expected one of {', '.join(known)}")
    return types


def _null(c: Fields, key: str) -> bool:
    return c.has(key) and c.get(key) is None


# -- Feed-forward -----------------------------------------------------------------------------------------------------


def depth_of(c: Fields) -> int:
    """How many layers."""
    return c.integer(*DEPTH, limit="layers")


def dense(c: Fields, bias: bool = False, gated: bool = True) -> FeedForward:
    """A dense block of ``intermediate_size``."""
    return FeedForward(c.integer("intermediate_size"), gated=gated, bias=bias)


def routed(
    c: Fields, experts: str, inter: str | int, topk: int | None = None, count: int | None = None, **options: Any
) -> Experts:
    """A routed block.

    Parameters
    ----------
    c : Fields
        The model's fields.
    experts : str
        The family's key for their number; other families' keys are understood too.
    inter : str or int
        The key of an expert's width, or the width.
    topk, count : int, optional
        The family's defaults for how many a token goes to, and how many there are.
    **options
        Further arguments of :class:`~roofline.models.feed_forward.Experts`.
    """
    many = c.integer(experts, *(key for key in EXPERTS if key != experts), default=count, limit="experts")
    chosen = c.integer(*CHOSEN, default=topk, limit="experts")
    if chosen > many:
        c.fail("num_experts_per_tok", f"found {chosen}, expected at most {experts} = {many}")
    return Experts(many, chosen, c.integer(inter) if isinstance(inter, str) else inter, **options)


def shared(c: Fields, keys: Sequence[str], inter: int, default: int = 0) -> FeedForward | None:
    """Shared experts as one block of their summed width, counted by one of `keys`."""
    count = c.integer(*keys, default=default, low=0, limit="experts")
    return FeedForward(count * inter) if count else None


def sparse_after(c: Fields, depth: int, first: int, step: int = 1) -> list[bool]:
    """Which layers are routed: by ``mlp_layer_types`` where given, else from layer `first` on, every `step`-th."""
    types = layer_types(c, depth, ("dense", "sparse"), "mlp_layer_types")
    if types is not None:
        return [kind == "sparse" for kind in types]
    first = c.integer("first_k_dense_replace", default=first, low=0, limit="layers")
    if first > depth:
        c.fail("first_k_dense_replace", f"found {first}, expected at most num_hidden_layers = {depth}")
    frequency = c.get("moe_layer_freq")
    if isinstance(frequency, list):
        listed = c.integers("moe_layer_freq", 1) or []
        if len(listed) != depth:
            c.fail("moe_layer_freq", f"found {len(listed)} entries, expected num_hidden_layers = {depth}")
        return [bool(one) for one in listed]
    step = c.integer("moe_layer_freq", default=step, limit="layers")
    return [i >= first and i % step == 0 for i in range(depth)]


def blocks(is_routed: Sequence[bool], moe: Experts, plain: Callable[[], FeedForward]) -> list[FeedForward | Experts]:
    """The feed-forward block of each layer; `plain` is only read where a layer has it."""
    narrow = None if all(is_routed) else plain()
    return [moe if here or narrow is None else narrow for here in is_routed]


# -- Models -----------------------------------------------------------------------------------------------------------


def model(c: Fields, layers: list[Layer], tied: bool = False, **options: Any) -> Parts:
    """The parts of a model; `tied` is the family's default for ``tie_word_embeddings``."""
    return {"layers": layers, "tied": c.flag("tie_word_embeddings", tied), **options}


def stack(
    c: Fields,
    mixer: Attention | Mixer,
    feed_forward: FeedForward | Experts | Sequence[FeedForward | Experts],
    seen: Sequence[Span] | None = None,
    **options: Any,
) -> Parts:
    """A model with one kind of attention; blocks and spans may differ from layer to layer."""
    depth = depth_of(c)
    each = [feed_forward] * depth if isinstance(feed_forward, FeedForward | Experts) else feed_forward
    return model(
        c, [(mixer, block, span) for block, span in zip(each, seen or [Span()] * depth, strict=True)], **options
    )


def uniform(
    c: Fields, mixer: Attention, feed_forward: FeedForward | Experts, window: int | None = None, **options: Any
) -> Parts:
    """A model whose layers differ in nothing but perhaps their window."""
    return stack(c, mixer, feed_forward, spans(c, depth_of(c), window, lambda i: True), **options)


def every(step: int) -> Callable[[int], bool]:
    """Local but for every `step`-th layer: what most families of mixed windows do."""
    return lambda i: (i + 1) % step != 0
