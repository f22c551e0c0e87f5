"""The small functions that kernels are made of, each against a number by hand or an enumeration."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from roofline import kernels
from roofline.kernels import attention, attention_work, collective, gemm, moe, rounding
from roofline.kernels._jit import _INNER

# Names ---------------------------------------------------------------------------------------------------------------


def parsed(function: Callable[..., Any]) -> ast.FunctionDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def names(node: ast.expr) -> list[str | None]:
    """The variables of a tuple, or a lone variable."""
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return [part.id if isinstance(part, ast.Name) else None for part in parts]


def calls(function: Callable[..., Any]) -> Iterator[tuple[Callable[..., Any], ast.Call, ast.expr | None]]:
    """Every call of a step in a function: the step, the call, and what its result is unpacked into."""
    nodes = list(ast.walk(parsed(function)))
    targets = {id(node.value): node.targets[0] for node in nodes if isinstance(node, ast.Assign)}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            step = function.__globals__.get(node.func.id)
            if inspect.isfunction(step) and step in _INNER:
                yield step, node, targets.get(id(node))


def test_many_arguments_and_results_have_the_same_name_at_both_ends() -> None:
    """Ten floats by position are ten chances to swap two, so what is passed is called as what is taken.

    Keywords would say the same, but a call with 37 of them takes plain Python 2 us longer than one by position.
    """
    passed = unpacked = 0
    for function in (*kernels.by_name().values(), *_INNER):
        for step, call, target in calls(function):
            if len(call.args) >= 10:
                taken = list(inspect.signature(step).parameters)
                assert [name for arg in call.args for name in names(arg)] == taken, (function, step)
                passed += 1
            if isinstance(target, ast.Tuple) and len(target.elts) >= 5:
                last = parsed(step).body[-1]
                assert isinstance(last, ast.Return)
                assert last.value is not None
                assert names(target) == names(last.value), (function, step)
                unpacked += 1
    assert passed >= 12
    assert unpacked >= 6


# Rounding ------------------------------------------------------------------------------------------------------------


@given(st.floats(0.0, 1e30))
def test_rounding_meets_the_next_whole_number(x: float) -> None:
    up, down = rounding.rounded_up(x), rounding.rounded_down(x)
    assert down <= x <= up
    assert up - down in (0.0, 1.0)
    assert up == up // 1
    assert down == down // 1


# Matrix products -----------------------------------------------------------------------------------------------------


def test_a_working_set_loses_three_bytes_for_each_too_many() -> None:
    assert gemm.lost_share(100.0, 100.0) == 0.0
    assert gemm.lost_share(110.0, 100.0) == pytest.approx(30 / 110)
    assert gemm.lost_share(200.0, 100.0) == 1.0


def test_what_a_product_moves() -> None:
    """2 x [4, 8] x [8, 16] in 8 bits from 16, weights of half a byte, results of 4 bytes, a cache of 700 bytes."""
    sizes = {"m": 4.0, "n": 16.0, "k": 8.0, "batch": 2.0, "width": 1.0, "weight_width": 0.5, "out_width": 4.0}
    a, b, c, wide_a = 64, 128, 512, 128
    total = a + b + c + wide_a
    lost = 3 * (total - 700) / total
    moved = gemm.traffic(**sizes, quantize=1.0, warm_weights=0.0, cache_capacity=700.0, resident_fraction=1.0)
    assert moved == pytest.approx((a, b, c, total, (total - b) * lost + b, b + total - b - 700, lost))
    warm = gemm.traffic(**sizes, quantize=1.0, warm_weights=1.0, cache_capacity=700.0, resident_fraction=1.0)
    assert warm == pytest.approx((a, b, c, total, total * lost, total - 700, lost))


@given(
    compute=st.floats(1e-6, 1e-2), hidden=st.floats(1e-6, 1e-2), most=st.floats(1.0, 200.0), fixed=st.floats(0.0, 1e-3)
)
def test_no_number_of_parts_beats_the_split_that_was_chosen(
    compute: float, hidden: float, most: float, fixed: float
) -> None:
    """Where partial sums cost less than what a part saves, that is up to sqrt(compute / reduce) of them."""
    reduce_s = compute / most**2
    time, overhead, part = gemm.split_over_cores(compute, hidden, fixed, most, reduce_s, 1e-6)
    assert time == overhead + max(part, hidden)
    for parts in (1 + (most - 1) * i / 50 for i in range(51)):
        assert time <= (fixed + 1e-6 + parts * reduce_s + max(compute / parts, hidden)) * (1 + 1e-9)


TILES = {
    "batch": 1.0, "width": 2.0, "weight_width": 2.0, "once_s": 0.0, "write_s": 0.0, "memory_s": 0.0,
    "core_flops": 1e12, "core_count": 10.0, "operand_rate": 1e30, "write_rate": 1e30, "prologue_s": 0.0,
    "k_step_s": 0.0, "epilogue_share": 0.0, "throttle_share": 0.0, "throttle_s": 0.0, "split_s": 1.0,
    "tail_share": 1.0, "row_step": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(("m", "n"), [(1, 1), (64, 64), (65, 64), (300, 500), (1000, 40)])
def test_the_fastest_tiling_is_the_one_of_an_enumeration(m: int, n: int) -> None:
    """Whole waves of whole tiles on ten cores, nothing but products: no other tile shape ends sooner."""

    def waves_s(rows: int, cols: int) -> float:
        waves = math.ceil(math.ceil(m / rows) * math.ceil(n / cols) / 10)
        return waves * 2 * min(rows, m) * cols * 128 / 1e12

    # A tile of twice the size of all that there is would only be padded more.
    edges = [64, 128, 256]
    shapes = [(r, c) for r in edges for c in edges if (r == 64 or r < 2 * m) and (c == 64 or c < 2 * n)]
    tiled_s, serial_s, compute_s, *_ = gemm.best_tiling(m=m, n=n, k=100.0, tile_min=64.0, tile_max=256.0, **TILES)
    assert tiled_s == serial_s == compute_s == pytest.approx(min(waves_s(*shape) for shape in shapes))


# Attention -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 60))
def test_attended_pairs_are_those_of_a_mask(queries: int, before: int, window: int) -> None:
    keys = queries + before
    counted = sum(min(position, window) for position in range(before + 1, keys + 1))
    assert attention_work.attended(float(queries), float(keys), float(window)) == counted


HEADS = {"heads": 8.0, "kv_heads": 2.0, "key_dim": 64.0, "value_dim": 32.0, "kv_dim": 96.0}
PLAIN = {"window": 0.0, "width": 2.0, "kv_width": 1.0, "tensors": 1.0}


def test_what_attention_computes_and_moves() -> None:
    """3 sequences, 4 new of 10 tokens: 34 pairs a head; 3 x 2 x 10 x 96 B of keys and values, 3 x 8 x 4 x 192 else."""
    kv, io = 5760, 18432
    work = attention_work.work(
        batch=3.0, q_len=4.0, kv_len=10.0, causal=1.0, reuse=0.0, cache_capacity=1e6, **HEADS, **PLAIN
    )
    pairs = 3 * 8 * (7 + 8 + 9 + 10)
    assert work == (10, 10, 2 * 96 * pairs, 5 * pairs, kv, io, kv, kv)
    warm = attention_work.work(
        batch=3.0, q_len=4.0, kv_len=10.0, causal=0.0, reuse=1.0, cache_capacity=20_000.0, **HEADS, **PLAIN
    )
    evicted = min(1.0, (kv + io - 15_000) / 5_000)
    assert warm[2:] == pytest.approx((2 * 96 * 3 * 8 * 40, 5 * 3 * 8 * 40, kv, io, kv * evicted, kv + io - 20_000))


SCHEDULE = {
    "kv_heads": 1.0, "kv_dim": 256.0, "kv_width": 2.0, "kv_bytes": 0.0, "io_bytes": 7.0, "start_s": 1.0, "row_s": 0.0,
    "memory_s": 0.0, "port_cores": 1.0, "cache_rate": 1e30, "core_count": 4.0, "block_s": 0.0, "decode_split_s": 1e3,
}  # fmt: skip


@pytest.mark.parametrize(("batch", "waves"), [(1, 1), (4, 1), (5, 2), (9, 3)])
def test_decode_takes_whole_waves_of_blocks(batch: int, waves: int) -> None:
    """A block of 64 rows over 3 tiles of 128 keys, at 1 ns a pair on the whole chip of four cores."""
    time_s, upper_s, compute_s, cache_s, overhead_s, cache_bytes = attention.decode(
        batch=float(batch),
        group=1.0,
        q_len=1.0,
        kv_len=300.0,
        span=300.0,
        keys=300.0,
        value_dim=128.0,
        pair_s=1e-9,
        decode_rows=64.0,
        fetch_rows=64.0,
        core_rate=1e30,
        decode_fill_s=0.0,
        **SCHEDULE,
    )
    tile_s = 64 * 128 * 4 * 1e-9
    assert time_s == upper_s == pytest.approx(1 + waves * 3 * tile_s)
    assert (compute_s, overhead_s) == pytest.approx((waves * 2 * tile_s, 1 + waves * tile_s))
    assert cache_s == pytest.approx(0.0, abs=1e-20)
    assert cache_bytes == 7.0


def test_prefill_packs_heads_that_share_their_keys_where_that_saves_tiles() -> None:
    """Eight heads of 16 rows are eight tiles of 128 by themselves, and one together."""
    rows = {"q_len": 16.0, "span": 128.0, "keys": 128.0, "causal": 0.0, "pair_s": 1e-9, "tile": 128.0}
    has = {"pack_heads": 1.0, "cut_prompts": 1.0}
    packed, *_ = attention.prefill(batch=1.0, heads=8.0, group=8.0, **rows, **has, **SCHEDULE)
    alone, *_ = attention.prefill(batch=1.0, heads=8.0, group=1.0, **rows, **has, **SCHEDULE)
    tile_s = 128 * 128 * 4 * 1e-9
    assert packed == pytest.approx(1 + tile_s)
    assert alone == pytest.approx(1 + 2.5 * tile_s)  # two each, and half of one while the last block ends


# Experts -------------------------------------------------------------------------------------------------------------


def test_what_a_layer_of_experts_moves() -> None:
    """10 tokens of 4 numbers, 20 pairs, 3 experts in use of width 6, gated, in 8 bits from 16."""
    moved = moe.traffic(
        tokens=10.0,
        pairs=20.0,
        active=3.0,
        hidden=4.0,
        up=12.0,
        down=6.0,
        width=1.0,
        weight_width=1.0,
        out_width=2.0,
        quantize=1.0,
        quantize_pairs=0.0,
        cache_capacity=1e9,
        resident_fraction=1.0,
    )
    quantized = 10 * 4 + 20 * 6
    side = 20 * 4 * 3 + 20 * (12 * 2 + 6) + 20 * 4 * 2 + 3 * quantized
    up_rows, down_rows, written = 20 * (4 + 24), 20 * (6 + 8), 10 * 4 * 2
    work = 3 * 4 * 18 + up_rows + down_rows + side + written
    assert moved == (3 * 4 * 12, 3 * 4 * 6, up_rows, down_rows, side, written, 2 * 10 * 4 * 2, work, quantized, 0.0)


def test_a_grouped_product_takes_the_longer_of_its_tiles_and_its_weights() -> None:
    """Four experts of 96 rows are two tiles of 64 each, over 128 columns on two cores."""
    one = {"rows": 96.0, "active": 4.0, "ragged": 0.0, "k": 64.0, "n": 128.0, "width": 2.0, "tuned": 1.0,
           "core_flops": 1e12, "core_bytes": 1e30, "core_count": 2.0, "prologue_s": 0.0, "padding": 0.0,
           "overflow": 0.0, "port_cores": 1.0, "tile_min": 64.0, "tile_max": 64.0}  # fmt: skip
    tile_s = 2 * 64 * 64 * 64 / 1e12  # two tiles of 64 columns, a core each
    least, matrix = moe.grouped_s(weight_s=0.0, **one)
    assert least == matrix == pytest.approx(4 * 2 * tile_s)
    least, matrix = moe.grouped_s(weight_s=1.0, **one)
    assert (least, matrix) == pytest.approx((4.0, 4 * 2 * tile_s))


# Collectives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "domain", "local", "domains"), [(1, 8, 1, 1), (8, 8, 8, 1), (12, 8, 8, 2), (5, 1, 1, 5), (3, 0, 1, 3)]
)
def test_devices_fill_domains(devices: int, domain: int, local: int, domains: int) -> None:
    assert collective.domains_of(float(devices), float(domain)) == (local, domains)


def test_steps_are_those_of_the_shorter_of_ring_and_tree() -> None:
    assert [collective.steps(float(n)) for n in (1, 2, 4, 8, 64)] == [0, 1, 3, 6, 12]
    assert collective.latency(2.0, 8.0, 4.0, 1e-6, 1e-5) == pytest.approx(2 * (6e-6 + 3e-5))


@given(st.floats(1e-6, 1.0), st.floats(1e-9, 1e-3))
def test_no_number_of_chunks_passes_a_message_on_sooner(seconds: float, chunk_s: float) -> None:
    best = collective.pipelined(seconds, chunk_s)
    for k in (2.0**e for e in range(-4, 24)):
        assert best <= (seconds + seconds / k + k * chunk_s) * (1 + 1e-12)
    k = math.sqrt(seconds / chunk_s)
    assert best == pytest.approx(seconds + seconds / k + k * chunk_s)


def test_a_transfer_waits_for_wires_or_for_memory() -> None:
    cost = collective.transfer(5.0, 0.5, 1.0, 2.0, 0.25, 3.0, 0.5, 2.0)
    assert (cost.time_s, cost.upper_s, cost.memory_s, cost.network_s) == (3.5, 3.75, 0.5, 2.0)
    slow = collective.transfer(5.0, 0.5, 1.0, 2.0, 0.25, 3.0, 0.5, 4.0)
    assert (slow.time_s, slow.upper_s, slow.memory_s, slow.network_s) == (5.0, 5.25, 4.0, 2.0)
    assert (slow.bytes, slow.network_bytes, slow.memory_bytes, slow.lower_s, slow.overhead_s) == (5, 5, 3, 0.5, 1)
    assert set(collective.nothing()) == {0.0}
