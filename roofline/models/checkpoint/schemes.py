"""The quantisers in use, a reader each: what the ``quantization_config`` of a checkpoint says, as a :class:`Recipe`.

A reader takes the configuration and the width of the model, which stands for the inputs of a matrix where a scale is
kept for each of its outputs. What a quantiser assumes for an absent key is assumed here too: the classes of
transformers' ``utils/quantization_config.py`` and vLLM's ``model_executor/layers/quantization``, read in November 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from roofline.base.errors import shown
from roofline.models.checkpoint.asking import bits_among, group_size, integers, leaving, one_of
from roofline.models.checkpoint.groups import compressed_tensors, quark
from roofline.models.checkpoint.modelopt import modelopt, modelopt_fp4, quantised_layers
from roofline.models.checkpoint.recipe import Recipe
from roofline.models.checkpoint.stored import (
    LEFT,
    MXFP4,
    MXFP4_EXPERTS,
    MXFP6,
    MXFP8,
    NVFP4,
    Stored,
    blocked,
    grouped,
    per_channel,
    per_tensor,
)
from roofline.models.checkpoint.torch_ao import torchao
from roofline.models.fields import Fields

Reader: TypeAlias = Callable[[Fields, int], Recipe]

# -- fp8, mxfp4 ---


def _fp8(config: Fields, hidden: int) -> Recipe:
    """DeepSeek's and transformers' fp8: in blocks where ``weight_block_size`` says so, else with a scale a tensor."""
    block = config.array("weight_block_size")
    if block is None:
        recipe = Recipe("fp8", per_tensor("fp8", "fp8"))
    else:
        if len(block) != 2 or not all(type(size) is int and 0 < size <= 65536 for size in block):
            config.fail("weight_block_size", f"found {shown(block)}, expected two sizes such as [128, 128]")
        # DeepSeek-V4 keeps scales as powers of two in one byte (scale_fmt ue8m0); V3 in fp32.
        scale = 1.0 if config.text("scale_fmt") == "ue8m0" else 4.0
        n, k = block
        recipe = Recipe(f"fp8 in blocks of {n} x {k}", blocked("fp8", n, k, "fp8", scale))
    layers = config.table("quantized_layers")
    if layers is not None:  # a checkpoint that was fp8 before ModelOpt narrowed some of its layers further
        quantised_layers(recipe, layers)
        return recipe
    return leaving(recipe, config)


def _fbgemm(config: Fields, hidden: int) -> Recipe:
    return leaving(Recipe("fp8 by channel", per_channel("fp8", hidden, "fp8")), config)


def _mxfp4(config: Fields, hidden: int) -> Recipe:
    """gpt-oss: the routed experts alone, multiplied in 16 bits."""
    return leaving(Recipe("mxfp4 experts", experts=MXFP4_EXPERTS), config)


# -- Integers by groups: AWQ, GPTQ, AutoRound, HQQ, bitsandbytes ---


def _awq(config: Fields, hidden: int) -> Recipe:
    bits = bits_among(config, "bits", "w_bit", default=4, among=(4, 8))
    stored = integers(bits, group_size(config, 128), hidden, config.flag("zero_point", True))
    return leaving(Recipe(f"awq int{bits}", stored), config)


def _gptq(config: Fields, hidden: int) -> Recipe:
    """GPTQ writes zero points of symmetric weights too."""
    bits = bits_among(config, "bits", default=4)
    group = group_size(config, 128)
    recipe = Recipe(f"gptq int{bits}", integers(bits, group, hidden, True))
    recipe.head = config.flag("lm_head", False)
    dynamic = config.table("dynamic")
    for pattern in dynamic.values if dynamic is not None else ():
        # GPTQModel: "-:pattern" leaves modules alone, "+:pattern" gives them bits of their own.
        sign, _, expression = pattern.rpartition(":")
        own = dynamic.table(pattern) if dynamic is not None else None
        if sign == "-" or own is None:
            recipe.rule([f"re:{expression}"], LEFT)
        else:
            many = bits_among(own, "bits", default=bits)
            recipe.rule([f"re:{expression}"], integers(many, group_size(own, group), hidden, True))
    return leaving(recipe, config)


def _auto_round(config: Fields, hidden: int) -> Recipe:
    bits, group = bits_among(config, "bits", default=4), group_size(config, 128)
    kind = config.text("data_type", "int")
    if kind.startswith(("nv_fp", "nvfp")):
        recipe = Recipe("auto-round nvfp4", NVFP4)
    elif kind.startswith("mx_fp"):
        recipe = Recipe(f"auto-round mxfp{bits}", {4: MXFP4, 6: MXFP6}.get(bits, MXFP8))
    elif kind.startswith("fp8") or (kind == "fp" and bits == 8):
        recipe = Recipe("auto-round fp8", per_channel("fp8", hidden, "fp8"))
    else:
        recipe = Recipe(f"auto-round int{bits}", integers(bits, group, hidden, True))
    extra = config.table("extra_config")
    for name in extra.values if extra is not None else ():
        own = extra.table(name) if extra is not None else None
        many = 16 if own is None else own.integer("bits", default=bits)
        is_pattern = any(sign in name for sign in "*^$\\[")
        stored = LEFT if many >= 16 or own is None else integers(many, group_size(own, group), hidden, True)
        recipe.rule([f"re:{name}" if is_pattern else name], stored)
    return leaving(recipe, config)


def _hqq(config: Fields, hidden: int) -> Recipe:
    """Half-quadratic quantisation: a scale and a zero point in 16 bits for a group of 64."""
    inner = config.table("quant_config") or config
    weights = inner.table("weight_quant_params") or inner
    bits = bits_among(weights, "nbits", "bits", default=4, among=(1, 2, 3, 4, 8))
    return leaving(
        Recipe(f"hqq int{bits}", grouped(f"int{bits}", group_size(weights, 64) or hidden, zero_bytes=2.0)), config
    )


def _bitsandbytes(config: Fields, hidden: int) -> Recipe:
    """NF4 and FP4 in blocks of 64 with a scale in fp32, itself in 8 bits where quantised twice; else LLM.int8."""
    if not config.flag("load_in_4bit", False):
        return leaving(Recipe("bitsandbytes int8", per_channel("int8", hidden, "int8")), config)
    scale = 1.0 + 4.0 / 256 if config.flag("bnb_4bit_use_double_quant", False) else 4.0
    kind = config.text("bnb_4bit_quant_type", "fp4")
    stored = Stored("int4", 0.5 + scale / 64)
    return leaving(Recipe(f"bitsandbytes {kind}", stored), config)


def _eetq(config: Fields, hidden: int) -> Recipe:
    return leaving(Recipe("eetq int8", per_channel("int8", hidden, scale_bytes=2.0)), config)


def _bitnet(config: Fields, hidden: int) -> Recipe:
    """Three values a weight, four weights a byte."""
    return leaving(Recipe("bitnet", Stored("int2", 0.25, "int8")), config)


# -- All of them ---

#: Quantisers by `quant_method`.
READERS: dict[str, Reader] = {
    "fp8": _fp8, "fbgemm_fp8": _fbgemm, "mxfp4": _mxfp4, "gpt_oss_mxfp4": _mxfp4,
    "compressed-tensors": compressed_tensors, "modelopt": modelopt, "modelopt_fp4": modelopt_fp4,
    "modelopt_mxfp8": modelopt, "modelopt_mixed": modelopt, "awq": _awq, "awq_marlin": _awq, "gptq": _gptq,
    "gptq_marlin": _gptq, "auto-round": _auto_round, "hqq": _hqq, "quark": quark, "torchao": torchao,
    "bitsandbytes": _bitsandbytes, "eetq": _eetq, "bitnet": _bitnet,
}  # fmt: skip

#: Other spellings of them.
SPELLINGS = {
    "compressed_tensors": "compressed-tensors", "auto_round": "auto-round", "autoround": "auto-round",
    "intel/auto-round": "auto-round", "auto_gptq": "gptq", "auto-gptq": "gptq", "auto_awq": "awq", "auto-awq": "awq",
    "autoawq": "awq", "bnb": "bitsandbytes", "inc": "auto-round", "modelopt_fp8": "modelopt", "nvfp4": "modelopt_fp4",
    "ao": "torchao", "amd-quark": "quark",
}  # fmt: skip


def recipe_of(config: Fields, hidden: int) -> Recipe:
    """What a ``quantization_config`` does to a model of some width.

    Raises
    ------
    BadModel
        For a method, an algorithm or a number of bits that is not known: it names the nearest.
    """
    return READERS[_method(config)](config, hidden)


def _method(config: Fields) -> str:
    """The quantiser, by its name; by what else the configuration says where it gives none, as ModelOpt's may."""
    found = config.text("quant_method").lower()
    if found:
        method = SPELLINGS.get(found, found)
        one_of(config, "quant_method", method, READERS)
        return method
    producer: Any = config.get("producer")
    named = producer.get("name") if isinstance(producer, dict) else None
    if named == "modelopt" or config.text("quant_algo"):
        return "modelopt"
    if config.get("config_groups") is not None:
        return "compressed-tensors"
    if config.get("weight_block_size") is not None or config.text("fmt") == "e4m3":
        return "fp8"
    config.fail("quant_method", f"is missing, expected one of {', '.join(READERS)}")
