"""Splitting a workload over chips: shares add up to the whole, and what joins them is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from roofline.base.errors import BadWorkload
from roofline.base.units import dtype_bytes
from roofline.models.huggingface import load
from roofline.models.llm import LanguageModel
from roofline.work.engine import fused
from roofline.work.op import Op
from roofline.work.parallel import Plan, activation_bytes, kept, kv_bytes, shard, weight_bytes
from roofline.work.workload import Workload

CONFIGS = Path(__file__).parent.parent / "roofline" / "models" / "configs"


def model(name: str) -> LanguageModel:
    return load(CONFIGS / f"{name}.json")


LLAMA, MIXTRAL, DEEPSEEK, GPT_OSS = map(model, ["llama-3.1-70b", "mixtral-8x7b", "deepseek-v3", "gpt-oss-120b"])
MODELS = [LLAMA, MIXTRAL, DEEPSEEK, GPT_OSS, model("llama-4-maverick"), model("gemma-3-27b")]
COLLECTIVES = ("all_reduce", "all_gather", "all_to_all", "send")


def flops(op: Op) -> Any:
    """Matrix FLOP of an operator, the causal mask left out; 0 for the others."""
    a = op.args
    if op.kind == "gemm":
        return op.count * 2 * a["m"] * a["n"] * a["k"] * a["batch"]
    if op.kind == "attention":
        return op.count * 4 * a["batch"] * a["heads"] * a["q_len"] * a["kv_len"] * a["head_dim"]
    if op.kind == "mla_attention":
        return op.count * 4 * a["batch"] * a["heads"] * a["q_len"] * a["kv_len"] * a["kv_lora_rank"]
    if op.kind == "moe":
        return op.count * 6 * a["tokens"] * a["topk"] * a["hidden"] * a["inter"] / (a["tp"] * a["ep"])
    return 0


def total(workload: Workload, *, split_only: bool = False) -> Any:
    return sum(flops(op) for op in workload if op.shard or not split_only)


def named(workload: Workload, name: str) -> Op:
    (found,) = [op for op in workload if op.name == name]
    return found


def has(workload: Workload, name: str) -> bool:
    return any(op.name == name for op in workload)


def moved(workload: Workload) -> Any:
    """Bytes that collectives carry, each weighed by how many times it runs and takes part."""
    chosen = [op for op in workload if op.kind in COLLECTIVES]
    return sum(op.count * op.args["bytes"] * (np.asarray(op.args["devices"]) > 1) for op in chosen)


def plans(m: LanguageModel) -> st.SearchStrategy[Plan]:
    """Splits that suit a model."""
    degrees = st.tuples(*(st.sampled_from([1, 2, 4, 8, 16]) for _ in range(3)), st.integers(1, 5))

    def suits(plan: Plan) -> bool:
        try:
            plan.check(m)
        except BadWorkload:
            return False
        return True

    def with_experts(d: tuple[int, int, int, int]) -> Plan:
        return Plan(tp=d[0], pp=d[3], ep=d[1] if m.experts else 1, dp=d[2])

    return degrees.map(with_experts).filter(suits)


MODEL_AND_PLAN = st.sampled_from(MODELS).flatmap(lambda m: st.tuples(st.just(m), plans(m)))


# -- Plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degrees", "message"),
    [
        ({"tp": 0}, "tp must be a whole number from 1 to 10\\^15, found 0"),
        ({"tp": -8}, "found -8"),
        ({"pp": 1.5}, "pp must be a whole number"),
        ({"dp": "two"}, "dp must be a number, found 'two'"),
        ({"ep": float("nan")}, "ep must be a whole number"),
        ({"ep": float("inf")}, "ep must be a whole number"),
        ({"tp": True}, "tp must be a number, found True"),
        ({"tp": []}, "tp must hold at least one number"),
        ({"tp": 1e300}, "tp must be a whole number from 1 to 10\\^15, found 1e\\+300"),
        ({"tp": [1, 10**400]}, "tp must be a number"),
    ],
)
def test_degrees_that_are_no_degrees(degrees: dict[str, Any], message: str) -> None:
    with pytest.raises(BadWorkload, match=message):
        Plan(**degrees)


@pytest.mark.parametrize(
    ("m", "degrees", "message"),
    [
        (LLAMA, {"tp": 6}, "tp=6 does not split the 64 heads and 8 key/value heads of llama-3.1-70b .*: tp=4 or tp=8"),
        (LLAMA, {"tp": 128}, "tp=128 does not split .*nearest that does: tp=64"),
        (LLAMA, {"tp": [1, 2, 3]}, "tp=3 does not split"),
        (model("phi-4"), {"tp": 4}, "the 40 heads and 10 key/value heads of phi-4 .*: tp=2 or tp=5"),
        (LLAMA, {"pp": 81}, "pp=81 is more than the 80 layers of llama-3.1-70b; nearest that does: pp=80"),
        (LLAMA, {"ep": 2}, "ep=2 for llama-3.1-70b, which has no experts; expected ep=1"),
        (MIXTRAL, {"ep": 3, "dp": 3}, "ep=3 does not divide the 8 experts of mixtral-8x7b; .*: ep=2 or ep=4"),
        (MIXTRAL, {"ep": 8, "tp": 4}, "ep=8 does not divide tp x dp = 4 x 1 chips .*: ep=4"),
        (DEEPSEEK, {"ep": [8, 64], "tp": 8, "dp": 4}, "ep=64 does not divide tp x dp = 8 x 4"),
    ],
)
def test_plans_that_do_not_suit_the_model(m: LanguageModel, degrees: dict[str, Any], message: str) -> None:
    with pytest.raises(BadWorkload, match=message):
        Plan(**degrees).check(m)


def test_devices_count_every_chip_once() -> None:
    assert Plan(tp=8, pp=2, ep=32, dp=4).devices == 64
    assert Plan(tp=[1, 2], dp=np.array([[1], [4]])).devices.tolist() == [[1, 2], [4, 8]]
    assert [Plan(tp=8, ep=ep).moe_tp for ep in (1, 2, 8, 64)] == [8, 4, 1, 1]


# -- Laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", MODELS, ids=lambda m: m.name)
def test_one_chip_is_the_unsplit_workload(m: LanguageModel) -> None:
    step = m.step(8, 1, 1000)
    assert shard(step, Plan(), m) == step
    assert shard(step, Plan(dp=4), m) == step
    one = np.array([1])
    as_array = shard(step, Plan(one, one, one, one), m)
    assert total(as_array) == pytest.approx(total(step))
    assert moved(as_array) == 0


@settings(max_examples=60, deadline=None)
@given(case=MODEL_AND_PLAN, batch=st.integers(1, 64), q_len=st.sampled_from([1, 512]))
def test_shares_add_up_to_the_whole(case: tuple[LanguageModel, Plan], batch: int, q_len: int) -> None:
    m, plan = case
    step = m.step(batch, q_len, 2048)
    share = shard(step, Plan(plan.tp, 1, plan.ep, plan.dp), m)
    whole = [op for op in step if op.shard]
    for op in whole:
        part = named(share, op.name)
        if op.name == "qkv_proj":
            continue
        assert flops(part) * plan.tp == pytest.approx(flops(op)), op.name
    # Key/value heads are copied where tp exceeds them, so that their projection is more than its share.
    if has(step, "qkv_proj"):
        copies = max(1, plan.tp / m.kv_heads)
        expected = flops(named(step, "qkv_proj")) * (m.heads + 2 * m.kv_heads * copies) / (m.heads + 2 * m.kv_heads)
        assert flops(named(share, "qkv_proj")) * plan.tp == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(case=MODEL_AND_PLAN, batch=st.integers(1, 64), context=st.integers(600, 50_000), q_len=st.sampled_from([1, 512]))
def test_arrays_give_what_their_points_give(
    case: tuple[LanguageModel, Plan], batch: int, context: int, q_len: int
) -> None:
    m, plan = case
    points = [(Plan(), batch), (plan, batch), (plan, 2 * batch)]
    arrays = Plan(*(np.array([getattr(p, d) for p, _ in points]) for d in ("tp", "pp", "ep", "dp")))
    batches = np.array([b for _, b in points])
    together = shard(m.step(batches, q_len, context), arrays, m)
    for i, (p, b) in enumerate(points):
        alone = shard(m.step(b, q_len, context), p, m)
        assert np.broadcast_to(total(together), 3)[i] == pytest.approx(total(alone))
        assert np.broadcast_to(moved(together), 3)[i] == pytest.approx(moved(alone))
        assert weight_bytes(m, arrays, "bf16")[i] == pytest.approx(weight_bytes(m, p, "bf16"))
        assert kv_bytes(m, arrays, batches, context)[i] == pytest.approx(kv_bytes(m, p, b, context))
        several = activation_bytes(m, arrays, batches, q_len)
        assert several[i] == pytest.approx(activation_bytes(m, p, b, q_len))


@settings(max_examples=40, deadline=None)
@given(case=MODEL_AND_PLAN, batch=st.integers(1, 64), context=st.integers(1, 50_000))
def test_splitting_never_needs_more_memory_and_more_work_never_less(
    case: tuple[LanguageModel, Plan], batch: int, context: int
) -> None:
    m, plan = case
    assert weight_bytes(m, plan, "bf16") <= weight_bytes(m, Plan(), "bf16")
    assert weight_bytes(m, plan, "bf16") * plan.devices >= weight_bytes(m, Plan(), "bf16") * (1 - 1e-9)
    assert kv_bytes(m, plan, batch, context) <= m.kv_bytes(batch, context)
    assert kv_bytes(m, plan, batch, context) <= kv_bytes(m, plan, batch, context + 1)
    assert kv_bytes(m, plan, batch, context) < kv_bytes(m, plan, batch + 1, context)
    assert activation_bytes(m, plan, batch, context) < activation_bytes(m, plan, batch, context + 1)


# -- Tensor parallelism -----------------------------------------------------------------------------------------------


def test_tensor_parallel_share_of_a_dense_layer() -> None:
    share = shard(LLAMA.step(16, 1, 2048), Plan(tp=8), LLAMA)
    assert named(share, "qkv_proj").args["n"] == (64 / 8 + 2) * 128
    assert (named(share, "attention").args["heads"], named(share, "attention").args["kv_heads"]) == (8, 1)
    assert named(share, "o_proj").args["k"] == 8192 / 8
    assert named(share, "silu_mul").args["cols"] == 28672 / 8
    assert named(share, "norm").args["cols"] == 8192
    assert named(share, "lm_head").args["n"] == 128256 / 8
    for name in ("o_proj_all_reduce", "down_proj_all_reduce"):
        reduce = named(share, name)
        assert (reduce.args["bytes"], reduce.args["devices"], reduce.count) == (16 * 8192 * 2, 8, 80)
    assert named(share, "lm_head_all_gather").args["bytes"] == 16 * 128256 * 2


def test_key_value_heads_are_copied_beyond_their_number() -> None:
    share = shard(LLAMA.step(16, 1, 2048), Plan(tp=16), LLAMA)
    assert named(share, "qkv_proj").args["n"] == pytest.approx((64 / 16 + 2) * 128)
    assert named(share, "attention").args["kv_heads"] == 1
    assert named(share, "kv_write").args["cols"] == pytest.approx(2 * 128)
    assert kv_bytes(LLAMA, Plan(tp=16), 1, 100) == kv_bytes(LLAMA, Plan(tp=8), 1, 100)


@pytest.mark.parametrize(
    ("tag", "tp", "share"),
    [("column", 8, 1 / 8), ("heads 64+2x8", 8, 1 / 8), ("heads 64+2x8", 16, 6 / 80), ("heads 0+2x8", 32, 1 / 8)],
)
def test_share_of_a_tensor(tag: str, tp: int, share: float) -> None:
    assert kept(tag, tp) == pytest.approx(share)
    assert kept(tag, np.array([1, tp])) == pytest.approx([1, share])
    assert kept("", tp) == 1


def test_the_latent_is_whole_on_every_chip() -> None:
    share = shard(DEEPSEEK.step(16, 1, 2048), Plan(tp=8), DEEPSEEK)
    assert named(share, "attention").args["heads"] == 16
    assert named(share, "kv_write").args["cols"] == 576
    assert kv_bytes(DEEPSEEK, Plan(tp=8), 1, 1000) == DEEPSEEK.kv_bytes(1, 1000) == 70_272_000


# -- Expert parallelism -----------------------------------------------------------------------------------------------


def test_experts_within_a_tensor_group_need_no_dispatch() -> None:
    share = shard(MIXTRAL.step(16, 1, 2048), Plan(tp=8, ep=4), MIXTRAL)
    moe = named(share, "moe").args
    assert (moe["tokens"], moe["tp"], moe["ep"]) == (16, 2, 4)
    assert named(share, "moe_all_reduce").args["devices"] == 8
    assert not has(share, "moe_dispatch")


def test_experts_across_replicas_exchange_tokens() -> None:
    share = shard(DEEPSEEK.step(16, 1, 2048), Plan(tp=4, ep=32, dp=8), DEEPSEEK)
    moe = named(share, "moe").args
    assert (moe["tokens"], moe["tp"], moe["ep"]) == (16 * 8, 1, 32)
    # A chip sends its quarter of the replica's tokens to the chips that hold their 8 experts: 7.17 of 32 on average,
    # in fp8 to the experts and in bf16 back.
    copies = 32 * (1 - (31 / 32) ** 8)
    dispatch, combine = named(share, "moe_dispatch").args, named(share, "moe_combine").args
    assert dispatch["bytes"] == pytest.approx(16 / 4 * copies * 7168)
    assert combine["bytes"] == pytest.approx(2 * dispatch["bytes"])
    assert dispatch["devices"] == combine["devices"] == 32
    assert named(share, "moe_all_gather").args["devices"] == 4
    assert not has(share, "moe_all_reduce")
    # The shared experts have nobody else's all-reduce to join now.
    assert named(share, "shared_down_proj_all_reduce").args["devices"] == 4
    assert not has(shard(DEEPSEEK.step(16, 1, 2048), Plan(tp=4), DEEPSEEK), "shared_down_proj_all_reduce")


def test_expert_work_is_shared_by_all_chips() -> None:
    step = DEEPSEEK.step(16, 1, 2048)
    for plan in (Plan(tp=8), Plan(tp=8, ep=8), Plan(tp=4, ep=2, dp=3), Plan(tp=2, ep=16, dp=8), Plan(ep=64, dp=64)):
        share = shard(step, plan, DEEPSEEK)
        assert flops(named(share, "moe")) * plan.devices == pytest.approx(flops(named(step, "moe")) * plan.dp)


# -- Pipeline parallelism ---------------------------------------------------------------------------------------------


def test_pipeline_takes_the_pace_of_its_fullest_stage() -> None:
    step = LLAMA.step(16, 1, 2048)
    even, uneven = shard(step, Plan(pp=4), LLAMA), shard(step, Plan(pp=3), LLAMA)
    assert named(even, "qkv_proj").count == 80
    assert named(uneven, "qkv_proj").count == pytest.approx(3 * 27)
    assert named(uneven, "lm_head").count == 1
    send = named(uneven, "pipeline_send")
    assert (send.count, send.args["bytes"], send.args["devices"]) == (2, 16 * 8192 * 2, 3)


# -- Memory -----------------------------------------------------------------------------------------------------------


def test_weights_of_one_chip() -> None:
    assert weight_bytes(LLAMA, Plan(), "bf16") == 2 * LLAMA.params
    # 70.55 B parameters in bf16 over 8 chips: 17.6 GB each; the norms are on all of them.
    assert weight_bytes(LLAMA, Plan(tp=8), "bf16") == pytest.approx(2 * LLAMA.params / 8, rel=1e-3)
    head = LLAMA.vocab * LLAMA.hidden
    assert weight_bytes(LLAMA, Plan(), "fp8") == pytest.approx(LLAMA.params + 2 * head, rel=1e-4)
    layers = LLAMA.params - 2 * head
    assert weight_bytes(LLAMA, Plan(), "bf16", "int4") == pytest.approx(layers / 2 + 4 * head, rel=1e-3)
    # Two stages: half of the layers, and the embedding or the output projection.
    expected = 2 * ((LLAMA.params - 2 * head) / 2 + head)
    assert weight_bytes(LLAMA, Plan(pp=2), "bf16") == pytest.approx(expected, rel=1e-3)


def test_weights_of_checkpoints_with_their_own_dtypes() -> None:
    # vLLM says "Model loading took 65.9651 GiB" of gpt-oss-120b on one H100 (vllm-project/vllm#23278, read in November
    # 2026): its kernels pad experts of 2,880 to 2,944 and the model's 2,880 to 3,072.
    assert weight_bytes(GPT_OSS, Plan(), "bf16") / 2**30 == pytest.approx(65.9651, rel=0.002)
    moe = next(w for w in GPT_OSS.weights if w.name == "moe")
    padded = np.array([2944 / 2880, 1536 / 1440]) * 3072 / 2880  # on one chip, and on each of two
    held = GPT_OSS.bytes_per_weight(moe, "bf16", chips=np.array([1, 2]))
    assert held == pytest.approx(17 / 32 * padded, rel=2e-3)
    assert weight_bytes(GPT_OSS, Plan(), "bf16", "bf16") == 2 * GPT_OSS.params
    # DeepSeek-V3 in its fp8 fits into 8 x 141 GB, not into 8 x 80 GB.
    assert 80e9 < weight_bytes(DEEPSEEK, Plan(tp=8), "fp8") < 90e9
    spread = weight_bytes(DEEPSEEK, Plan(ep=64, dp=64), "fp8")
    experts = sum(w.elements * w.count for w in DEEPSEEK.weights if w.name == "moe")
    scaled = experts * (1 + 4 / 128**2)
    assert spread == pytest.approx(weight_bytes(DEEPSEEK, Plan(), "fp8") - scaled * 63 / 64)


def test_tied_embeddings_are_held_once_a_stage() -> None:
    gemma = model("gemma-3-27b")
    head = gemma.vocab * gemma.hidden
    towers = 2 * sum(tower.params for tower in gemma.towers)
    assert weight_bytes(gemma, Plan(), "bf16") == 2 * gemma.params + towers
    assert weight_bytes(gemma, Plan(pp=2), "bf16") == pytest.approx(gemma.params - head + 2 * head + towers, rel=1e-4)


def test_activations_of_a_prefill() -> None:
    # 8192 tokens of Llama 70B on one chip: residual and copy, gate, up and product, and the last logits.
    expected = 8192 * (2 * 8192 + 3 * 28672) * dtype_bytes("bf16") + 4 * 128256
    assert activation_bytes(LLAMA, Plan(), 1, 8192) == expected
    assert activation_bytes(LLAMA, Plan(), 1, 8192, "fp8") == expected
    assert activation_bytes(LLAMA, Plan(tp=8), 1, 8192) < expected / 2
    assert activation_bytes(LLAMA, Plan(), 1, 8192, logits="all") == expected + 8191 * 4 * 128256


@pytest.mark.parametrize(
    ("name", "within", "apart"),
    [
        ("llama-3.1-8b", {"residual_add": 64}, {}),
        ("deepseek-v3", {"residual_add": 122}, {"shared_add": 58}),  # 61 layers, 58 of them with shared experts
        ("phi-2", {"residual_add": 32}, {"residual_add": 32}),  # both blocks of a layer share its norm
        ("gemma-2-2b", {"residual_add": 52}, {}),
    ],
)
def test_norms_take_the_additions_of_the_residual_stream(
    name: str, within: dict[str, int], apart: dict[str, int]
) -> None:
    step = model(name).step(1, 1, 128)
    adds = [one for one in fused(step) if one.kind == "residual_add"]
    assert {one.name: one.count for one in adds if one.args["merged"]} == within
    assert {one.name: one.count for one in adds if not one.args["merged"]} == apart
    assert sum(one.count for one in adds) == sum(one.count for one in step if one.kind == "residual_add")
