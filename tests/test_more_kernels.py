"""More of kernels by hand: what nothing overlaps, and a collective in one shot that gets part of the links."""

from __future__ import annotations

import pytest

import roofline as rl
from tests.plain import plain, worked


def test_one_shot_at_half_of_the_links() -> None:
    """A ring that waits a millisecond a step loses: two chips pass 1 MB each at half of 100 GB/s."""
    chip = plain().what_if({"efficiency.all_reduce.shot_share": 0.5, "efficiency.all_reduce.hop_s": "1 ms"})
    worked(rl.all_reduce(bytes=1e6, devices=2), chip, time_s=1e6 / 50e9, network_bytes=1e6)


def test_what_nothing_overlaps_takes_longer() -> None:
    """Products, memory and cache in turn: 2 x 4096^3 FLOP at 100 TFLOP/s and three tensors of 34 MB at 1 TB/s."""
    product = worked(rl.gemm(m=4096, n=4096, k=4096), vector_flops=0.0, flops=2 * 4096**3)
    assert product.upper_s > product.time_s >= product.lower_s == pytest.approx(2 * 4096**3 / 100e12)
    assert product.upper_s > 2 * 4096**3 / 100e12 + 4096 * 4096 * 2 / 1e12
    bag = rl.cost(rl.embedding_bag(batch=1000, tables=10, rows=1_000_000, dim=64, pooling=20), plain())
    assert bag.upper_s > bag.time_s > bag.lower_s


def test_quantising_is_vector_work() -> None:
    """Two FLOP a number of A, where it is quantised by a kernel of its own."""
    worked(rl.gemm(m=10, n=64, k=128, dtype="fp8", quantize=True), vector_flops=2 * 10 * 128)
    worked(rl.gemm(m=10, n=64, k=128, dtype="fp8"), vector_flops=0.0)
