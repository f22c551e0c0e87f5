"""What a schema refused, as a person who wrote the file needs to hear it."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from roofline.base.errors import closest, shown

_EXPECTED = {
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "bool_type": "expected true or false",
    "dict_type": "expected a table",
    "list_type": "expected a list",
    "float_type": "expected a number",
    "too_short": "expected at least one",
}
ONCE = "once for its table or for the file"
SPELLING = "expected lower-case letters, digits and any of . + _ -"


def explain(error: ValidationError, schema: type[BaseModel], prefix: str = "") -> list[str]:
    """pydantic's errors as sentences: key, what was found, what was expected, the nearest right thing.

    Parameters
    ----------
    error : ValidationError
    schema : type
        The model that refused the file.
    prefix : str
        Where in the file the model stands.
    """
    found = [_sentence(problem, schema) for problem in error.errors()]
    lines = [": ".join(part for part in (".".join(filter(None, (prefix, key))), words) if part) for key, words in found]
    return list(dict.fromkeys(lines))  # the branches of a union each complain


def _sentence(problem: Any, schema: type[BaseModel]) -> tuple[str, str]:
    kind, location, found = problem["type"], [str(part) for part in problem["loc"]], problem.get("input")
    if location and location[-1] == "[key]":
        return ".".join(location[:-1]), f"expected a name of letters, digits and _, found {shown(location[-2])}"
    if len(location) > 1 and location[-1] in ("str", "float") and kind in ("string_type", "float_type"):
        return ".".join(location[:-1]), f"expected a quantity such as '3.35 TB/s' or a bare count, found {shown(found)}"
    key = ".".join(location)
    if kind == "extra_forbidden":
        siblings = _known_keys(schema, location[:-1])
        near = closest(location[-1], siblings, 1)
        return key, "unknown key" + (f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(siblings)}")
    if location and kind == "missing" and location[-1] in ("source", "kind"):
        return key, f"every figure needs a {location[-1]}, its own or {ONCE}"
    if location and location[-1] == "source" and kind == "string_pattern_mismatch":
        return key, f"every figure needs a source, found {shown(found)}"
    if kind == "missing":
        return key, "is required but missing"
    if kind == "value_error":
        return key, str(problem["ctx"]["error"])
    if kind == "literal_error":
        return key, f"expected {problem['ctx']['expected']}, found {shown(found)}"
    if kind == "model_type":
        model, _ = _model_at(schema, location)
        figure = model is not None and "source" in model.model_fields
        if figure:
            own = "{ value = ..., source = ..., kind = ... }"
            return key, f"expected a figure such as {own}, or `source` and `kind` {ONCE}; found {shown(found)}"
        return key, f"expected a table, found {shown(found)}"
    if kind == "string_pattern_mismatch":
        return key, f"{SPELLING if key == 'name' else 'expected some text'}, found {shown(found)}"
    return key, f"{_EXPECTED.get(kind, problem['msg'])}, found {shown(found)}"


def _model_at(schema: type[BaseModel], location: list[str]) -> tuple[type[BaseModel] | None, bool]:
    """The model that the schema has at a location of the file, and whether a name of one's own goes before it."""
    model: type[BaseModel] | None = schema
    named = False
    for part in location:
        if named:
            named = False
            continue
        fields = {field.alias or name: field for name, field in model.model_fields.items()} if model else {}
        annotation = fields[part].annotation if part in fields else None
        named = typing.get_origin(annotation) is dict
        candidates = [annotation, *typing.get_args(annotation)]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    return model, named


def _known_keys(schema: type[BaseModel], location: list[str]) -> list[str]:
    """The keys that the schema knows at a location of the file."""
    model, named = _model_at(schema, location)
    if model is None or named:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]
