"""ModelOpt, in a ``config.json`` or in the ``hf_quant_config.json`` beside it: one algorithm, or one a layer."""

from __future__ import annotations

from collections.abc import Callable

from roofline.models.checkpoint.asking import exceptions, group_size, integers, leaving, one_of
from roofline.models.checkpoint.matching import OTHER_EXPERTS
from roofline.models.checkpoint.recipe import Recipe
from roofline.models.checkpoint.stored import (
    LEFT,
    MXFP4,
    MXFP8,
    NVFP4,
    Stored,
    blocked,
    grouped,
    per_channel,
    per_tensor,
)
from roofline.models.fields import Fields

_FP8_BLOCKS = blocked("fp8", 128, 128, "fp8")

#: ModelOpt's and TensorRT-LLM's algorithms (``QuantAlgo``); a function where the scales depend on the matrix.
_ALGORITHMS: dict[str, Callable[[int, int], Stored]] = {
    "FP8": lambda hidden, group: per_tensor("fp8", "fp8"),
    "FP8_PER_CHANNEL_PER_TOKEN": lambda hidden, group: per_channel("fp8", hidden, "fp8"),
    "FP8_PB_WO": lambda hidden, group: _FP8_BLOCKS,  # written as weight-only; engines run it as blocks (vLLM)
    "FP8_PB_REAL": lambda hidden, group: _FP8_BLOCKS,
    "FP8_BLOCK_SCALES": lambda hidden, group: _FP8_BLOCKS,
    "NVFP4": lambda hidden, group: grouped("fp4", group or 16, "fp4", 1.0),
    "NVFP4_AWQ": lambda hidden, group: grouped("fp4", group or 16, "fp4", 1.0),
    "NVFP4_SVD": lambda hidden, group: grouped("fp4", group or 16, "fp4", 1.0),
    "W4A16_NVFP4": lambda hidden, group: grouped("fp4", group or 16, "", 1.0),
    "W4A8_NVFP4_FP8": lambda hidden, group: grouped("fp4", group or 32, "fp8", 1.0),
    "MXFP4": lambda hidden, group: MXFP4,
    "W4A16_MXFP4": lambda hidden, group: MXFP4.weight_only(),
    "W4A8_MXFP4_FP8": lambda hidden, group: grouped("fp4", 32, "fp8", 1.0),
    "W4A8_MXFP4_MXFP8": lambda hidden, group: grouped("fp4", 32, "fp8", 1.0),
    "MXFP8": lambda hidden, group: MXFP8,
    "W4A16": lambda hidden, group: per_channel("int4", hidden, scale_bytes=2.0),
    "W4A16_AWQ": lambda hidden, group: integers(4, group or 128, hidden, False),
    "W4A8_AWQ": lambda hidden, group: grouped("int4", group or 128, "fp8"),
    "W4A16_GPTQ": lambda hidden, group: integers(4, group or 128, hidden, True),
    "W8A16": lambda hidden, group: per_channel("int8", hidden, scale_bytes=2.0),
    "W8A16_GPTQ": lambda hidden, group: integers(8, group or 128, hidden, True),
    "INT8": lambda hidden, group: per_channel("int8", hidden, "int8"),
    "INT8_SQ": lambda hidden, group: per_channel("int8", hidden, "int8"),
    "W8A8_SQ_PER_CHANNEL": lambda hidden, group: per_channel("int8", hidden, "int8"),
}


def _algorithm(config: Fields, hidden: int, default: str = "") -> Stored:
    name = config.text("quant_algo", default).upper()
    one_of(config, "quant_algo", name, _ALGORITHMS, " or MIXED_PRECISION")
    return _ALGORITHMS[name](hidden, group_size(config, 0))


def quantised_layers(recipe: Recipe, layers: Fields, hidden: int = 4096) -> None:
    """What ModelOpt chose for each layer of a checkpoint of mixed precision."""
    chosen: dict[Stored, list[str]] = {}
    read: dict[str, Stored] = {}  # tens of thousands of layers, a few ways to store them
    for name, own in layers.values.items():
        if OTHER_EXPERTS.search(name):
            continue
        key = str(own)
        if key not in read:
            inner = layers.table(name)
            if inner is None:
                layers.fail(name, "found null, expected an object with quant_algo")
            read[key] = _algorithm(inner, hidden)
        chosen.setdefault(read[key], []).append(name)
    for stored, names in chosen.items():
        recipe.rule(names, stored)


def modelopt(config: Fields, hidden: int) -> Recipe:
    name = config.text("quant_algo", "FP8").upper()
    if name != "MIXED_PRECISION":
        return leaving(Recipe(f"modelopt {name}", _algorithm(config, hidden, "FP8")), config)
    recipe = Recipe("modelopt mixed precision")
    layers = config.table("quantized_layers")
    if layers is None or not layers.values:
        config.fail("quantized_layers", "is missing, expected an object that says of each layer its quant_algo")
    recipe.rule(exceptions(config), LEFT)
    quantised_layers(recipe, layers, hidden)
    return recipe


def modelopt_fp4(config: Fields, hidden: int) -> Recipe:
    if not config.text("quant_algo"):
        return leaving(Recipe("modelopt NVFP4", NVFP4), config)
    return modelopt(config, hidden)
