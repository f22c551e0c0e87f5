"""Estimates: worked numbers with their sources, laws, errors."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import roofline as rl
from roofline.estimates import figures, grids
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.work import op

GB = 1e9


@pytest.fixture(scope="module")
def h100() -> Chip:
    return rl.load_chip("h100-sxm")


# Worked numbers --------------------------------------------------------------------------------------------------


def test_llama_2_70b_decode_reads_weights_and_cache_at_the_aggregate_bandwidth(h100: Chip) -> None:
    est = rl.estimate("llama-2-70b", h100, tp=8, batch=16, prompt=2048, output=256, dtype="bf16")
    # 68.98 G parameters but the 0.26 G of the token table, which decode reads a few rows of; 327,680 B of KV a token.
    weights = (68.977e9 - 32000 * 8192) * 2
    cache = 16 * (2048 + 1 + 254 / 2) * 327_680
    assert est.decode.lower_s >= 0.999 * (weights + cache) / (8 * 3.35e12)
    for phase in (est.prefill, est.decode):
        assert phase.ops["time_s"].sum() == pytest.approx(phase.time_s, rel=1e-12)
        assert phase.ops["share"].sum() == pytest.approx(1.0)
        assert phase.lower_s <= phase.time_s <= phase.upper_s


def test_llama_2_7b_on_mtia_2i_as_its_paper_found() -> None:
    # ISCA 2025, "Meta's Second Generation AI Chip": prefill meets 600 ms to the first token, decode misses 60 ms.
    est = rl.estimate("llama-2-7b", "mtia-2i", batch=1, prompt=128, output=128, dtype="fp16")
    weights_s = 2 * (6.738e9 - 32000 * 4096) / 204.8e9
    assert weights_s == pytest.approx(64.5e-3, abs=0.2e-3)  # 65.8 ms with the token table, which is not read
    assert est.decode.lower_s >= weights_s * 0.999
    assert est.tpot_s > 60e-3
    assert est.ttft_s < 600e-3


def test_dlrm_v2_worked_numbers(h100: Chip) -> None:
    # mlcommons/inference recommendation/dlrm_v2: 26 tables x 128, 214 lookups; 16.03 M MAC a user-item pair.
    dlrm = rl.load_model("dlrm-v2")
    assert dlrm.lookups == 214
    assert dlrm.flops_per_sample == pytest.approx(32.06e6, rel=1e-3)
    assert dlrm.gathered_bytes("int8") == 27_392
    assert dlrm.table_bytes("fp32") / 2**30 == pytest.approx(97.36, abs=0.01)
    assert dlrm.pairs_per_request == 270
    est = rl.estimate(dlrm, h100, batch=4096, dtype="int8")
    assert est.step.flops == pytest.approx(4096 * 32.06e6, rel=1e-2)
    assert est.ops["time_s"].sum() == pytest.approx(est.latency_s, rel=1e-12)


def test_405b_in_bf16_is_refused_with_what_fits(h100: Chip) -> None:
    with pytest.raises(rl.DoesNotFit) as refused:
        rl.estimate("llama-3.1-405b", h100, tp=8, dtype="bf16", stack="plain")
    error = refused.value
    assert error.needs_bytes > 405.8e9 * 2 / 8 > error.has_bytes == pytest.approx(0.9 * (81559 - 468) * 2**20)
    assert "tp=16 (16 chips)" in str(error)
    assert "weight_dtype='fp8' on the same 8 chips" in str(error)
    assert not rl.estimate("llama-3.1-405b", h100, tp=8, check=False).fits
    assert rl.estimate("llama-3.1-405b", h100, tp=16).fits


def test_tables_too_large_for_one_chip_are_refused_and_spread() -> None:
    with pytest.raises(rl.DoesNotFit, match="devices="):
        rl.estimate("dlrm-v2", "h100-sxm", dtype="bf16", table_dtype="fp32")
    est = rl.estimate("dlrm-v2", "h100-sxm", dtype="bf16", table_dtype="fp32", devices=2)
    assert "all_to_all" in set(est.ops["kind"])


@pytest.mark.parametrize(
    ("model", "chip", "options"),
    [
        ("llama-3.1-405b", "h100-sxm", {"tp": 8}),
        ("deepseek-v3", "h100-sxm", {"tp": 4, "dp": 2, "ep": 8, "batch": 64}),
        ("llama-3.1-8b", "h100-sxm", {"batch": 5000, "dp": 2}),
        ("qwen2.5-14b", "l4", {"batch": 40}),
        ("dlrm-v2", "h100-sxm", {"batch": 4096, "dtype": "bf16", "table_dtype": "fp32"}),
        ("dlrm-v2", "h100-sxm", {"batch": 2, "dtype": "bf16", "table_dtype": "fp32"}),
        ("rm1", "h100-sxm", {"batch": 10**9}),
    ],
)
def test_what_is_said_to_fit_does(model: str, chip: str, options: dict[str, Any]) -> None:
    with pytest.raises(rl.DoesNotFit) as refused:
        rl.estimate(model, chip, **options)
    assert refused.value.suggestions
    for suggestion in refused.value.suggestions:
        name, value = re.match(r"(\w+)='?(\w+)", suggestion).groups()  # type: ignore[union-attr]
        assert rl.estimate(model, chip, **{**options, name: int(value) if value.isdigit() else value}).fits


# Laws --------------------------------------------------------------------------------------------------------------

MODELS = ["llama-3.1-8b", "qwen3-30b-a3b", "gemma-2-9b", "deepseek-v2-lite"]


def fields(est: Any) -> dict[str, float]:
    return {**est.figures(), "lower_s": est.lower_s, "upper_s": est.upper_s}


@given(
    st.sampled_from(MODELS),
    st.sampled_from(["h100-sxm", "mi300x", "tpu-v5p", "artemis-hbm"]),
    st.integers(1, 512),
    st.integers(1, 4000),
    st.integers(1, 2000),
    st.floats(1.05, 4.0),
)
def test_a_faster_chip_is_never_slower(
    model: str, chip_name: str, batch: int, prompt: int, output: int, factor: float
) -> None:
    chip = rl.load_chip(chip_name)
    faster = chip.what_if({"memory.main.bandwidth": chip["memory.main.bandwidth"] * factor})
    request = {"batch": batch, "prompt": prompt, "output": output, "check": False}
    before, after = (rl.estimate(model, c, **request) for c in (chip, faster))
    assert after.time_s <= before.time_s * (1 + 1e-9)
    assert after.lower_s <= before.lower_s * (1 + 1e-9)


@given(
    st.sampled_from(sorted(rl.list_models().index)),
    st.sampled_from(sorted(rl.list_chips().index)),
    st.integers(1, 4096),
    st.sampled_from([2, 4]),
)
def test_more_cores_slow_no_estimate(model: str, chip_name: str, batch: int, factor: int) -> None:
    chip = rl.load_chip(chip_name)
    more = chip.what_if({"cores.count": chip["cores.count"] * factor})
    loaded = rl.load_model(model)
    language = isinstance(loaded, LanguageModel)
    tokens = ({"prompt": 512} | ({"output": 64} if loaded.decodes else {})) if language else {}
    before, after = (rl.estimate(model, c, batch=batch, check=False, **tokens) for c in (chip, more))
    assert after.time_s <= before.time_s * 1.001
    assert after.lower_s <= before.lower_s * (1 + 1e-9)


@given(st.sampled_from(MODELS), st.integers(1, 256), st.integers(1, 4000), st.integers(1, 1000))
def test_more_work_takes_no_less_time(model: str, batch: int, prompt: int, output: int) -> None:
    def time(**more: int) -> float:
        request = {"batch": batch, "prompt": prompt, "output": output} | more
        return float(rl.estimate(model, "h100-sxm", check=False, **request).time_s)

    base = time()
    assert base <= time(batch=batch + 7) * (1 + 1e-9)
    assert base <= time(prompt=prompt + 13) * (1 + 1e-9)
    assert base <= time(output=output + 3) * (1 + 1e-9)


@given(st.sampled_from(MODELS), st.integers(1, 4000), st.integers(1, 4000))
def test_more_cache_never_raises_the_largest_batch(model: str, prompt: int, more: int) -> None:
    def largest(tokens: int) -> int:
        return int(rl.estimate(model, "h100-sxm", prompt=tokens, output=64, check=False).memory.largest_batch)

    assert largest(prompt + more) <= largest(prompt)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.1-70b"])
def test_the_largest_batch_fits_and_one_more_does_not(name: str, h100: Chip) -> None:
    est = rl.estimate(name, h100, tp=4, prompt=2000, output=500)
    largest = est.memory.largest_batch
    assert rl.estimate(name, h100, tp=4, prompt=2000, output=500, batch=largest, check=False).fits
    assert not rl.estimate(name, h100, tp=4, prompt=2000, output=500, batch=largest + 1, check=False).fits


@given(st.sampled_from(MODELS), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]), st.integers(1, 64))
def test_arrays_equal_their_points(model: str, tp: int, pp: int, batch: int) -> None:
    batches, prompts = [batch, batch * 3], [100, 1000, 2048]
    together = rl.estimate(
        model, "h100-sxm", tp=tp, pp=pp, batch=np.array(batches)[:, None], prompt=np.array(prompts), check=False
    )
    figures, largest = fields(together), together.memory.largest_batch
    for i, b in enumerate(batches):
        for j, p in enumerate(prompts):
            alone = rl.estimate(model, "h100-sxm", tp=tp, pp=pp, batch=b, prompt=p, check=False)
            for name, value in fields(alone).items():
                assert figures[name][i, j] == pytest.approx(value, rel=1e-9), name
            assert largest[i, j] == alone.memory.largest_batch


def test_what_if_with_the_same_value_changes_nothing(h100: Chip) -> None:
    same = h100.what_if({"memory.hbm.bandwidth": "3.35 TB/s", "engines.matrix.bf16": h100["engines.matrix.bf16"]})
    assert fields(rl.estimate("llama-3.1-8b", same)) == fields(rl.estimate("llama-3.1-8b", h100))


def test_a_what_if_over_an_array_is_one_axis_more(h100: Chip) -> None:
    chip = h100.what_if({"memory.hbm.bandwidth": ["3.35 TB/s", "4.8 TB/s", "8 TB/s"]})
    est = rl.estimate("llama-3.1-8b", chip, batch=8)
    assert est.tpot_s.shape == (3,)
    assert np.all(np.diff(est.tpot_s) < 0)
    assert est.tpot_s[0] == pytest.approx(rl.estimate("llama-3.1-8b", h100, batch=8).tpot_s)


def test_throughput_is_consistent(h100: Chip) -> None:
    est = rl.estimate("llama-3.1-70b", h100, tp=8, batch=64, prompt=512, output=128)
    assert est.time_s == pytest.approx(est.ttft_s + 127 * est.tpot_s)
    assert est.tokens_per_s == pytest.approx(64 * 128 / est.time_s)
    assert est.tokens_per_s_per_chip == pytest.approx(est.tokens_per_s / 8)
    assert est.total_tokens_per_s == pytest.approx(64 * 640 / est.time_s)
    assert est.decode_tokens_per_s == pytest.approx(64 / est.tpot_s)
    assert 0 < est.mfu < 1
    assert 0 < est.mbu < 1


def test_data_parallel_replicas_add_their_throughput(h100: Chip) -> None:
    one = rl.estimate("llama-3.1-8b", h100, batch=32)
    four = rl.estimate("llama-3.1-8b", h100, batch=128, dp=4)
    assert four.tokens_per_s == pytest.approx(4 * one.tokens_per_s)
    assert four.tpot_s == pytest.approx(one.tpot_s)


def test_a_pipeline_trades_latency_for_room(h100: Chip) -> None:
    flat = rl.estimate("llama-3.1-70b", h100, tp=4, batch=32, check=False)
    piped = rl.estimate("llama-3.1-70b", h100, tp=4, pp=2, batch=32)
    assert piped.memory.weights_bytes < 0.6 * flat.memory.weights_bytes
    assert "send" in set(piped.decode.ops["kind"])


def test_a_cached_prefix_saves_prefill_only(h100: Chip) -> None:
    cold = rl.estimate("llama-3.1-8b", h100, batch=4, prompt=4096)
    warm = rl.estimate("llama-3.1-8b", h100, batch=4, prompt=4096, prefix=3072)
    assert warm.ttft_s < 0.5 * cold.ttft_s
    assert warm.tpot_s == cold.tpot_s


@pytest.mark.parametrize("chip_name", ["h100-sxm", "mi300x", "tpu-v5p", "mtia-v1", "artemis"])
@pytest.mark.parametrize("batch", [1, 4096])
def test_what_computes_nothing_is_not_bound_by_compute(chip_name: str, batch: int) -> None:
    chip = rl.load_chip(chip_name)
    idle = []
    for name in rl.list_models().index:
        est = rl.estimate(name, chip, batch=batch, dtype=chip.widest_matrix, check=False)
        for phase in est.phases:
            idle += [record for record in phase.records if record["flops"] == 0]
    assert {"copy", "token_embedding"} <= {record["kind"] for record in idle}
    assert {record["op"] for record in idle if record["bound"] == "compute"} == set()


def test_the_bound_of_no_flop_is_the_same_in_arrays(h100: Chip) -> None:
    rows = [1, 64, 10**6]
    together = rl.cost(op.copy(rows=rows, cols=2, dtype="bf16"), h100)
    assert together.bound.tolist() == [rl.cost(op.copy(rows=r, cols=2, dtype="bf16"), h100).bound for r in rows]
    assert together.bound.tolist()[0] == "overhead"
    # One device has nothing to exchange: no time, so no resource either.
    assert rl.cost(rl.all_reduce(bytes=1e6, devices=[1, 8]), h100).bound.tolist() == ["overhead", "network"]
    assert rl.cost(rl.all_reduce(bytes=1e6, devices=1), h100).bound == "overhead"


# Doubt -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chip", ["h100-sxm", "artemis", "mtia-v1"])
@pytest.mark.parametrize("model", ["llama-2-7b", "dlrm-v1"])
def test_intervals_hold_the_estimate_and_nest(model: str, chip: str) -> None:
    dtype = rl.load_chip(chip).widest_matrix
    est = rl.estimate(model, chip, dtype=dtype, **({"table_dtype": "int8"} if model == "dlrm-v1" else {}))
    for figure, value in est.figures().items():
        low, high = est.interval(0.9, figure)
        inner_low, inner_high = est.interval(0.5, figure)
        assert 0 < low <= inner_low <= inner_high <= high < math.inf
        assert low <= value <= high


def test_an_estimated_chip_is_less_sure_than_a_disclosed_one() -> None:
    def width(chip: str) -> float:
        low, high = rl.estimate("llama-2-7b", chip, dtype="fp16").interval(0.9, "tokens_per_s")
        return float(high / low)

    assert width("artemis") > width("mtia-2i")


def test_the_interval_of_a_grid_is_that_of_its_points(monkeypatch: pytest.MonkeyPatch, h100: Chip) -> None:
    chips = [h100.what_if({"memory.hbm.bandwidth": [[["x1"]], [["x2"]]]}), rl.load_chip("artemis")]
    batch, prompt = np.array([[1], [7]]), np.array([100, 2000])
    for chip in chips:
        asked = {"batch": batch, "prompt": prompt, "dtype": "fp16", "check": False}
        est = rl.estimate("llama-3.1-8b", chip, usable_memory=np.array([0.5, 0.9])[:, None, None, None], **asked)
        whole = est.interval(0.9)
        monkeypatch.setattr(figures, "MOST_VALUES", figures.SAMPLES * 4)  # points at a time
        parts = est.interval(0.9)
        monkeypatch.undo()
        for name, value in est.figures().items():
            for a, b in zip(whole[name], parts[name], strict=True):
                assert a.shape == value.shape
                assert a == pytest.approx(b, rel=1e-12)
            assert np.all((whole[name][0] <= value) & (value <= whole[name][1]))
        one = h100.what_if({"memory.hbm.bandwidth": "x2"}) if chip is chips[0] else chip
        alone = rl.estimate("llama-3.1-8b", one, batch=7, prompt=2000, dtype="fp16", check=False).interval(0.9)
        for name, ends in alone.items():
            there = (-1,) * (whole[name][0].ndim - 2) + (1, -1)
            assert [end[there] for end in whole[name]] == pytest.approx(list(ends), rel=1e-9)


@given(st.lists(st.integers(1, 7), max_size=4).map(tuple), st.integers(1, 40))
def test_parts_of_a_grid_are_all_of_it_once(shape: tuple[int, ...], most: int) -> None:
    seen = np.zeros(shape, dtype=int)
    for part in grids.parts(shape, most):
        seen[part] += 1
        assert seen[part].size <= most
    assert np.all(seen == 1)


def test_the_parts_of_an_interval_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    est = rl.estimate("ncf", "artemis", batch=np.arange(1, 13), check=False)
    one = sum(phase.nbytes for phase in est._part((slice(0, 1),))._sampled.phases)
    monkeypatch.setattr(figures, "MOST_BYTES", 5 * one)
    sizes = [sum(phase.nbytes for phase in est._part(part)._sampled.phases) for part, _ in est._parts()]
    assert len(sizes) == 3
    assert all(size <= 5 * one for size in sizes)
    assert max(sizes) > 4 * one


def test_equal_operators_of_a_long_workload_share_their_cost(h100: Chip) -> None:
    rows = np.array([1.0, 64.0])
    ops = [op.gemm(m=1 + i % 3, n=64, k=64, count=1 + i % 5) for i in range(600)]
    ops += [op.copy(rows=rows, cols=8, dtype="bf16"), op.copy(rows=rows * 2, cols=8, dtype="bf16")]
    phase = rl.run(ops, h100)
    for one, values in zip(ops, phase.costs, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(values, rl.cost(one, h100).values, strict=True))
    assert len({id(values) for values in phase.costs}) == 5
    assert phase.time_s == pytest.approx(sum(one.count * rl.cost(one, h100).time_s for one in ops), rel=1e-12)


def test_arrays_of_a_chip_and_of_a_request_must_go_together(h100: Chip) -> None:
    chip = h100.what_if({"memory.hbm.bandwidth": ["x1", "x2", "x3"]})
    with pytest.raises(rl.BadWorkload, match=r"do not broadcast .*batch.*\(2,\).*memory.hbm.bandwidth.*\(3,\)"):
        rl.estimate("llama-3.1-8b", chip, batch=[1, 2])
    with pytest.raises(rl.BadWorkload, match="do not broadcast"):
        rl.estimate("rm1", h100, batch=[64, 128], skew=[0, 0.5, 1])
    with pytest.raises(rl.BadWorkload, match="do not broadcast"):
        rl.serve("llama-3.1-8b", h100, concurrency=[1, 2], chunk=[64, 128, 256])


# Other processes ---------------------------------------------------------------------------------------------------


def _figures_of(est: Any) -> tuple[dict[str, Any], str, Any]:
    return est.figures(), str(est.bound), est.interval(0.9)


@pytest.mark.parametrize(
    ("model", "chip", "options"),
    [
        ("llama-3.1-8b", "h100-sxm", {"tp": 2}),
        ("rm1", "mtia-v1", {"dtype": "int8"}),
        ("deepseek-v3", "h200", {"tp": 8}),
    ],
)
def test_estimates_go_to_other_processes_and_back(model: str, chip: str, options: dict[str, Any]) -> None:
    est = rl.estimate(model, chip, **options)
    before = _figures_of(est)
    again = pickle.loads(pickle.dumps(est))
    assert _figures_of(again) == before
    assert again.chip.numbers == est.chip.numbers
    for phase, other in zip(est.phases, again.phases, strict=True):
        assert pickle.loads(pickle.dumps(phase)).records == phase.records == other.records
    one = rl.cost(rl.gemm(m=[1, 64], n=64, k=64, dtype=est.chip.widest_matrix), chip)
    copied = pickle.loads(pickle.dumps(one))
    assert copied.time_s.tolist() == one.time_s.tolist()
    assert copied.bound.tolist() == one.bound.tolist()


@pytest.mark.parametrize(
    "error",
    [
        rl.UnknownName("chip", "h100x", ["h100"]),
        rl.BadDescriptor("a.toml", ["one", "two"]),
        rl.BadWorkload("no"),
        rl.BadModel("a.json", "none"),
        rl.BadData("x"),
        rl.DoesNotFit("too large", 2.0, 1.0, ["tp=2"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_back_from_other_processes(error: rl.RooflineError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_pool_of_processes_estimates() -> None:
    h100 = rl.load_chip("h100-sxm")
    rl.estimate("llama-3.1-8b", h100)  # what was looked up must not stand in the way
    ests = [rl.estimate("llama-3.1-8b", h100, batch=b) for b in (1, 8)]
    ests.append(rl.serve("llama-3.1-8b", h100, concurrency=8))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(_figures_of, ests)) == [_figures_of(est) for est in ests]


# Errors ------------------------------------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str]] = [
    ({"batch": 0}, "batch: expected a whole number of at least 1, found 0"),
    ({"batch": -4}, "batch: expected a whole number"),
    ({"batch": 1.5}, "batch: expected a whole number"),
    ({"batch": "many"}, "batch: expected a whole number of at least 1, found 'many'"),
    ({"batch": [1, 0, 4]}, "batch: expected a whole number of at least 1, found 0"),
    ({"batch": True}, "batch: expected a whole number"),
    ({"batch": []}, "batch: expected a whole number"),
    ({"batch": float("nan")}, "batch: expected a whole number"),
    ({"batch": float("inf")}, "batch: expected a whole number"),
    ({"batch": 1e300}, "batch: expected a whole number"),
    ({"prompt": 0}, "prompt: expected a whole number"),
    ({"output": 0}, "output: expected a whole number"),
    ({"prefix": 1024}, "at least one token of the prompt is new"),
    ({"prefix": -1}, "prefix: expected a whole number of at least 0"),
    ({"prompt": 10**6}, "131,072 positions; prompt \\+ output asks for 1,000,256"),
    ({"tp": 3}, "tp=3 .* nearest that does: tp=2 or tp=4"),
    ({"tp": 0}, "tp: expected a whole number"),
    ({"pp": 1000}, "pp=1000 is more than the 32 layers"),
    ({"ep": 2}, "has no experts; expected ep=1"),
    ({"dp": 4}, "4 data-parallel replicas need at least one sequence each, found batch=1"),
    ({"dtype": "fp12"}, "unknown dtype 'fp12'; did you mean"),
    ({"dtype": "int4"}, r"h100-sxm.* has no int4 rate; it has .* weight_dtype='int4', dtype='bf16'"),
    ({"kv_dtype": "none"}, "unknown dtype 'none'"),
    ({"usable_memory": 1.2}, "usable_memory: expected a fraction"),
    ({"usable_memory": "all"}, "usable_memory: expected a fraction"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[str(o)[:40] for o, _ in BAD])
def test_bad_requests_are_told_what_is_wrong(options: dict[str, Any], message: str, h100: Chip) -> None:
    with pytest.raises(rl.BadWorkload, match=message):
        rl.estimate("llama-3.1-8b", h100, **options)


def test_unknown_names_suggest_the_nearest(h100: Chip) -> None:
    with pytest.raises(rl.UnknownName, match="'batch'"):
        rl.estimate("llama-3.1-8b", h100, bacth=4)
    with pytest.raises(rl.UnknownName, match=r"'llama-3\.1-70b'"):
        rl.estimate("lama-3.1-70b", h100)
    with pytest.raises(rl.UnknownName, match="h100"):
        rl.estimate("llama-3.1-8b", "h10O")
    with pytest.raises(rl.UnknownName, match="devices"):
        rl.estimate("dlrm-v2", h100, device=2)
    with pytest.raises(AttributeError, match="load_chip"):
        rl.load_chips  # noqa: B018


def test_a_chip_without_links_stands_alone() -> None:
    chip = rl.load_chip("h100-sxm")
    own = {path: n for path, n in chip.numbers.items() if not path.startswith("links.")}
    alone = dataclasses.replace(chip, numbers=own)
    assert rl.estimate("llama-3.1-8b", alone).tokens_per_s > 0
    with pytest.raises(rl.BadWorkload, match="describes no link"):
        rl.estimate("llama-3.1-8b", alone, tp=2)


def test_models_are_frozen() -> None:
    model = rl.load_model("llama-3.1-8b")
    assert isinstance(model, LanguageModel)
    with pytest.raises(AttributeError):
        model.hidden = 1  # type: ignore[misc]
