"""What is written down once and done again says, to the bit, what the long way says; what cannot be is done the long
way."""

from __future__ import annotations

import copy
import ctypes
import functools
import inspect
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.base.numeric import ceil_div, choose, maximum, minimum
from roofline.base.traced import NotTraced, Tape, Traced
from roofline.estimates import replays
from roofline.kernels import _jit, _loops
from roofline.kernels.elementwise import elementwise

#: Dense, with windows, in chunks, latent, routed: what operators there are follows from sizes in each its own way.
KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("llama-3.1-8b", "h100-sxm", {"tp": 4}),
    ("llama-3.1-70b", "h100-sxm", {"tp": 2, "pp": 4, "dtype": "fp8", "kv_dtype": "fp8"}),
    ("gemma-3-27b", "mi300x", {"tp": 2, "dp": 2}),
    ("llama-4-scout", "h200", {"tp": 4, "ep": 4}),
    ("deepseek-v3", "h200", {"tp": 8, "dp": 2, "ep": 16, "stack": "plain"}),
    ("gpt-oss-20b", "mtia-2i", {}),
]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request is written down already."""
    monkeypatch.setattr(replays, "FIRST", 1)


def long_way(est: Any) -> Any:
    """The same estimate with nothing known beforehand."""
    other = type(est)(est.model, est.chip, est.request)
    vars(other).update(_known={}, _kind=None)
    return other


def answers(est: Any) -> list[Any]:
    figures = [est.figures(), est.lower_s, est.upper_s, est.bound, est.mfu, est.mbu, est.weights_bytes, est.fits]
    phases = [(p.records, p.spread, p.time_by_bound, p.on_chip_s, p.bytes, p.scale) for p in est.phases]
    return [figures, phases, [p.workload for p in est.phases]]


@functools.cache
def kinds() -> list[tuple[Any, Any, dict[str, Any]]]:
    return [(rl.load_model(model), rl.load_chip(chip), options) for model, chip, options in KINDS]


@settings(max_examples=60)
@given(
    st.integers(0, len(KINDS) - 1),
    st.integers(2, 3000),
    st.integers(1, 20_000),
    st.integers(1, 3000),
    st.floats(0, 0.99),
)
@pytest.mark.usefixtures("at_once")
def test_done_again_equals_the_long_way(which: int, batch: int, prompt: int, output: int, cached: float) -> None:
    model, chip, options = kinds()[which]
    sizes = {"batch": batch, "prompt": prompt, "output": output, "prefix": int(cached * prompt)}
    est = rl.estimate(model, chip, check=False, **sizes, **options)
    assert set(est._known) <= set(est.PHASES)
    assert answers(est) == answers(long_way(est))


@pytest.mark.usefixtures("at_once")
def test_most_requests_are_done_again() -> None:
    """And another way is written down where the sizes ask for it."""
    for model, chip, options in kinds():
        known = [
            len(rl.estimate(model, chip, check=False, batch=b, prompt=p, output=o, **options)._known)
            for b in (2, 7, 64)
            for p in (100, 5000, 40_000)
            for o in (1, 2, 500)
        ]
        assert known.count(2) >= 20, (model.name, known)


def test_what_is_asked_once_goes_the_long_way() -> None:
    model, chip, _ = kinds()[0]
    chip = chip.what_if({"memory.main.bandwidth": "x1.0101"})  # which no other test has asked
    one = rl.estimate(model, chip, batch=3, tp=2, usable_memory=0.8)
    assert one._known == {}
    for batch in range(1, replays.FIRST):
        est = rl.estimate(model, chip, batch=batch, tp=2)
    assert set(est._known) == {"prefill", "decode"}
    assert rl.estimate(model, chip, batch=[1, 2], tp=2)._kind is None


@pytest.mark.usefixtures("at_once")
def test_what_was_done_again_goes_to_other_processes() -> None:
    model, chip, options = kinds()[0]
    est = rl.estimate(model, chip, batch=5, prompt=700, **options)
    assert est._known
    interval = est.interval(0.9, "time_s")
    assert copy.copy(est)._samples is est._samples
    again = pickle.loads(pickle.dumps(est))
    assert answers(again) == answers(est)
    assert again.interval(0.9, "time_s") == interval


def at_addresses(loop: Callable[..., None], width: int) -> Callable[..., None]:
    """A loop over two arrays, given by their addresses."""

    def run(table: int, out: int, size: int) -> None:
        numbers = [(ctypes.c_double * (size * n)).from_address(at) for at, n in ((table, max(width, 1)), (out, 14))]
        loop(*numbers, size)

    return run


@pytest.mark.usefixtures("at_once")
def test_loops_find_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the loops that are compiled elsewhere, here as the Python that they are."""

    def loops(functions: list[Callable[..., Any]], points: int) -> list[Any]:
        found = []
        for function in functions:
            text = _loops.text(function, "rows", (), None)
            namespace: dict[str, Any] = {function.__name__: function}
            exec(text.source, namespace)
            found.append(at_addresses(namespace[text.name], len(inspect.signature(function).parameters)))
        return found

    for model, chip, options in kinds():
        rl.estimate(model, chip, check=False, batch=24, prompt=3000, **options)
        monkeypatch.setattr(_jit, "rows", loops)
        est = rl.estimate(model, chip, check=False, batch=32, prompt=3500, **options)
        monkeypatch.undo()
        monkeypatch.setattr(replays, "FIRST", 1)
        assert set(est._known) == {"prefill", "decode"}
        other = long_way(est)
        for name in est.FIGURES:  # whole numbers there are floats here
            assert getattr(est, name) == pytest.approx(getattr(other, name), rel=1e-12, abs=0)


def test_a_compiled_loop_over_rows_equals_the_kernel() -> None:
    width = 24
    rng = np.random.default_rng(4)
    table = rng.uniform(0.5, 2.0, 3 + 5 * width)
    out = np.zeros(7 + 5 * 14)
    loop = _jit._compile(elementwise, "rows")
    loop(table.ctypes.data + 3 * 8, out.ctypes.data + 7 * 8, 5)
    expected = [elementwise(*table[3 + i * width : 3 + (i + 1) * width].tolist()) for i in range(5)]
    assert out[7:].reshape(5, 14).tolist() == [list(cost) for cost in expected]
    assert not out[:7].any()


def test_loops_are_made_once_enough_calls_came_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those on the disk as many as load in that time; of the others as many as compile in it."""
    made: list[str] = []
    monkeypatch.setattr(_jit, "_compile", functools.cache(lambda function, form: made.append(form)))
    kept = False
    monkeypatch.setattr(_jit, "_is_kept", lambda function, form: kept)
    for name, value in {
        "_COMPILED": set(),
        "_SOUGHT": set(),
        "_SEEN": {},
        "SMALL": 100,
        "LOADER": 50,
        "HANDFUL": 20,
    }.items():
        monkeypatch.setattr(_jit, name, value)
    monkeypatch.setitem(_jit.sys.modules, "llvmlite", None)

    def calls(until: int) -> int:
        return next(i for i in range(1, until) if _jit.rows([elementwise], 1) is not None)

    assert calls(1000) == 100
    assert made == ["rows"]
    assert _jit.rows([elementwise], 1) is not None
    _jit._COMPILED.clear()
    _jit._SOUGHT.clear()
    kept = True
    assert calls(1000) == 20


# Arithmetic written down --------------------------------------------------------------------------------------------


def cost(a: Any, b: Any) -> Any:
    """Arithmetic with decisions, as models do it."""
    local = ceil_div(a, 4)
    seen = minimum(b, 128) + maximum(local, 3) % 7
    both = choose((local == 5) | (b > 1000), 2 * seen, seen / (1 + b**2))
    return -both + (1 - a) * (b // 3) + 2**local * 1e-9 - np.float64(0.5) * b


@given(st.integers(1, 60), st.integers(1, 3000), st.integers(1, 60), st.integers(1, 3000))
def test_arithmetic_done_again_is_the_same(a: int, b: int, other_a: int, other_b: int) -> None:
    tape = Tape({"a": a, "b": b})
    result = cost(*tape.numbers.values())
    assert type(result) is Traced
    again = tape.function([result, 7])
    assert again(a, b) == (cost(a, b), 7)
    assert again(other_a, other_b) in (None, (cost(other_a, other_b), 7))


def test_a_decision_that_goes_another_way_is_not_done_again() -> None:
    tape = Tape({"a": 5})
    (a,) = tape.numbers.values()
    result = a * 2 if a > 3 else a * 1000
    again = tape.function([result])
    assert [again(4), again(3)] == [(8,), None]


@pytest.mark.parametrize(
    "use",
    [
        math.sqrt, math.ceil, float, int, round, range, hash, np.ceil, np.asarray, lambda a: np.maximum(a, 1),
        lambda a: np.ones(3) * a, lambda a: {a: 1}, lambda a: f"{a:.3f}", lambda a: a * math.inf, lambda a: a * "x",
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_refuses(use: Callable[[Any], Any]) -> None:
    (a,) = Tape({"a": 5}).numbers.values()
    with pytest.raises(TypeError):
        use(a)


def test_no_end_of_arithmetic_is_written_down() -> None:
    (a,) = Tape({"a": 5}).numbers.values()
    with pytest.raises(NotTraced, match="too long"):
        sum(range(10_000), a)
