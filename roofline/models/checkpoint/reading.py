"""The checkpoint of a model: its dtype and its quantisation, applied to every part of every layer."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from roofline.base.errors import BadWorkload
from roofline.base.units import dtype_name
from roofline.models.checkpoint.modules import ALWAYS_LEFT
from roofline.models.checkpoint.recipe import Recipe
from roofline.models.checkpoint.schemes import recipe_of
from roofline.models.checkpoint.stored import LEFT, Checkpoint, Stored, grouped, mixed
from roofline.models.fields import Fields
from roofline.models.forward import Weights

#: How DeepSeek-V4 stores its routed experts: floats of 4 bits with a scale byte for 32, multiplied by fp8 activations.
_FP4_EXPERTS = grouped("fp4", 32, "fp8", scale_bytes=1.0)


def checkpoint_of(
    body: Fields,
    top: Fields,
    layers: Sequence[tuple[Any, ...]],
    hidden: int,
    beside: Fields | None = None,
) -> Checkpoint:
    """How the weights of a model are stored.

    Parameters
    ----------
    body, top : Fields
        The text model's fields and the file's, which are the same where nothing is nested.
    layers : sequence of tuple
        The layers in their order, each with its blocks (or None) among its items.
    hidden : int
        The model's width.
    beside : Fields, optional
        The content of a ``hf_quant_config.json``, which counts where the configuration itself says nothing.

    Raises
    ------
    BadModel
        For a dtype or a quantisation that is not known.
    """
    wide = _unquantised(body, top)
    config = quantization(body, top, beside)
    if config is None:
        return Checkpoint(wide)
    recipe = recipe_of(config, hidden)
    config.near_misses(recipe.scheme or "a quantiser")
    if body.text("expert_dtype") == "fp4" and recipe.experts is None:
        recipe.experts = _FP4_EXPERTS
    for pattern in recipe.unread:
        warnings.warn(
            f"{config.file}: {config.inside}{pattern!r} is not applied: of regular expressions, roofline reads words, "
            "dots, alternatives and at most three wildcards",
            stacklevel=2,
        )
    parts = _parts(recipe, layers, hidden, body.text("model_type") or top.text("model_type"))
    head = recipe.output_projection()
    if head.quantised:
        parts.append(("lm_head", ((head, 1.0),)))
    return Checkpoint(wide, tuple(parts), recipe.scheme)


def quantization(body: Fields, top: Fields, beside: Fields | None = None) -> Fields | None:
    """The configuration of the quantiser; None where nothing is quantised."""
    for fields in (body, top):
        config = fields.table("quantization_config") or fields.table("compression_config")
        if config is not None and config.values:
            return config
    inner = beside.table("quantization") if beside is not None else None
    if inner is None or inner.get("quant_algo") is None:
        return None
    return inner


def _unquantised(body: Fields, top: Fields) -> str:
    name = body.text("torch_dtype") or body.text("dtype") or top.text("torch_dtype") or top.text("dtype") or "bf16"
    if name == "auto":  # as the weights are, which are published in 16 bits
        return "bf16"
    try:
        return dtype_name(name)
    except BadWorkload as error:
        top.fail("torch_dtype", str(error))


def _parts(recipe: Recipe, layers: Sequence[tuple[Any, ...]], hidden: int, family: str) -> list[tuple[str, Any]]:
    """Each part's ways to be stored, by how many of its weights are stored so in all layers together."""
    sizes: dict[str, dict[Stored, float]] = {}
    weights: dict[Any, list[Weights]] = {}
    told: dict[tuple[int, str], list[tuple[str, Stored]]] = {}
    for kind, layer in zip(recipe.layer_kinds(len(layers)), layers, strict=True):
        for block in layer:
            if not hasattr(block, "weights"):
                continue
            if block not in weights:
                weights[block] = [w for w in block.weights(hidden, 1) if w.storage != "wide"]
            for w in weights[block]:
                key = kind, w.name
                if key not in told:
                    left = w.name in ALWAYS_LEFT.get(family, ())
                    told[key] = [(w.name, LEFT)] if left else recipe.part(w.name, kind, family)
                found = sizes.setdefault(w.name, {})
                for stored, share in _shares(w, told[key]):
                    found[stored] = found.get(stored, 0.0) + w.elements * share
    return [(name, mixed(found.items())) for name, found in sizes.items()]


def _shares(w: Weights, modules: list[tuple[str, Stored]]) -> list[tuple[Stored, float]]:
    """The modules of a part with their shares of its weights: queries outnumber keys and values."""
    heads = re.fullmatch(r"heads (\d+)\+2x(\d+)", w.shard)
    if heads and len(modules) == 3:
        queries, kv = int(heads[1]), int(heads[2])
        sizes = [queries, kv, kv]
    else:
        sizes = [1] * len(modules)
    return [(stored, size / sum(sizes)) for (_, stored), size in zip(modules, sizes, strict=True)]
