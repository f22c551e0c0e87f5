"""Hypothesis strategies that break what people hand in: model files, operators' arguments, requests.

Each begins with something real and changes a place or a few of it: left out, of another type, far too large, nested,
under another name. What may come of it is told by :func:`harmless`: an error of ours, or finite numbers.
"""

from __future__ import annotations

import copy
import inspect
import json
import math
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

import roofline as rl
from roofline.models import description, huggingface
from roofline.work import op
from tests.operators import ARGUMENTS
from tests.strategies import CHIPS

FOLDER = Path(huggingface.__file__).parent
CONFIGS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "configs").glob("*.json"))}
RECOMMENDERS = {path.stem: tomllib.loads(path.read_text()) for path in sorted((FOLDER / "recommenders").glob("*.toml"))}
LANGUAGE_MODELS = ("llama-3.1-8b", "mixtral-8x7b", "deepseek-v2-lite", "gpt-oss-20b", "gemma-3-4b", "llama-4-scout")
SMALL_RECOMMENDERS = ("dlrm-v2", "dien", "hstu-ml-1m", "ncf")

Path_ = tuple[Any, ...]

#: Values of every kind that a file can hold, and some that none should.
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 0.3, 0.5, -0.0, 1.5, 64, 4096, 2**31, 2**53, 10**12, 10**15, 10**15 + 1, 10**18]),
    st.sampled_from([10**400, -(10**400), 1e300, 1e-300, math.inf, -math.inf, math.nan]),
    st.integers(-3, 100_000),
    st.floats(-10, 1e6),
)


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


VALUES = st.one_of(
    NUMBERS,
    st.sampled_from([None, True, False, "", "x", "8", "bf16", "int8", "\x1b[2J", "é" * 300, [], {}, [1, 2], ["a", 3]]),
    st.builds(_deep, st.sampled_from([3, 50, 800])),
    st.builds(lambda v: {"value": v}, NUMBERS),
    st.lists(NUMBERS, max_size=3),
)

#: Names that a key may be confused with.
NAMES = st.sampled_from(["name", "type", "dtype", "rows", "layers", "input", "hidden_size", "x y", ""])


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The way to every key and entry of nested tables and lists (of long lists, to the first few)."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


#: What no file can hold besides: Python's readers refuse a number of as many digits.
ARGUMENT_VALUES = st.one_of(VALUES, st.sampled_from([10**5000, -(10**5000), [1, 10**5000]]))


@st.composite
def mutated(draw: Any, original: Any) -> Any:
    """The same tables with one to three places changed."""
    changed = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        ways = list(places(changed))
        if not ways:
            break
        *way, key = draw(st.sampled_from(ways))
        holder = changed
        for step in way:
            holder = holder[step]
        change = draw(st.sampled_from(["drop", "retype", "enlarge", "nest", "rename", "repeat"]))
        value = holder[key]
        if change == "drop":
            del holder[key]
        elif change == "retype":
            holder[key] = copy.deepcopy(draw(VALUES))  # the next change may go into it
        elif change == "enlarge":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            holder[key] = value * draw(st.sampled_from([0, -1, 3, 1000, 10**9, 10**30])) if number else draw(NUMBERS)
        elif change == "nest":
            holder[key] = draw(st.sampled_from([[value], {"value": value}, [value, value], {key: value}]))
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(st.one_of(NAMES, st.just(f"{key}s"), st.just(str(key)[:-1])))] = holder.pop(key)
        elif change == "repeat" and isinstance(holder, list):
            holder += [copy.deepcopy(value)] * draw(st.sampled_from([1, 30]))
    return changed


configs = st.sampled_from(sorted(CONFIGS)).flatmap(lambda name: mutated(CONFIGS[name]))
recommenders = st.sampled_from(sorted(RECOMMENDERS)).flatmap(lambda name: mutated(RECOMMENDERS[name]))


_CONVERT = (op.quantize, op.dequantize)  # these call their result's dtype `to`


@st.composite
def calls(draw: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """An operator's function, and arguments of which some are not what it takes."""
    function = draw(st.sampled_from(list(ARGUMENTS)))
    arguments = dict(draw(ARGUMENTS[function]))
    for name in draw(st.lists(st.sampled_from(sorted(arguments)), max_size=3)) if arguments else ():
        arguments[name] = draw(st.one_of(ARGUMENT_VALUES, NUMBERS.map(lambda v: [v, 2])))
    if draw(st.booleans()):
        known = inspect.signature(function).parameters
        known = known if "options" not in known else inspect.signature(op.elementwise).parameters
        others = known.keys() - {"name", "kind", "shard", "scope", "out_dtype" if function in _CONVERT else ""}
        arguments[draw(st.sampled_from(sorted(others)))] = draw(ARGUMENT_VALUES)
    return function, arguments


_LANGUAGE = {
    "batch": 8, "prompt": 1024, "output": 64, "prefix": 0, "tp": 1, "pp": 1, "ep": 1, "dp": 1, "dtype": "bf16",
    "weight_dtype": "fp8", "kv_dtype": "fp8", "usable_memory": 0.9,
}  # fmt: skip
_RECOMMENDATION = {
    "batch": 1024,
    "devices": 2,
    "dtype": "bf16",
    "table_dtype": "int8",
    "skew": 1.05,
    "compiled": True,
    "usable_memory": 0.9,
}


@st.composite
def requests(draw: Any) -> tuple[str, str, dict[str, Any]]:
    """A model, a chip, and options of an estimate of which some are not what it takes."""
    language = draw(st.booleans())
    model = draw(st.sampled_from(LANGUAGE_MODELS if language else SMALL_RECOMMENDERS))
    known = _LANGUAGE if language else _RECOMMENDATION
    options = {name: known[name] for name in draw(st.lists(st.sampled_from(sorted(known)), unique=True))}
    for name in draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=3)):
        degree = name in ("tp", "pp", "ep", "dp", "devices", "batch")
        options[name] = draw(
            st.one_of(ARGUMENT_VALUES, st.sampled_from([1, 2, 3, 4, 7, 8, 64])) if degree else ARGUMENT_VALUES
        )
    return model, draw(st.sampled_from(CHIPS)), options


# What may come of it -----------------------------------------------------------------------------------------------


def finite(values: Any) -> bool:
    """Whether all numbers are finite and none is negative."""
    arrays = (np.asarray(v, dtype=float) for v in values)  # what is counted may be an integer of any length
    return all(np.all(np.isfinite(v) & (v >= 0)) for v in arrays)


def harmless(run: Callable[[], Any]) -> None:
    """Run it: an error of ours, with a message of a readable length, or the finite numbers that it returns."""
    try:
        values = run()
    except rl.RooflineError as error:
        text = str(error)
        assert 0 < len(text) < 20_000, text[:300]
        assert text.isprintable() or "\n" in text, ascii(text[:300])
        return
    assert finite(values), values


def run_config(config: dict[str, Any]) -> Any:
    """Read a ``config.json`` and estimate it: the headline figures."""
    model = huggingface.read(config, "mine")
    found = rl.estimate(model, "h100-sxm", batch=2, prompt=16, output=4, check=False)
    return [model.params, *found.figures().values(), found.memory.weights_bytes]


def run_recommender(raw: dict[str, Any]) -> Any:
    """Read a recommendation model's file and estimate it: the headline figures."""
    model = description.read(raw, "mine")
    found = rl.estimate(model, "h100-sxm", batch=64, devices=2, check=False)
    return [model.params, *found.figures().values()]


def run_request(model: str, chip: str, options: dict[str, Any]) -> Any:
    """Estimate a model: the headline figures."""
    return rl.estimate(model, chip, check=False, **options).figures().values()
