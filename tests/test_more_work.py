"""More of operators, engines and splits by hand: what sizes may be, what is merged, what each of several chips does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.work import op, parallel
from roofline.work.engine import cached, compiled, fused, joined
from roofline.work.op import Op
from roofline.work.parallel import Plan, shard
from roofline.work.sizes import amount, mean, whole, within
from roofline.work.workload import workload
from tests.small import DENSE, ROUTED

# Sizes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "allowed", "wrong"),
    [
        (whole, (1, 10**15, 4.0), (0, 10**15 + 1, 1.5)),
        (mean, (1, 1.0, 1.5, 10**15), (0.999, 0, 10**15 + 1)),
        (amount, (1e-6, 0.5, 1, 1e18), (0.99e-6, 0, 1.01e18)),
        (lambda where, **values: whole(where, 0, **values), (0, 1), (-1, 0.5)),
        (lambda where, **values: within(where, 0, 5, **values), (0, 5, 2.5), (-0.001, 5.001)),
    ],
)
def test_the_edges_of_sizes(
    check: Callable[..., dict[str, Any]], allowed: tuple[float, ...], wrong: tuple[float, ...]
) -> None:
    """Plain numbers and arrays alike; an array is refused for one of its numbers."""
    for value in allowed:
        assert check("it", size=value) == {"size": value}
        assert check("it", size=np.array([value, allowed[0]]))["size"].tolist() == [value, allowed[0]]
    for value in (*wrong, np.nan, np.inf):
        for given in (value, np.array([allowed[0], value])):
            with pytest.raises(rl.BadWorkload, match=r"it: size must be a .*number from"):
                check("it", size=given)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: op.attention(batch=1, heads=4, head_dim=8, q_len=3, kv_len=2), "kv_len counts the new tokens too"),
        (lambda: op.attention(batch=1, heads=4, kv_heads=3, head_dim=8, q_len=1, kv_len=2), "multiple of kv_heads"),
        (lambda: op.attention(batch=1, heads=4, head_dim=8, q_len=1, kv_len=2, chunked=True), "the length of a chunk"),
        (lambda: op.mla_attention(batch=1, heads=4, q_len=3, kv_len=2, kv_lora_rank=8, rope_dim=4), "at least q_len"),
        (lambda: op.moe(tokens=1, hidden=8, inter=8, topk=5, experts=4), "topk is at most the number of"),
        (lambda: op.moe(tokens=1, hidden=8, inter=8, topk=1, experts=4, ep=5), "ep is at most the number of"),
        (lambda: op.moe(tokens=1, hidden=8, inter=8, topk=1, experts=4, skew=1001), "skew must be a number"),
        (lambda: op.embedding_bag(batch=1, tables=1, rows=9, dim=8, pooling=4, together=5), "at most pooling=4"),
        (lambda: op.embedding_bag(batch=1, tables=1, rows=9, dim=8, pooling=1, skew=5.1), "skew must be a number"),
        (lambda: op.attention(batch=[1, 2], heads=4, head_dim=8, q_len=[1, 1, 1], kv_len=2), "do not broadcast"),
        (
            lambda: op.mla_attention(batch=[1, 2], heads=[4] * 3, q_len=1, kv_len=2, kv_lora_rank=8, rope_dim=4),
            "do not broadcast",
        ),
        (lambda: op.moe(tokens=[1, 2], hidden=[8] * 3, inter=8, topk=1, experts=4), "do not broadcast"),
        (lambda: op.embedding_bag(batch=[1, 2], tables=[1] * 3, rows=9, dim=8, pooling=1), "do not broadcast"),
        (lambda: op.gemm(m=1, n=1, k=1, count=-1), "count"),
        (lambda: op.gemm(m=1, n=1, k=1, dtype="float7"), "float7"),
    ],
)
def test_operators_that_cannot_be(make: Callable[[], Op], words: str) -> None:
    with pytest.raises(rl.BadWorkload, match=words):
        make()


def test_operators_at_the_edge_of_what_can_be() -> None:
    assert op.attention(batch=1, heads=4, head_dim=8, q_len=3, kv_len=3).args["kv_len"] == 3
    # Without a mask there may be fewer keys than queries, such as an image's.
    assert op.attention(batch=1, heads=4, head_dim=8, q_len=3, kv_len=2, causal=False).args["causal"] == 0
    assert op.mla_attention(batch=1, heads=4, q_len=3, kv_len=3, kv_lora_rank=8, rope_dim=4).args["kv_len"] == 3
    full = op.moe(tokens=1, hidden=8, inter=8, topk=4, experts=4, ep=4, skew=1000)
    assert (full.args["topk"], full.args["ep"], full.args["skew"], full.args["tuned"]) == (4, 4, 1000, 1)
    assert op.embedding_bag(batch=1, tables=1, rows=9, dim=8, pooling=4, together=4, skew=5).args["together"] == 4
    assert op.embedding_bag(batch=1, tables=1, rows=9, dim=8, pooling=0.5).args["together"] == 1


def test_what_is_not_said_of_an_operator_is_once() -> None:
    """One call, one product, one rank, one row an index."""
    ops = [
        op.attention(batch=2, heads=2, head_dim=8, q_len=3, kv_len=3),
        op.gemm(m=2, n=2, k=2),
        op.copy(rows=2, cols=2),
        op.mla_attention(batch=2, heads=2, q_len=3, kv_len=3, kv_lora_rank=8, rope_dim=4),
        op.step_overhead(),
        op.moe(tokens=2, hidden=8, inter=8, topk=2, experts=4),
        op.host_copy(bytes=2),
        op.send(bytes=2, devices=2),
        op.embedding_bag(batch=2, tables=2, rows=9, dim=8, pooling=2),
        *(make(bytes=2, devices=2) for make in (op.all_reduce, op.all_gather, op.reduce_scatter, op.all_to_all)),
        *op.interaction_cross(batch=2, width=4, rank=2),
        op.interaction_dot(batch=2, features=3, dim=4),
    ]
    assert {one.count for one in ops} == {1}
    assert {one.args[name] for one in ops for name in ("tp", "ep", "together") if name in one.args} == {1}
    assert ops[1].args["batch"] == 1


def test_widths_of_operators() -> None:
    """A product's result has at least 16 bits; other weights and outputs are asked for. A cache is as wide as asked."""
    narrow = op.gemm(m=1, n=1, k=1, dtype="fp8").args
    assert (narrow["width"], narrow["weight_width"], narrow["out_width"], narrow["quantize"]) == (1, 1, 2, 0)
    mixed = op.gemm(m=1, n=1, k=1, dtype="bf16", weight_dtype="int4", out_dtype="fp32", quantize=True).args
    assert (mixed["width"], mixed["weight_width"], mixed["out_width"], mixed["quantize"]) == (2, 0.5, 4, 1)
    seen = op.attention(batch=1, heads=1, head_dim=8, q_len=1, kv_len=1, dtype="fp8", query_dtype="bf16").args
    assert (seen["width"], seen["kv_width"]) == (2, 1)
    bag = op.embedding_bag(batch=1, tables=1, rows=9, dim=8, pooling=1, dtype="int8").args
    assert (bag["width"], bag["out_width"]) == (1, 2)
    assert op.moe(tokens=1, hidden=8, inter=8, topk=1, experts=4, dtype="fp8").args["out_width"] == 2
    for make, flops, reads, writes, passes in (
        (op.residual_add, 1, 2, 1, 1),
        (op.rms_norm, 4, 1, 1, 2),
        (op.layer_norm, 8, 1, 1, 2),
        (op.softmax, 5, 1, 1, 3),
        (op.silu_mul, 5, 2, 1, 1),
        (op.activation, 4, 1, 1, 1),
        (op.rope, 3, 1, 1, 1),
        (op.copy, 0, 1, 1, 1),
        (op.sampling, 6, 1, 0, 2),
        (op.token_embedding, 0, 1, 1, 1),
        (op.quantize, 3, 1, 1, 1),
        (op.dequantize, 2, 1, 1, 1),
    ):
        args = make(rows=3, cols=5).args
        found = tuple(args[name] for name in ("flops_per_element", "reads", "writes", "passes"))
        assert found == (flops, reads, writes, passes), make
    assert op.token_embedding(rows=3, cols=5).args["cold_reads"] == 1
    assert (op.quantize(rows=1, cols=1).args["width"], op.quantize(rows=1, cols=1).args["out_width"]) == (2, 1)
    assert (op.dequantize(rows=1, cols=1).args["width"], op.dequantize(rows=1, cols=1).args["out_width"]) == (1, 2)


def test_dtypes_by_other_names_and_what_is_wide() -> None:
    sizes: dict[str, Any] = {"batch": 1, "heads": 2, "q_len": 1, "kv_len": 1, "dtype": "bfloat16"}
    for one in (
        op.gemm(m=1, n=1, k=1, dtype="bfloat16"),
        op.attention(**sizes, head_dim=8),
        op.mla_attention(**sizes, kv_lora_rank=8, rope_dim=4),
        op.copy(rows=1, cols=1, dtype="bfloat16"),
        op.embedding_bag(batch=1, tables=1, rows=9, dim=8, pooling=1, dtype="bfloat16"),
        op.moe(tokens=1, hidden=8, inter=8, topk=1, experts=4, dtype="bfloat16"),
    ):
        assert (one.dtype, one.args["width"]) == ("bf16", 2)
    found = [op.wide(dtype) for dtype in ("fp4", "int8", "fp16", "bf16", "fp32")]
    assert found == ["bf16", "bf16", "fp16", "bf16", "fp32"]


def test_workloads_of_operators_and_of_lists_of_them() -> None:
    one, two = op.copy(rows=1, cols=1), op.copy(rows=2, cols=1)
    assert workload(one, [two, one], workload(two)).ops == (one, two, one, two)
    assert len(workload()) == 0
    assert [each.count for each in workload(one, two).times(3).ops] == [3, 3]
    assert workload(one, two).map(lambda each: [each, each] if each is one else each).ops == (one, one, two)


def test_values_of_another_size_are_scattered_where_they_are_stored() -> None:
    """Plain kernels write them: where there is a cache to write to, and one is new to it."""
    sizes: dict[str, Any] = {"batch": 1, "heads": 2, "head_dim": 8, "q_len": 4, "kv_len": 4}
    assert op.attention(**sizes, value_dim=4).args["scattered"] == 1
    assert op.attention(**sizes, value_dim=8).args["scattered"] == 0
    assert op.attention(**sizes, value_dim=0).args["scattered"] == 0
    assert op.attention(**sizes, value_dim=4, stored=False).args["scattered"] == 0
    assert op.attention(**sizes, value_dim=4, causal=False).args["scattered"] == 0


def test_attention_within_chunks() -> None:
    """20 tokens in chunks of 8: two whole ones of 36 pairs and 4 tokens of 10, so 2 + 10/36 sequences of 8; they have
    20 / 8 times the tensors of one. Up to a chunk's length nothing is cut."""
    args = op.attention(batch=3, heads=2, head_dim=8, q_len=20, kv_len=20, window=8, chunked=True).args
    assert args["batch"] == pytest.approx(3 * (2 + 10 / 36))
    assert (args["q_len"], args["kv_len"], args["window"]) == (8, 8, 0)
    assert args["tensors"] == pytest.approx(20 / 8 / (2 + 10 / 36))
    one = op.attention(batch=3, heads=2, head_dim=8, q_len=8, kv_len=8, window=8, chunked=True).args
    assert (one["batch"], one["q_len"], one["kv_len"], one["tensors"]) == (3, 8, 8, 1)


# Engines ------------------------------------------------------------------------------------------------------------


def test_additions_beyond_the_norms_stay() -> None:
    """Two norms take two of five additions with them: one operator of two within norms, and one of three apart."""
    step = workload(
        op.rms_norm(rows=4, cols=8, name="norm", count=2),
        op.residual_add(rows=4, cols=8, count=5),
        op.residual_add(rows=4, cols=8, name="shared_add", count=1),
    )
    norm, within_norms, apart, shared = fused(step)
    assert (norm.count, within_norms.count, apart.count, shared.count) == (2, 2, 3, 1)
    assert (within_norms.args["reads"], within_norms.args["writes"], within_norms.args["merged"]) == (1, 1, 1)
    assert (apart.args["reads"], apart.args["merged"]) == (2, 0)
    assert (shared.args["reads"], shared.args["merged"]) == (2, 0)


def test_weights_that_a_cache_holds() -> None:
    """Up to its capacity, and to the byte; only products read weights."""
    step = workload(
        op.gemm(m=1, n=1, k=1), op.moe(tokens=1, hidden=8, inter=8, topk=1, experts=4), op.copy(rows=1, cols=1)
    )
    for size, warm in ((100.0, 1), (100.5, 0)):
        product, experts, other = cached(step, size, 100.0)
        assert [one.args.get("warm_weights", 0) for one in (product, experts, other)] == [warm, warm, 0]
    several = cached(step, np.array([99.0, 101.0]), 100.0)
    assert next(iter(several)).args["warm_weights"].tolist() == [1, 0]


def test_one_pass_over_the_tokens_of_both() -> None:
    """Two prompts of 16 and 8 sequences that decode: 40 rows in the products; attention runs once for either."""
    decode, prefill = DENSE.step(8, 1, 100), DENSE.step(2, 16, 16)
    both = {(one.name, one.args.get("q_len", 0)): one for one in joined(decode, prefill, 8)}
    assert both["qkv_proj", 0].args["m"] == both["norm", 0].args["rows"] == 40
    assert both["lm_head", 0].args["m"] == 10
    assert (both["attention", 1].args["batch"], both["attention", 16].args["batch"]) == (8, 2)
    assert len(both) == len(prefill) + 1
    # Half of the passes have a sequence that decodes: half a row in the mean, and half an attention of one.
    decode = DENSE.step(1, 1, 100)
    half = {(one.name, one.args.get("q_len", 0)): one for one in joined(decode, prefill, 0.5)}
    assert half["qkv_proj", 0].args["m"] == 32.5
    assert (half["attention", 1].args["batch"], half["attention", 1].count) == (1, 2 * 0.5)
    experts = {one.name: one for one in joined(ROUTED.step(8, 1, 100), ROUTED.step(2, 16, 16), 8)}
    assert experts["moe"].args["tokens"] == 40


def test_a_dense_part_that_is_compiled() -> None:
    """In 8 bits all that passes between layers is narrow; a concatenation is no copy; a gate is a kernel of its own."""
    product = op.gemm(m=4, n=8, k=16, dtype="int8", quantize=True, name="a")
    gate = op.elementwise(rows=4, cols=8, reads=3, writes=1, name="gate")
    bag = op.embedding_bag(batch=4, tables=2, rows=9, dim=8, pooling=1, dtype="fp32", name="embedding.concat")
    step = workload(bag, op.copy(rows=4, cols=8, name="a.concat"), product, gate, op.layer_norm(rows=4, cols=8))
    sums, narrow, gated, norm = compiled(step)
    assert (sums.args["out_width"], narrow.args["quantize"], narrow.args["out_width"]) == (1, 0, 1)
    assert gated == gate.with_args(width=1, out_width=1)
    assert norm == step.ops[-1]
    wide = workload(bag, replace(product, args={**product.args, "quantize": 0.0}), gate)
    assert compiled(wide).ops == wide.ops


# Splits -------------------------------------------------------------------------------------------------------------


def test_the_nearest_degrees_are_named() -> None:
    """4 heads and 2 key/value heads; 2 layers; 8 experts."""
    for plan, model, words in (
        ({"tp": 3}, DENSE, "tp=3 does not split the 4 heads and 2 key/value heads of .*: tp=2 or tp=4$"),
        ({"tp": 8}, DENSE, "tp=8 .*: tp=4$"),
        ({"pp": 3}, DENSE, "pp=3 is more than the 2 layers of two-layers; nearest that does: pp=2$"),
        ({"ep": 2}, DENSE, "ep=2 for two-layers, which has no experts; expected ep=1"),
        ({"ep": 3, "dp": 3}, ROUTED, "ep=3 does not divide the 8 experts of two-layers; .*: ep=2 or ep=4$"),
        ({"ep": 4, "dp": 2}, ROUTED, "ep=4 does not divide tp x dp = 1 x 2 chips into equal groups; .*: ep=2$"),
    ):
        with pytest.raises(rl.BadWorkload, match=words):
            Plan(**plan).check(model)
        assert not Plan(**plan).suits(model)
    for allowed in ({"tp": 4, "pp": 2}, {"ep": 8, "dp": 8}, {"tp": 4, "ep": 2}, {"tp": 2, "ep": 4, "dp": 2}):
        assert Plan(**allowed).suits(ROUTED)
    assert not Plan(tp=np.array([1, 3])).suits(DENSE)
    assert (Plan(tp=4, pp=2, dp=3, ep=2).devices, Plan(tp=4, ep=2).moe_tp, Plan(tp=2, ep=4).moe_tp) == (24, 2, 1)


def test_the_share_of_heads() -> None:
    """64 query heads and two tensors of 8: 80 heads' width. On 4 chips 16 + 2 x 2, on 16 chips 4 + 2 x 1."""
    assert parallel.kept("heads 64+2x8", 4) == 20 / 80
    assert parallel.kept("heads 64+2x8", 16) == 6 / 80
    assert parallel.kept("heads 0+2x8", 16) == 2 / 16
    assert (parallel.kept("", 4), parallel.kept("column", 4)) == (1, 1 / 4)


def test_what_products_of_each_tag_do_on_two_chips() -> None:
    """A batch of products, one a head, is split by heads; other shares of a tensor as their tags say."""
    heads = op.gemm(m=4, n=8, k=16, batch=6, shard="heads", name="absorb")
    (half,) = shard(workload(heads), Plan(tp=2), DENSE)
    assert (half.args["batch"], half.args["n"]) == (3, 8)
    latent = op.mla_attention(batch=1, heads=6, q_len=1, kv_len=9, kv_lora_rank=8, rope_dim=4)
    (half,) = shard(workload(latent), Plan(tp=2), DENSE)
    assert half.args["heads"] == 3
    row = op.gemm(m=4, n=8, k=16, shard="row", dtype="bf16", name="out", count=3)
    split, summed = shard(workload(row), Plan(tp=2), DENSE)
    assert (split.args["k"], summed.kind, summed.args["bytes"], summed.count) == (8, "all_reduce", 4 * 8 * 2, 3)
    assert shard(workload(row), Plan(), DENSE).ops == (row,)


def test_activations_of_all_logits_and_of_wide_arithmetic() -> None:
    """3 x 5 tokens hold 2 x 64 and 3 x 256 numbers; logits of all of them, or of the last, in fp32 or what is wider."""
    rows = 2 * 64 + 3 * 256
    assert parallel.activation_bytes(DENSE, Plan(), 3, 5) == 15 * rows * 2 + 4 * 3 * 1000
    assert parallel.activation_bytes(DENSE, Plan(), 3, 5, logits="all") == 15 * rows * 2 + 4 * 15 * 1000
    assert parallel.activation_bytes(DENSE, Plan(), 3, 5, "fp64") == 15 * rows * 8 + 8 * 3 * 1000
    assert parallel.activation_bytes(DENSE, Plan(), 3, 5, "fp8") == 15 * rows * 2 + 4 * 3 * 1000
    # Two experts a token: its copies, and gate, up and product of each; the shared expert is narrower.
    assert parallel.activation_bytes(ROUTED, Plan(), 1, 1) == (2 * 64 + 2 * (64 + 3 * 32)) * 2 + 4 * 1000
    # 4 heads and at least one of keys and values a chip: queries, output, keys and values are its widest point at tp=4.
    assert DENSE.layers[0].mixer.live_elements(64, 4) == (2 * 4 / 4 + 2 * 1) * 16


# What is not said, and what does not go together --------------------------------------------------------------------


def test_what_an_operator_is_where_nothing_is_said() -> None:
    """Once a step; rows all as popular as each other."""
    shape = {"batch": 2, "tables": 3, "rows": 100, "dim": 8, "pooling": 4}
    assert rl.embedding_bag(**shape).args["skew"] == 0
    assert op.recurrence(batch=1, heads=2, key_dim=16, value_dim=16, q_len=1).count == 1


def test_sizes_of_operators_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(rl.BadWorkload, match="causal_conv"):
        op.causal_conv(rows=[8, 16, 32], cols=64, sequences=[1, 2], taps=4)
    with pytest.raises(rl.BadWorkload, match="multiple of kv_heads"):
        rl.attention(batch=1, heads=[8, 9], kv_heads=4, head_dim=64, q_len=1, kv_len=16)
