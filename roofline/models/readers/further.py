"""Heads of multi-token prediction: a layer behind the last that guesses a token further, and serves as a draft model.

It takes the last layer's state and the embedding of the token that followed, each behind a norm, side by side through
one matrix; then a layer, as the last is where a family says nothing else; then a norm and the model's own output
projection (DeepSeek-AI 2024, section 2.2; vLLM's ``deepseek_mtp.py``, ``qwen3_next_mtp.py``, ``glm4_moe_mtp.py`` and
their kin, November 2026, are built alike).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from roofline.models.besides import Few, Linear
from roofline.models.checkpoint.stored import Checkpoint
from roofline.models.fields import Fields
from roofline.models.layers import Layers
from roofline.models.llm import LanguageModel
from roofline.models.readers.parts import Layer

#: How families call their number.
_COUNTS = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers", "num_mtp_layers", "use_mtp")

#: Of the model, what its head has too.
_SAME = ("norm", "norms_per_layer", "norm_weights")


def counted(c: Fields) -> tuple[str, int]:
    """The field that says how many heads there are, and what it says; 0 where none does."""
    c.get(*_COUNTS, "mtp_transformer_layers", "mtp_use_dedicated_embeddings", "mtp_layer_types", "mtp_mlp_layer_types")
    for key in _COUNTS:
        count = c.get(key)
        if isinstance(count, int) and count:
            return key, int(count)
    return "", 0


def head(
    name: str,
    hidden: int,
    vocab: int,
    layers: list[Layer],
    made: dict[str, Any],
    checkpoint: Checkpoint,
    positions: int,
) -> LanguageModel:
    """A head as a model of its own.

    Parameters
    ----------
    name : str
        Of the model that it stands behind.
    hidden, vocab, positions : int
        That model's width, vocabulary and longest context.
    layers : list of Layer
        The head's own: one, or two halves that are layers in their family.
    made : dict
        That model's parts, of which the head has the norms.
    checkpoint : Checkpoint
        How it is stored: as the model it stands behind.
    """
    each = 2 if made.get("norm") == "layer_norm" else 1
    return LanguageModel(
        name=f"{name}-mtp",
        hidden=hidden,
        vocab=vocab,
        layers=tuple(Layers(count, *layer) for layer, count in Counter(layers).items()),
        besides=(
            Linear("states_proj", hidden, 2 * hidden, scope="model"),
            Few("states_norms", 2 * each * hidden, scope="model"),
        ),
        ends_elsewhere=True,
        checkpoint=checkpoint,
        max_positions=positions,
        title=f"multi-token prediction of {name}",
        **{key: made[key] for key in _SAME if key in made},
    )
