"""What checkpoints call the modules of each part: the names that lists of exceptions are written in.

A part of ours (``"qkv_proj"``) is one module or several in a checkpoint, and families name them differently. A list is
held against all of their names, since no list names modules that its checkpoint does not have.
"""

from __future__ import annotations

import functools

from roofline.models.checkpoint.matching import ANY

#: Where the layers lie: plain models, the language part of others, Nemotron-H, DeepSeek-V4, GPT-2 and its kin.
PLACES = tuple(
    place + ANY
    for place in (
        "model.layers.",
        "model.language_model.layers.",
        "language_model.model.layers.",
        "backbone.layers.",
        "layers.",
        "transformer.h.",
        "transformer.blocks.",
        "gpt_neox.layers.",
        "model.decoder.layers.",
    )
)

#: Where in a layer its token mixers lie, its feed-forward, and its shared experts.
_MIXERS = ("self_attn", "attn", "self_attention", "attention", "mixer", "linear_attn", "mamba", "conv")
_FEED_FORWARDS = ("mlp", "feed_forward", "ffn", "mixer", "block_sparse_moe")
_SHARED = ("shared_experts", "shared_expert", "shared_mlp")

_GATED = (("gate_proj", "up_proj"), ("gate_up_proj",), ("w1", "w3"), ("dense_h_to_4h",))
_UP = (("up_proj",), ("fc1",), ("c_fc",), ("dense_h_to_4h",), ("fc_in",))
_DOWN = (("down_proj",), ("w2",), ("fc2",), ("c_proj",), ("dense_4h_to_h",), ("fc_out",))

#: What modules a mixer's part may be, below the mixer; the first whose names a list knows counts.
_OF_MIXERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "qkv_proj": (
        ("q_proj", "k_proj", "v_proj"), ("qkv_proj",), ("c_attn",), ("query_key_value",), ("qkv",), ("Wqkv",),
        ("W_pack",), ("wq", "wk", "wv"), ("wqkv",),
    ),
    "o_proj": (("o_proj",), ("out_proj",), ("c_proj",), ("dense",), ("wo",)),
    "q_proj": (("q_proj",),),
    "q_a_proj": (("q_a_proj",), ("wq_a",), ("fused_qkv_a_proj_with_mqa",)),
    "q_b_proj": (("q_b_proj",), ("wq_b",)),
    "kv_a_proj": (("kv_a_proj_with_mqa",), ("wkv_a",), ("wkv",), ("fused_qkv_a_proj_with_mqa",)),
    "kv_b_proj": (("kv_b_proj",), ("wkv_b",)),
    # DeepSeek-V4's attention, the indexers of DeepSeek-V3.2 and MiniMax-M3, the delta rule of Qwen3-Next and Qwen3.5
    "qkv_a_proj": (("wq_a", "wkv"), ("fused_wqa_wkv",)),
    "o_a_proj": (("wo_a",), ("o_a_proj",)),
    "o_b_proj": (("wo_b",), ("o_b_proj",)),
    "index_q_proj": (("indexer.wq_b",), ("index_q_proj",)),
    "index_k_proj": (("indexer.wk",), ("index_k_proj",)),
    "qkvz_proj": (("in_proj_qkv", "in_proj_z"), ("in_proj_qkvz",)),
    "ba_proj": (("in_proj_b", "in_proj_a"), ("in_proj_ba",)),
    "latent_down_proj": (("fc1_latent_proj",), ("latent_down_proj",)),
    "latent_up_proj": (("fc2_latent_proj",), ("latent_up_proj",)),
}  # fmt: skip

#: The same of feed-forward blocks.
_OF_FEED_FORWARDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "gate_up_proj": _GATED,
    "up_proj": _UP,
    "down_proj": _DOWN,
}

#: Routed experts, below what holds them; the first stands for all of a layer.
_OF_EXPERTS: tuple[tuple[str, ...], ...] = (
    ("experts.0.gate_proj", "experts.0.up_proj", "experts.0.down_proj"),
    ("experts.0.w1", "experts.0.w3", "experts.0.w2"),
    ("experts.gate_up_proj", "experts.down_proj"),
    ("experts.0.up_proj", "experts.0.down_proj"),
    ("experts",),
)

#: Families whose routed experts lie beside the dense feed-forward and not inside one.
_EXPERTS_BESIDE = ("gemma4", "gemma4_text")

#: Parts that a family keeps in 16 bits or more and does not list. Of DeepSeek-V4-Flash, 375 matrices are in fp8: eight
#: in each of 44 layers, the indexers' queries, two of the prediction head; the compressors' are not among them (counted
#: in a conversion of it, huggingface.co/appmana/deepseek-v4-int4-int8, read in November 2026).
ALWAYS_LEFT = {
    "deepseek_v4": ("compress_proj", "index_k_proj"),
    "deepseek_ref": ("compress_proj", "index_k_proj"),
}

#: The output projection, by every name that it has.
HEADS = ("lm_head", "language_model.lm_head", "model.lm_head", "head", "output", "embed_out")

#: Parts of a model beside the layers that it runs for every token: further prediction heads, towers.
BESIDE = (
    "mtp",
    "vision_tower",
    "vision_model",
    "visual",
    "audio_tower",
    "multi_modal_projector",
    "mm_projector",
    "embed_vision",
    "patch_merge_mlp",
)


def places(heads: set[str]) -> tuple[str, ...]:
    """The places that names with such beginnings can mean."""
    found = tuple(
        place
        for place in PLACES
        if any(head and (place.startswith(head) or head.startswith(place[: -len(ANY)])) for head in heads)
    )
    return found or PLACES[:1]


@functools.lru_cache(maxsize=256)
def modules_of(part: str, family: str = "", where: tuple[str, ...] = PLACES) -> tuple[tuple[str, ...], ...]:
    """The modules that a part of a layer may be, each choice in full; :data:`ANY` stands for the layer's number.

    Parameters
    ----------
    part : str
        The name of its weights.
    family : str
        The `model_type`, for families that place a part elsewhere.
    where : tuple of str
        Of :data:`PLACES`, those to look at.
    """
    if part == "moe":
        inside = ("",) if family in _EXPERTS_BESIDE else (*(f"{block}." for block in _FEED_FORWARDS), "")
        choices = _OF_EXPERTS
    elif part in _OF_MIXERS:
        inside, choices = tuple(f"{mixer}." for mixer in _MIXERS), _OF_MIXERS[part]
    elif part.startswith("shared_") and part.removeprefix("shared_") in _OF_FEED_FORWARDS:
        inside = tuple(f"{block}{shared}." for block in (*(f"{b}." for b in _FEED_FORWARDS), "") for shared in _SHARED)
        choices = _OF_FEED_FORWARDS[part.removeprefix("shared_")]
    elif part in _OF_FEED_FORWARDS:
        inside, choices = tuple(f"{block}." for block in _FEED_FORWARDS), _OF_FEED_FORWARDS[part]
    else:  # a part that is called as in its checkpoint
        inside, choices = tuple(f"{block}." for block in (*_MIXERS, *_FEED_FORWARDS)), ((part,),)
    return tuple(
        tuple(f"{place}.{block}{leaf}" for leaf in choice) for choice in choices for place in where for block in inside
    )
