"""The options of an estimate as fields of a form: what each is called, what may be typed, what it stands for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.units import DTYPE_BYTES
from roofline.catalog.load import Model
from roofline.estimates.hosts import PROCESSES
from roofline.estimates.request import LANGUAGE, RECOMMENDATION, USUAL_RECOMMENDATION, usual_language
from roofline.models.llm import LanguageModel

#: What an option may be.
Value = int | float | bool | str

#: Digits of a whole number, and characters of anything else, that a field takes.
_LONGEST = 40


@dataclass(frozen=True)
class Field:
    """One option of an estimate as a field of the form.

    Attributes
    ----------
    name, label : str
    kind : str
        ``whole``, ``number``, ``choice`` or ``flag``.
    choices : tuple of str
        What a choice may be; without, what the chip has.
    tucked : bool
        Whether it stands among those that few people change.
    """

    name: str
    label: str
    kind: str
    choices: tuple[str, ...] = ()
    tucked: bool = False


_DTYPES = tuple(DTYPE_BYTES)

FIELDS = {
    field.name: field
    for field in (
        Field("batch", "Batch", "whole"),
        Field("prompt", "Prompt (tokens)", "whole"),
        Field("output", "Output (tokens)", "whole"),
        Field("devices", "Chips", "whole"),
        Field("tp", "Tensor parallel", "whole"),
        Field("pp", "Pipeline parallel", "whole", tucked=True),
        Field("ep", "Expert parallel", "whole", tucked=True),
        Field("dp", "Data parallel", "whole", tucked=True),
        Field("dtype", "Arithmetic", "choice", _DTYPES),
        Field("weight_dtype", "Weights", "choice", _DTYPES, tucked=True),
        Field("kv_dtype", "KV cache", "choice", _DTYPES),
        Field("table_dtype", "Table rows", "choice", _DTYPES),
        Field("placement", "Placement", "choice", ("auto", "even")),
        Field("prefix", "Prefix cached (tokens)", "whole", tucked=True),
        Field("skew", "Skew of the indices", "number", tucked=True),
        Field("repeat", "Share of lookups repeated", "number", tucked=True),
        Field("scale_bytes", "Bytes of scale a row", "number", tucked=True),
        Field("compiled", "Dense part compiled whole", "flag", tucked=True),
        Field("fused", "Tables in one kernel", "flag", tucked=True),
        Field("host", "Serving process", "choice", tuple(PROCESSES), tucked=True),
        Field("usable_memory", "Share of memory usable", "number", tucked=True),
        Field("price_per_hour", "USD a chip and hour", "number", tucked=True),
        Field("price", "USD a chip, bought", "number", tucked=True),
        Field("electricity", "USD a kWh", "number", tucked=True),
        Field("pue", "PUE of the site", "number", tucked=True),
        Field("amortise_years", "Years written off over", "number", tucked=True),
        Field("utilisation", "Share of hours in use", "number", tucked=True),
        Field("carbon", "Grams of CO2 a kWh", "number", tucked=True),
    )
}

#: Options that each chip has for itself, and so none of the form.
_OF_A_CHIP = ("stack",)


def names_for(model: Model) -> tuple[str, ...]:
    """The options that a model of this kind takes, in the order of the form."""
    known = LANGUAGE if isinstance(model, LanguageModel) else RECOMMENDATION
    return tuple(name for name in FIELDS if name in known)


def usual(model: Model) -> Mapping[str, Value]:
    """What is taken where a field is empty, as far as that is a number of its own."""
    if isinstance(model, LanguageModel):
        return usual_language(model)
    return USUAL_RECOMMENDATION | {"fused": True, "compiled": False}


def known(name: str) -> Field:
    """The field of that name.

    Raises
    ------
    UnknownName
    """
    if name not in FIELDS:
        raise UnknownName("option", name, FIELDS)
    return FIELDS[name]


def read(name: str, text: str) -> Value | None:
    """The value that somebody typed into a field, or that an address holds; None where it is empty.

    Whether a workload can have it says the estimate.

    Raises
    ------
    UnknownName
        For a field that there is not, and a choice that it has not.
    BadWorkload
        For text that is no value of its kind.
    """
    field, text = known(name), text.strip()
    if not text:
        return None
    if field.kind == "whole":
        digits = text.replace(",", "").replace("_", "")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > _LONGEST:
            raise BadWorkload(f"{name}: expected a whole number, found {shown(text)}")
        return int(digits)
    if field.kind == "flag":
        if text not in ("true", "false"):
            raise BadWorkload(f"{name}: expected true or false, found {shown(text)}")
        return text == "true"
    if field.kind == "number":
        try:
            value = float(text[:_LONGEST])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BadWorkload(f"{name}: expected a number, found {shown(text)}")
        return value
    if text not in field.choices:
        raise UnknownName(name, text, field.choices)
    return text


def written(value: Value) -> str:
    """A value as :func:`read` reads it."""
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)
