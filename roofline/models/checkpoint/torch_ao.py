"""torchao, as transformers writes its configurations: by name, or by the type of an object."""

from __future__ import annotations

import re
from collections.abc import Callable

from roofline.base.errors import shown
from roofline.models.checkpoint.asking import leaving, one_of
from roofline.models.checkpoint.recipe import Recipe
from roofline.models.checkpoint.stored import LEFT, MXFP8, NVFP4, Stored, grouped, per_channel, per_tensor
from roofline.models.fields import Fields

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


def torchao(config: Fields, hidden: int) -> Recipe:
    kind = config.get("quant_type")
    if isinstance(kind, dict):  # the form that transformers writes: {"default": {"_type": ..., "_data": {...}}}
        kinds = config.table("quant_type")
        inner = kinds.table("default") if kinds is not None else None
        if inner is None:
            config.fail("quant_type", f"found {shown(kind)}, expected {{'default': {{'_type': ...}}}}")
        return leaving(_torchao_type(inner, inner.text("_type"), inner.table("_data"), hidden), config)
    return leaving(_torchao_type(config, config.text("quant_type"), config.table("quant_type_kwargs"), hidden), config)


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
    one_of(config, "_type" if "_" not in name else "quant_type", known, _TORCHAO)
    group = options.integer("group_size", default=0) if options is not None else 0
    return Recipe(f"torchao {name}", _TORCHAO[known](hidden, group))
