"""Experts and what follows them, worked by hand on a plain chip: the chip and the manner of ``test_worked_kernels``."""

from __future__ import annotations

import math

import pytest

import roofline as rl
from tests.plain import plain, worked

#: Mixtral 8x7B (Jiang et al. 2024): gate, up and down of 4096 x 14,336 an expert, two of eight for a token.
MIXTRAL = {"hidden": 4096, "inter": 14336, "topk": 2, "experts": 8}


def test_every_expert_at_work() -> None:
    """1024 tokens are 2048 pairs, 256 an expert: three matrices, 6 x 4096 x 14,336 FLOP a pair, 7.2 ms in all.

    2.8 GB of weights stream by in less. Beside the products: rows copied to their experts (read and written), gate and
    up (read) to one (written), rows combined (read) and tokens written; all of it spills, so at 1 TB/s.
    """
    pairs, matrix = 2048, 4096 * 14336
    weights = 8 * 3 * matrix * 2
    up_rows, down_rows = pairs * (4096 + 2 * 14336) * 2, pairs * (14336 + 4096) * 2
    beside = pairs * (2 * 4096 + 3 * 14336 + 4096) * 2 + 1024 * 4096 * 2
    worked(
        rl.moe(tokens=1024, **MIXTRAL),
        flops=6 * pairs * matrix,
        vector_flops=pairs * (4 * 14336 + 2 * 4096),
        bytes=weights + 2 * 1024 * 4096 * 2,
        memory_bytes=weights + up_rows + down_rows + beside,
        cache_bytes=weights + up_rows + down_rows + beside,
        network_bytes=0,
        lower_s=6 * pairs * matrix / 100e12,
        time_s=6 * pairs * matrix / 100e12 + beside / 1e12,
        bound="compute",
    )


def test_experts_without_a_gate_have_two_matrices() -> None:
    pairs, matrix = 2048, 4096 * 14336
    worked(
        rl.moe(tokens=1024, gated=False, **MIXTRAL),
        flops=4 * pairs * matrix,
        bytes=8 * 2 * matrix * 2 + 2 * 1024 * 4096 * 2,
        lower_s=4 * pairs * matrix / 100e12,
    )


#: 64 small experts, two for a token.
SMALL = {"hidden": 1024, "inter": 1408, "topk": 2, "experts": 64}


def test_few_tokens_visit_few_experts() -> None:
    """4 tokens in turn are 8 pairs of 8 experts: their weights alone are read, 69 MB in 69 us; the rest is warm.

    At random (Poisson) 64 (1 - exp(-1/8)) = 7.52 experts are at work on average.
    """
    expert = 3 * 1024 * 1408 * 2
    beside = 8 * (2 * 1024 + 3 * 1408 + 1024) * 2 + 4 * 1024 * 2
    worked(
        rl.moe(tokens=4, **SMALL),
        flops=8 * expert,
        bytes=8 * expert + 2 * 4 * 1024 * 2,
        memory_bytes=8 * expert,
        lower_s=8 * expert / 1e12,
        time_s=8 * expert / 1e12 + beside / 10e12,
        bound="memory:dram",
    )
    at_random = 64 * (1 - math.exp(-8 / 64))
    worked(rl.moe(tokens=4, skew=1, **SMALL), flops=8 * expert, memory_bytes=at_random * expert)


def test_warm_experts_still_pass_the_cache() -> None:
    """The weights of 8 experts, 69 MB, and the tokens' rows at 10 TB/s, as with one row against a warm matrix."""
    size = 8 * 3 * 1024 * 1408 * 2 + 2 * 4 * 1024 * 2
    worked(rl.moe(tokens=4, reuse=True, **SMALL), memory_bytes=0, lower_s=size / 10e12)


def test_quantising_before_experts_is_counted_as_before_products() -> None:
    """512 tokens of 2 experts are 1024 pairs; each row that enters a product is quantised, 2 FLOP a number."""
    layer = {"tokens": 512, **SMALL, "dtype": "fp8"}
    plainly, quantised = (rl.cost(rl.moe(**layer, quantize=q), plain()) for q in (False, True))
    assert quantised.vector_flops - plainly.vector_flops == 2 * 1024 * (1024 + 1408)
    assert quantised.flops == plainly.flops


def test_experts_over_ranks() -> None:
    """512 tokens are 1024 pairs; over ep = 4 a rank has 16 experts and 256 pairs, over tp = 2 half of each expert.

    In fp8 the weights are half as large; the rows of both products' inputs are quantised, 3 bytes a number.
    """
    half = 3 * 1024 * 1408 // 2
    cost = worked(
        rl.moe(tokens=512, ep=4, tp=2, **SMALL),
        flops=2 * 256 * half,
        bytes=16 * half * 2 + 2 * 256 * 1024 * 2,
        vector_flops=256 * (4 * 704 + 2 * 1024),
    )
    quantised = rl.cost(rl.moe(tokens=512, ep=4, tp=2, dtype="fp8", quantize=True, **SMALL), plain())
    ready = rl.cost(rl.moe(tokens=512, ep=4, tp=2, dtype="fp8", **SMALL), plain())
    assert quantised.cache_bytes - ready.cache_bytes == pytest.approx(3 * 256 * (1024 + 704))
    assert cost.bytes - ready.bytes == pytest.approx(16 * half)


@pytest.mark.parametrize(("ranks", "deviations"), [(2, 0.5642), (4, 1.0294), (8, 1.4236), (16, 1.7660), (64, 2.3437)])
def test_the_busiest_rank(ranks: int, deviations: float) -> None:
    """The largest of n standard normals is as far out as tabled (Teichroew, Ann. Math. Stat. 27, 1956); a rank's pairs
    spread by the root of their mean. The kernel's formula says within 2 %; skewness adds a square, a few pairs here."""
    mean = 1_000_000 / ranks
    layer = rl.moe(tokens=500_000, hidden=64, inter=64, topk=2, experts=64, ep=ranks, skew=1)
    excess = rl.cost(layer, plain()).flops / (6 * 64 * 64) - mean
    assert excess == pytest.approx(deviations * math.sqrt(mean), rel=0.03)
