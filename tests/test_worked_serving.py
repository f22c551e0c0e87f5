"""Splitting over chips and serving, worked by hand: what chips send each other, and how passes are counted."""

from __future__ import annotations

from typing import Any

import pytest

import roofline as rl
from roofline.models.feed_forward import FeedForward
from roofline.models.llm import LanguageModel, Layers
from roofline.models.mixers import Span
from roofline.work.parallel import Plan, shard
from roofline.work.workload import Workload
from tests.plain import plain
from tests.small import ATTENTION, DENSE, ROUTED

# Two layers, 64 wide, over a few chips ------------------------------------------------------------------------------


def split(model: LanguageModel, **degrees: int) -> Workload:
    """A decode step of 24 sequences at 128 tokens."""
    return shard(model.step(24, 1, 128), Plan(**degrees), model)


def sent(work: Workload) -> dict[str, tuple[str, float, float, float]]:
    """Label -> kind, bytes, devices and count of what is sent."""
    return {
        one.name: (one.kind, one.args["bytes"], one.args["devices"], one.count) for one in work if "devices" in one.args
    }


def test_what_tensor_parallel_chips_send() -> None:
    """Two all-reduces a layer, of 24 rows of 64 numbers in bf16 (Shoeybi et al., Megatron-LM, 2019); one for the
    embeddings, whose rows lie on one chip or the other; and the logits of all words are gathered."""
    rows = 24 * 64 * 2
    assert sent(split(DENSE, tp=2)) == {
        "token_embedding_all_reduce": ("all_reduce", rows, 2, 1),
        "o_proj_all_reduce": ("all_reduce", rows, 2, 2),
        "down_proj_all_reduce": ("all_reduce", rows, 2, 2),
        "lm_head_all_gather": ("all_gather", 24 * 1000 * 2, 2, 1),
    }
    assert sent(split(DENSE)) == {}


def test_what_a_tensor_parallel_chip_computes() -> None:
    """Half of the columns going in, half of the inner dimension coming out; at tp = 4 a key/value head is copied."""
    half = {one.name: one.args for one in split(DENSE, tp=2)}
    assert half["qkv_proj"]["n"] == (4 + 2 * 2) * 16 / 2
    assert (half["o_proj"]["k"], half["o_proj"]["n"]) == (4 * 16 / 2, 64)
    assert (half["gate_up_proj"]["n"], half["silu_mul"]["cols"]) == (2 * 256 / 2, 256 / 2)
    assert (half["down_proj"]["k"], half["down_proj"]["n"]) == (256 / 2, 64)
    assert (half["attention"]["heads"], half["attention"]["kv_heads"]) == (2, 1)
    assert (half["lm_head"]["n"], half["token_embedding"]["reads"], half["norm"]["cols"]) == (500, 0.5, 64)
    fourth = {one.name: one.args for one in split(DENSE, tp=4)}
    assert (fourth["attention"]["heads"], fourth["attention"]["kv_heads"]) == (1, 1)
    assert fourth["qkv_proj"]["n"] == (1 + 2 * 1) * 16
    assert fourth["kv_write"]["cols"] == 2 * 1 * 16


def test_what_experts_within_the_tensor_parallel_chips_send() -> None:
    """ep <= tp: the chips hold the same tokens, so their experts' sums, and the shared one's, are one all-reduce."""
    work = split(ROUTED, tp=4, ep=2)
    names = {name for name, (_, _, devices, _) in sent(work).items() if devices > 1}
    assert names == {"token_embedding_all_reduce", "o_proj_all_reduce", "moe_all_reduce", "lm_head_all_gather"}
    assert sent(work)["moe_all_reduce"] == ("all_reduce", 24 * 64 * 2, 4, 2)
    (experts,) = [one.args for one in work if one.kind == "moe"]
    assert (experts["tokens"], experts["tp"], experts["ep"]) == (24, 2, 2)


def test_what_experts_over_replicas_send() -> None:
    """ep = 4 over tp = 2 and dp = 2: each chip sends its 12 of the 24 tokens to the chips that have their experts.

    The two experts of a token lie on 4 (1 - (3/4)^2) = 1.75 chips. In bf16 both ways; in fp8 the way there is half.
    Then each replica gathers its tokens, and the shared expert, split over two, needs an all-reduce of its own.
    """
    tokens, rows = 12 * 1.75 * 64, 24 * 64 * 2
    for dtype, width in (("bf16", 2), ("fp8", 1)):
        work = shard(ROUTED.step(24, 1, 128, dtype=dtype), Plan(tp=2, ep=4, dp=2), ROUTED)
        assert {name: what for name, what in sent(work).items() if what[2] > 1 and "lm_" not in name} == {
            "token_embedding_all_reduce": ("all_reduce", rows, 2, 1),
            "o_proj_all_reduce": ("all_reduce", rows, 2, 2),
            "shared_down_proj_all_reduce": ("all_reduce", rows, 2, 2),
            "moe_dispatch": ("all_to_all", tokens * width, 4, 2),
            "moe_combine": ("all_to_all", tokens * 2, 4, 2),
            "moe_all_gather": ("all_gather", rows, 2, 2),
        }
        # The group of two replicas has 48 tokens.
        (experts,) = [one.args for one in work if one.kind == "moe"]
        assert (experts["tokens"], experts["tp"], experts["ep"]) == (48, 1, 4)


def test_what_pipeline_stages_send() -> None:
    """Two stages of a layer each: the rows once from stage to stage. The fullest of stages sets the pace: of Llama's 32
    layers 11 at pp = 3, so the way through all stages takes 33 layers' time."""
    assert sent(split(DENSE, pp=2)) == {"pipeline_send": ("send", 24 * 64 * 2, 2, 1)}
    est = rl.estimate("llama-3.1-8b", plain(), pp=3, batch=3, prompt=100, output=2)
    counts = {one.name: one.count for one in est.decode.workload}
    assert counts["norm"] == pytest.approx(2 * 33)
    assert counts["attention"] == pytest.approx(33)
    assert (counts["lm_head"], counts["pipeline_send"], counts["framework"]) == (1, 2, 1)


def test_a_pipeline_fills_and_drains() -> None:
    """6 sequences over 4 stages are 3 microbatches of 2; they pass in 3 + 4 - 1 = 6 stage times, and the way of one
    through all stages takes 4: 1.5 times as long. A host of 1 s, beside which nothing counts, says so."""
    est = rl.estimate("llama-3.1-8b", hosted(), pp=4, batch=6, prompt=100, output=2)
    assert est.prefill.scale == (3 + 4 - 1) / 4
    assert est.ttft_s == pytest.approx(
        1.5 * sum(one.count * rl.cost(one, hosted()).time_s for one in est.prefill.workload)
    )
    assert est.ttft_s == pytest.approx(sum(row["time_s"] for row in est.prefill.records))
    assert est.ttft_s == pytest.approx(1.5, rel=0.03)
    (embedding,) = [one for one in est.prefill.workload if one.kind == "token_embedding"]
    assert embedding.args["rows"] == 2 * 100
    assert est.decode.scale == 1


# Serving: passes are counted ----------------------------------------------------------------------------------------


def hosted() -> Any:
    """A plain chip whose host takes 1 s a pass: beside that, a pass of the small model takes some microseconds."""
    return plain().what_if({"overheads.step": "1 s"})


def serve(**options: Any) -> Any:
    return rl.serve(DENSE, hosted(), **{"prompt": 1024, "output": 9, **options})


#: How close a pass is to the second of its host.
CLOSE = 1e-3


def test_requests_start_as_others_end() -> None:
    """8 requests of 9 tokens: each stays for 9 passes (its prompt and 8 decoding ones), so 8/9 of one starts in a pass
    (Little's law), and 8 of 9 passes carry a prompt. In a second 8/9 requests end: 8 tokens out, 1024 x 8/9 in."""
    est = serve(concurrency=8)
    assert est.active == pytest.approx(8)
    assert est.mixed_share == pytest.approx(8 / 9)
    assert est.requests_per_s == pytest.approx(8 / 9, rel=CLOSE)
    assert est.tokens_per_s == est.tokens_per_s_per_chip == pytest.approx(8, rel=CLOSE)
    assert est.total_tokens_per_s == pytest.approx(8 / 9 * (1024 + 9), rel=CLOSE)
    assert est.tpot_s == pytest.approx(1, rel=CLOSE)
    # The first token: half a pass to wait, if another request is in flight (7 of 8 cases), and its own.
    assert est.ttft_s == pytest.approx(1 + 0.5 * 7 / 8, rel=CLOSE)
    assert est.time_s == pytest.approx(est.ttft_s + 8 * est.tpot_s)


def test_several_prompts_start_in_a_pass() -> None:
    """36 requests: 36/9 = 4 start in each pass, all passes are mixed, 4 x 9 tokens leave in a second."""
    est = serve(concurrency=36)
    assert est.mixed_share == pytest.approx(1)
    assert est.tokens_per_s == pytest.approx(36, rel=CLOSE)
    assert est.ttft_s == pytest.approx(1 + 0.5 * 35 / 36, rel=CLOSE)
    mixed = {one.name: one.args for one in est.mixed.workload}
    # 4 prompts and the 32 others: the products see 4 x 1024 + 32 rows, the output projection one a sequence.
    assert mixed["qkv_proj"]["m"] == pytest.approx(4 * 1024 + 32)
    assert mixed["lm_head"]["m"] == pytest.approx(36)
    attention = [one.args for one in est.mixed.workload if one.kind == "attention"]
    assert [(a["batch"], a["q_len"]) for a in attention] == [
        (pytest.approx(32), 1),
        (pytest.approx(4), pytest.approx(1024)),
    ]
    # Of 9 tokens the first comes with the prompt; the other 8 see 1025 ... 1032 tokens.
    assert attention[0]["kv_len"] == pytest.approx((1025 + 1032) / 2)


def test_a_long_prompt_takes_several_passes() -> None:
    """Pieces of 256 of 1024 tokens: 4 passes, so a request stays for 8 + 4 and, were all passes alike, 8/12 would start
    in each. But each pass takes 256 tokens, a quarter of a prompt: so 1/4 does, 3 are in flight, and the others wait.

    All passes are mixed. The pieces see 256, 512, 768 and 1024 tokens, 640 on average.
    """
    est = serve(concurrency=8, chunk=256)
    assert est.active == pytest.approx(3)
    assert est.mixed_share == pytest.approx(1)
    assert est.requests_per_s == pytest.approx(1 / 4, rel=CLOSE)
    assert est.total_tokens_per_s == pytest.approx((1024 + 9) / 4, rel=CLOSE)
    assert est.ttft_s == pytest.approx(4 + 0.5 * (1 - 1 / 3), rel=CLOSE)
    _, piece = (one.args for one in est.mixed.workload if one.kind == "attention")
    assert (piece["batch"], piece["q_len"], piece["kv_len"]) == (1, 256, pytest.approx(640))
    # 2 requests do not wait: 2/12 start in a pass, and 4 x 2/12 of the passes are mixed.
    few = serve(concurrency=2, chunk=256)
    assert (few.active, few.mixed_share) == (pytest.approx(2), pytest.approx(4 * 2 / 12))
    assert few.requests_per_s == pytest.approx(2 / 12, rel=CLOSE)


def test_tpot_is_the_mean_of_the_passes_that_a_request_decodes_in() -> None:
    """2 of 9 passes carry a prompt when 2 requests are in flight. Of the 9 passes of a request 2 are mixed, one of them
    its own; so of its 8 decoding passes one is. A slow chip tells the two kinds apart."""
    slow = plain().what_if({"engines.matrix.bf16": "100 MFLOP/s"})
    est = rl.serve(DENSE, slow, prompt=1024, output=9, concurrency=2)
    decoding, mixed = est.decoding.time_s, est.mixed.time_s
    assert mixed > 5 * decoding
    period = 7 / 9 * decoding + 2 / 9 * mixed
    assert est.tpot_s == pytest.approx(7 / 8 * decoding + 1 / 8 * mixed)
    assert est.requests_per_s == pytest.approx(2 / 9 / period)
    assert est.ttft_s == pytest.approx(mixed + 0.5 * period * (1 - 1 / 2))
    lower = 7 / 9 * est.decoding.lower_s + 2 / 9 * est.mixed.lower_s
    assert est.ideal["requests_per_s"] == pytest.approx(2 / 9 / lower)


def test_a_prefix_in_the_cache() -> None:
    """768 of 1024 tokens are cached: 256 are computed, and see the whole prompt. They take the one pass as before."""
    est = serve(concurrency=9, prefix=768)
    prompts = [one.args for one in est.mixed.workload if one.kind == "attention"][1]
    assert (prompts["batch"], prompts["q_len"], prompts["kv_len"]) == (1, 256, pytest.approx(1024))
    mixed = {one.name: one.args for one in est.mixed.workload}
    assert mixed["qkv_proj"]["m"] == pytest.approx(256 + 8)
    assert est.total_tokens_per_s == pytest.approx(1033, rel=CLOSE)
    assert est.ttft_s == pytest.approx(1 + 0.5 * 8 / 9, rel=CLOSE)


def test_passes_are_those_of_what_is_new() -> None:
    """768 of 1024 tokens are cached, 256 are new, a pass takes 256: one pass, not four. So a request stays for 9 passes
    and 8/9 of one starts in each, of the one whole prompt that a pass could take."""
    est = serve(concurrency=8, prefix=768, chunk=256)
    assert est.active == pytest.approx(8)
    assert est.mixed_share == pytest.approx(8 / 9)
    assert est.ttft_s == pytest.approx(1 + 0.5 * 7 / 8, rel=CLOSE)
    # Of 512 new tokens a pass takes one half: 2 passes, so 8 requests want 8/10 of a start in each; 1/2 is to be had.
    halves = serve(concurrency=8, prefix=512, chunk=256)
    assert halves.active == pytest.approx(5)
    assert halves.requests_per_s == pytest.approx(1 / 2, rel=CLOSE)
    # The halves see 768 and 1024 tokens.
    _, piece = (one.args for one in halves.mixed.workload if one.kind == "attention")
    assert (piece["q_len"], piece["kv_len"]) == (256, pytest.approx(896))


def test_a_longer_prefix_takes_fewer_passes() -> None:
    """Of 65,536 tokens 8, 4 and an eighth of a pass of 8,192 are new, and those see ever more keys."""
    times = [
        rl.serve("llama-3.1-8b", plain(), prompt=65536, output=64, prefix=p, concurrency=1).ttft_s
        for p in (0, 32768, 64512)
    ]
    assert times[0] > times[1] > times[2]
    # The pairs that attend, over those of the whole prompt: attention is what grows, the products go with the tokens.
    assert times[1] / times[0] == pytest.approx(1 / 2 * 1.25, rel=0.2)
    assert times[2] / times[0] < 1 / 24


def test_replicas_and_stages_share_the_requests() -> None:
    """dp = 2: 72 requests are 36 a replica, each as above; in all twice as many tokens, per chip as many."""
    one, two = serve(concurrency=36), serve(concurrency=72, dp=2)
    assert two.tokens_per_s == pytest.approx(2 * one.tokens_per_s)
    assert two.tokens_per_s_per_chip == pytest.approx(one.tokens_per_s_per_chip)
    staged = serve(concurrency=72, pp=2)
    assert staged.tokens_per_s == pytest.approx(72, rel=CLOSE)  # two microbatches of 36 on their way at a time
    assert staged.active == pytest.approx(72)


def test_lengths_that_vary() -> None:
    """Outputs of 9 +- 3 tokens: a request in flight is found after 9 (1 + 1/9) / 2 = 5 tokens rather than 4.5.

    Prompts of 1024 +- 1024: the attention of 4 is that of 2 with 2048 tokens, the same rows and twice the pairs.
    """
    est = serve(concurrency=36, output_sd=3)
    decoding, _ = (one.args for one in est.mixed.workload if one.kind == "attention")
    assert decoding["kv_len"] == pytest.approx(1025 + (10 - 1 - 1) / 2)
    assert est.memory.cache_bytes == pytest.approx(36 * (1024 + 5) * 2 * 2 * 2 * 16 * 2)
    varied = serve(concurrency=36, prompt_sd=1024)
    _, prompts = (one.args for one in varied.mixed.workload if one.kind == "attention")
    assert (prompts["batch"], prompts["q_len"], prompts["kv_len"]) == (
        pytest.approx(2),
        pytest.approx(2048),
        pytest.approx(2048),
    )


def test_what_requests_in_flight_hold() -> None:
    """36 requests halfway through their output: 1024 + 4.5 tokens of 2 layers x 2 (keys, values) x 2 heads x 16 numbers
    in bf16, 256 bytes; reserved, all 9. Of 1 MB of chip the largest number that fits."""
    assert serve(concurrency=36).memory.cache_bytes == pytest.approx(36 * (1024 + 4.5) * 256)
    assert serve(concurrency=36, reserve=True).memory.cache_bytes == pytest.approx(36 * (1024 + 9) * 256)
    memory = serve(concurrency=36).memory
    free = 0.9 * 100e9 - memory.weights_bytes - memory.activations_bytes
    assert memory.largest_batch == int(free / ((1024 + 4.5) * 256))


def test_beams_share_their_prompt() -> None:
    """4 beams of a request decode: 4 rows in the products, but attention reads the prompt once, and 4 outputs."""
    est = serve(concurrency=36, beams=4)
    (attention,) = [one.args for one in est.decoding.workload if one.kind == "attention"]
    seen = (1025 + 1032) / 2
    assert (attention["batch"], attention["heads"]) == (pytest.approx(36), 4 * 4)
    assert attention["kv_len"] == pytest.approx(1024 + 4 * (seen - 1024))
    products = {one.name: one.args for one in est.decoding.workload}
    assert products["qkv_proj"]["m"] == pytest.approx(36 * 4)
    # Halfway: the prompt once, and 4 outputs of 4.5 tokens, 256 bytes each.
    assert est.memory.cache_bytes == pytest.approx(36 * (1024 + 4 * 4.5) * 256)


def test_a_layer_with_a_window_holds_and_reads_no_more() -> None:
    """One layer of two sees 512 tokens: of 1024 + 9 it holds 512, at 128 bytes a token and layer, and 512 are read."""
    every, near = (Layers(1, ATTENTION, FeedForward(256), span) for span in (Span(), Span(window=512)))
    model = LanguageModel("half-near", hidden=64, vocab=1000, layers=(every, near), max_positions=100_000)
    est = rl.estimate(model, hosted(), prompt=1024, output=9, batch=4)
    assert est.memory.cache_bytes == 4 * (1033 + 512) * 128
    seen = {one.name: one.args["kv_len"] for one in est.decode.workload if one.kind == "attention"}
    assert seen == {"attention": (1025 + 1032) / 2, "sliding_attention": 512}
    kept = rl.serve(model, hosted(), prompt=1024, output=9, concurrency=4, whole_cache=True)
    assert kept.memory.cache_bytes == pytest.approx(4 * (1024 + 4.5) * 256)
