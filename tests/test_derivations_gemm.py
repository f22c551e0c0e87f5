"""Matrix products against tiles that are enumerated, handed to cores, and split along k."""

from __future__ import annotations

import itertools

import pytest

from tests.derivations.cores import makespan
from tests.derivations.plain import cost
from tests.derivations.tiles import tiles

CORES = 100
CORE_FLOPS = 1e14 / CORES
#: Only the matrix work takes time; k is never split.
COMPUTE = {"memory_bandwidth": 1e30, "cache_bandwidth": 1e30, "split_s": 1.0}

SHAPES = {
    "a tile": (128, 128, 1024, 1),
    "fewer tiles than cores": (512, 1024, 4096, 1),
    "one wave": (1280, 1280, 640, 1),
    "a tile more than a wave": (1280, 1408, 640, 1),
    "several waves": (4096, 4096, 1000, 1),
    "edges": (1000, 3000, 100, 1),
    "batch": (300, 200, 64, 33),
    "few rows": (3, 8192, 8192, 1),
}


def tile_s(rows: float, cols: float, k: int, step: int = 64) -> float:
    """Of a core at the plain machine's peak; k goes in whole steps of 64."""
    return 2 * rows * cols * len(range(0, k, step)) * step / CORE_FLOPS


@pytest.mark.parametrize(("m", "n", "k", "batch"), SHAPES.values(), ids=SHAPES)
def test_flop_are_those_of_every_tile(m: int, n: int, k: int, batch: int) -> None:
    """A multiplication and an addition for every output and step of k, padded with nothing; each tensor once.

    A has 1 byte a number, B half of one, C 4. At best B alone comes from memory, or what a cache cannot hold.
    """
    pieces = list(tiles(m, n, batch, 128, 128))
    outputs = sum(t.rows * t.cols for t in pieces)
    a, b, c = batch * m * k * 1, batch * k * n * 0.5, outputs * 4
    shape = {"m": m, "n": n, "k": k, "batch": batch, "width": 1, "weight_width": 0.5, "out_width": 4}
    found = cost("gemm", **shape, cache_capacity=1e12)
    assert found["flops"] == 2 * k * outputs
    assert found["bytes"] == a + b + c
    assert found["memory_bytes"] == b
    assert found["vector_flops"] == found["network_bytes"] == found["network_s"] == 0
    free = {"matrix_flops": 1e30, "memory_bandwidth": 1e30, "cache_bandwidth": 1e30}
    held = 0.5 * (a + c)
    for changed, expected in (
        ({"matrix_flops": 1e14}, 2 * k * outputs / 1e14),
        ({"cache_bandwidth": 1e13}, (a + b + c) / 1e13),
        ({"memory_bandwidth": 1e12, "cache_capacity": 1e12}, b / 1e12),
        ({"memory_bandwidth": 1e12, "cache_capacity": held}, (a + b + c - held) / 1e12),
        ({"memory_bandwidth": 1e12, "cache_capacity": held, "warm_weights": 1}, (a + b + c - held) / 1e12),
        ({"memory_bandwidth": 1e12, "cache_capacity": a + c + 0.5 * b}, b / 1e12),
        ({"memory_bandwidth": 1e12, "cache_capacity": a + c + 0.5 * b, "warm_weights": 1}, 0.5 * b / 1e12),
    ):
        assert cost("gemm", **shape, **{**free, **changed})["lower_s"] == pytest.approx(expected), changed


@pytest.mark.parametrize(("m", "n", "k", "batch"), SHAPES.values(), ids=SHAPES)
def test_one_fixed_tile_takes_whole_waves(m: int, n: int, k: int, batch: int) -> None:
    """Each tile, filled or not (the rows of a single tile to what there is), to the core that is free first."""
    pieces = [tile_s(min(t.full_rows, m), t.full_cols, k) for t in tiles(m, n, batch, 128, 128)]
    found = cost("gemm", m=m, n=n, k=k, batch=batch, tail_share=1, **COMPUTE)
    assert found["compute_s"] == pytest.approx(makespan(pieces, CORES))
    assert found["time_s"] == pytest.approx(found["compute_s"])


@pytest.mark.parametrize(("m", "n", "k", "batch"), SHAPES.values(), ids=SHAPES)
def test_persistent_kernels_share_the_rows_evenly(m: int, n: int, k: int, batch: int) -> None:
    """Rows past a tile's edge cost what they compute; nobody has less than a tile, be it filled in part."""
    pieces = [tile_s(t.rows, t.full_cols, k) for t in tiles(m, n, batch, 128, 128)]
    found = cost("gemm", m=m, n=n, k=k, batch=batch, **COMPUTE)
    least = tile_s(min(m, 128), 128, k)
    assert found["compute_s"] == pytest.approx(max(sum(pieces) / CORES, least))


@pytest.mark.parametrize("m", [1, 7, 16, 17, 100, 128, 200])
def test_a_single_tile_is_padded_to_the_rows_of_the_matrix_unit(m: int) -> None:
    """Rows go in by 16: as many takes as there are, up to the tile's edge."""
    rows = min(128, 16 * len(range(0, m, 16)))
    found = cost("gemm", m=m, n=128, k=640, row_step=16, **COMPUTE)
    assert found["compute_s"] == pytest.approx(tile_s(rows, 128, 640))


@pytest.mark.parametrize(("m", "n", "k", "batch"), SHAPES.values(), ids=SHAPES)
def test_every_tile_reads_its_rows_and_columns(m: int, n: int, k: int, batch: int) -> None:
    """A of 2 bytes, B of 1: each tile fetches both anew for all of k, in whole steps; C is written once."""
    padded = 64 * len(range(0, k, 64))
    fetched = sum(padded * (t.full_rows * 2 + t.full_cols * 1) for t in tiles(m, n, batch, 128, 128))
    whole = batch * k * (m * 2 + n * 1)
    found = cost("gemm", m=m, n=n, k=k, batch=batch, weight_width=1, memory_bandwidth=1e30)
    assert found["cache_bytes"] == pytest.approx(max(fetched, whole) + batch * m * n * 2)
    assert found["cache_s"] == pytest.approx(found["cache_bytes"] / 1e13)
    fed = cost("gemm", m=m, n=n, k=k, batch=batch, weight_width=1, memory_bandwidth=1e30, operand_share=4)
    assert fed["cache_s"] == pytest.approx((max(fetched / 4, whole) + batch * m * n * 2) / 1e13)


@pytest.mark.parametrize(("m", "n", "k", "batch"), SHAPES.values(), ids=SHAPES)
def test_the_fastest_tile_is_taken(m: int, n: int, k: int, batch: int) -> None:
    """Every pair of edges 32, 64, 128, 256 tried out: tiles to cores, operands through a slow cache, the longer of it.

    Filling a core's pipeline costs 2 us a wave, which nothing hides.
    """
    edges = (32, 64, 128, 256)
    tried = []
    for rows, cols in itertools.product(edges, edges):
        if (rows > 32 and rows >= 2 * m) or (cols > 32 and cols >= 2 * n):
            continue  # the next smaller one holds all of it
        pieces = [tile_s(min(t.full_rows, m), t.full_cols, k) for t in tiles(m, n, batch, rows, cols)]
        waves = makespan([1.0] * len(pieces), CORES)
        padded = 64 * len(range(0, k, 64))
        operands = max(len(pieces) * padded * (rows + cols) * 2, batch * k * (m + n) * 2)
        tried.append(2e-6 * waves + max(makespan(pieces, CORES), (operands + batch * m * n * 2) / 2e12))
    found = cost(
        "gemm",
        m=m,
        n=n,
        k=k,
        batch=batch,
        tail_share=1,
        prologue_s=2e-6,
        tile_min=32,
        tile_max=256,
        **{**COMPUTE, "cache_bandwidth": 2e12},
    )
    assert found["time_s"] == pytest.approx(min(tried))


@pytest.mark.parametrize("writing", [1e11, 1e12])
@pytest.mark.parametrize(("m", "n", "k"), [(128, 128, 65536), (128, 1280, 16384), (64, 256, 100_000)])
def test_k_is_split_over_idle_cores(m: int, n: int, k: int, writing: float) -> None:
    """Every whole number of parts tried out: the parts side by side, then 8 bytes an output and part to be added up.

    The kernel's number of parts need not be whole: never slower, and 2 % faster at most.
    """
    pieces = list(tiles(m, n, 1, 128, 128))
    tried = []
    for parts in range(1, min(CORES // len(pieces), len(range(0, k, 64))) + 1):
        compute = makespan([tile_s(min(m, 128), 128, k) / parts] * (len(pieces) * parts), CORES)
        reduce_s = parts * sum(8 * t.full_rows * t.full_cols for t in pieces) / writing
        tried.append(compute + (0 if parts == 1 else 3e-6 + reduce_s))
    machine = {"memory_bandwidth": 1e30, "cache_bandwidth": 1e30, "write_fraction": writing / 1e30, "split_s": 3e-6}
    found = cost("gemm", m=m, n=n, k=k, **{**machine, "out_width": 1e-9})
    assert min(tried) < 0.5 * tried[0]
    assert 0.98 * min(tried) <= found["time_s"] <= min(tried) * (1 + 1e-6)
    assert found["upper_s"] == pytest.approx(found["time_s"])  # nothing else takes time
    assert found["compute_s"] + found["overhead_s"] == pytest.approx(found["time_s"])


def test_no_part_of_k_is_thinner_than_a_step() -> None:
    """One tile of 3 steps: 3 cores at most, however many are idle."""
    found = cost("gemm", m=128, n=128, k=192, **{**COMPUTE, "split_s": 0.0})
    assert found["time_s"] == pytest.approx(tile_s(128, 128, 64))


def test_nothing_is_split_that_hides_behind_memory() -> None:
    """Memory takes longer than the tile on one core: no reduction is paid for."""
    slow = {"memory_bandwidth": 1e9, "split_s": 1e-9}
    found = cost("gemm", m=128, n=128, k=65536, **slow)
    assert found["time_s"] == pytest.approx(65536 * 128 * 2 / 1e9)
    assert found["overhead_s"] == 0


# Effects, each switched on alone ------------------------------------------------------------------------------------


def test_a_step_of_the_loop_costs_beside_its_products() -> None:
    """Four waves (by share) of 10 steps."""
    shape = {"m": 2560, "n": 2560, "k": 640}
    more = cost("gemm", **shape, k_step_s=1e-7, **COMPUTE)["compute_s"] - cost("gemm", **shape, **COMPUTE)["compute_s"]
    assert more == pytest.approx(4 * 10 * 1e-7)


def test_work_as_long_as_the_throttle_takes_is_lengthened_by_half_of_its_share() -> None:
    shape = {"m": 1280, "n": 1280, "k": 6400}
    busy = cost("gemm", **shape, **COMPUTE)["compute_s"]
    for multiple, lengthened in ((1.0, 0.5), (1e9, 1e-9), (1e-9, 1.0)):
        found = cost("gemm", **shape, throttle_share=0.2, throttle_s=multiple * busy, **COMPUTE)
        assert found["compute_s"] / busy - 1 == pytest.approx(0.2 * lengthened, rel=1e-6)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_writing_between_tiles_is_part_of_the_work(share: float) -> None:
    shape = {"m": 1280, "n": 1280, "k": 64}
    beside, between = (
        cost("gemm", **shape, epilogue_share=s, write_fraction=0.5, memory_bandwidth=1e30) for s in (0, share)
    )
    written = share * 1280 * 1280 * 2 / (0.5 * 1e13)
    assert between["compute_s"] - beside["compute_s"] == pytest.approx(written)
    assert beside["cache_s"] - between["cache_s"] == pytest.approx(written)


def test_a_cold_b_keeps_the_kernel_waiting_for_its_first_bytes() -> None:
    """Half of the latency is hidden; B that is used again and still there is not waited for."""
    shape = {"m": 128, "n": 1280, "k": 1280, "memory_latency": 1e-6, "fetch_share": 0.5}
    cold, warm = (cost("gemm", **shape, warm_weights=warm_weights) for warm_weights in (0, 1))
    assert cold["memory_s"] == pytest.approx(1280 * 1280 * 2 / 1e12 + 0.5e-6)
    assert warm["memory_s"] == warm["memory_bytes"] == 0


def test_operands_are_laid_out_anew_but_for_a_single_row() -> None:
    """Two passes over A and B at memory's bandwidth, before anything else."""
    for m, passes in ((1, 0), (2, 2)):
        shape = {"m": m, "n": 1280, "k": 1280}
        plain, packed = (cost("gemm", **shape, pack_passes=p) for p in (0, 2))
        laid_out = passes * (m * 1280 + 1280 * 1280) * 2 / 1e12
        assert packed["time_s"] - plain["time_s"] == pytest.approx(laid_out)
        assert packed["upper_s"] - plain["upper_s"] == pytest.approx(laid_out)
        assert packed["memory_s"] - plain["memory_s"] == pytest.approx(laid_out)


def test_quantising_reads_two_bytes_and_writes_one() -> None:
    """A kernel of its own: 2 FLOP and 3 bytes an element of A, at its share of the cache's bandwidth."""
    shape = {"m": 256, "n": 1280, "k": 1280, "width": 1, "weight_width": 1}
    plain = cost("gemm", **shape)
    found = cost("gemm", **shape, quantize=1, quantize_s=2e-6, quantize_fraction=0.1)
    elements = 256 * 1280
    own_s = 3 * elements / (0.1 * 1e13)
    assert found["vector_flops"] == 2 * elements
    assert found["bytes"] - plain["bytes"] == 2 * elements
    assert found["cache_bytes"] - plain["cache_bytes"] == 3 * elements
    assert found["time_s"] - plain["time_s"] == pytest.approx(2e-6 + own_s)
    assert found["upper_s"] - plain["upper_s"] == pytest.approx(2e-6 + own_s)
    assert found["cache_s"] - plain["cache_s"] == pytest.approx(own_s)
    assert found["overhead_s"] - plain["overhead_s"] == pytest.approx(2e-6)


def test_the_upper_bound_overlaps_nothing() -> None:
    """One tile shape, so no choice: launch, prologue, products, operands and memory one after the other."""
    found = cost("gemm", m=2560, n=2560, k=640, launch_s=3e-6, prologue_s=1e-6)
    busy = found["compute_s"] + found["memory_s"] + found["cache_s"]
    assert found["overhead_s"] == pytest.approx(3e-6 + 4 * 1e-6)
    assert found["upper_s"] == pytest.approx(found["overhead_s"] + busy)
    assert found["time_s"] == pytest.approx(
        found["overhead_s"] + max(found["compute_s"], found["memory_s"], found["cache_s"])
    )
