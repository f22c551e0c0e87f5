"""The quantisers in use, a reader each: what the ``quantization_config`` of a checkpoint says, as a :class:`Recipe`.

A reader takes the configuration and the width of the model, which stands for the inputs of a matrix where a scale is
kept for each of its outputs. What a quantiser assumes for an absent key is assumed here too: the classes of
transformers' ``utils/quantization_config.py`` and vLLM's ``model_executor/layers/quantization``, read in November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from roofline.base.errors import closest, shown
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
from roofline.models.fields import Fields

#: Keys under which quantisers list the modules that they leave alone.
EXCEPTIONS = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules",
              "exclude", "skip_modules", "modules_to_not_quantize")  # fmt: skip

Reader: TypeAlias = Callable[[Fields, int], Recipe]


# -- What several share -----------------------------------------------------------------------------------------------


def names_in(config: Fields, key: str) -> list[str]:
    """The names of modules in a list."""
    names = config.array(key) or []
    for name in names:
        if not isinstance(name, str):
            config.fail(key, f"found {shown(name)}, expected a list of the names of modules")
    return names


def _exceptions(config: Fields) -> list[str]:
    return [name for key in EXCEPTIONS for name in names_in(config, key)]


def _leaving(recipe: Recipe, config: Fields) -> Recipe:
    """The recipe, with what the configuration leaves alone."""
    recipe.rule(_exceptions(config), LEFT)
    return recipe


def _bits(config: Fields, *keys: str, default: int | None = None, among: Iterable[int] = range(2, 9)) -> int:
    bits = config.integer(*keys, default=default)
    if bits not in among:
        config.fail(keys[0], f"found {bits} bits, expected one of {', '.join(map(str, among))}")
    return bits


def _group(config: Fields, default: int) -> int:
    """Inputs that share a scale; 0 where all inputs of an output do, which files write as -1 too."""
    size = config.get("group_size")
    if size is None or (size in (-1, 0) and not isinstance(size, bool)):
        return default if size is None else 0
    return config.integer("group_size")


def _one_of(config: Fields, key: str, found: str, known: Iterable[str], or_else: str = "") -> None:
    """Refuse what is not known, with the nearest that is."""
    if found not in known:
        near = closest(found, known, 1)
        config.fail(
            key,
            f"found {shown(found)}, expected one of {', '.join(known)}{or_else}"
            + (f"; did you mean {near[0]!r}?" if near else ""),
        )


# -- fp8, mxfp4 -------------------------------------------------------------------------------------------------------


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
        _quantised_layers(recipe, layers)
        return recipe
    return _leaving(recipe, config)


def _fbgemm(config: Fields, hidden: int) -> Recipe:
    return _leaving(Recipe("fp8 by channel", per_channel("fp8", hidden, "fp8")), config)


def _mxfp4(config: Fields, hidden: int) -> Recipe:
    """gpt-oss: the routed experts alone, multiplied in 16 bits."""
    return _leaving(Recipe("mxfp4 experts", experts=MXFP4_EXPERTS), config)


# -- Integers by groups: AWQ, GPTQ, AutoRound, HQQ, bitsandbytes ------------------------------------------------------


def _integers(bits: int, group: int, hidden: int, zeros: bool) -> Stored:
    """Integers with a 16-bit scale a group (0: an output) and, perhaps, a zero point as narrow as a weight."""
    zero_bytes = bits / 8 if zeros else 0.0
    if not group:
        return per_channel(f"int{bits}", hidden, scale_bytes=2.0 + zero_bytes)
    return grouped(f"int{bits}", group, zero_bytes=zero_bytes)


def _awq(config: Fields, hidden: int) -> Recipe:
    bits = _bits(config, "bits", "w_bit", default=4, among=(4, 8))
    stored = _integers(bits, _group(config, 128), hidden, config.flag("zero_point", True))
    return _leaving(Recipe(f"awq int{bits}", stored), config)


def _gptq(config: Fields, hidden: int) -> Recipe:
    """GPTQ writes zero points of symmetric weights too."""
    bits = _bits(config, "bits", default=4)
    group = _group(config, 128)
    recipe = Recipe(f"gptq int{bits}", _integers(bits, group, hidden, True))
    recipe.head = config.flag("lm_head", False)
    dynamic = config.table("dynamic")
    for pattern in dynamic.values if dynamic is not None else ():
        # GPTQModel: "-:pattern" leaves modules alone, "+:pattern" gives them bits of their own.
        sign, _, expression = pattern.rpartition(":")
        own = dynamic.table(pattern) if dynamic is not None else None
        if sign == "-" or own is None:
            recipe.rule([f"re:{expression}"], LEFT)
        else:
            many = _bits(own, "bits", default=bits)
            recipe.rule([f"re:{expression}"], _integers(many, _group(own, group), hidden, True))
    return _leaving(recipe, config)


def _auto_round(config: Fields, hidden: int) -> Recipe:
    bits, group = _bits(config, "bits", default=4), _group(config, 128)
    kind = config.text("data_type", "int")
    if kind.startswith(("nv_fp", "nvfp")):
        recipe = Recipe("auto-round nvfp4", NVFP4)
    elif kind.startswith("mx_fp"):
        recipe = Recipe(f"auto-round mxfp{bits}", {4: MXFP4, 6: MXFP6}.get(bits, MXFP8))
    elif kind.startswith("fp8") or (kind == "fp" and bits == 8):
        recipe = Recipe("auto-round fp8", per_channel("fp8", hidden, "fp8"))
    else:
        recipe = Recipe(f"auto-round int{bits}", _integers(bits, group, hidden, True))
    extra = config.table("extra_config")
    for name in extra.values if extra is not None else ():
        own = extra.table(name) if extra is not None else None
        many = 16 if own is None else own.integer("bits", default=bits)
        is_pattern = any(sign in name for sign in "*^$\\[")
        stored = LEFT if many >= 16 or own is None else _integers(many, _group(own, group), hidden, True)
        recipe.rule([f"re:{name}" if is_pattern else name], stored)
    return _leaving(recipe, config)


def _hqq(config: Fields, hidden: int) -> Recipe:
    """Half-quadratic quantisation: a scale and a zero point in 16 bits for a group of 64."""
    inner = config.table("quant_config") or config
    weights = inner.table("weight_quant_params") or inner
    bits = _bits(weights, "nbits", "bits", default=4, among=(1, 2, 3, 4, 8))
    return _leaving(
        Recipe(f"hqq int{bits}", grouped(f"int{bits}", _group(weights, 64) or hidden, zero_bytes=2.0)), config
    )


def _bitsandbytes(config: Fields, hidden: int) -> Recipe:
    """NF4 and FP4 in blocks of 64 with a scale in fp32, itself in 8 bits where quantised twice; else LLM.int8."""
    if not config.flag("load_in_4bit", False):
        return _leaving(Recipe("bitsandbytes int8", per_channel("int8", hidden, "int8")), config)
    scale = 1.0 + 4.0 / 256 if config.flag("bnb_4bit_use_double_quant", False) else 4.0
    kind = config.text("bnb_4bit_quant_type", "fp4")
    stored = Stored("int4", 0.5 + scale / 64)
    return _leaving(Recipe(f"bitsandbytes {kind}", stored), config)


def _eetq(config: Fields, hidden: int) -> Recipe:
    return _leaving(Recipe("eetq int8", per_channel("int8", hidden, scale_bytes=2.0)), config)


def _bitnet(config: Fields, hidden: int) -> Recipe:
    """Three values a weight, four weights a byte."""
    return _leaving(Recipe("bitnet", Stored("int2", 0.25, "int8")), config)


# -- ModelOpt ---------------------------------------------------------------------------------------------------------

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
    "W4A16_AWQ": lambda hidden, group: _integers(4, group or 128, hidden, False),
    "W4A8_AWQ": lambda hidden, group: grouped("int4", group or 128, "fp8"),
    "W4A16_GPTQ": lambda hidden, group: _integers(4, group or 128, hidden, True),
    "W8A16": lambda hidden, group: per_channel("int8", hidden, scale_bytes=2.0),
    "W8A16_GPTQ": lambda hidden, group: _integers(8, group or 128, hidden, True),
    "INT8": lambda hidden, group: per_channel("int8", hidden, "int8"),
    "INT8_SQ": lambda hidden, group: per_channel("int8", hidden, "int8"),
    "W8A8_SQ_PER_CHANNEL": lambda hidden, group: per_channel("int8", hidden, "int8"),
}


def _algorithm(config: Fields, hidden: int, default: str = "") -> Stored:
    name = config.text("quant_algo", default).upper()
    _one_of(config, "quant_algo", name, _ALGORITHMS, " or MIXED_PRECISION")
    return _ALGORITHMS[name](hidden, _group(config, 0))


def _quantised_layers(recipe: Recipe, layers: Fields, hidden: int = 4096) -> None:
    """What ModelOpt chose for each layer of a checkpoint of mixed precision."""
    chosen: dict[Stored, list[str]] = {}
    read: dict[str, Stored] = {}  # tens of thousands of layers, a few ways to store them
    for name, own in layers.values.items():
        key = repr(own)
        if key not in read:
            inner = layers.table(name)
            if inner is None:
                layers.fail(name, "found null, expected an object with quant_algo")
            read[key] = _algorithm(inner, hidden)
        chosen.setdefault(read[key], []).append(name)
    for stored, names in chosen.items():
        recipe.rule(names, stored)


def _modelopt(config: Fields, hidden: int) -> Recipe:
    name = config.text("quant_algo", "FP8").upper()
    if name != "MIXED_PRECISION":
        return _leaving(Recipe(f"modelopt {name}", _algorithm(config, hidden, "FP8")), config)
    recipe = Recipe("modelopt mixed precision")
    layers = config.table("quantized_layers")
    if layers is None or not layers.values:
        config.fail("quantized_layers", "is missing, expected an object that says of each layer its quant_algo")
    recipe.rule(_exceptions(config), LEFT)
    _quantised_layers(recipe, layers, hidden)
    return recipe


def _modelopt_fp4(config: Fields, hidden: int) -> Recipe:
    if not config.text("quant_algo"):
        return _leaving(Recipe("modelopt NVFP4", NVFP4), config)
    return _modelopt(config, hidden)


# -- compressed-tensors -----------------------------------------------------------------------------------------------


def _compressed_tensors(config: Fields, hidden: int) -> Recipe:
    groups = config.table("config_groups")
    if groups is None or not groups.values:
        config.fail("config_groups", "is missing, expected an object such as {'group_0': {'weights': ...}}")
    recipe = Recipe("compressed-tensors", head=True)
    recipe.rule(_exceptions(config), LEFT)
    words = []
    for name in groups.values:
        group = groups.table(name)
        weights = group.table("weights") if group is not None else None
        if group is None or weights is None:
            groups.fail(f"{name}.weights", "is missing, expected an object with num_bits and type")
        stored = _group_weights(group, weights, hidden)
        words.append(stored.dtype)
        targets = names_in(group, "targets") or ["Linear"]
        recipe.rule([target for target in targets if not _is_class(target)], stored)
        for target in filter(_is_class, targets):
            if target == "Linear":
                recipe.linear = stored
            elif "Experts" in target or "MoE" in target:
                recipe.experts = stored
            else:
                group.fail("targets", f"found the class {shown(target)}, expected 'Linear' or the names of modules")
    recipe.scheme += " " + " and ".join(dict.fromkeys(words))
    return recipe


def _is_class(target: str) -> bool:
    """Whether a target is the class of modules (``Linear``) rather than their names."""
    return target[:1].isupper() and target.isalnum()


def _group_weights(group: Fields, weights: Fields, hidden: int) -> Stored:
    inputs = group.table("input_activations")
    compute = "" if inputs is None else _element(inputs)
    dtype = _element(weights)
    size = weights.get("group_size")
    block = weights.array("block_structure")
    if block:
        if len(block) != 2 or not all(type(b) is int and 0 < b <= 65536 for b in block):
            weights.fail("block_structure", f"found {shown(block)}, expected two sizes such as [128, 128]")
        return blocked(dtype, block[0], block[1], compute)
    strategy = weights.text("strategy", "group" if size and size != -1 else "channel")
    if strategy in ("group", "tensor_group"):
        count = weights.integer("group_size")
        # A float's scale is an fp8 (NVFP4) or a power of two (MXFP4, MXFP8): one byte; an integer's is in 16 bits.
        scale = 1.0 if dtype.startswith("fp") and count <= 32 else 2.0
        zeros = 0.0 if weights.flag("symmetric", True) else weights.integer("num_bits") / 8
        return grouped(dtype, count, compute, scale, zeros)
    if strategy == "tensor":
        return per_tensor(dtype, compute)
    if strategy in ("channel", "token"):
        return per_channel(dtype, hidden, compute, scale_bytes=2.0)
    _one_of(weights, "strategy", strategy, ("tensor", "channel", "group", "tensor_group", "block"))
    weights.fail("block_structure", "is missing, expected two sizes such as [128, 128]")


def _element(config: Fields) -> str:
    """``"fp8"`` for 8 bits of type float."""
    bits, kind = config.integer("num_bits"), config.text("type", "int")
    among = {"float": (4, 6, 8), "int": range(2, 9)}
    _one_of(config, "type", kind, among)
    if bits not in among[kind]:
        config.fail("num_bits", f"found {bits} bits of type {shown(kind)}, expected {', '.join(map(str, among[kind]))}")
    return f"{'fp' if kind == 'float' else 'int'}{bits}"


# -- Quark, torchao ---------------------------------------------------------------------------------------------------


def _quark(config: Fields, hidden: int) -> Recipe:
    overall = config.table("global_quant_config") or config
    recipe = Recipe("quark", _quark_tensors(overall, hidden))
    recipe.scheme += f" {recipe.linear.dtype}"
    recipe.rule(_wildcards(_exceptions(config)), LEFT)
    for key in ("layer_quant_config", "layer_type_quant_config"):
        layers = config.table(key)
        for name in layers.values if layers is not None else ():
            own = layers.table(name) if layers is not None else None
            stored = LEFT if own is None or own.get("weight") is None else _quark_tensors(own, hidden)
            if key == "layer_quant_config":
                recipe.rule([name], stored)
            elif name in ("nn.Linear", "Linear"):
                recipe.linear = stored
    return recipe


def _wildcards(names: list[str]) -> list[str]:
    return [name for name in names if name]


def _quark_tensors(config: Fields, hidden: int) -> Stored:
    weight = config.table("weight")
    if weight is None:
        config.fail("weight", "is missing, expected an object with dtype and qscheme")
    inputs = config.table("input_tensors")
    compute = "" if inputs is None else _quark_dtype(inputs)
    dtype = _quark_dtype(weight)
    scheme = weight.text("qscheme", "per_group" if weight.get("group_size") else "per_tensor")
    if scheme == "per_group":
        group = weight.integer("group_size")
        scale = 1.0 if dtype.startswith("fp") and group <= 32 else 2.0
        zeros = 0.0 if weight.flag("symmetric", True) else 0.5
        return grouped(dtype, group, compute, scale, zeros)
    if scheme == "per_channel":
        return per_channel(dtype, hidden, compute)
    if scheme == "per_tensor":
        return per_tensor(dtype, compute)
    if scheme == "per_block":
        sizes = weight.integers("block_size", 65536) or [128, 128]
        return blocked(dtype, max(sizes[0], 1), max(sizes[-1], 1), compute)
    _one_of(weight, "qscheme", scheme, ("per_tensor", "per_channel", "per_group", "per_block"))
    return LEFT


def _quark_dtype(config: Fields) -> str:
    found = config.text("dtype")
    name = re.sub(r"^uint", "int", found).split("_")[0]
    if name == "mx":  # older files name the element apart
        name = config.text("mx_element_dtype", "fp4").split("_")[0]
    _one_of(config, "dtype", name, ("fp4", "fp6", "fp8", "int4", "int8"))
    return name


#: torchao's configurations, by what is left of their names without case, underscores and "config".
_TORCHAO: dict[str, Callable[[int, int], Stored]] = {
    "int4weightonly": lambda hidden, group: grouped("int4", group or 128, zero_bytes=2.0),
    "int8weightonly": lambda hidden, group: per_channel("int8", hidden, scale_bytes=2.0),
    "float8weightonly": lambda hidden, group: per_channel("fp8", hidden),
    "intxweightonly": lambda hidden, group: grouped("int8", group or 128),
    "int8dynamicactivationint8weight": lambda hidden, group: per_channel("int8", hidden, "int8", 2.0),
    "int8dynamicactivationint4weight": lambda hidden, group: grouped("int4", group or 32, "int8"),
    "int8dynamicactivationintxweight": lambda hidden, group: grouped("int4", group or 32, "int8"),
    "float8dynamicactivationfloat8weight": lambda hidden, group: per_channel("fp8", hidden, "fp8"),
    "float8dynamicactivationint4weight": lambda hidden, group: grouped("int4", group or 128, "fp8"),
    "float8staticactivationfloat8weight": lambda hidden, group: per_tensor("fp8", "fp8"),
    "nvfp4inference": lambda hidden, group: NVFP4,
    "nvfp4dynamicactivationnvfp4weight": lambda hidden, group: NVFP4,
    "nvfp4weightonly": lambda hidden, group: NVFP4.weight_only(),
    "mxfpinference": lambda hidden, group: MXFP8,
    "mxdynamicactivationmxweight": lambda hidden, group: MXFP8,
}


def _torchao(config: Fields, hidden: int) -> Recipe:
    kind = config.get("quant_type")
    if isinstance(kind, dict):  # the form that transformers writes: {"default": {"_type": ..., "_data": {...}}}
        kinds = config.table("quant_type")
        inner = kinds.table("default") if kinds is not None else None
        if inner is None:
            config.fail("quant_type", f"found {shown(kind)}, expected {{'default': {{'_type': ...}}}}")
        return _leaving(_torchao_type(inner, inner.text("_type"), inner.table("_data"), hidden), config)
    return _leaving(_torchao_type(config, config.text("quant_type"), config.table("quant_type_kwargs"), hidden), config)


def _torchao_type(config: Fields, name: str, options: Fields | None, hidden: int) -> Recipe:
    known = re.sub(r"config$|_", "", name.lower())
    if known in ("moduleqfqnto", "modulefqnto", "fqnto"):
        table = options.table("module_fqn_to_config") or options.table("fqn_to_config") if options else None
        default = table.table("_default") if table is not None else None
        if table is None:
            config.fail("_data", "is missing, expected an object with module_fqn_to_config")
        recipe = Recipe("torchao")
        for module in table.values:
            own = table.table(module)
            if own is None:
                recipe.rule([module], LEFT)
            elif module != "_default":
                inner = _torchao_type(own, own.text("_type"), own.table("_data"), hidden)
                recipe.rule([module], inner.linear)
        if default is not None:
            recipe.linear = _torchao_type(default, default.text("_type"), default.table("_data"), hidden).linear
        return recipe
    _one_of(config, "_type" if "_" not in name else "quant_type", known, _TORCHAO)
    group = options.integer("group_size", default=0) if options is not None else 0
    return Recipe(f"torchao {name}", _TORCHAO[known](hidden, group))


# -- All of them ------------------------------------------------------------------------------------------------------

#: Quantisers by `quant_method`.
READERS: dict[str, Reader] = {
    "fp8": _fp8, "fbgemm_fp8": _fbgemm, "mxfp4": _mxfp4, "gpt_oss_mxfp4": _mxfp4,
    "compressed-tensors": _compressed_tensors, "modelopt": _modelopt, "modelopt_fp4": _modelopt_fp4,
    "modelopt_mxfp8": _modelopt, "modelopt_mixed": _modelopt, "awq": _awq, "awq_marlin": _awq, "gptq": _gptq,
    "gptq_marlin": _gptq, "auto-round": _auto_round, "hqq": _hqq, "quark": _quark, "torchao": _torchao,
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
        _one_of(config, "quant_method", method, READERS)
        return method
    producer: Any = config.get("producer")
    named = producer.get("name") if isinstance(producer, dict) else None
    if named == "modelopt" or config.text("quant_algo"):
        return "modelopt"
    if config.get("config_groups") is not None:
        return "compressed-tensors"
    config.fail("quant_method", f"is missing, expected one of {', '.join(READERS)}")
