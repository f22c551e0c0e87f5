"""The fronts on which inputs are fuzzed: a strategy of inputs, half sound and half broken, and what must hold of each.

On every front the same promise is checked: an input is either refused with an error of the family
:class:`roofline.RooflineError`, or answered with finite numbers in order. ``tests/test_fuzz.py`` tries a few hundred on
each; ``benchmarks/fuzz.py`` as many as asked.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import roofline as rl
from roofline.base import tomlfile
from roofline.catalog.load import read_chip
from roofline.estimates.inference import COST, evaluate_op
from roofline.hardware.chip import Chip
from roofline.work import op as operators
from tests.operators import ARGUMENTS
from tests.strategies import CHIPS, changes, quantities

ROOT = Path(__file__).parent.parent
CLOSE = 1 + 1e-9

#: What stands where something else was expected.
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**30, -(10**30), 2**63, 10**400, 1e308, -1e308, 1e-308, math.nan, math.inf, -math.inf]),
    st.floats(),
    st.text(max_size=8),
    quantities().map(lambda q: q[0]),
    st.sampled_from(["x2", "x0", "x-1", "x", "1e999 GB", "GB", "3 TB/s/s", "\x00", "\u221e GB", "", " "]),
    st.sampled_from([[], {}, [[]], [1], [1, 2, 3]]),
)


class Front(NamedTuple):
    """Inputs, and a check that raises where the promise is broken."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]


def finite_and_ordered(lower: Any, time: Any, upper: Any) -> None:
    """Lower bound, expected time and upper bound as every answer has them."""
    for value in (lower, time, upper):
        assert np.all(np.isfinite(value)), (lower, time, upper)
        assert np.all(np.asarray(value) >= 0), (lower, time, upper)
    assert np.all(np.asarray(lower) <= np.asarray(time) * CLOSE), (lower, time, upper)
    assert np.all(np.asarray(time) <= np.asarray(upper) * CLOSE), (lower, time, upper)


# Tables with something broken in them ---------------------------------------------------------------------------


def places(tree: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a nested table."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found = [prefix] if prefix else []
    for key, value in inner:
        found += places(value, (*prefix, key))
    return found


def changed(tree: Any, place: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy of a nested table, with `change(holder, key)` made at one place."""
    if not isinstance(tree, dict | list):
        return tree
    out = tree.copy()
    key, *rest = place
    if rest:
        out[key] = changed(out[key], tuple(rest), change)
    else:
        change(out, key)
    return out


@st.composite
def broken(draw: Any, tree: dict[str, Any], values: st.SearchStrategy[Any] = junk, most: int = 3) -> dict[str, Any]:
    """A table like `tree`, with up to `most` values deleted, replaced, renamed, doubled or nested."""
    for _ in range(draw(st.integers(0, most))):
        ways = places(tree)
        if not ways:
            break
        place = draw(st.sampled_from(ways))
        what = draw(st.sampled_from(["replace", "replace", "replace", "delete", "rename", "nest", "swap"]))
        value = draw(values)
        other = draw(st.sampled_from(ways))

        def change(holder: Any, key: Any, what: str = what, value: Any = value, other: Any = other) -> None:
            if what == "replace":
                holder[key] = value
            elif what == "delete":
                del holder[key]
            elif what == "nest":
                holder[key] = {"value": holder[key]}
            elif what == "rename" and isinstance(holder, dict):
                holder[f"{key}x"] = holder.pop(key)
            elif what == "swap" and isinstance(holder, dict):
                holder[str(other[-1])] = holder[key]

        tree = changed(tree, place, change)
    return tree


# Chips ----------------------------------------------------------------------------------------------------------

#: A few operators that between them use every number of a chip.
PROBES = (
    operators.gemm(m=300, n=4096, k=4096, dtype="bf16", quantize=True),
    operators.attention(batch=8, heads=32, kv_heads=8, head_dim=128, q_len=1, kv_len=5000, dtype="bf16"),
    operators.mla_attention(batch=8, heads=32, q_len=64, kv_len=640, kv_lora_rank=512, rope_dim=64, dtype="bf16"),
    operators.moe(tokens=100, hidden=1024, inter=512, topk=2, experts=8, dtype="bf16"),
    operators.embedding_bag(batch=512, tables=4, rows=10**6, dim=64, pooling=20, dtype="fp32", skew=1.1),
    operators.rms_norm(rows=1000, cols=4096, dtype="bf16"),
    operators.all_reduce(bytes=10**6, devices=8),
    operators.all_to_all(bytes=10**6, devices=16),
    operators.host_copy(bytes=10**6),
)


def check_chip(chip: Chip) -> None:
    """Every operator costs a finite time in order, or is refused; so is an estimate of each kind."""
    for probe in PROBES:
        try:
            cost = dict(zip(COST, evaluate_op(probe, chip), strict=True))
        except rl.RooflineError:
            continue
        finite_and_ordered(cost["lower_s"], cost["time_s"], cost["upper_s"])
        assert all(np.all(np.isfinite(v)) and np.all(np.asarray(v) >= 0) for v in cost.values()), cost
    for model, options in (("llama-3.2-1b", {"batch": 3, "prompt": 100, "output": 5}), ("dlrm-v2", {"batch": 64})):
        try:
            est = rl.estimate(model, chip, check=False, **options)
        except rl.RooflineError:
            continue
        finite_and_ordered(est.lower_s, est.time_s, est.upper_s)


_DESCRIPTORS = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "chips").glob("*.toml"))]
_FOLDER = tempfile.TemporaryDirectory(prefix="roofline-fuzz-")
_number = itertools.count()


def scratch(suffix: str) -> Path:
    """A path that no case has used before: files are remembered by their path."""
    return Path(_FOLDER.name) / f"case{next(_number)}{suffix}"


def toml_text(table: dict[str, Any]) -> str:
    """The text of a table; what TOML has no word for stands as the nearest that it has."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, list):
            return [plain(v) for v in value]
        if isinstance(value, float) and not math.isfinite(value):
            return f"@{value}"
        return "none" if value is None else value

    text = tomlfile.write(plain(table))
    for word in ("nan", "inf", "-inf"):
        text = text.replace(f'"@{word}"', word)
    return text


def check_descriptor(raw: dict[str, Any]) -> None:
    path = scratch(".toml")
    path.write_text(toml_text(raw), encoding="utf-8")
    try:
        chip = read_chip(path)
    except rl.RooflineError:
        return
    finally:
        path.unlink()
    check_chip(chip)
    again = scratch(".toml")
    again.write_text(chip.to_toml(), encoding="utf-8")
    reloaded = read_chip(again)
    again.unlink()
    for figure, number in chip.numbers.items():
        if "spread" not in figure:  # written as wide as they are taken
            assert reloaded.numbers[figure].value == number.value, figure


@st.composite
def what_ifs(draw: Any) -> tuple[str, dict[str, Any]]:
    """A built-in chip and changes of its figures, sound and broken."""
    name = draw(st.sampled_from(CHIPS))
    chip = rl.load_chip(name)
    paths = draw(st.lists(st.sampled_from(sorted({**chip.numbers, **chip.defaults})), min_size=1, max_size=3))
    return name, {path: draw(st.one_of(changes(path, chip.number(path)), junk)) for path in paths}


def check_what_if(case: tuple[str, dict[str, Any]]) -> None:
    name, figures = case
    try:
        chip = rl.load_chip(name).what_if(figures)
    except rl.RooflineError:
        return
    check_chip(chip)


# Operators ------------------------------------------------------------------------------------------------------


@st.composite
def calls(draw: Any) -> tuple[str, dict[str, Any], str]:
    """An operator's name, its arguments (one of them broken, half the time) and a chip."""
    function = draw(st.sampled_from(sorted(ARGUMENTS, key=lambda f: f.__name__)))
    arguments = dict(draw(ARGUMENTS[function]))
    if arguments and draw(st.booleans()):
        arguments[draw(st.sampled_from(sorted(arguments)))] = draw(junk)
    dtype = draw(st.sampled_from(["bf16", "fp16", "fp8", "int8", "fp32", "fp64", "fp4", "int4", None]))
    if dtype and "bytes" not in arguments and function is not operators.step_overhead:
        arguments["dtype"] = dtype
    return function.__name__, arguments, draw(st.sampled_from(CHIPS))


def check_call(case: tuple[str, dict[str, Any], str]) -> None:
    name, arguments, chip = case
    try:
        one = getattr(operators, name)(**arguments)
        cost = rl.cost(one, chip)
    except rl.RooflineError:
        return
    finite_and_ordered(cost.lower_s, cost.time_s, cost.upper_s)
    values = dict(zip(COST, cost.values, strict=True))
    assert all(np.all(np.isfinite(v)) and np.all(np.asarray(v) >= 0) for v in values.values()), values
    idle = np.equal(cost.flops, 0) & np.equal(cost.vector_flops, 0)
    assert not np.any(idle & np.equal(cost.bound, "compute")), values


# Estimates ------------------------------------------------------------------------------------------------------

_MODELS = sorted(rl.list_models().index)
_counts = st.one_of(st.sampled_from([1, 2, 3, 7, 8, 16, 64, 100, 1024]), st.integers(1, 10**5))
_LANGUAGE = {
    "batch": _counts, "prompt": _counts, "output": _counts, "prefix": st.one_of(st.just(0), _counts),
    "tp": st.sampled_from([1, 2, 4, 8, 3]), "pp": st.sampled_from([1, 2, 3]), "ep": st.sampled_from([1, 2, 8]),
    "dp": st.sampled_from([1, 2, 8]), "dtype": st.sampled_from(["bf16", "fp16", "fp8", "int8", "fp32", "fp4"]),
    "weight_dtype": st.sampled_from(["bf16", "fp8", "int4"]), "kv_dtype": st.sampled_from(["bf16", "fp8", "int8"]),
    "usable_memory": st.floats(0.01, 1.0),
}  # fmt: skip
_RECOMMENDATION = {
    "batch": _counts, "devices": st.sampled_from([1, 2, 8, 100]), "dtype": st.sampled_from(["bf16", "fp16", "int8"]),
    "table_dtype": st.sampled_from(["fp32", "fp16", "int8", "int4"]), "skew": st.floats(0.0, 2.0),
    "compiled": st.booleans(), "usable_memory": st.floats(0.01, 1.0),
}  # fmt: skip


@st.composite
def requests(draw: Any) -> tuple[str, str, dict[str, Any], str]:
    """A model, a chip, options (one of them broken, one time in four) and a numeric option to make an array of."""
    model = draw(st.sampled_from(_MODELS))
    known = _RECOMMENDATION if "skew" in _options(model) else _LANGUAGE
    names = draw(st.lists(st.sampled_from(sorted(known)), unique=True))
    options = {name: draw(known[name]) for name in names}
    if options and draw(st.integers(0, 3)) == 0:
        options[draw(st.sampled_from(sorted(options)))] = draw(junk)
    return model, draw(st.sampled_from(CHIPS)), options, draw(st.sampled_from(["", "batch"]))


def _options(model: str) -> dict[str, Any]:
    return _RECOMMENDATION if type(rl.load_model(model)).__name__ == "Recommender" else _LANGUAGE


def check_request(case: tuple[str, str, dict[str, Any], str]) -> None:
    model, chip, options, axis = case
    try:
        est = rl.estimate(model, chip, check=False, **options)
    except rl.RooflineError:
        return
    finite_and_ordered(est.lower_s, est.time_s, est.upper_s)
    for name, value in est.figures().items():
        assert np.all(np.isfinite(value)), name
        assert np.all(np.asarray(value) > 0), name
    if axis in options and isinstance(options[axis], int) and not np.shape(est.time_s):
        several = rl.estimate(model, chip, check=False, **{**options, axis: [2 * options[axis], options[axis]]})
        for name, value in est.figures().items():
            together = np.broadcast_to(several.figures()[name], 2)[1]
            assert math.isclose(float(together), float(value), rel_tol=1e-12), name


_SERVING = {
    "concurrency": st.sampled_from([1, 2, 8, 64, 256, 1000]), "prompt": _counts, "output": _counts,
    "prefix": st.sampled_from([0, 1, 64, 512]), "chunk": st.sampled_from([1, 2, 64, 512, 2048, 8192]),
    "tp": st.sampled_from([1, 2, 4, 8]), "ep": st.sampled_from([1, 2]),
    "dtype": st.sampled_from(["bf16", "fp16", "fp8"]),
}  # fmt: skip


@st.composite
def loads(draw: Any) -> tuple[str, str, dict[str, Any]]:
    """A language model, a chip and a load, whose prompt is made an array of as well."""
    model = draw(st.sampled_from([m for m in _MODELS if _options(m) is _LANGUAGE]))
    options = {name: draw(st.one_of(values, junk) if draw(st.integers(0, 9)) == 0 else values)
               for name, values in _SERVING.items()}  # fmt: skip
    return model, draw(st.sampled_from(CHIPS)), options


def check_load(case: tuple[str, str, dict[str, Any]]) -> None:
    model, chip, options = case
    try:
        one = rl.serve(model, chip, check=False, **options)
    except rl.RooflineError:
        return
    for name, value in one.figures().items():
        assert np.all(np.isfinite(value)), name
        assert np.all(np.asarray(value) > 0), name
    if isinstance(options["prompt"], int) and not np.shape(one.time_s):
        both = rl.serve(model, chip, check=False, **{**options, "prompt": [options["prompt"], options["prompt"] + 1]})
        for name, value in one.figures().items():
            assert math.isclose(float(np.broadcast_to(both.figures()[name], 2)[0]), float(value), rel_tol=1e-9), name


FRONTS: dict[str, Front] = {
    "descriptors": Front(st.sampled_from(_DESCRIPTORS).flatmap(broken), check_descriptor),
    "what-ifs": Front(what_ifs(), check_what_if),
    "operators": Front(calls(), check_call),
    "estimates": Front(requests(), check_request),
    "serving": Front(loads(), check_load),
}
