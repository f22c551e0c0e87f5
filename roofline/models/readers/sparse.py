"""Decoders that attend to chosen or compressed tokens: DeepSeek-V3.2 and V4, GLM-5, MiniMax-M3."""

from __future__ import annotations

from dataclasses import asdict, replace

from roofline.base.errors import shown
from roofline.models.besides import Few, Linear, Stream
from roofline.models.compressed import CompressedAttention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Span
from roofline.models.readers.latent import latent
from roofline.models.readers.parts import (
    HIDDEN,
    Layer,
    Parts,
    attention,
    blocks,
    dense,
    depth_of,
    layer_types,
    model,
    routed,
    shared,
    sparse_after,
)
from roofline.models.sparse import Indexer, SparseAttention, SparseLatentAttention


def _indexer(c: Fields, heads: int, rank: int, ratio: int = 1) -> Indexer:
    return Indexer(
        c.integer("index_n_heads", default=heads, limit="heads"),
        c.integer("index_head_dim", default=128),
        rank,
        ratio,
    )


def _mixture(c: Fields, mixers: list[SparseLatentAttention], positions: int) -> Parts:
    """Three dense layers, then routed ones with a shared expert, as DeepSeek-V3."""
    depth, inter = depth_of(c), c.integer("moe_intermediate_size", default=2048)
    always = shared(c, ("n_shared_experts",), inter, 1)
    moe = routed(c, "n_routed_experts", inter, topk=8, count=256, shared=always, router_bias=True)
    each = blocks(sparse_after(c, depth, 3), moe, lambda: dense(c))
    c.get("intermediate_size", "mlp_bias", "moe_layer_freq")
    layers: list[Layer] = [(mixer, block, Span()) for mixer, block in zip(mixers, each, strict=True)]
    return model(c, layers, max_positions=positions)


def deepseek_v32(c: Fields) -> Parts:
    """DeepSeek-V3.2: latent attention to 2,048 tokens that 64 narrow heads choose."""
    plain = latent(c)
    layer_types(c, depth_of(c), ("indexed_attention",))
    chosen = c.integer("index_topk", default=2048, limit="positions")
    mixer = SparseLatentAttention(
        **asdict(plain), indexer=_indexer(c, 64, plain.q_lora_rank or c.integer(*HIDDEN)), chosen=chosen
    )
    return _mixture(c, [mixer] * depth_of(c), 163840)


def glm_moe_dsa(c: Fields) -> Parts:
    """GLM-5: the same of other sizes; in 5.2 most layers take the choice of an earlier one."""
    plain = latent(c, 2048, nope=192, value=256)
    chosen = c.integer("index_topk", default=2048, limit="positions")
    own = SparseLatentAttention(
        **asdict(plain), indexer=_indexer(c, 32, plain.q_lora_rank or c.integer(*HIDDEN)), chosen=chosen
    )
    depth = depth_of(c)
    kinds = layer_types(c, depth, ("full", "shared"), "indexer_types")
    step = c.integer("index_topk_freq", default=1, limit="layers")
    first = c.integer("index_skip_topk_offset", default=0, low=0, limit="layers")
    if c.get("index_topk_pattern") is not None and kinds is None:
        c.fail("index_topk_pattern", f"found {shown(c.get('index_topk_pattern'))}; expected indexer_types instead")
    c.get("layer_types", "index_share_for_mtp_iteration")
    if kinds is None:
        kinds = ["full" if max(i - first + 1, 0) % step == 0 else "shared" for i in range(depth)]
    taken = replace(own, indexer=None)
    return _mixture(c, [own if kind == "full" else taken for kind in kinds], 202752)


# -- Compressed -------------------------------------------------------------------------------------------------------

#: What transformers calls the layers by their ratio of compression.
_RATIOS = {"sliding_attention": 0, "compressed_sparse_attention": 4, "heavily_compressed_attention": 128}


def deepseek_v4(c: Fields) -> Parts:
    """DeepSeek-V4: windows, and older tokens compressed; residual streams side by side; every layer routed."""
    hidden, depth = c.integer(*HIDDEN), depth_of(c)
    rank, dim = c.integer("q_lora_rank", default=1024), c.integer("head_dim", default=512)
    c.get("num_key_value_heads", "partial_rotary_factor", "compress_rope_theta", "rope_parameters")
    plain = CompressedAttention(
        c.integer("num_attention_heads", default=64, limit="heads"),
        dim,
        c.integer("qk_rope_head_dim", default=64),
        rank,
        c.integer("o_groups", default=8, limit="heads"),
        c.integer("o_lora_rank", default=1024),
        c.integer("sliding_window", default=128, limit="positions"),
    )
    c.divides("o_groups", plain.o_groups, "num_attention_heads", plain.heads)
    chosen = c.integer("index_topk", default=512, limit="positions")
    kinds = {}
    for ratio in set(_ratios(c, depth)):
        indexer = _indexer(c, 64, rank, ratio) if ratio == 4 else None
        kinds[ratio] = replace(plain, ratio=ratio, indexer=indexer, chosen=chosen if indexer else 0)
    c.get("index_n_heads", "index_head_dim")
    inter = c.integer("moe_intermediate_size", default=2048)
    always = shared(c, ("n_shared_experts",), inter, 1)
    moe = routed(c, "n_routed_experts", inter, topk=6, count=256, shared=always, router_bias=True)
    hashed = replace(moe, router_bias=False)
    first = c.integer("num_hash_layers", default=3, low=0, limit="layers")
    routing = layer_types(c, depth, ("hash_moe", "moe"), "mlp_layer_types")
    by_hash = [i < first if routing is None else routing[i] == "hash_moe" for i in range(depth)]
    layers: list[Layer] = [
        (kinds[ratio], hashed if here else moe, Span() if ratio else Span(plain.window))
        for ratio, here in zip(_ratios(c, depth), by_hash, strict=True)
    ]
    streams = c.integer("hc_mult", default=4, limit="width")
    return model(c, layers, max_positions=1048576, besides=_hyper_connections(hidden, depth, streams))


def _ratios(c: Fields, depth: int) -> list[int]:
    """Tokens to an entry, layer by layer; published files list those of the layers of multi-token prediction too."""
    listed = c.integers("compress_ratios", 1024)
    rates = c.table("compress_rates")
    for kind, ratio in _RATIOS.items():
        if rates is not None and rates.integer(kind, default=ratio, low=0) != ratio:
            rates.fail(kind, f"found {shown(rates.get(kind))}, expected {ratio}")
    kinds = layer_types(c, depth, tuple(_RATIOS))
    if listed is None and kinds is None:
        return [128 if i < 2 or i % 2 else 4 for i in range(depth)]
    if listed is None:
        return [_RATIOS[kind] for kind in kinds or []]
    if len(listed) < depth or not set(listed) <= set(_RATIOS.values()):
        c.fail("compress_ratios", f"found {shown(listed)}, expected 0, 4 or 128 for each of {depth} layers")
    return listed[:depth]


def _hyper_connections(hidden: int, depth: int, streams: int) -> tuple[Few | Linear | Stream, ...]:
    """What joins the residual streams before each half of a layer and spreads its result over them after (mHC)."""
    mixed, halves = (2 + streams) * streams, 2 * depth
    return (
        Linear("hyper_connection", mixed, streams * hidden, halves),
        Few("hyper_connection_scale", mixed + 3, halves),
        Stream("residual_streams", hidden, 2 * streams + 1, streams + 1, halves, flops_per_element=4 * streams),
        Linear("hyper_head", streams, streams * hidden, scope="model"),
        Few("hyper_head_scale", streams + 1, scope="model"),
    )


# -- Blocks -----------------------------------------------------------------------------------------------------------


def minimax_m3(c: Fields) -> Parts:
    """MiniMax-M3: grouped-query attention to blocks of 128 tokens, chosen for each key/value head."""
    hidden, depth = c.integer(*HIDDEN), depth_of(c)
    plain = attention(c, 4, 128, heads=64, norm="head" if c.flag("use_qk_norm", True) else "")
    plain = replace(plain, rope_dim=c.integer("rotary_dim", default=64))
    c.get("qk_norm_type", "use_gemma_norm", "attention_output_gate", "use_routing_bias", "sparse_attention_freq")
    own = c.table("sparse_attention_config") or Fields({}, c.file, "sparse_attention_config")
    block = own.integer("sparse_block_size", default=c.integer("index_block_size", default=128), limit="positions")
    best = own.integer("sparse_topk_blocks", default=c.integer("index_topk_blocks", default=16), limit="positions")
    indexer = Indexer(
        own.integer("sparse_num_index_heads", default=c.integer("index_n_heads", default=4), limit="heads"),
        own.integer("sparse_index_dim", default=c.integer("index_head_dim", default=128)),
        hidden,
        block=block,
        weighted=False,
        narrow=False,
    )
    c.get("index_local_blocks", "num_mtp_modules")
    sparse = SparseAttention(**asdict(plain), indexer=indexer, chosen=block * best)
    listed = own.integers("sparse_attention_freq", 1)
    kinds = layer_types(c, depth, ("full_attention", "sparse_attention", "minimax_m3_sparse"))
    chooses = [bool(one) for one in listed] if listed else [i >= 3 for i in range(depth)]
    if kinds is not None:
        chooses = [kind != "full_attention" for kind in kinds]
    if len(chooses) != depth:
        own.fail("sparse_attention_freq", f"found {len(chooses)} entries, expected num_hidden_layers = {depth}")
    inter = c.integer("moe_intermediate_size", "intermediate_size", default=3072)
    c.get("intermediate_size")
    width = c.integer("shared_intermediate_size", default=3072)
    always = FeedForward(width * c.integer("n_shared_experts", default=1, limit="experts"))
    moe: Experts = routed(c, "num_local_experts", inter, topk=4, count=128, shared=always, router_bias=True)
    narrow = FeedForward(c.integer("dense_intermediate_size", default=12288))
    each = blocks(sparse_after(c, depth, 3), moe, lambda: narrow)
    layers: list[Layer] = [(sparse if here else plain, one, Span()) for here, one in zip(chooses, each, strict=True)]
    return model(c, layers, max_positions=524288)
