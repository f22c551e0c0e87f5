"""Compiled loops: the same numbers as plain Python, a cache that is never stale, and life without a writable folder."""

from __future__ import annotations

import dataclasses
import inspect
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline import kernels
from roofline.estimates import blocks
from roofline.estimates.inference import evaluate_op
from roofline.kernels import _jit, _loops
from roofline.work import sizes
from roofline.work.op import Op
from tests.regimes import REGIMES, chip_in, chips_of
from tests.test_laws import arguments_of, suited


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is an array is compiled."""
    monkeypatch.setattr(_jit, "SMALL", 1)


@pytest.mark.parametrize("name", REGIMES)
def test_a_block_equals_its_points_to_the_bit(name: str) -> None:
    """What a compiled loop over a block of points leaves is what plain Python says of each."""
    regime = REGIMES[name]

    @settings(max_examples=3)
    @given(st.data(), chips_of(regime), st.lists(st.floats(1.0, 300.0), min_size=3, max_size=9))
    def agree(data: st.DataObject, chip_name: str, factors: list[float]) -> None:
        chip = chip_in(regime, chip_name)
        one = suited(regime.function(**data.draw(regime.arguments)), chip)
        function, first = kernels.by_name()[one.kernel], arguments_of(one, chip)
        columns = [n for n in first if n in _jit.COLUMNS[function]]
        alone = [n for n in inspect.signature(function).parameters if n not in columns]
        grown = [n for n in columns if n != "tensors"]
        points = [{**first, **{n: float(int(first[n] * factor)) for n in grown}} for factor in factors]
        scratch = np.full((_loops.FREE + len(columns)) * _loops.ROW, np.nan)
        rows = scratch.reshape(-1, _loops.ROW)
        ordered = [n for n in inspect.signature(function).parameters if n in columns]
        places = np.arange(_loops.FREE, _loops.FREE + len(columns))
        for place, column in zip(places, ordered, strict=True):
            rows[place, : len(points)] = [point[column] for point in points]
        numbers = np.array([first[n] for n in alone], dtype=float)
        loop = _jit._compile(function, "block")
        tables = scratch, numbers, np.zeros(len(columns)), places
        loop(*(table.ctypes.data for table in tables), 1.0, -1, len(points))
        found = rows[_loops.COST : _loops.TEMP, : len(points)].T
        np.testing.assert_array_equal(found, [function(**point) for point in points])

    agree()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("shape", [(3,), (2, _loops.POINTS + 100)])
def test_sums_of_a_grid_are_the_same_compiled_and_plain(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    """Also where an operator varies along some axes only, as often as an array says, and a chip as well."""
    batch = np.linspace(1, 5000, math.prod(shape)).round().reshape(shape)
    times = np.arange(1.0, shape[0] + 1).reshape(-1, *[1] * (len(shape) - 1))
    ops = [
        rl.gemm(m=batch, n=4096, k=4096, count=80),
        rl.rms_norm(rows=batch, cols=4096, count=times),
        rl.rms_norm(rows=batch * 1.0, cols=4096, count=2),
        rl.rms_norm(rows=times * 64, cols=4096),
        rl.host_copy(bytes=1e6),
    ]
    wider = rl.load_chip("h100-sxm").what_if({"memory.hbm.bandwidth": 1e12 * times})
    for chip in (rl.load_chip("h100-sxm"), wider, rl.load_chip("groq-lpu")):
        one = rl.run(ops, chip, times, also=("bounds",))
        _ = one.time_s
        for compiled in (set(), {"elementwise", "add"}, {"gemm"}):  # nothing; some kernels, and others not
            with monkeypatch.context() as patch:
                patch.setattr(_jit, "worth_compiling", lambda kernel, *_, own=compiled: kernel.__name__ in own)
                other = rl.run(ops, chip, times, also=("bounds",))
                _ = other.time_s
            for name in ("lower_s", "time_s", "upper_s", "bound_codes"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            for bound, seconds in one.time_by_bound.items():
                np.testing.assert_array_equal(seconds, other.time_by_bound[bound])
        whole = sum(op.count * cost[7] for op, cost in zip(ops, one.costs, strict=True)) * times
        np.testing.assert_allclose(one.time_s, np.broadcast_to(whole, one.time_s.shape), rtol=1e-12)
        np.testing.assert_allclose(sum(one.time_by_bound.values()), one.time_s, rtol=1e-12)


MOST = sizes.MOST
EXTREMES = [
    rl.gemm(m=10**12, n=10**12, k=1),
    rl.gemm(m=MOST, n=MOST, k=MOST, batch=MOST),
    rl.attention(batch=MOST, heads=MOST, kv_heads=1, head_dim=MOST, q_len=MOST, kv_len=MOST),
    rl.attention(batch=MOST, heads=MOST, head_dim=128, q_len=1, kv_len=MOST),
    rl.mla_attention(batch=MOST, heads=MOST, q_len=MOST, kv_len=MOST, kv_lora_rank=MOST, rope_dim=MOST),
    rl.recurrence(batch=MOST, heads=MOST, key_dim=MOST, value_dim=MOST, q_len=MOST, chunk=MOST, delta=True),
    rl.index_scores(
        batch=MOST, index_heads=MOST, index_dim=MOST, key_bytes=sizes.MOST_AMOUNT, q_len=MOST, kv_len=MOST, dtype="bf16"
    ),
    rl.sparse_attention(
        batch=MOST,
        heads=MOST,
        key_dim=MOST,
        value_dim=MOST,
        token_bytes=sizes.MOST_AMOUNT,
        q_len=MOST,
        kv_len=MOST,
        chosen=MOST,
    ),
    rl.moe(tokens=MOST, hidden=MOST, inter=MOST, topk=MOST, experts=MOST, skew=sizes.MOST_IMBALANCE),
    rl.moe(tokens=MOST, hidden=MOST, inter=MOST, topk=1, experts=MOST, ep=MOST, tp=MOST, tuned=False),
    rl.embedding_bag(batch=MOST, tables=MOST, rows=MOST, dim=MOST, pooling=sizes.MOST_AMOUNT, skew=sizes.MOST_SKEW),
    rl.embedding_bag(batch=MOST, tables=MOST, rows=1, dim=1, pooling=sizes.LEAST_AMOUNT, skew=sizes.MOST_SKEW),
    rl.rms_norm(rows=MOST, cols=MOST),
    rl.all_reduce(bytes=sizes.MOST_AMOUNT, devices=MOST),
    rl.host_copy(bytes=sizes.MOST_AMOUNT),
]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("chip_name", ["h100-sxm", "mtia-v1", "epyc-9654"])
@pytest.mark.parametrize("op", EXTREMES, ids=lambda o: o.kind)
def test_the_largest_sizes_overflow_nowhere(op: Op, chip_name: str) -> None:
    """At the bounds of ``sizes.py`` plain Python and the compiled loop, whose integers have 64 bits, agree."""
    chip = rl.load_chip(chip_name)
    op = dataclasses.replace(op, dtype=chip.widest_matrix) if op.dtype == "bf16" else op
    alone = np.array(evaluate_op(op, chip), dtype=float)
    name = next(iter(op.args))
    many = evaluate_op(op.with_args(**{name: np.full(100, float(op.args[name]))}), chip)
    together = np.array(np.broadcast_arrays(*many))[:, 77]
    assert np.all(np.isfinite(alone) & (alone >= 0))
    lower, time, upper = alone[6:9]
    assert lower <= time * (1 + 1e-9) <= upper * (1 + 2e-9)
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.usefixtures("at_once")
def test_several_threads_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = np.arange(1.0, 5 * _loops.POINTS + 2)
    op = rl.attention(batch=batch, heads=32, kv_heads=8, head_dim=128, q_len=1, kv_len=700)
    chip = rl.load_chip("h100-sxm")
    alone = evaluate_op(op, chip)
    monkeypatch.setattr(blocks, "MANY", 2 * _loops.POINTS)
    monkeypatch.setattr("roofline.base.cpus.available", lambda: 3)
    for one, several in zip(alone, evaluate_op(op, chip), strict=True):
        np.testing.assert_array_equal(one, several)


def test_every_kernel_returns_the_cost_quantities() -> None:
    for name, function in kernels.by_name().items():
        assert inspect.signature(function).return_annotation == "Quantities", name
    assert _jit.Quantities._fields == kernels.COST


@pytest.mark.usefixtures("at_once")
def test_nothing_writable_means_no_cache_but_the_same_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(_jit, "cache_folder", _jit.cache_folder.__wrapped__)
    assert _jit.cache_folder() is None
    function = kernels.by_name()["host_copy"]
    _jit._compiled.cache_clear()
    arguments = [np.linspace(1e3, 1e6, 5000), 64e9, 1e-6, 3e12, 8e-6, 0.85]
    together = _jit.evaluate(function, arguments, 5000)
    assert together[7, 42] == pytest.approx(function(arguments[0][42], *arguments[1:])[7], rel=1e-12)
    _jit._compiled.cache_clear()
