"""More of kernels by hand: what nothing overlaps, and a collective in one shot that gets part of the links."""

from __future__ import annotations

import math
from typing import Any

import pytest
import scipy.stats

import roofline as rl
from roofline.kernels.moe import idle_share
from roofline.work import op
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


def test_what_no_cache_holds_comes_from_memory_in_every_call_of_the_same() -> None:
    """10,000 bags draw 200,000 of a million rows of 256 bytes, 181,269 different ones, from each of ten tables; with
    two million indices and 100,000 sums that is 506 MB, and 100 MB of it can still be there from the call before."""
    lists = 2_000_000 * 8 + 100_000 * 64 * 4
    rows = 10 * 1_000_000 * (1 - math.exp(-0.2)) * 256
    bags: dict[str, Any] = {"batch": 10_000, "tables": 10, "rows": 1_000_000, "dim": 64, "pooling": 20}
    worked(rl.embedding_bag(**bags), lower_s=rows / 1e12)
    worked(rl.embedding_bag(**bags, reuse=True), lower_s=(rows + lists - 100e6) / 1e12)


def test_experts_without_a_token_where_choice_is_all_but_even() -> None:
    """Popularity of gamma's form makes the tokens of an expert negative binomial: with d, the variance of popularity's
    logarithm, (1 + d)^(-1 / d) get none of one token each. Right to 6e-7 also where Poisson stands in for it."""
    assert idle_share(1.0, 1.0) == pytest.approx(math.exp(-1), rel=1e-15)
    for d in (2e-7, 9e-7, 1.1e-6, 1.9e-6, 1e-3, 0.5):
        none = scipy.stats.nbinom.pmf(0, 1 / d, 1 / (1 + d))
        assert idle_share(1.0, math.exp(d)) == pytest.approx(none, rel=6e-7), d


def test_a_row_costs_its_host_ten_nanoseconds() -> None:
    """Each of 20,000 draws, as nothing is kept; the pooled 256 kB cross at 50 GB/s besides."""
    bags: dict[str, Any] = {"batch": 1000, "tables": 1, "rows": 1_000_000, "dim": 64, "pooling": 20}
    worked(op.host_lookup(**bags), network_s=20_000 * 10e-9 + 256e3 / 50e9, network_bytes=256e3)
    worked(op.host_lookup(**bags, row_s=30e-9), network_s=20_000 * 30e-9 + 256e3 / 50e9)
