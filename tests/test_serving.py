"""Laws of in-flight batching, and of what engines merge."""

from __future__ import annotations

import math
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st

import roofline as rl
from roofline.catalog.load import model_records
from roofline.models.llm import LanguageModel
from roofline.work.engine import compiled, fused, joined

CHIP = "h100-sxm"
COMMON = {"prompt": 1024, "output": 256}


def served(**options):
    return rl.serve("llama-3.1-8b", CHIP, **{**COMMON, **options})


def test_one_request_is_a_static_batch_of_one():
    alone, static = served(concurrency=1), rl.estimate("llama-3.1-8b", CHIP, batch=1, **COMMON)
    assert alone.tokens_per_s == pytest.approx(static.tokens_per_s, rel=1e-9)
    assert alone.tpot_s == pytest.approx(static.tpot_s, rel=1e-9)
    assert alone.ttft_s == pytest.approx(static.ttft_s, rel=1e-9)


def test_chunked_attention_is_served_in_its_chunks():
    """Llama 4's rotated layers see chunks of 8,192 tokens: a prompt of three passes through in one pass as alone."""
    options = {"prompt": 20_000, "output": 16, "tp": 8}
    alone = rl.serve("llama-4-scout", CHIP, chunk=32_768, concurrency=1, **options)
    static = rl.estimate("llama-4-scout", CHIP, batch=1, **options)
    assert alone.ttft_s == pytest.approx(static.ttft_s, rel=1e-9)


@given(
    name=st.sampled_from(["llama-3.1-8b", "gemma-3-12b", "mixtral-8x7b", "gpt-oss-20b", "llama-4-scout"]),
    chip=st.sampled_from(["h200", "mi300x", "tpu-v5p", "mtia-v1"]),
    prompt=st.integers(2, 32_000),
    data=st.data(),
    batch=st.integers(1, 64),
    tp=st.sampled_from([1, 8]),
    narrow=st.booleans(),
)
def test_a_longer_prefix_never_slows_an_estimate(name, chip, prompt, data, batch, tp, narrow):
    dtype = "int8" if narrow else rl.load_chip(chip).widest_matrix
    short, long = sorted(data.draw(st.tuples(*[st.integers(0, prompt - 1)] * 2)))
    options = {"prompt": prompt, "output": 8, "batch": batch, "tp": tp, "dtype": dtype, "check": False}
    few, many = (rl.estimate(name, chip, prefix=prefix, **options) for prefix in (short, long))
    for figure in ("ttft_s", "time_s", "lower_s", "upper_s"):
        assert getattr(many, figure) <= getattr(few, figure) * (1 + 1e-9), figure
    assert many.memory.largest_batch >= few.memory.largest_batch


@given(
    name=st.sampled_from(["llama-3.1-8b", "gemma-3-12b", "mixtral-8x7b", "gpt-oss-20b", "llama-4-scout"]),
    chip=st.sampled_from(["h200", "mi300x", "tpu-v5p", "mtia-v1"]),
    prompt=st.integers(2, 32_000),
    data=st.data(),
    concurrency=st.integers(1, 64),
    tp=st.sampled_from([1, 8]),
    chunk=st.sampled_from([512, 2048, 8192]),
    output=st.integers(1, 500),
)
def test_a_longer_prefix_never_slows_a_server(name, chip, prompt, data, concurrency, tp, chunk, output):
    """Requests wait less, so more may decode side by side; no request takes longer where none waited before.

    A prompt in pieces stands for their mean, whose keys are rounded up to tiles of 128: that may be one tile more.
    """
    short, long = sorted(data.draw(st.tuples(*[st.integers(0, prompt - 1)] * 2)))
    options = {"prompt": prompt, "output": output, "concurrency": concurrency, "tp": tp, "chunk": chunk, "check": False}
    few, many = (rl.serve(name, chip, prefix=prefix, **options) for prefix in (short, long))
    tile = 1 + (128 / ((prompt + short) / 2) if prompt - short > chunk else 0) + 1e-9
    assert many.requests_per_s >= few.requests_per_s / tile
    assert many.active >= few.active * (1 - 1e-9)
    if few.active >= concurrency * (1 - 1e-9):
        assert many.ttft_s <= few.ttft_s * tile
        assert many.tpot_s <= few.tpot_s * tile
        assert many.time_s <= few.time_s * tile


def test_throughput_and_tpot_grow_with_concurrency():
    some = served(concurrency=np.array([1, 2, 8, 32, 128, 256]))
    assert np.all(np.diff(some.tokens_per_s) > 0)
    assert np.all(np.diff(some.tpot_s) > 0)


def test_past_what_memory_holds_requests_wait():
    most = served(prompt=8192, output=1024)
    more = served(prompt=8192, output=1024, concurrency=most.request.batch * 4)
    assert most.memory.fits
    assert more.tokens_per_s == pytest.approx(most.tokens_per_s, rel=1e-9)
    assert more.active <= most.memory.largest_batch


def test_an_engine_that_reserves_the_output_has_fewer_requests_in_flight():
    """Room for all of the output, not for half of it: prompt + output tokens a request."""
    grown, reserved = served(prompt=1024, output=1024), served(prompt=1024, output=1024, reserve=True)
    assert reserved.request.batch / grown.request.batch == pytest.approx(1536 / 2048, rel=0.01)
    assert reserved.tokens_per_s < grown.tokens_per_s


@pytest.mark.parametrize("flag", ["no", [True, False], np.array([True, False]), 1])
def test_a_policy_is_true_or_false(flag):
    with pytest.raises(rl.BadWorkload, match="serve: reserve: expected True or False, found"):
        served(reserve=flag)


def test_an_option_mistyped_names_the_options_of_serve():
    with pytest.raises(rl.UnknownName, match="did you mean 'reserve'"):
        served(reserved=True)


def test_layers_with_a_window_may_keep_the_whole_context():
    sizes = {"prompt": 4096, "output": 4096, "dtype": "bf16"}
    cut, whole = (rl.serve("gpt-oss-20b", CHIP, whole_cache=w, **sizes) for w in (False, True))
    # Half of gpt-oss's layers see 128 tokens: kept whole, a request holds about twice as much.
    assert cut.request.batch / whole.request.batch == pytest.approx(2.0, rel=0.05)
    plain = served(whole_cache=True)
    assert plain.tokens_per_s == served().tokens_per_s


def test_prefill_bounds_what_starts():
    busy = served(prompt=8192, output=4, concurrency=256, usable_memory=1.0)
    assert busy.mixed_share == 1.0
    assert busy.active < 256
    assert busy.requests_per_s == pytest.approx(1 / busy.mixed.time_s, rel=1e-9)


@pytest.mark.parametrize("prompt", [512, 8192, 20000])
def test_a_request_passes_through_its_own_prefill_and_its_decoding(prompt):
    """Little's law: requests in flight are the rate times the time that one spends."""
    est = served(concurrency=8, prompt=prompt)
    passes = max(1.0, prompt / est.request.chunk)
    stay = passes * est.mixed.time_s + (est.request.output - 1) * est.tpot_s
    assert est.requests_per_s * stay == pytest.approx(est.active, rel=1e-9)


def test_spread_lengthens_the_context_and_costs_throughput():
    even, uneven = served(concurrency=64), served(concurrency=64, output_sd=200, prompt_sd=500)
    assert uneven.decoding.time_s > even.decoding.time_s
    assert uneven.tokens_per_s < even.tokens_per_s
    assert served(output_sd=200).request.batch < served().request.batch


def test_arrays_equal_points():
    concurrency, prompt = np.array([[4], [64]]), np.array([256, 4096])
    grid = served(concurrency=concurrency, prompt=prompt, output_sd=64.0)
    for i, c in enumerate(concurrency.ravel()):
        for j, p in enumerate(prompt):
            point = served(concurrency=int(c), prompt=int(p), output_sd=64.0)
            for name in point.FIGURES:
                assert getattr(grid, name)[i, j] == pytest.approx(getattr(point, name), rel=1e-9), name


def test_latent_attention_in_arrays_equals_its_points():
    """Where prompts expand the latents at one point and absorb them at the next, decoding absorbs at both."""
    options = {"output": 32, "chunk": 2, "concurrency": 64, "tp": 8, "check": False}
    grid = rl.serve("deepseek-v2-lite", "h200", prompt=[2, 1000], **options)
    for i, prompt in enumerate((2, 1000)):
        point = rl.serve("deepseek-v2-lite", "h200", prompt=prompt, **options)
        for name in point.FIGURES:
            assert getattr(grid, name)[i] == pytest.approx(getattr(point, name), rel=1e-12), name


SERVED = ["llama-3.1-8b", "gemma-2-9b", "deepseek-v2-lite", "deepseek-v3", "mixtral-8x7b", "gpt-oss-20b"]
LENGTHS = st.lists(st.integers(1, 3000), min_size=1, max_size=3)


@given(
    name=st.sampled_from(SERVED),
    chip=st.sampled_from(["h200", "mi300x", "tpu-v5p"]),
    data=st.data(),
    concurrency=st.lists(st.integers(1, 5000), min_size=1, max_size=3),
    prompt=LENGTHS,
    output=LENGTHS,
    chunk=st.lists(st.sampled_from([1, 2, 64, 500, 8192]), min_size=1, max_size=2),
    tp=st.sampled_from([1, 2, 8]),
    pp=st.sampled_from([1, 2]),
    beams=st.sampled_from([[1], [2], [1, 4]]),
    reserve=st.booleans(),
    spread=st.sampled_from([0.0, 0.7]),
    whole_cache=st.booleans(),
)
def test_any_server_in_arrays_equals_its_points(
    name, chip, data, concurrency, prompt, output, chunk, tp, pp, beams, reserve, spread, whole_cache
):
    axes = {"concurrency": concurrency, "prompt": prompt, "output": output, "chunk": chunk, "beams": beams}
    arrays = {
        axis: np.reshape(values, [-1 if i == j else 1 for j in range(len(axes))])
        for i, (axis, values) in enumerate(axes.items())
    }
    fixed = {"tp": tp, "pp": pp, "reserve": reserve, "whole_cache": whole_cache, "check": False}
    fixed |= {"prompt_sd": spread * min(prompt), "output_sd": spread * min(output)}
    grid = rl.serve(name, chip, **fixed, **arrays)
    at = tuple(data.draw(st.integers(0, len(values) - 1)) for values in axes.values())
    here = {axis: values[i] for i, (axis, values) in zip(at, axes.items(), strict=True)}
    point = rl.serve(name, chip, **fixed, **here)
    shape = tuple(len(values) for values in axes.values())
    for figure in (*point.FIGURES, "mixed_share", "active"):
        found = np.broadcast_to(getattr(grid, figure), shape)[at]
        assert found == pytest.approx(getattr(point, figure), rel=1e-9), figure
    assert np.broadcast_to(grid.memory.largest_batch, shape)[at] == point.memory.largest_batch


def test_replicas_multiply():
    one, four = served(concurrency=16), served(concurrency=64, dp=4)
    assert four.tokens_per_s == pytest.approx(4 * one.tokens_per_s, rel=1e-9)
    assert four.tpot_s == pytest.approx(one.tpot_s, rel=1e-9)


def test_latent_attention_is_served():
    est = rl.serve("deepseek-v3", "h200", tp=8, dtype="fp8", concurrency=32, **COMMON)
    assert est.tpot_s > est.ideal["tpot_s"]


@pytest.mark.parametrize("plan", [{"tp": 2}, {"tp": 2, "pp": 2}])
def test_plans_run(plan):
    assert served(concurrency=32, **plan).tokens_per_s > 0


def test_beams_cost_and_share_their_prompt():
    one, four = (rl.serve("gpt-j-6b", CHIP, concurrency=64, prompt=900, output=70, beams=b) for b in (1, 4))
    assert one.decoding.time_s < four.decoding.time_s < 4 * one.decoding.time_s


def test_ideal_is_never_beaten():
    est = served(concurrency=64)
    assert est.ideal["tokens_per_s"] >= est.tokens_per_s
    assert est.ideal["tpot_s"] <= est.tpot_s
    low, high = est.interval(0.9, "tokens_per_s")
    assert low < est.tokens_per_s < high <= est.ideal["tokens_per_s"] * 1.2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 4}, "concurrency"),
        ({"concurrency": 0}, "concurrency"),
        ({"beams": 10**26}, "below 2\\^53"),
        ({"prompt_sd": 1e12}, "10 times the mean"),
        ({"output_sd": -1}, "output_sd"),
        ({"prompt_sd": float("nan")}, "prompt_sd"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(rl.BadWorkload, match=words):
        served(**options)


def test_a_recommender_is_not_served():
    with pytest.raises(rl.BadWorkload, match="recommendation"):
        rl.serve("dlrm-v2", CHIP)


def test_what_does_not_fit_is_refused():
    with pytest.raises(rl.DoesNotFit):
        rl.serve("llama-3.1-405b", CHIP)


@pytest.mark.parametrize(
    "name", ["llama-3.1-8b", "gpt-j-6b", "gemma-2-9b", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b"]
)
def test_fusing_keeps_the_products_and_every_norm(name):
    step = rl.load_model(name).step(8, 1, 512, dtype="fp8")
    merged = fused(step)

    def count(work, kind):
        return sum(one.count for one in work if one.name == kind)

    assert count(merged, "norm") == count(step, "norm")
    assert count(merged, "residual_add") == pytest.approx(count(step, "residual_add"))
    products = [(o.name, o.args["m"], o.args["n"], o.args["k"]) for o in step if o.kind == "gemm"]
    assert products == [(o.name, o.args["m"], o.args["n"], o.args["k"]) for o in merged if o.kind == "gemm"]
    assert not any(o.args["quantize"] for o in merged if o.kind == "gemm")


@pytest.mark.parametrize("chip", ["h100-sxm", "mi300x", "mtia-2i"])
@given(
    batch=st.integers(1, 4096),
    tokens=st.integers(1, 64),
    dtype=st.sampled_from(["bf16", "int8"]),
    name=st.sampled_from(["llama-3.1-8b", "deepseek-v3"]),
)
def test_fusing_never_costs_time(chip, batch, tokens, dtype, name):
    step = rl.load_model(name).step(batch, tokens, 512, dtype=dtype)
    on = rl.load_chip(chip)
    for kinds in (("residual_add", "rms_norm"), ("gemm",)):
        apart, together = (
            sum(float(np.sum(one.count * rl.cost(one, on).time_s)) for one in work if one.kind in kinds)
            for work in (step, fused(step))
        )
        assert together <= apart * (1 + 1e-9)
        if dtype == "int8" or "gemm" not in kinds:
            assert together < apart


@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt-j-6b", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b"])
def test_a_joined_pass_holds_the_tokens_of_both(name):
    model = rl.load_model(name)
    decode, prefill = model.step(8, 1, 513), model.step(2, 100, 100)
    both = joined(decode, prefill, 8)
    assert [o.args["m"] for o in both if o.name == "lm_head"] == [10]
    assert [o.args["rows"] for o in both if o.name == "norm"] == [208]
    assert sum("q_len" in o.args for o in both) == sum("q_len" in o.args for work in (decode, prefill) for o in work)


def test_compiled_recommender_moves_less_and_computes_the_same():
    step = rl.load_model("dlrm-v2").step(1024, "int8")
    whole = compiled(step)
    assert not any(o.name.endswith(".concat") for o in whole)
    plain, lean = (rl.run(work, rl.load_chip(CHIP)) for work in (step, whole))
    assert lean.flops == plain.flops
    assert lean.time_s < plain.time_s


@pytest.mark.parametrize("name", [record["name"] for record in model_records()])
def test_a_step_costs_the_same_after_pickling(name):
    """Operators that were read back are no longer the same objects, and still the same operators."""
    model = rl.load_model(name)
    again = pickle.loads(pickle.dumps(model))
    if isinstance(model, LanguageModel):
        asked, merge = {"batch": 4, "q_len": 3, "kv_len": 200, "dtype": "int8"}, fused
    else:
        asked, merge = {"batch": 512, "dtype": "int8"}, compiled
    step = model.step(**asked)
    whole = merge(step)
    expected = rl.run(whole, CHIP)
    read = pickle.loads(pickle.dumps((step, whole)))
    for other in (merge(read[0]), read[1], merge(again.step(**asked))):
        found = rl.run(other, CHIP)
        assert list(other) == list(whole)
        for figure in ("lower_s", "time_s", "upper_s"):
            assert getattr(found, figure) == getattr(expected, figure), figure


def test_rows_that_come_together_repeat_less_often():
    bag = {"batch": 4096, "tables": 4, "rows": 10_000_000, "dim": 128, "pooling": 32, "skew": 1.05}
    chip = rl.load_chip(CHIP)
    apart, lists = (rl.cost(rl.embedding_bag(**bag, together=t), chip) for t in (1, 32))
    assert lists.memory_bytes > apart.memory_bytes
    assert lists.lower_s <= lists.time_s
    with pytest.raises(rl.BadWorkload, match="together"):
        rl.embedding_bag(**bag, together=33)


# How many chips it takes -------------------------------------------------------------------------------------------

LARGE = "llama-3.1-70b"


def test_fewest_chips_are_those_of_a_server():
    """A second to the first token: met by prefilling as requests come, not a batch at once."""
    limits = {"ttft_s": 1.0, "tpot_s": 0.03}
    table = rl.fewest_chips(LARGE, CHIP, **limits, tokens_per_s=50_000, stack="plain")
    best = table.iloc[0]
    assert (best["tp"], best["replicas"], best["chips"]) == (8, 16, 128)
    assert table.attrs["why"] == ""
    for row in table.to_dict("records"):
        est = rl.serve(LARGE, CHIP, tp=row["tp"], concurrency=row["concurrency"], stack="plain")
        assert est.active == pytest.approx(row["concurrency"])
        for name in ("ttft_s", "tpot_s", "tokens_per_s", "tokens_per_s_per_chip"):
            assert row[name] == pytest.approx(getattr(est, name), rel=1e-12)
        assert est.bound == row["bound"]
        assert est.ttft_s <= limits["ttft_s"]
        assert est.tpot_s <= limits["tpot_s"]
        assert row["replicas"] == math.ceil(50_000 / est.tokens_per_s)
        assert row["chips"] == row["replicas"] * row["tp"]
        # A sixteenth of the way to the next power of two is already too many, or the memory's end.
        more = rl.serve(LARGE, CHIP, tp=row["tp"], concurrency=math.ceil(row["concurrency"] * 1.07), stack="plain")
        assert more.tpot_s > limits["tpot_s"] or more.active < more.request.batch
    # A batch that is prefilled together is held up by its own prompts: three times the chips.
    static = (
        rl.sweep(LARGE, CHIP, tp=[2, 4, 8, 16, 32], batch=[2**i for i in range(13)], stack="plain")
        .to_dataframe()
        .reset_index()
    )
    static = static[static["fits"] & (static["ttft_s"] <= 1.0) & (static["tpot_s"] <= 0.03)]
    chips = np.ceil(50_000 / static["tokens_per_s"]) * static["tp"]
    assert chips.min() == 384


def test_chips_of_all_kinds_of_parallelism_are_counted():
    table = rl.fewest_chips(LARGE, CHIP, tokens_per_s=50_000, tpot_s=0.1, pp=2, most=4)
    assert set(table["tp"]) == {1, 2, 4}
    assert (table["chips"] == table["replicas"] * table["tp"] * 2).all()
    spread = rl.fewest_chips("deepseek-v3", "h200", tokens_per_s=1000, ep=8, dp=2, most=16)
    assert set(spread["tp"]) == {4, 8, 16}
    assert (spread["chips"] == spread["replicas"] * spread["tp"] * 2).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ttft_s": 1e-3}, r"^ttft_s: the limit is 1 ms, the least there is [\d.]+ ms \(tp=\d+, 1 in flight\)$"),
        ({"ttft_s": 10, "tpot_s": 1e-6}, r"^tpot_s: the limit is 1 us, the least there is [\d.]+ ms \(tp="),
        ({"ttft_s": 1e-3, "tpot_s": 1e-6}, r"^ttft_s: .*; tpot_s: "),
        ({"most": 1}, r"^memory: llama-3.1-70b with one request does not fit on 1 x h100-sxm"),
    ],
)
def test_the_limit_that_nothing_meets_is_named(options, words):
    table = rl.fewest_chips(LARGE, CHIP, **options)
    assert table.empty
    assert {"tp", "concurrency", "chips"} <= set(table.columns)
    assert re.search(words, table.attrs["why"])


def test_limits_that_are_met_apart_and_not_together_are_named():
    one = rl.serve(LARGE, CHIP, tp=[8, 16, 32, 64], concurrency=1, stack="plain")
    fastest, first = one.tpot_s.min(), one.ttft_s.min()
    assert np.argmin(one.tpot_s) != np.argmin(one.ttft_s)
    table = rl.fewest_chips(LARGE, CHIP, ttft_s=first * 1.0001, tpot_s=fastest * 1.0001, stack="plain")
    assert table.empty
    assert re.match("ttft_s and tpot_s are met apart, not together: under .* tpot_s: the limit is", table.attrs["why"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tokens_per_s": math.inf}, "tokens_per_s: expected a positive, finite number, found inf"),
        ({"tpot_s": math.nan}, "tpot_s: expected a positive, finite number, found nan"),
        ({"ttft_s": 0}, "ttft_s: expected a positive, finite number, found 0"),
        ({"ttft_s": True}, "ttft_s: expected a positive, finite number, found True"),
        ({"most": math.inf}, "most: expected a whole number"),
        ({"most": [2, 4]}, "expected one width"),
        ({"tp": 2}, "tp is what it looks for"),
        ({"batch": 2}, "batch is what it looks for"),
        ({"prompt": [512, 1024]}, r"expected one prompt, found \[512, 1024\]"),
        ({"pp": 1000}, "pp=1000 is more than the 80 layers"),
    ],
)
def test_questions_that_cannot_be_are_refused(options, words):
    with pytest.raises(rl.BadWorkload, match=words):
        rl.fewest_chips(LARGE, CHIP, **options)


def test_only_what_has_tokens_is_asked_about():
    with pytest.raises(rl.BadWorkload, match="fewest_chips is for language models; dlrm-v2 is none"):
        rl.fewest_chips("dlrm-v2", CHIP)
    with pytest.raises(rl.UnknownName, match="fewest_chips is called 'check'"):
        rl.fewest_chips(LARGE, CHIP, check=False)


def test_a_server_says_when_more_is_asked_than_runs_at_once() -> None:
    loads = rl.serve("llama-3.1-8b", "h100-sxm", concurrency=[8, 100_000], stack="vllm")
    assert loads.saturated.tolist() == [False, True]
    assert rl.serve("llama-3.1-8b", "h100-sxm", concurrency=8, stack="vllm").saturated is False
