"""The fronts on which inputs are fuzzed: a strategy of inputs, sound and broken, and what must hold of each.

On every front the same promise is checked: an input is either refused with an error of the family
:class:`roofline.RooflineError`, or answered with finite numbers in order. ``tests/test_fuzz.py`` tries a hundred or so
on each; ``benchmarks/fuzz.py`` as many as asked.
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
from tests import strategies_files as files, strategies_models as models
from tests.strategies import CHIPS, changes, chip_names

ROOT = Path(__file__).parent.parent
CLOSE = 1 + 1e-9
_FOLDER = tempfile.TemporaryDirectory(prefix="roofline-fuzz-")
_number = itertools.count()


class Front(NamedTuple):
    """Inputs, a check that raises where the promise is broken, and how many the suite tries."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    in_suite: int = 150


def finite_and_ordered(lower: Any, time: Any, upper: Any) -> None:
    """Lower bound, expected time and upper bound as every answer has them."""
    assert models.finite((lower, time, upper)), (lower, time, upper)
    assert np.all(np.asarray(lower) <= np.asarray(time) * CLOSE), (lower, time, upper)
    assert np.all(np.asarray(time) <= np.asarray(upper) * CLOSE), (lower, time, upper)


# Chips ----------------------------------------------------------------------------------------------------------

#: A few operators that between them use every number of a chip.
PROBES = (
    operators.gemm(m=300, n=4096, k=4096, dtype="bf16", quantize=True),
    operators.attention(batch=8, heads=32, kv_heads=8, head_dim=128, q_len=1, kv_len=5000, dtype="bf16"),
    operators.mla_attention(batch=8, heads=32, q_len=64, kv_len=640, kv_lora_rank=512, rope_dim=64, dtype="bf16"),
    operators.moe(tokens=100, hidden=1024, inter=512, topk=2, experts=8, dtype="bf16"),
    operators.recurrence(batch=2, heads=32, groups=8, key_dim=128, value_dim=64, q_len=900, chunk=256, dtype="bf16"),
    operators.index_scores(batch=2, index_heads=64, index_dim=128, q_len=4, kv_len=5000, dtype="bf16"),
    operators.sparse_attention(
        batch=2, heads=64, key_dim=576, value_dim=512, token_bytes=656, q_len=4, kv_len=5000, chosen=2048, dtype="bf16"
    ),
    operators.embedding_bag(batch=512, tables=4, rows=10**6, dim=64, pooling=20, dtype="fp32", skew=1.1),
    operators.rms_norm(rows=1000, cols=4096, dtype="bf16"),
    operators.all_reduce(bytes=10**6, devices=8),
    operators.all_to_all(bytes=10**6, devices=16),
    operators.host_copy(bytes=10**6),
)
_DESCRIPTORS = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "chips").glob("*.toml"))]


def check_chip(chip: Chip) -> None:
    """Every operator costs a finite time in order, or is refused; so is an estimate of each kind."""
    for probe in PROBES:
        try:
            cost = dict(zip(COST, evaluate_op(probe, chip), strict=True))
        except rl.RooflineError:
            continue
        finite_and_ordered(cost["lower_s"], cost["time_s"], cost["upper_s"])
        assert models.finite(cost.values()), cost
    for model, options in (("llama-3.2-1b", {"batch": 3, "prompt": 100, "output": 5}), ("dlrm-v2", {"batch": 64})):
        try:
            est = rl.estimate(model, chip, check=False, **options)
        except rl.RooflineError:
            continue
        finite_and_ordered(est.lower_s, est.time_s, est.upper_s)


def _toml(table: dict[str, Any]) -> str:
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


def _read_text(text: str) -> Chip:
    """The chip of a descriptor's text, from a path that no case has used before: files are remembered by their path."""
    path = Path(_FOLDER.name) / f"case{next(_number)}.toml"
    path.write_text(text, encoding="utf-8")
    try:
        return read_chip(path)
    finally:
        path.unlink()


def check_descriptor(raw: dict[str, Any]) -> None:
    try:
        text = _toml(raw)
    except RecursionError:
        return  # nested more deeply than the writer of this test goes: there is no such file to read
    try:
        chip = _read_text(text)
    except rl.RooflineError:
        return
    check_chip(chip)
    reloaded = _read_text(chip.to_toml())
    for figure, number in chip.numbers.items():
        if "spread" not in figure:  # written as wide as they are taken
            assert reloaded.numbers[figure].value == number.value, figure


@st.composite
def what_ifs(draw: Any) -> tuple[str, dict[str, Any]]:
    """A built-in chip and changes of its figures, sound and broken."""
    name = draw(chip_names)
    chip = rl.load_chip(name)
    paths = draw(st.lists(st.sampled_from(sorted({**chip.numbers, **chip.defaults})), min_size=1, max_size=3))
    broken = st.one_of(models.ARGUMENT_VALUES, st.sampled_from(["x2", "x0", "x-1", "x", "1e999 GB", "3 TB/s/s", "GB"]))
    return name, {path: draw(st.one_of(changes(path, chip.number(path)), broken)) for path in paths}


def check_what_if(case: tuple[str, dict[str, Any]]) -> None:
    name, figures = case
    try:
        chip = rl.load_chip(name).what_if(figures)
    except rl.RooflineError:
        return
    check_chip(chip)


# Operators and estimates ----------------------------------------------------------------------------------------


def check_call(case: tuple[tuple[Callable[..., Any], dict[str, Any]], str]) -> None:
    (function, arguments), chip = case
    try:
        cost = rl.cost(function(**arguments), chip)
    except rl.RooflineError:
        return
    finite_and_ordered(cost.lower_s, cost.time_s, cost.upper_s)
    assert models.finite(cost.values), cost.values
    idle = np.equal(cost.flops, 0) & np.equal(cost.vector_flops, 0)
    assert not np.any(idle & np.equal(cost.bound, "compute")), cost.values


_MODELS = sorted(rl.list_models().index)
_LANGUAGE_MODELS = sorted(rl.list_models().query("kind == 'language'").index)
_counts = st.one_of(st.sampled_from([1, 2, 3, 7, 8, 16, 64, 100, 1024]), st.integers(1, 10**5))
_LANGUAGE = {
    "batch": _counts, "prompt": _counts, "output": _counts, "prefix": st.one_of(st.just(0), _counts),
    "tp": st.sampled_from([1, 2, 4, 8, 3]), "pp": st.sampled_from([1, 2, 3]), "ep": st.sampled_from([1, 2, 8]),
    "dp": st.sampled_from([1, 2, 8]), "dtype": st.sampled_from(["bf16", "fp16", "fp8", "int8", "fp32", "fp4"]),
    "weight_dtype": st.sampled_from(["bf16", "fp8", "int4"]), "kv_dtype": st.sampled_from(["bf16", "fp8", "int8"]),
    "usable_memory": st.floats(0.01, 1.0),
}  # fmt: skip
_RECOMMENDATION = {
    "batch": _counts,
    "devices": st.sampled_from([1, 2, 8, 100]),
    "dtype": st.sampled_from(["bf16", "fp16", "int8"]),
    "table_dtype": st.sampled_from(["fp32", "fp16", "int8", "int4"]),
    "skew": st.floats(0.0, 2.0),
    "compiled": st.booleans(),
    "usable_memory": st.floats(0.01, 1.0),
}


@st.composite
def requests(draw: Any) -> tuple[str, str, dict[str, Any]]:
    """A model, a chip and sound options."""
    model = draw(st.sampled_from(_MODELS))
    known = _LANGUAGE if model in _LANGUAGE_MODELS else _RECOMMENDATION
    names = draw(st.lists(st.sampled_from(sorted(known)), unique=True))
    return model, draw(chip_names), {name: draw(known[name]) for name in names}


def check_request(case: tuple[str, str, dict[str, Any]]) -> None:
    model, chip, options = case
    try:
        est = rl.estimate(model, chip, check=False, **options)
    except rl.RooflineError:
        return
    finite_and_ordered(est.lower_s, est.time_s, est.upper_s)
    figures = est.figures()
    assert all(math.isfinite(value) and value > 0 for value in figures.values()), figures
    if "batch" not in options:
        return
    if model not in _LANGUAGE_MODELS:  # tables of one point are placed by cost, those of a grid split evenly
        options = {**options, "placement": "even"}
        figures = rl.estimate(model, chip, check=False, **options).figures()
    both = rl.estimate(model, chip, check=False, **{**options, "batch": [2 * options["batch"], options["batch"]]})
    for name, value in figures.items():
        assert math.isclose(float(np.broadcast_to(both.figures()[name], 2)[1]), value, rel_tol=1e-12), name


_SERVING = {
    "concurrency": st.sampled_from([1, 2, 8, 64, 256, 1000]), "prompt": _counts, "output": _counts,
    "prefix": st.sampled_from([0, 1, 64, 512]), "chunk": st.sampled_from([1, 2, 64, 512, 2048, 8192]),
    "tp": st.sampled_from([1, 2, 4, 8]), "ep": st.sampled_from([1, 2]),
    "dtype": st.sampled_from(["bf16", "fp16", "fp8"]),
}  # fmt: skip


@st.composite
def loads(draw: Any) -> tuple[str, str, dict[str, Any]]:
    """A language model, a chip and a load, one time in eight with something broken in it."""
    options = {name: draw(values) for name, values in _SERVING.items()}
    if draw(st.integers(0, 7)) == 0:
        options[draw(st.sampled_from(sorted(options)))] = draw(models.ARGUMENT_VALUES)
    return draw(st.sampled_from(_LANGUAGE_MODELS)), draw(chip_names), options


def check_load(case: tuple[str, str, dict[str, Any]]) -> None:
    model, chip, options = case
    try:
        one = rl.serve(model, chip, check=False, **options)
    except rl.RooflineError:
        return
    figures = one.figures()
    assert models.finite(figures.values()), figures
    if type(options["prompt"]) is type(options["prefix"]) is int and not np.shape(one.time_s):
        shorter = max(options["prompt"] - 1, options["prefix"] + 1)
        both = rl.serve(model, chip, check=False, **{**options, "prompt": [options["prompt"], shorter]})
        for name, value in figures.items():
            assert math.isclose(float(np.broadcast_to(both.figures()[name], 2)[0]), float(value), rel_tol=1e-9), name


def _in_folder(check: Callable[[str, Path], None]) -> Callable[[str], None]:
    def checked(text: str) -> None:
        with tempfile.TemporaryDirectory(dir=_FOLDER.name) as folder:
            check(text, Path(folder))

    return checked


FRONTS: dict[str, Front] = {
    "descriptors": Front(st.sampled_from(_DESCRIPTORS).flatmap(models.mutated), check_descriptor),
    "what-ifs": Front(what_ifs(), check_what_if),
    "configs": Front(models.configs, lambda raw: models.harmless(lambda: models.run_config(raw))),
    "recommenders": Front(models.recommenders, lambda raw: models.harmless(lambda: models.run_recommender(raw))),
    "operators": Front(st.tuples(models.calls(), st.sampled_from(CHIPS)), check_call),
    "options": Front(models.requests(), lambda asked: models.harmless(lambda: models.run_request(*asked))),
    "estimates": Front(requests(), check_request),
    "serving": Front(loads(), check_load, 100),
    **{
        name: Front(inputs, _in_folder(check), 50 if name == "measurements" else 100)
        for name, (inputs, check) in files.FRONTS.items()
    },
}
