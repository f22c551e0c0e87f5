"""The dtypes of a checkpoint: ``torch_dtype`` and ``quantization_config`` of a Hugging Face ``config.json``."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

from roofline.base.errors import BadWorkload, closest, shown
from roofline.base.units import dtype_name
from roofline.models.fields import Fields


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
        config.fail(
            "quant_method",
            f"found {shown(method)}, expected one of mxfp4, {', '.join(_QUANTIZATION)}"
            + (f"; did you mean {near[0]!r}?" if near else ""),
        )
    weight, arithmetic = reader(config)
    return arithmetic or wide, weight, weight


#: Keys under which quantisation methods list the modules that they leave alone.
_EXCEPTIONS = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules")

#: What the projections of an attention block are called, by family; a checkpoint has those of one line.
_PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("qkv_proj", "o_proj"),
    ("q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
    ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
    ("c_attn", "c_proj"),
    ("query_key_value", "dense"),
)
_PLACES = (
    "model.layers.{}.self_attn.{}",
    "model.language_model.layers.{}.self_attn.{}",
    "language_model.model.layers.{}.self_attn.{}",
    "transformer.h.{}.attn.{}",
    "transformer.h.{}.self_attention.{}",
)

#: Regular expressions that are tried: words, dots, a few wildcards, alternatives without any. Others could be written
#: to take for ever, and a checkpoint is not to be trusted.
_PLAIN = re.compile(r"(?:[\w^$-]|\\?\.|\.\*|\\d\+|\[0-9\]\+|\((?:\?:)?[\w.|\\-]+\))*")
_MOST_WILDCARDS = 3


def attention_is_wide(body: Fields, top: Fields, layers: int) -> bool:
    """Whether the checkpoint leaves every attention projection of the text model in 16 bits.

    So gpt-oss does, by a pattern, and Meta's fp8 file of Llama 3.1 405B, which names every layer. An exception is a
    module's name or the beginning of it, a part of a name between dots, a pattern with ``*``, or ``re:`` and a regular
    expression.

    Raises
    ------
    BadModel
        When the list of exceptions is no list of strings.
    """
    config = body.table("quantization_config") or top.table("quantization_config")
    if config is None:
        return False
    exceptions: list[str] = []
    for key in _EXCEPTIONS:
        for name in config.array(key) or []:
            if not isinstance(name, str):
                config.fail(key, f"found {shown(name)}, expected a list of the names of modules")
            exceptions.append(name)
    if not exceptions:
        return False
    matches = [_matcher(name) for name in exceptions]

    def left_alone(place: str, names: tuple[str, ...]) -> bool:
        return all(any(match(place.format(n, name)) for match in matches) for n in range(layers) for name in names)

    return any(left_alone(place, names) for place in _PLACES for names in _PROJECTIONS)


def _matcher(exception: str) -> Callable[[str], bool]:
    """Whether an exception takes a module of some name."""
    if exception.startswith("re:"):
        pattern = exception[3:]
        if not _PLAIN.fullmatch(pattern) or pattern.count("*") + pattern.count("+") > _MOST_WILDCARDS:
            return lambda name: False
        found = re.compile(pattern)
        return lambda name: found.match(name) is not None
    if "*" in exception:
        whole = exception.strip(".")
        return lambda name: fnmatch.fnmatchcase(name, whole) or fnmatch.fnmatchcase(name, f"{whole}.*")
    part = f".{exception}."
    return lambda name: part in f".{name}."


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
        config.fail("quant_algo", f"found {shown(algorithm)}, expected one of {', '.join(known)}")
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
        config.fail(key, f"found {bits} bits of type {shown(kind)}, expected 4 or 8 of type 'int' or 'float'")
    return name


#: Quantisation methods: the dtypes of weights and (``""``: as without quantisation) of the arithmetic.
_QUANTIZATION: dict[str, Callable[[Fields], tuple[str, str]]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "awq": _weight_only,
    "gptq": _weight_only,
    "bitsandbytes": _bitsandbytes,
}
