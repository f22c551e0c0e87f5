"""The dtypes of a checkpoint: ``torch_dtype`` and ``quantization_config`` of a Hugging Face ``config.json``."""

from __future__ import annotations

import re
from collections.abc import Callable

from roofline.errors import BadWorkload, closest
from roofline.models.fields import Fields
from roofline.units import dtype_name


def dtypes(body: Fields, top: Fields) -> tuple[str, str, str]:
    """Dtypes of the checkpoint's arithmetic, linear weights and routed experts.

    Parameters
    ----------
    body, top : Fields
        The text model's fields and the file's, which are the same where nothing is nested.

    Raises
    ------
    BadModel
        For a dtype or a quantisation method that is not known, and for bits that no dtype has.
    """
    name = body.text("torch_dtype") or body.text("dtype") or top.text("torch_dtype") or top.text("dtype") or "bf16"
    try:
        wide = dtype_name(name)
    except BadWorkload as error:
        top.fail("torch_dtype", str(error))
    config = body.table("quantization_config") or top.table("quantization_config")
    if config is None:
        return wide, wide, wide
    method = config.text("quant_method").lower()
    if method == "mxfp4":
        return wide, wide, "fp4"
    reader = _QUANTIZATION.get(method)
    if reader is None:
        near = closest(method, _QUANTIZATION, 1)
        config.fail("quant_method", f"found {method!r}, expected one of mxfp4, {', '.join(_QUANTIZATION)}"
                                    + (f"; did you mean {near[0]!r}?" if near else ""))  # fmt: skip
    weight, arithmetic = reader(config)
    return arithmetic or wide, weight, weight


#: Keys under which quantisation methods list the modules that they leave alone.
_EXCEPTIONS = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules")


def attention_is_wide(body: Fields, top: Fields, layers: int) -> bool:
    """Whether the checkpoint leaves the attention projections of (all) its layers in 16 bits.

    So gpt-oss does, and Meta's fp8 file of Llama 3.1 405B, which names every layer; others have a pattern.

    Raises
    ------
    BadModel
        When the list of exceptions is no list of strings.
    """
    config = body.table("quantization_config") or top.table("quantization_config")
    if config is None:
        return False
    numbers: set[int] = set()
    for key in _EXCEPTIONS:
        for name in config.array(key) or []:
            if not isinstance(name, str):
                config.fail(key, f"found {name!r}, expected a list of the names of modules")
            if "attn" in name or "attention" in name:
                place = re.search(r"layers\.(\d+)\.", name)
                if place is None:
                    return True
                numbers.add(int(place[1]))
    return len(numbers) >= layers > 0


def _fp8(config: Fields) -> tuple[str, str]:
    return "fp8", "fp8"


def _weight_only(config: Fields) -> tuple[str, str]:
    bits = config.integer("bits", default=4)
    return _narrow(config, "bits", bits, "int"), ""


def _bitsandbytes(config: Fields) -> tuple[str, str]:
    return ("int4", "") if config.flag("load_in_4bit", False) else ("int8", "int8")


def _modelopt(config: Fields) -> tuple[str, str]:
    algorithm = config.text("quant_algo", "FP8")
    known = {"FP8": ("fp8", "fp8"), "NVFP4": ("fp4", "fp4"), "W4A16_AWQ": ("int4", ""), "W4A8_AWQ": ("int4", "fp8")}
    if algorithm not in known:
        config.fail("quant_algo", f"found {algorithm!r}, expected one of {', '.join(known)}")
    return known[algorithm]


def _compressed_tensors(config: Fields) -> tuple[str, str]:
    groups = config.table("config_groups")
    if groups is None or not groups.values:
        config.fail("config_groups", "is missing, expected an object such as {'group_0': {'weights': ...}}")
    group = groups.table(next(iter(groups.values)))
    weights = group.table("weights") if group else None
    if group is None or weights is None:
        groups.fail("weights", "is missing, expected an object with num_bits and type")
    stored = _narrow(weights, "num_bits", weights.integer("num_bits"), weights.text("type", "int"))
    inputs = group.table("input_activations")
    if inputs is None:
        return stored, ""
    return stored, _narrow(inputs, "num_bits", inputs.integer("num_bits"), inputs.text("type", "int"))


def _narrow(config: Fields, key: str, bits: int, kind: str) -> str:
    name = {"float": "fp", "int": "int"}.get(kind, kind) + str(bits)
    if name not in ("fp8", "fp4", "int8", "int4"):
        config.fail(key, f"found {bits} bits of type {kind!r}, expected 4 or 8 of type 'int' or 'float'")
    return name


#: Quantisation methods: the dtypes of weights and (``""``: as without quantisation) of the arithmetic.
_QUANTIZATION: dict[str, Callable[[Fields], tuple[str, str]]] = {
    "fp8": _fp8, "fbgemm_fp8": _fp8, "compressed-tensors": _compressed_tensors, "modelopt": _modelopt,
    "awq": _weight_only, "gptq": _weight_only, "bitsandbytes": _bitsandbytes,
}  # fmt: skip
