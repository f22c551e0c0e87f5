"""Nemotron-H and Nemotron-3: every layer is one of Mamba-2, attention, feed-forward and routed experts."""

from __future__ import annotations

from roofline.models.feed_forward import FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Span
from roofline.models.readers import further
from roofline.models.readers.hybrids import ATTENDING, STATE, state_dtype
from roofline.models.readers.mambas import mamba2
from roofline.models.readers.parts import HIDDEN, Layer, Parts, attention, biases, dense, model, routed

_NEMOTRON = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def nemotron_h(c: Fields) -> Parts:
    """Nemotron-H, Nemotron-3: a layer is one of Mamba-2, attention, feed-forward and experts, behind one norm."""
    hidden = c.integer(*HIDDEN)
    kinds = _nemotron_layers(c)
    c.get("expand", "mamba_hidden_act")
    made: dict[str, Layer] = {}
    if "mamba" in kinds:
        heads = c.integer("mamba_num_heads", default=128, limit="heads")
        mixer = mamba2(
            hidden,
            heads,
            c.integer("mamba_head_dim", default=64),
            c.integer("n_groups", "mamba_n_groups", default=8, limit="heads"),
            c.integer("ssm_state_size", default=128),
            c.integer("conv_kernel", "mamba_d_conv", default=4),
            c.integer("chunk_size", "mamba_chunk_size", default=128),
            bias=c.flag("use_bias", False),
            conv_bias=c.flag("use_conv_bias", True),
            dtype=state_dtype(c, "mamba_ssm_cache_dtype"),
        )
        made["mamba"] = (mixer, None, Span())
    c.get(*_NEMOTRON_STATE, *_NEMOTRON_EXPERTS, "intermediate_size", "num_attention_heads", "num_key_value_heads")
    if "attention" in kinds:
        # Positions come from the layers with a state: nothing is rotated.
        made["attention"] = (attention(c, 8, 128, heads=32, rotary=0.0, **biases(c)), None, Span())
    bias = c.flag("mlp_bias", False)
    if "mlp" in kinds:
        made["mlp"] = (None, dense(c, bias, gated=False), Span())
    if "moe" in kinds:
        many = c.integer("n_shared_experts", default=1, low=0, limit="experts")
        width = c.integer("moe_shared_expert_intermediate_size", default=7688)
        always = FeedForward(width, gated=False, bias=bias) if many else None
        latent_size = c.integer("moe_latent_size", default=0, low=0)
        moe = routed(
            c,
            "n_routed_experts",
            c.integer("moe_intermediate_size", default=7688),
            topk=2,
            count=8,
            shared=always,
            router_bias=True,
            gated=False,
            latent=latent_size,
        )
        made["moe"] = (None, moe, Span())
    behind = _kinds(c, "mtp_layers_block_type", "mtp_hybrid_override_pattern") or ["attention", "moe"]
    guesses = further.counted(c)[1] and all(kind in made for kind in behind)
    mtp = [made[kind] for kind in behind] if guesses else None
    return model(c, [made[kind] for kind in kinds], max_positions=4096, mtp=mtp)


_NEMOTRON_STATE = (
    "mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel", "chunk_size", "use_conv_bias",
    "mamba_ssm_cache_dtype", "head_dim", "mamba_proj_bias", "mtp_hybrid_override_pattern", "mtp_layers_block_type",
)  # fmt: skip
_NEMOTRON_EXPERTS = (
    "n_routed_experts", "n_shared_experts", "moe_intermediate_size", "moe_shared_expert_intermediate_size",
    "moe_latent_size", "num_experts_per_tok", "partial_rotary_factor",
)  # fmt: skip


def _nemotron_layers(c: Fields) -> list[str]:
    """The kind of each layer: a letter in ``hybrid_override_pattern``, or a word in ``layers_block_type``."""
    key = "layers_block_type" if c.get("layers_block_type") is not None else "layer_types"
    kinds = _kinds(c, key, "hybrid_override_pattern")
    if kinds is None:
        c.fail("layers_block_type", "is missing, and hybrid_override_pattern too; expected the kind of every layer")
    depth = c.integer("num_hidden_layers", default=len(kinds), limit="layers")
    if depth != len(kinds):
        listed = key if c.get(key) is not None else "hybrid_override_pattern"
        c.fail(listed, f"found {len(kinds)} layers, expected num_hidden_layers = {depth}")
    return kinds


def _kinds(c: Fields, words: str, letters: str) -> list[str] | None:
    """The kinds of layers under one of two fields; None where neither is there."""
    listed, pattern = c.array(words), c.text(letters)
    if listed is None and not pattern:
        return None
    names = {**_NEMOTRON, STATE: "mamba", ATTENDING: "attention", **{kind: kind for kind in _NEMOTRON.values()}}
    kinds = list(pattern) if listed is None else listed
    for kind in kinds:
        if not isinstance(kind, str) or kind not in names:
            c.fail(words if listed is not None else letters, f"found {kind!r}, expected {', '.join(names)}")
    return [names[kind] for kind in kinds]
