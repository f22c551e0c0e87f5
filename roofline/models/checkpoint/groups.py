"""compressed-tensors and Quark: groups of modules, each with the dtypes of its weights and activations."""

from __future__ import annotations

import re

from roofline.base.errors import shown
from roofline.models.checkpoint.asking import exceptions, names_in, one_of
from roofline.models.checkpoint.recipe import Recipe
from roofline.models.checkpoint.stored import LEFT, Stored, blocked, grouped, per_channel, per_tensor
from roofline.models.fields import Fields


def compressed_tensors(config: Fields, hidden: int) -> Recipe:
    groups = config.table("config_groups")
    if groups is None or not groups.values:
        config.fail("config_groups", "is missing, expected an object such as {'group_0': {'weights': ...}}")
    recipe = Recipe("compressed-tensors", head=True)
    recipe.rule(exceptions(config), LEFT)
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
    one_of(weights, "strategy", strategy, ("tensor", "channel", "group", "tensor_group", "block"))
    weights.fail("block_structure", "is missing, expected two sizes such as [128, 128]")


def _element(config: Fields) -> str:
    """``"fp8"`` for 8 bits of type float."""
    bits, kind = config.integer("num_bits"), config.text("type", "int")
    among = {"float": (4, 6, 8), "int": range(2, 9)}
    one_of(config, "type", kind, among)
    if bits not in among[kind]:
        config.fail("num_bits", f"found {bits} bits of type {shown(kind)}, expected {', '.join(map(str, among[kind]))}")
    return f"{'fp' if kind == 'float' else 'int'}{bits}"


def quark(config: Fields, hidden: int) -> Recipe:
    overall = config.table("global_quant_config") or config
    recipe = Recipe("quark", _quark_tensors(overall, hidden))
    recipe.scheme += f" {recipe.linear.dtype}"
    recipe.rule(exceptions(config), LEFT)
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
    one_of(weight, "qscheme", scheme, ("per_tensor", "per_channel", "per_group", "per_block"))
    return LEFT


def _quark_dtype(config: Fields) -> str:
    found = config.text("dtype")
    name = re.sub(r"^uint", "int", found).split("_")[0]
    if name == "mx":  # older files name the element apart
        name = config.text("mx_element_dtype", "fp4").split("_")[0]
    one_of(config, "dtype", name, ("fp4", "fp6", "fp8", "int4", "int8"))
    return name
