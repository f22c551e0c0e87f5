"""The public face: what is nothing of the kind is refused in words, for every argument of every public function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import roofline as rl
from roofline.base import face
from roofline.study.comparing import Comparison

MODEL, CHIP = "llama-3.1-8b", "h100-sxm"

#: One of each kind of thing that somebody may hand over.
THINGS: list[Any] = [
    None,
    True,
    8,
    -1,
    10**400,
    float("nan"),
    float("inf"),
    1j,
    "",
    "x",
    "\0",
    b"",
    b"x",
    [],
    {},
    (),
    [[1], [2, 3]],
    (1, "a"),
    ["", None],
    {"a": 1},
    object(),
    print,
    np.array([]),
    np.array("x"),
    np.array([None]),
    np.ma.array([1.0, 2.0], mask=[False, True]),
    np.datetime64("2020"),
    pd.DataFrame({"a": ["x"]}),
    pd.NA,
    pd.NaT,
]


def ok(*things: Any) -> set[str]:
    """Those of the things that an argument may be after all."""
    return {repr(thing) for thing in things}


NUMBER, SIZE, FLAG, MAYBE, MAYBE_NUMBER = ok(8), ok(8), ok(True), ok(None), ok(None, 8)

PLAN = {"tp": (1, SIZE), "pp": (1, SIZE), "ep": (1, ok()), "dp": (1, ok())}
LANGUAGE = {
    "batch": (1, SIZE), "prompt": (10, SIZE), "output": (2, SIZE), "prefix": (0, SIZE), "dtype": ("bf16", MAYBE),
    "weight_dtype": (None, MAYBE), "kv_dtype": (None, MAYBE), "usable_memory": (0.9, MAYBE), **PLAN,
}  # fmt: skip
RECOMMENDATION = {
    "batch": (10, SIZE), "devices": (1, SIZE), "dtype": ("int8", MAYBE), "table_dtype": (None, MAYBE),
    "skew": (0, ok(None)), "compiled": (False, FLAG), "fused": (True, FLAG), "placement": ("even", ok(None)),
    "usable_memory": (0.9, MAYBE),
}  # fmt: skip
SWEPT = {name: value for name, value in RECOMMENDATION.items() if name != "placement"}  # which is no axis
SERVING = {
    "concurrency": (3, MAYBE_NUMBER), "prompt_sd": (0, NUMBER), "output_sd": (0, NUMBER), "chunk": (10, SIZE),
    "beams": (1, SIZE), "reserve": (False, FLAG), "whole_cache": (False, FLAG), "check": (True, FLAG),
    "prompt": (10, SIZE), "output": (2, SIZE), **PLAN,
}  # fmt: skip
CAPACITY = {
    "ttft_s": (1.0, MAYBE_NUMBER), "tpot_s": (1.0, MAYBE_NUMBER), "tokens_per_s": (10.0, MAYBE_NUMBER),
    "most": (2, SIZE), "prompt": (10, SIZE),
}  # fmt: skip
OPERATORS: dict[str, dict[str, tuple[Any, set[str]]]] = {
    "gemm": {
        "m": (1, SIZE), "n": (2, SIZE), "k": (3, SIZE), "batch": (1, SIZE), "dtype": ("bf16", ok()),
        "weight_dtype": (None, MAYBE), "out_dtype": (None, MAYBE), "quantize": (False, FLAG), "reuse": (False, FLAG),
        "count": (1, NUMBER),
    },
    "attention": {
        "batch": (1, SIZE), "heads": (8, SIZE), "head_dim": (64, SIZE), "q_len": (1, SIZE), "kv_len": (8, SIZE),
        "kv_heads": (1, MAYBE_NUMBER), "dtype": ("bf16", ok()), "kv_dtype": (None, MAYBE), "causal": (True, FLAG),
        "window": (None, MAYBE_NUMBER), "chunked": (False, ok()), "value_dim": (None, MAYBE_NUMBER),
        "query_dtype": (None, MAYBE), "stored": (True, FLAG), "reuse": (False, FLAG), "count": (1, NUMBER),
    },
    "mla_attention": {
        "batch": (1, SIZE), "heads": (2, SIZE), "q_len": (1, SIZE), "kv_len": (8, SIZE), "kv_lora_rank": (512, SIZE),
        "rope_dim": (64, SIZE), "dtype": ("bf16", ok()), "kv_dtype": (None, MAYBE), "causal": (True, FLAG),
        "reuse": (False, FLAG), "count": (1, NUMBER),
    },
    "moe": {
        "tokens": (4, SIZE), "hidden": (64, SIZE), "inter": (64, SIZE), "topk": (2, ok()), "experts": (4, SIZE),
        "tp": (1, SIZE), "ep": (1, ok()), "dtype": ("bf16", ok()), "weight_dtype": (None, MAYBE),
        "gated": (True, FLAG), "skew": (0, NUMBER), "quantize": (False, FLAG), "reuse": (False, FLAG),
        "tuned": (True, FLAG), "count": (1, NUMBER),
    },
    "recurrence": {
        "batch": (1, SIZE), "heads": (2, SIZE), "key_dim": (16, SIZE), "value_dim": (16, SIZE), "q_len": (1, SIZE),
        "groups": (None, MAYBE), "gate_dim": (1, SIZE), "chunk": (64, SIZE), "matrix": (True, FLAG),
        "delta": (False, FLAG), "resumed": (1, ok()), "dtype": ("bf16", ok()), "state_dtype": ("fp32", ok()),
    },
    "causal_conv": {
        "rows": (1, SIZE), "cols": (2, SIZE), "sequences": (1, SIZE), "taps": (4, SIZE), "dtype": ("bf16", ok()),
    },
    "index_scores": {
        "batch": (1, SIZE), "index_heads": (2, SIZE), "index_dim": (16, SIZE), "q_len": (1, SIZE),
        "kv_len": (8, SIZE), "key_bytes": (None, MAYBE_NUMBER), "block": (1, SIZE), "causal": (True, FLAG),
        "dtype": ("fp8", ok()), "count": (1, NUMBER),
    },
    "sparse_attention": {
        "batch": (1, SIZE), "heads": (8, SIZE), "key_dim": (64, SIZE), "value_dim": (64, SIZE),
        "token_bytes": (128, NUMBER), "q_len": (1, SIZE), "kv_len": (8, SIZE), "chosen": (8, SIZE),
        "kv_heads": (1, SIZE), "causal": (True, FLAG), "dtype": ("bf16", ok()), "count": (1, NUMBER),
    },
    "embedding_bag": {
        "batch": (1, SIZE), "tables": (2, SIZE), "rows": (10, SIZE), "dim": (8, SIZE), "pooling": (2, SIZE),
        "dtype": ("fp32", ok()), "skew": (0, ok()), "together": (1, ok()), "repeat": (0, ok()),
        "scale_bytes": (None, MAYBE_NUMBER), "out_dtype": (None, MAYBE),
        "reuse": (False, FLAG), "warm": (False, FLAG), "count": (1, NUMBER),
    },
    "elementwise": {
        "rows": (1, SIZE), "cols": (2, SIZE), "reads": (1, NUMBER), "writes": (1, NUMBER), "dtype": ("bf16", ok()),
        "out_dtype": (None, MAYBE), "flops_per_element": (1, NUMBER), "passes": (1, NUMBER),
        "cold_reads": (0, NUMBER), "reuse": (False, FLAG), "merged": (False, FLAG), "count": (1, NUMBER),
    },
    **{
        name: {"rows": (1, SIZE), "cols": (2, SIZE), "dtype": ("bf16", ok()), "out_dtype": (None, MAYBE)}
        for name in ("rms_norm", "layer_norm", "softmax", "silu_mul", "rope")
    },
    "quantize": {"rows": (1, SIZE), "cols": (2, SIZE), "dtype": ("bf16", ok()), "to": ("fp8", MAYBE)},
    **{
        name: {"bytes": (1, NUMBER), "devices": (2, SIZE), "count": (1, NUMBER)}
        for name in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send")
    },
    "host_copy": {"bytes": (1, NUMBER), "count": (1, NUMBER)},
}  # fmt: skip

ROWS = pd.DataFrame({"op": ["gemm"], "dtype": ["bf16"], "m": [64], "n": [4096], "k": [4096], "time_s": [1e-4]})


#: Tried in ``test_face_serving.py``.
WITH_TRAFFIC = {
    "lognormal", "uniform", "empirical", "load_traffic", "simulate", "capacity", "plot_cdf", "plot_timeline",
    "plot_percentiles", "plot_tradeoff",
}  # fmt: skip


#: Tried in ``test_explorer.py``.
ON_THE_PAGE = {"explore"}


def test_every_public_function_is_here() -> None:
    functions = {name for name in rl.__all__ if not inspect.isclass(getattr(rl, name))}
    tried = {name.partition(" ")[0] for name, *_ in CALLS} | set(OPERATORS) | WITH_TRAFFIC | ON_THE_PAGE
    assert functions - tried == {"list_chips", "list_models"}  # which take no argument


def _chip() -> rl.Chip:
    return rl.load_chip(CHIP)


@functools.cache
def _estimate() -> Any:
    return rl.estimate(MODEL, CHIP, prompt=10, output=2)


def _pareto(data: Any, **given: Any) -> Any:
    return rl.pareto(_grid() if data is THINGS else data, **given)


@functools.cache
def _grid() -> Any:
    return rl.sweep(MODEL, CHIP, batch=[1, 2])


def _axes(options: dict[str, tuple[Any, set[str]]]) -> dict[str, tuple[Any, set[str]]]:
    """The same for a sweep, where an array of what may be is an axis."""
    return {
        name: (value, allowed | ok(np.array([None])) if "None" in allowed else allowed)
        for name, (value, allowed) in options.items()
    }


TITLES = ok(None, "", "x", "\0")
_PHASE = pd.DataFrame({"op": ["gemm", "norm"], "time_s": [2e-4, 1e-4], "share": [0.6, 0.4], "bound": ["compute"] * 2})
_MOVES = pd.DataFrame({"elasticity": [1.0]}, index=["clock"])
_INDICES = pd.DataFrame({name: [0.5] for name in ("first", "first_error", "total", "total_error")}, index=["clock"])
_ODDS = {
    "workload": ["rm1"] * 2,
    "chip": ["a", "b"],
    "other": ["b", "a"],
    "odds": [0.7, 0.3],
    "by": 1.0,
    "error": 0.1,
    "figure": "samples_per_s_per_chip",
}
_COMPARED = Comparison(
    pd.DataFrame({"workload": "rm1", "chip": ["a", "b"], "fits": 1.0, "unit": "samples/s", "per_chip": [1.0, 2.0]}),
    pd.DataFrame(_ODDS),
    pd.DataFrame(),
    {},
)
_RANKED = rl.estimate("rm1", CHIP, dtype="int8")

CALLS: list[tuple[str, Callable[..., Any], dict[str, tuple[Any, set[str]]]]] = [
    ("load_chip", rl.load_chip, {"name": (CHIP, ok())}),
    ("load_model", rl.load_model, {"name": (MODEL, ok())}),
    ("estimate", rl.estimate, {"model": (MODEL, ok()), "chip": (CHIP, ok()), "check": (True, FLAG), **LANGUAGE}),
    ("estimate recommendation", rl.estimate, {"model": ("rm1", ok()), "chip": (CHIP, ok()), **RECOMMENDATION}),
    ("place", rl.place, {"model": ("rm1", ok()), "chip": (CHIP, ok()), "devices": (2, SIZE), "batch": (8, SIZE),
                         "how": ("auto", ok()), "dtype": ("fp16", MAYBE), "table_dtype": ("fp16", MAYBE),
                         "skew": (0, ok(None)), "tiers": (("memory",), ok()), "kept_share": (0.1, ok()),
                         "usable_memory": (0.9, ok())}),
    ("sweep", rl.sweep, {"models": (MODEL, ok()), "chips": (CHIP, ok()), **_axes(LANGUAGE),
                         "usable_memory": (0.9, ok(None))}),  # the software's, which is one value and no axis
    ("sweep recommendation", rl.sweep, {"models": ("rm1", ok()), "chips": (CHIP, ok()), **_axes(SWEPT),
                                       "skew": (0, ok(None)), "usable_memory": (0.9, ok(None))}),  # one value, no axis
    ("serve", rl.serve, {"model": (MODEL, ok()), "chip": (CHIP, ok()), **SERVING}),
    ("fewest_chips", rl.fewest_chips, {"model": (MODEL, ok()), "chip": (CHIP, ok()), **CAPACITY}),
    ("sensitivity", rl.sensitivity, {"model": (MODEL, ok()), "chip": (CHIP, ok()), "figure": ("tpot_s", MAYBE),
                                     "step": (0.1, ok())}),
    ("solve", rl.solve, {"model": ("rm1", ok()), "chip": (CHIP, ok()), "figure": ("latency_s", ok()),
                         "target": (1e-3, NUMBER), "vary": ("batch", ok()), "low": (None, MAYBE_NUMBER),
                         "high": (64, MAYBE_NUMBER), "check": (True, FLAG)}),
    ("solve figure", lambda low, high: rl.solve("rm1", CHIP, "latency_s", 1e-3, vary="clock", low=low, high=high), {
        "low": ("x0.5", MAYBE), "high": ("x2", MAYBE)}),
    ("takeovers", rl.takeovers, {"model": ("rm1", ok()), "chip": (CHIP, ok()), "vary": ("batch", ok()),
                                 "low": (None, MAYBE_NUMBER), "high": (64, MAYBE_NUMBER)}),
    ("explain", lambda est, figure: rl.explain(est, figure), {"est": (_RANKED, ok()), "figure": (None, MAYBE)}),
    ("compare", rl.compare, {"chips": ("mtia-v1", ok()), "models": ("rm1", ok()), "draws": (16, ok()),
                             "seed": (0, NUMBER), "level": (0.9, ok()), "by": (1.0, NUMBER), "figure": (None, MAYBE),
                             "targets": (None, ok(None, {})), "model_error": (False, FLAG), "scenarios": (True, FLAG),
                             "shared_error": (0.5, ok())}),
    ("indices", rl.indices, {"model": ("rm1", ok()), "chip": ("artemis", ok()), "figure": (None, MAYBE),
                             "draws": (8, NUMBER), "seed": (0, NUMBER), "model_error": (True, FLAG),
                             "scenarios": (True, FLAG)}),
    ("search", rl.search, {"model": ("rm1", ok()), "chip": (CHIP, ok()), "vary": ({"batch": (1, 4)}, ok()),
                           "maximise": (None, MAYBE), "minimise": (None, MAYBE), "subject_to": (None, ok(None, {})),
                           "check": (True, FLAG), "seed": (0, NUMBER), "population": (8, SIZE),
                           "generations": (1, SIZE)}),
    ("pareto", _pareto, {"data": (THINGS, ok()), "maximise": (["tokens_per_s"], ok([], ())),
                         "minimise": (["tpot_s"], ok([], ()))}),
    ("cost", rl.cost, {"op": (rl.gemm(m=1, n=1, k=1), ok()), "chip": (CHIP, ok())}),
    ("run", rl.run, {"workload": ([rl.gemm(m=1, n=1, k=1)], ok()), "chip": (CHIP, ok()), "scale": (1.0, NUMBER)}),
    ("validate", rl.validate, {"data": (ROWS, ok()), "chip": (CHIP, ok()), "full": (False, FLAG),
                               "full_from": (None, MAYBE), "progress": (None, ok(None, print))}),
    ("validate_end_to_end", rl.validate_end_to_end, {"level": (0.9, MAYBE)}),
    ("calibrate", rl.calibrate, {"chip": (CHIP, ok()), "data": (ROWS, ok()), "source": ("x", ok()),
                                 "progress": (None, ok())}),
    ("plot_roofline", lambda chip, **given: rl.plot_roofline(chip, **given), {
        "chip": (CHIP, ok()), "dtypes": (None, MAYBE), "levels": (None, MAYBE), "ops": (None, MAYBE),
        "label_share": (0.1, SIZE), "title": ("x", TITLES), "size": (None, MAYBE), "ax": (None, MAYBE)}),
    ("plot_breakdown", lambda phase, **given: rl.plot_breakdown(phase, **given), {
        "phase": (_PHASE, ok()), "labels": (None, ok(None)), "smallest": (0.1, SIZE),
        "title": ("x", TITLES), "size": (None, MAYBE), "ax": (None, MAYBE)}),
    ("plot_sensitivity", rl.plot_sensitivity, {
        "table": (_MOVES, ok()), "figure": ("x", ok("", "x", "\0")), "most": (3, NUMBER), "title": ("x", TITLES),
        "size": (None, MAYBE), "ax": (None, MAYBE)}),
    ("plot_indices", rl.plot_indices, {
        "table": (_INDICES, ok()), "most": (3, NUMBER), "title": ("x", TITLES), "size": (None, MAYBE),
        "ax": (None, MAYBE)}),
    ("plot_comparison", rl.plot_comparison, {
        "found": (_COMPARED, ok()), "figure": ("per_chip", ok()), "title": ("x", TITLES), "size": (None, MAYBE),
        "ax": (None, MAYBE)}),
    ("plot_odds", rl.plot_odds, {
        "found": (_COMPARED, ok()), "title": ("x", TITLES), "size": (None, MAYBE), "ax": (None, MAYBE)}),
    ("Estimate.interval", lambda **given: _estimate().interval(**given), {"level": (0.9, ok()),
                                                                          "figure": ("tpot_s", MAYBE)}),
    ("Chip.what_if", lambda changes: _chip().what_if(changes), {"changes": ({"clock": 1e9}, ok())}),
    ("Chip.what_if value", lambda value: _chip().what_if({"clock": value}), {"value": (1e9, ok())}),
    ("Chip.on_stack", lambda name: _chip().on_stack(name), {"name": ("vllm", ok(""))}),
    ("Chip.scenario", lambda name: rl.load_chip("artemis").scenario(name), {"name": ("hbm", ok())}),
    ("Chip.number", lambda path: _chip().number(path), {"path": ("clock", ok())}),
    ("Chip.get", lambda path: _chip().get(path), {"path": ("clock", ok("", "x", "\0"))}),
    ("Chip.peak", lambda **given: _chip().peak(**given), {"dtype": ("bf16", ok()), "sparse": (False, FLAG)}),
    ("Chip.ridge_point", lambda **given: _chip().ridge_point(**given), {"dtype": ("bf16", ok()),
                                                                        "level": ("main", ok())}),
]  # fmt: skip


def _operator(name: str) -> Callable[..., Any]:
    return lambda **given: rl.cost(getattr(rl, name)(**given), CHIP)


CALLS += [(name, _operator(name), arguments) for name, arguments in OPERATORS.items()]


def outcomes(function: Callable[..., Any], arguments: dict[str, tuple[Any, set[str]]]) -> tuple[list[str], list[str]]:
    """What foreign exceptions came of the things, and which were taken that cannot be right."""
    foreign, taken = [], []
    usual = {name: value for name, (value, _) in arguments.items()}
    for name, (_, allowed) in arguments.items():
        for thing in THINGS:
            try:
                function(**{**usual, name: thing})
            except rl.RooflineError as error:
                if repr(thing) in allowed:
                    foreign.append(f"{name}={thing!r} is fine, but: {error}")
            except Exception as error:  # what must not be
                foreign.append(f"{name}={thing!r}: {type(error).__name__}: {error}")
            else:
                if repr(thing) not in allowed:
                    taken.append(f"{name}={thing!r}")
    return foreign, taken


#: Slow where all goes well: only what is refused before anything runs is tried.
SLOW = {"validate_end_to_end": MAYBE, "validate": ok(None, True)}


@pytest.mark.parametrize(("name", "function", "arguments"), CALLS, ids=[name for name, *_ in CALLS])
def test_what_is_nothing_of_the_kind_is_refused(
    name: str, function: Callable[..., Any], arguments: dict[str, tuple[Any, set[str]]], monkeypatch: Any
) -> None:
    if name in SLOW:
        monkeypatch.setattr(f"{__name__}.THINGS", [thing for thing in THINGS if repr(thing) not in SLOW[name]])
        arguments = {key: (value, allowed - SLOW[name]) for key, (value, allowed) in arguments.items()}
    assert outcomes(function, arguments) == ([], [])


def test_messages_name_the_argument_what_was_expected_and_found() -> None:
    for call, message in [
        (lambda: rl.load_chip(8), "load_chip: name: expected a name or a path, found 8"),
        (lambda: rl.serve(7, CHIP), "serve: model: expected one model, its name or its path, found 7"),
        (lambda: rl.cost(rl.gemm(m=1, n=1, k=1), None), "cost: chip: expected one chip, its name or its path"),
        (lambda: rl.pareto(_grid(), maximise=1), "pareto: maximise: expected the names of variables, found 1"),
        (lambda: rl.calibrate(CHIP, 8), "calibrate: data: expected a path or a DataFrame, found 8"),
        (lambda: rl.load_chip(CHIP).on_stack(8), "on_stack: name: expected text, found 8"),
        (lambda: rl.run([], CHIP), "run: workload: expected a workload, such as a model's step, or a list"),
    ]:
        with pytest.raises(rl.BadWorkload) as refused:
            call()
        assert str(refused.value).startswith(message)


def test_the_decorator_checks_by_position_by_name_and_the_rest() -> None:
    @face.takes(first=face.TEXT, rest=face.NUMBER, flag=face.optional(face.FLAG))
    def function(first: Any, second: Any = 0, *rest: Any, flag: Any = None) -> Any:
        """What it does."""
        return first, second, rest, flag

    assert function("a", object, 1, 2.5, flag=np.True_)[2] == (1, 2.5)
    assert function(first="a") == ("a", 0, (), None)
    assert function.__doc__ == "What it does."
    for given, named in [((1,), {}), ((), {"first": 1}), (("a", 0, "b"), {}), (("a",), {"flag": 1})]:
        with pytest.raises(rl.BadWorkload, match=r"function: (first|rest|flag): expected"):
            function(*given, **named)
    with pytest.raises(TypeError, match="missing"):
        function()  # type: ignore[call-arg]
