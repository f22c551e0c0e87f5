"""Decoders whose tokens go through the same layers more than once, with a cache of its own each time.

Counted as in vLLM's ``ouro.py`` (read November 2026) and the classes of transformers 5.24.
"""

from __future__ import annotations

from dataclasses import replace

from roofline.base.errors import shown
from roofline.models.besides import Few, Linear
from roofline.models.fields import Fields
from roofline.models.mixers import Span
from roofline.models.readers.newer import inkling2
from roofline.models.readers.parts import (
    Layer,
    Parts,
    attention,
    biases,
    dense,
    depth_of,
    layer_types,
    model,
    window,
)


def ouro(c: Fields) -> Parts:
    """Ouro: a Llama with four norms a layer, run ``total_ut_steps`` times; a gate says when that is enough.

    Engines run all of them (vLLM's ``ouro.py``).
    """
    times = c.integer("total_ut_steps", default=4, limit="layers")
    c.get("early_exit_threshold", "layer_types", "use_sliding_window", "max_window_layers", "sliding_window")
    layer: Layer = (attention(c), dense(c), Span(), times)
    gate = Few("early_exit_gate", c.integer("hidden_size") + 1, scope="model")
    return model(c, [layer] * depth_of(c), norms_per_layer=4, max_positions=65536, besides=(gate,))


def hrm_text(c: Fields) -> Parts:
    """HRM-Text: a stack of slow layers and one of fast ones, which runs several times before each turn of the other."""
    turns = c.integer("H_cycles", default=2, limit="layers")
    each = c.integer("L_cycles", default=3, limit="layers")
    slots = depth_of(c)
    depth = c.integer("num_layers_per_stack", default=slots, limit="layers")
    if slots not in (depth, depth * turns * (each + 1)):
        found = f"found {slots}, expected num_layers_per_stack x H_cycles x (L_cycles + 1)"
        c.fail("num_hidden_layers", f"{found} = {depth * turns * (each + 1)}")
    c.get("L_bp_cycles", "prefix_lm", "embedding_scale")
    made = attention(c, **biases(c))
    made = replace(made, gate_dim=made.head_dim)
    block = dense(c, c.flag("mlp_bias", False))
    slow: Layer = (made, block, Span(), turns)
    fast: Layer = (made, block, Span(), turns * each)
    start = Few("first_state", c.integer("hidden_size"), scope="model")
    return model(c, [slow] * depth + [fast] * depth, norm_weights=0, max_positions=2048, besides=(start,))


def dory(c: Fields) -> Parts:
    """Dory: a normalised transformer (Loshchilov et al. 2024) with scales for norms, its middle run twice.

    Its published files count the halves of layers.
    """
    kinds = layer_types(c, depth_of(c), ("sliding_attention", "full_attention", "mlp"))
    halves = kinds is not None and "mlp" in kinds
    whole = [kind for kind in kinds or ["sliding_attention"] * depth_of(c) if kind != "mlp"]
    by = 2 if halves else 1
    first = c.integer("n_input_layers", default=8, low=0, limit="layers") // by
    last = c.integer("n_output_layers", default=8, low=0, limit="layers") // by
    middle = c.integer("n_recurrent_layers", default=by * (len(whole) - first - last), low=0, limit="layers") // by
    if first + middle + last != len(whole):
        c.fail("n_recurrent_layers", f"found {middle}, expected {len(whole) - first - last}, the layers in between")
    loops = c.integer("n_recurrent_loops", default=2, limit="layers")
    if c.text("recurrent_kv_cache_mode", "per_loop") != "per_loop":
        c.fail("recurrent_kv_cache_mode", f"found {shown(c.get('recurrent_kv_cache_mode'))}, expected 'per_loop'")
    c.get("ngpt_alpha_init")
    made = attention(c, **biases(c))
    made = replace(made, qk_norm=True, gate_dim=made.head_dim)
    block, span = dense(c, c.flag("mlp_bias", False)), Span(window(c, 1024))
    hidden, depth, width = c.integer("hidden_size"), len(whole), made.heads * made.head_dim
    layers: list[Layer] = [
        (made, block, span if kind == "sliding_attention" else Span(), loops if first <= i < first + middle else 1)
        for i, kind in enumerate(whole)
    ]
    scales = Few("scales", 2 * hidden + 2 * width + 2 * block.inter, depth)
    logits = Few("logit_scale", c.integer("vocab_size", limit="vocab"), scope="model")
    return model(c, layers, norm_weights=0, max_positions=8192, besides=(scales, logits))


def inkling2_loop(c: Fields) -> Parts:
    """Inkling 2's small form, whose middle layers run again: gates weigh what the pass before left of each input."""
    parts = inkling2(c)
    hidden, rank = c.integer("hidden_size"), c.integer("loop_gate_rank", default=64)
    start = c.integer("loop_layer_index_start", default=6, low=0, limit="layers")
    end = c.integer("loop_layer_index_end", default=18, limit="layers")
    times = c.integer("loop_num_passes", default=3, limit="layers")
    if not start < end <= len(parts["layers"]):
        c.fail("loop_layer_index_end", f"found {end}, expected a number above {start} and at most the layers")
    parts["layers"] = [(*layer, times) if start <= i < end else layer for i, layer in enumerate(parts["layers"])]
    many = end - start
    gates = (
        Linear("message_gate_down", rank, 2 * hidden, 4 * many),
        Linear("message_gate_up", 2 * hidden, rank, 4 * many),
        Few("message_query", 4 * hidden, many, scope="model"),
    )
    return parts | {"besides": (*parts["besides"], *gates)}
