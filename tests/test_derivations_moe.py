"""Routed experts against tokens that are sent with dice, and tiles that are counted expert by expert."""

from __future__ import annotations

import numpy as np
import pytest

from tests.derivations.plain import cost
from tests.derivations.routing import gamma_popularity, pairs_of_experts

HIDDEN, INTER = 1024, 512
WEIGHTS = HIDDEN * INTER * 3  # of an expert: up, gate and down
#: Nothing takes time but the matrix work; everything stays in the cache.
COMPUTE = {"memory_bandwidth": 1e30, "cache_bandwidth": 1e30, "cache_capacity": 1e30}
TILE_S = 2 * 128 * WEIGHTS / 1e14  # a tile of 128 rows through all three matrices, on all cores


def layer(**given: float) -> dict[str, float]:
    return cost("moe", **{"hidden": HIDDEN, "inter": INTER, **COMPUTE, **given})


def pairs(found: dict[str, float]) -> float:
    """A pair of token and expert costs 2 FLOP a weight."""
    return found["flops"] / (2 * WEIGHTS)


def active(found: dict[str, float], tokens: int) -> float:
    """Weights of 2 bytes, read once for each expert that is in use; tokens of 2 bytes in and out beside them."""
    return (found["bytes"] - 2 * min(tokens, pairs(found)) * HIDDEN * 2) / (WEIGHTS * 2)


# How many experts, and how many pairs on the busiest rank -----------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "topk", "experts"), [(1, 8, 64), (4, 2, 8), (10, 8, 64), (32, 2, 64), (64, 1, 256), (128, 8, 256)]
)
def test_experts_in_use_at_random(tokens: int, topk: int, experts: int) -> None:
    """The kernel counts pairs thrown into urns one by one, as if a token could choose an expert twice: that is short
    by topk / (2 experts) at the most. The dice are good to one per cent.
    """
    random = np.random.default_rng(4)
    thrown = np.mean([(pairs_of_experts(tokens, topk, experts, None, random) > 0).sum() for _ in range(200)])
    found = active(layer(tokens=tokens, topk=topk, experts=experts, skew=1), tokens)
    assert thrown * (0.99 - topk / experts / 2) < found < 1.01 * thrown


@pytest.mark.parametrize(("tokens", "topk", "experts", "used"), [(1, 8, 64, 8), (7, 8, 64, 56), (9, 8, 64, 64)])
def test_experts_in_turn_are_used_as_far_as_pairs_go(tokens: int, topk: int, experts: int, used: int) -> None:
    assert active(layer(tokens=tokens, topk=topk, experts=experts, skew=0), tokens) == pytest.approx(used)


@pytest.mark.parametrize("load", [0.25, 1, 3, 10])
@pytest.mark.parametrize("skew", [1.5, 2.0, 4.0])
def test_experts_in_use_where_some_are_popular(skew: float, load: float) -> None:
    """Gamma popularities whose logarithm is as uneven as that of a lognormal one of variance `skew` - 1."""
    random, experts = np.random.default_rng(5), 256
    tokens = int(load * experts)
    thrown = np.mean(
        [(random.poisson(load * gamma_popularity(experts, np.log(skew), random)) > 0).sum() for _ in range(400)]
    )
    found = active(layer(tokens=tokens, topk=1, experts=experts, skew=skew), tokens)
    assert found == pytest.approx(thrown, rel=0.01)
    spread = np.sqrt(np.log(skew))
    lognormal = np.mean(
        [(random.poisson(load * random.lognormal(-(spread**2) / 2, spread, experts)) > 0).sum() for _ in range(400)]
    )
    assert found == pytest.approx(lognormal, rel=0.08)


@pytest.mark.parametrize("skew", [1.0, 1.2, 2.0])
@pytest.mark.parametrize(
    ("tokens", "topk", "experts", "ep"),
    [(64, 8, 64, 8), (1024, 8, 64, 8), (256, 2, 8, 4), (128, 8, 256, 64), (16, 4, 64, 4)],
)
def test_pairs_of_the_busiest_rank(tokens: int, topk: int, experts: int, ep: int, skew: float) -> None:
    """The kernel's largest of `ep` draws is a normal's with a correction for skewness: 5 % at a few ranks and pairs."""
    random = np.random.default_rng(6)
    busiest = []
    for _ in range(1500):
        load = tokens * topk / experts
        uneven = load * (gamma_popularity(experts, skew - 1, random) if skew > 1 else np.ones(experts))
        busiest.append(random.poisson(uneven).reshape(ep, -1).sum(axis=1).max())
    found = pairs(layer(tokens=tokens, topk=topk, experts=experts, ep=ep, skew=skew))
    assert found == pytest.approx(np.mean(busiest), rel=0.05)


def test_a_token_sends_a_rank_no_more_than_the_rank_s_experts() -> None:
    """Two experts a rank: at most two pairs a token there, however popular they are."""
    found = layer(tokens=100, topk=8, experts=16, ep=8, skew=20)
    assert pairs(found) == pytest.approx(100 * 2)
    assert pairs(layer(tokens=100, topk=8, experts=16, ep=8, skew=0)) == pytest.approx(100)


def test_tensor_parallel_ranks_share_the_width_of_every_expert() -> None:
    whole, shared = (layer(tokens=100, topk=2, experts=8, tp=tp, skew=1) for tp in (1, 4))
    assert shared["flops"] == pytest.approx(whole["flops"] / 4)
    rows = 2 * 100 * HIDDEN * 2
    assert shared["bytes"] - rows == pytest.approx((whole["bytes"] - rows) / 4)


def test_without_a_gate_there_are_two_matrices() -> None:
    gated, plain = (layer(tokens=100, topk=2, experts=8, gated=g) for g in (1, 0))
    assert plain["flops"] == pytest.approx(gated["flops"] * 2 / 3)
    assert gated["bytes"] - plain["bytes"] == pytest.approx(8 * HIDDEN * INTER * 2)


# Rows padded to tiles -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 100, 128, 129, 384, 500])
def test_the_same_rows_to_every_expert_take_whole_tiles(rows: int) -> None:
    """Round robin over 8 experts; tiles of 128 rows, one tile shape."""
    tiles = 8 * len(range(0, rows, 128))
    found = layer(tokens=8 * rows, topk=1, experts=8)
    assert found["compute_s"] == pytest.approx(tiles * TILE_S)
    assert found["time_s"] == pytest.approx(found["compute_s"])


@pytest.mark.parametrize("rows", [20, 128, 300, 1000])
def test_uneven_rows_take_the_tiles_of_an_exponential(rows: int) -> None:
    """At random the kernel takes the experts' rows to fall off exponentially: draw them so, count whole tiles."""
    random = np.random.default_rng(7)
    tiles = np.ceil(random.exponential(rows, 200_000) / 128).mean()
    found = layer(tokens=16 * rows, topk=1, experts=16, skew=1)
    assert found["compute_s"] == pytest.approx(16 * tiles * TILE_S, rel=0.01)


@pytest.mark.parametrize("skew", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("waited", [0.5, 2.0, 5.0])
def test_an_expert_waits_for_its_weights_or_its_tiles(waited: float, skew: float) -> None:
    """Expert after expert, each the longer of both: weights arrive in the time of `waited` tiles.

    Between round robin (0) and random (1) the kernel takes the mean of the two. Whole tiles for weights between two
    tiles are interpolated, so whole numbers here.
    """
    rows, experts = 300, 16
    tile_s = TILE_S
    random = np.random.default_rng(8)
    drawn = np.maximum(np.ceil(random.exponential(rows, 400_000) / 128), waited).mean()
    even = max(len(range(0, rows, 128)), waited)
    rate = WEIGHTS * 2 / (waited * tile_s)
    found = layer(tokens=experts * rows, topk=1, experts=experts, skew=skew, memory_bandwidth=rate)
    assert found["time_s"] == pytest.approx(experts * ((1 - skew) * even + skew * drawn) * tile_s, rel=0.01)


@pytest.mark.parametrize("tokens", [16, 60, 300, 3000, 30000])
def test_the_best_number_of_rows_a_tile_is_taken(tokens: int) -> None:
    """Tiles of 16 to 256 rows tried out on even rows; a tile costs 1 us beside its products, a product each."""
    rows = len(range(0, tokens, 8))

    def took(tile: int, k: int, n: int) -> float:
        """Columns as narrow as keeps 100 cores busy, from 16 to 256; nothing ends before one tile does."""
        tiles = 8 * len(range(0, rows, tile))
        cols = max(16, min(256, n, tiles * n / 100))
        one_s = 2 * tile * cols * k / (1e14 / 100) + 1e-6
        return max(tiles * max(1, n / cols) / 100 * one_s, one_s)

    products = ((HIDDEN, 2 * INTER), (INTER, HIDDEN))
    best = sum(min(took(tile, k, n) for tile in (16, 32, 64, 128, 256)) for k, n in products)
    found = layer(tokens=8 * rows, topk=1, experts=8, tile_min=16, tile_max=256, prologue_s=1e-6)
    assert found["compute_s"] == pytest.approx(best)
    assert found["time_s"] == pytest.approx(best)


# What the kernels beside the products move, and what each effect costs ----------------------------------------------


def test_bytes_through_the_cache_are_those_of_every_kernel_in_turn() -> None:
    """10 tokens to 2 of 4 experts: 20 pairs. Inputs of 1 byte, activations of 2; 8-bit weights.

    permute reads the tokens' rows (2 B) and writes them (1 B); up reads them and writes 2 x INTER; the gate reads that
    and writes INTER (1 B); down reads it and writes HIDDEN; combine reads that and writes the tokens. Quantising reads
    2 B and writes 1 B a number of the tokens and of what enters the second product.
    """
    found = layer(tokens=10, topk=2, experts=4, width=1, weight_width=1, quantize=1)
    permute, up, gate = HIDDEN * (2 + 1), HIDDEN * 1 + 2 * INTER * 2, 2 * INTER * 2 + INTER * 1
    down, combine = INTER * 1 + HIDDEN * 2, HIDDEN * 2
    quantized = 3 * (10 * HIDDEN + 20 * INTER)
    moved = 20 * (permute + up + gate + down + combine) + 10 * HIDDEN * 2 + quantized
    assert found["cache_bytes"] == pytest.approx(4 * WEIGHTS + moved)
    pairwise = layer(tokens=10, topk=2, experts=4, width=1, weight_width=1, quantize=1, quantize_pairs=1)
    assert pairwise["cache_bytes"] - found["cache_bytes"] == pytest.approx(3 * 10 * HIDDEN)
    assert found["memory_bytes"] == 4 * WEIGHTS
    assert found["network_bytes"] == found["network_s"] == 0
    # Vector work a pair: activation and gate 4 FLOP a number, the weighted sum 2; and 2 a number that is quantised.
    assert found["vector_flops"] == 20 * (4 * INTER + 2 * HIDDEN) + 2 * (10 * HIDDEN + 20 * INTER)
    assert pairwise["vector_flops"] - found["vector_flops"] == 2 * 10 * HIDDEN


def test_gathered_rows_are_slower_than_those_written_in_order() -> None:
    """Without time for the products: permute, gate and combine at a quarter of the cache's rate, the sum at a half."""
    shape = {"tokens": 1000, "topk": 2, "experts": 4, "matrix_flops": 1e30, "cache_bandwidth": 1e13}
    found = layer(**shape, activation_fraction=0.25, memory_fraction=0.5)
    side = 2000 * (HIDDEN * 4 + 3 * INTER * 2 + HIDDEN * 2) / 0.25 + 1000 * HIDDEN * 2 / 0.5
    products = 4 * WEIGHTS * 2 + 2000 * (HIDDEN * 2 + 2 * INTER * 2 + INTER * 2 + HIDDEN * 2)
    assert found["time_s"] == pytest.approx((side + products) / 1e13)
    assert found["cache_s"] == pytest.approx((side + products) / 1e13)


def test_rows_that_spill_go_to_memory() -> None:
    """A cache that holds nothing: weights, rows in and out of every kernel at memory's bandwidth."""
    shape = {"tokens": 1000, "topk": 2, "experts": 4, "matrix_flops": 1e30, "memory_bandwidth": 1e12}
    found = layer(**shape, cache_capacity=1.0)
    assert found["memory_bytes"] == pytest.approx(found["cache_bytes"])
    assert found["time_s"] == pytest.approx(found["cache_bytes"] / 1e12)


@pytest.mark.parametrize(("changed", "extra"), [
    ({"launch_s": 3e-6}, 3e-6),
    ({"expert_s": 1e-7}, 8 * 1e-7),
    ({"k_step_s": 1e-8}, (HIDDEN + INTER) / 64 * 1e-8),
    ({"sort_s": 4e-6}, 4e-6),
    ({"fused_experts": 15.0, "fallback_s": 2e-6, "score_s": 1e-9}, 2e-6 + 1e-9 * 512 * 16),
    ({"fused_choices": 1.0, "fallback_s": 2e-6, "score_s": 1e-9}, 2e-6 + 1e-9 * 512 * 16),
])  # fmt: skip
def test_what_nothing_hides(changed: dict[str, float], extra: float) -> None:
    """512 tokens to 2 of 16 experts on 2 ranks: 8 experts each."""
    shape = {"tokens": 512, "topk": 2, "experts": 16, "ep": 2}
    before, after = layer(**shape), layer(**shape, **changed)
    for name in ("time_s", "upper_s", "overhead_s"):
        assert after[name] - before[name] == pytest.approx(extra), name


def test_an_expert_beyond_its_tile_costs_more() -> None:
    """Kernels chosen for even routing: the experts with more rows than a tile, exp(-tile / rows) of them, pay."""
    shape = {"tokens": 16 * 128, "topk": 1, "experts": 16, "skew": 1}
    share = (np.random.default_rng(9).exponential(128, 400_000) > 128).mean()
    for name in ("compute_s", "time_s"):
        more = layer(**shape, overflow=0.5)[name] - layer(**shape)[name]
        assert more == pytest.approx(16 * share * 0.5 * TILE_S, rel=0.01)


def test_kernels_that_nobody_tuned() -> None:
    """Tiles of the largest size and the fewest columns, 16, are fed through the cache: (128 + 16) numbers of 2 bytes a
    step of k for 128 x 16 products; the last tile costs half of one more.
    """
    found = layer(tokens=16 * 384, topk=1, experts=16, tuned=0, padding=0.5, cache_bandwidth=4e12, tile_min=16)
    fed_s = (128 + 16) * 2 / (4e12 / 100)  # of a core and step of k
    a_tile = fed_s / 100 * (HIDDEN * 2 * INTER + INTER * HIDDEN) / 16
    assert found["compute_s"] == pytest.approx(16 * (3 + 0.5) * a_tile)
    fast = layer(tokens=16 * 384, topk=1, experts=16, tuned=0, padding=0.5, cache_bandwidth=4e12, operand_share=100)
    assert fast["compute_s"] == pytest.approx(16 * (3 + 0.5) * TILE_S)


def test_a_tile_that_is_alone_is_fed_through_the_port_of_its_core() -> None:
    """Four tiles of 16 columns on a hundred cores, and four back, each a step of 64 of k."""
    shape = {"tokens": 1, "topk": 1, "experts": 1, "hidden": 64, "inter": 32, "tuned": 0, "cache_bandwidth": 4e10}
    fed_s = 64 * (128 + 16) * 2 / (4e10 / 100)  # of a tile, at a core's share
    assert layer(**shape)["compute_s"] == pytest.approx(2 * fed_s)
    assert layer(**shape, port_cores=2)["compute_s"] == pytest.approx(fed_s)
    assert layer(**shape, port_cores=1e6)["compute_s"] == pytest.approx(2 * 0.04 * fed_s)  # all 8 at the cache's rate
    assert layer(**{**shape, "tuned": 1}, port_cores=0.5)["compute_s"] == layer(**{**shape, "tuned": 1})["compute_s"]


def test_the_ideal_time_is_the_longest_of_three() -> None:
    """8 experts' weights and the tokens in and out once; cold, or warm as far as the cache holds them."""
    shape = {"tokens": 1000, "topk": 2, "experts": 8}
    rows, weights = 2 * 1000 * HIDDEN * 2, 8 * WEIGHTS * 2
    machine = {"memory_bandwidth": 1e12, "cache_bandwidth": 1e13, "matrix_flops": 1e14}
    assert layer(**shape, **machine)["lower_s"] == pytest.approx(2 * WEIGHTS * 2000 / 1e14)
    machine["matrix_flops"] = 1e30
    assert layer(**shape, **machine)["lower_s"] == pytest.approx(weights / 1e12)
    assert layer(**shape, **machine, cache_capacity=1e6)["lower_s"] == pytest.approx((weights + rows - 1e6) / 1e12)
    assert layer(**shape, **machine, warm_weights=1)["lower_s"] == pytest.approx((weights + rows) / 1e13)
    warm = layer(**shape, **machine, warm_weights=1, cache_capacity=1e6)
    assert warm["lower_s"] == pytest.approx((weights + rows - 1e6) / 1e12)


def test_one_expert_at_least_is_in_use() -> None:
    """One pair among 64 experts is one expert's, where urns filled at random would have 0.99 of them in use."""
    assert active(layer(tokens=1, topk=1, experts=64, skew=1), 1) == pytest.approx(1)


def test_tiles_of_experts_whose_rows_fall_off_exponentially() -> None:
    """384 rows an expert in the mean: each drawn number of rows is cut into whole tiles of 128, one at least."""
    found = layer(tokens=16 * 384, topk=1, experts=16, skew=1, tile_min=128)
    drawn = np.random.default_rng(10).exponential(384, 400_000)
    assert found["compute_s"] == pytest.approx(16 * np.ceil(drawn / 128).mean() * TILE_S, rel=0.01)
