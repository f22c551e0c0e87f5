"""Descriptors beside what is known: plausible figures, and the JSON Schema that editors use."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

import roofline as rl
from roofline.hardware import plausible
from roofline.hardware.schema import Descriptor
from tests.strategies import CHIPS
from tests.test_descriptor import TINY

# Plausibility ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHIPS)
def test_built_in_chips_are_plausible(name: str) -> None:
    assert plausible.warnings(rl.load_chip(name).numbers) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"memory.main.bandwidth": "1 MB/s"}, "ridge point"),
        ({"power.tdp": "1 mW"}, "per watt"),
        ({"memory.main.capacity": "100 TB"}, "time to read all of main memory"),
        ({"engines.matrix.fp8": "1 TFLOP/s"}, "slower than the wider bf16"),
    ],
)
def test_an_implausible_figure_is_a_warning(change: dict[str, str], words: str) -> None:
    found = plausible.warnings(rl.load_chip("h100-sxm").what_if(change).numbers)
    assert any(words in line for line in found), found


# JSON Schema ----------------------------------------------------------------------------------------------------


TYPES = {
    "object": dict,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "array": list,
    "null": type(None),
}


def conform(value: Any, schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> list[str]:
    """What the JSON Schema has against a value: types, keys that it does not know, required ones that are missing."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        refusals = [conform(value, option, definitions, path) for option in schema["anyOf"]]
        return min(refusals, key=lambda r: (any(line.startswith(f"{path} is no") for line in r), len(r)))
    if "type" in schema and not isinstance(value, TYPES[schema["type"]]):
        return [f"{path} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path} is none of {schema['enum']}"]
    if not isinstance(value, dict):
        return []
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    problems = [f"{path}.{key} is missing" for key in schema.get("required", []) if key not in value]
    for key, child in value.items():
        fitting = [properties[key]] if key in properties else []
        fitting += [inner for pattern, inner in patterns.items() if re.search(pattern, key)]
        if not fitting and schema.get("additionalProperties", True) is False:
            problems.append(f"{path}.{key} is unknown")
        for inner in fitting:
            problems += conform(child, inner, definitions, f"{path}.{key}")
    return problems


@pytest.mark.parametrize("name", CHIPS)
def test_built_in_chips_conform_to_the_json_schema(name: str) -> None:
    schema = Descriptor.model_json_schema()
    assert conform(tomllib.loads(rl.load_chip(name).to_toml()), schema, schema["$defs"]) == []


def test_the_json_schema_tells_bad_keys() -> None:
    schema = json.loads(json.dumps(Descriptor.model_json_schema()))
    assert schema["additionalProperties"] is False
    raw = tomllib.loads(TINY)
    assert conform(raw, schema, schema["$defs"]) == []
    del raw["memory"]["hbm"]["capacity"], raw["links"]["scale_up"]["bandwidth"]["value"]
    raw["clok"] = {}
    raw["engines"]["matrix"]["bf61"] = {}
    assert set(conform(raw, schema, schema["$defs"])) == {
        ".memory.hbm.capacity is missing",
        ".links.scale_up.bandwidth.value is missing",
        ".clok is unknown",
        ".engines.matrix.bf61 is unknown",
    }
