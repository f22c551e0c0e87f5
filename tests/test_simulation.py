"""A language model under load: laws that hold whatever the chip, and what `simulate` refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.serving import simulation
from roofline.serving.passes import Passes
from roofline.serving.runs import Run
from roofline.serving.server import ServingEstimate
from tests.test_simulation_twin import LINE, requests_of

LLAMA = "llama-3.1-8b"


def _run(rate: float = 8, requests: int = 600, prompt: Any = 700, output: Any = 60, **options: Any) -> Run:
    traffic = rl.Traffic(rate=rate, prompt=prompt, output=output, requests=requests)
    run = rl.simulate(LLAMA, "h100-sxm", traffic, **{"stack": "vllm", "max_seqs": 64, **options})
    assert isinstance(run, Run)
    return run


@pytest.fixture(scope="module")
def run() -> Run:
    return _run(prompt=rl.lognormal(700, 500), output=rl.lognormal(60, 40))


# Passes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "chip", "plan"),
    [(LLAMA, "h100-sxm", {}), ("deepseek-v3", "h200", {"tp": 8}), ("gpt-oss-120b", "h100-sxm", {"tp": 2})],
)
def test_tables_are_within_one_percent_of_the_exact_pass(model: str, chip: str, plan: dict[str, int]) -> None:
    passes = Passes(rl.estimate(model, chip, check=False, **plan), tokens=2048, sequences=48, context=9000, prompt=8192)
    rng, n = np.random.default_rng(3), 200
    decoding = rng.integers(0, 49, n)
    context = np.exp(rng.uniform(math.log(16), math.log(9000), n))
    prompts = np.where(decoding == 0, 1, rng.integers(0, 3, n))
    new = np.exp(rng.uniform(0, math.log(900), n)).astype(int)
    before = rng.choice([0, 0, 512, 7000], n)
    table = passes.tables["time_s"]
    for some in (prompts == 0, prompts > 0):
        d, c, k, q, b = (one[some] for one in (decoding, context, prompts, new, before))
        exact = passes.exact((d, c, k, q, b) if k.any() else (d, c, 0, 1, 0)).time_s
        args = zip(d, np.rint(d * c), k, k * q, k * q * q, k * q * b, strict=True)
        found = np.array([table.time(int(a), int(e), int(f), int(g), float(h), float(i)) for a, e, f, g, h, i in args])
        errors = np.abs(found / exact - 1)
        assert np.quantile(errors, 0.95) < 0.01
        assert errors.max() < 0.03


# Laws ----------------------------------------------------------------------------------------------------------------


def test_requests_in_are_requests_out(run: Run) -> None:
    assert run.answered + run.gave_up == len(run.requests) == 600
    assert run.gave_up == 0
    assert (run.requests["output"] == run.drawn.output).all()
    assert run.requests[["arrival_s", "admitted_s", "first_token_s", "end_s"]].diff(axis=1).iloc[:, 1:].min().min() >= 0
    assert run.itl_s.count == (run.drawn.output - 1).sum()


def test_littles_law(run: Run) -> None:
    seen = run.timeline
    weights = seen["pass_s"] / seen["pass_s"].sum()
    in_system = float(((seen["waiting"] + seen["running"]) * weights).sum()) * run.busy_share
    # Those who come during a pass are seen at the next: half a pass's arrivals, and what is between is not seen.
    assert in_system == pytest.approx(run.requests_per_s * run.e2e_s.mean, rel=0.05)


def test_bounds_are_bounds(run: Run) -> None:
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        assert getattr(run.lower, name).mean < getattr(run, name).mean < getattr(run.upper, name).mean
    low, high = run.interval(0.9, "e2e_s.mean")
    assert low < run.e2e_s.mean < high


def test_goodput_counts_requests_within_the_limits(run: Run) -> None:
    slo = {"ttft_s": run.ttft_s.p90, "tpot_s": run.tpot_s.p90}
    limited = Run(run.setting, run.drawn, run.traffic, slo=slo)
    frame = run.requests
    good = (frame["ttft_s"] <= slo["ttft_s"]) & ~(frame["tpot_s"] > slo["tpot_s"])
    assert limited.slo_attainment == pytest.approx(good.mean())
    assert limited.goodput == pytest.approx(good.sum() / run.duration_s)
    assert 0.8 <= limited.slo_attainment < 0.92


def test_data_parallel_ranks_of_a_dense_model_are_replicas() -> None:
    ranks, replicas = _run(requests=60, dp=2), _run(requests=60, replicas=2)
    assert ranks.devices == replicas.devices == 2
    assert ranks.kv_tokens == replicas.kv_tokens
    np.testing.assert_array_equal(ranks.outcome.told_at, replicas.outcome.told_at)


def test_one_replica_is_itself_under_every_router() -> None:
    runs = [_run(requests=100, router=router) for router in ("round_robin", "least_loaded", "prefix_aware")]
    for other in runs[1:]:
        assert (other.requests["end_s"] == runs[0].requests["end_s"]).all()


def test_the_least_loaded_replica_serves_sooner() -> None:
    options: dict[str, Any] = {"rate": 60, "replicas": 3, "prompt": rl.lognormal(2000, 3000), "requests": 400}
    even, least = (_run(router=router, **options) for router in ("round_robin", "least_loaded"))
    assert least.ttft_s.mean < even.ttft_s.mean
    assert set(least.requests["replica"]) == {0, 1, 2}
    assert least.devices == 3


def test_a_longer_shared_beginning_never_delays_first_tokens() -> None:
    means = []
    for shared in (0, 64, 128, 512):
        traffic = rl.Traffic(rate=10, prompt=700, output=20, requests=300, shared_prefix=(shared, 2))
        means.append(rl.simulate(LLAMA, "h100-sxm", traffic, stack="vllm").ttft_s.mean)
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.9 * means[0]


def test_a_closed_loop_keeps_its_clients_busy_as_serve_says() -> None:
    traffic = rl.Traffic(concurrency=32, prompt=512, output=rl.lognormal(128, 64), requests=1500)
    run = rl.simulate(LLAMA, "h100-sxm", traffic, stack="vllm", host_s=0, lag=0)  # which `serve` knows nothing of
    steady = rl.serve(LLAMA, "h100-sxm", concurrency=32, prompt=512, output=128, output_sd=64, stack="vllm")
    assert isinstance(steady, ServingEstimate)
    assert run.requests_per_s == pytest.approx(steady.requests_per_s, rel=0.05)
    assert run.tpot_s.mean == pytest.approx(steady.tpot_s, rel=0.05)
    assert not run.saturated


def test_a_server_of_one_request_is_an_m_d_1_queue() -> None:
    # Pollaczek and Khinchine, of deterministic service: the mean wait is rho D / 2 (1 - rho).
    served = LINE.time(0, 0, 1, 100, 1e4, 0)
    load, n = 0.5, 6000
    arrival = np.cumsum(np.random.default_rng(1).exponential(served / load, n))
    at = requests_of(arrival, np.full(n, 100), np.full(n, 1), max_seqs=1)
    wait = float((at[:, 1] - at[:, 0]).mean())
    assert wait == pytest.approx(load * served / (2 * (1 - load)), rel=0.08)


def test_saturation_is_found_and_told() -> None:
    low = _run(rate=2, requests=400)
    rate = low.saturation_rate
    assert not low.saturated
    assert rate == pytest.approx(_run(rate=6, requests=400).saturation_rate, rel=0.1)
    assert _run(rate=1.5 * rate, requests=400).saturated
    assert not _run(rate=0.7 * rate, requests=400).saturated
    assert _run(rate=1.5 * rate, requests=400).bound in ("prefill", "max_seqs", "kv")


def test_small_memory_binds_and_evicts() -> None:
    run = _run(rate=20, requests=200, output=200, kv_tokens=8000)
    assert run.preemptions > 0
    assert run.bound == "kv"
    reserved = _run(rate=20, requests=200, output=200, kv_tokens=8000, reserve=True)
    assert reserved.preemptions == 0
    assert reserved.timeline["kv_share"].max() <= 1


def test_rates_are_an_axis() -> None:
    traffic = rl.Traffic(rate=[4, 12], prompt=700, output=30, requests=200)
    grid = rl.simulate(LLAMA, "h100-sxm", traffic, stack="vllm", slo={"ttft_s": 0.2})
    assert grid["ttft_s"].dims == ("rate", "statistic")
    alone = rl.simulate(LLAMA, "h100-sxm", traffic.changed(rate=12), stack="vllm", slo={"ttft_s": 0.2})
    assert float(grid["ttft_s"].sel(rate=12, statistic="p99")) == alone.ttft_s.p99
    assert float(grid["goodput"].sel(rate=12)) == alone.goodput


# What it refuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_seq": 3}, "did you mean 'max_seqs'"),
        ({"chunk": 0}, "chunk: expected a whole number from 1"),
        ({"slo": {"ttft": 1}}, "ttft_s"),
        ({"slo": {"ttft_s": -1}}, "seconds above 0"),
        ({"slo": 3}, "expected limits"),
        ({"router": "random"}, "no router is called 'random'"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": 2000}, "at most 1024"),
        ({"kv_tokens": 100}, "760 tokens, does not fit"),
        ({"kv_tokens": "all"}, "kv_tokens"),
        ({"mixed": 1}, "True or False"),
        ({"tp": [1, 2]}, "expected one tp"),
        ({"prompt": 3}, "prompt"),
    ],
)
def test_what_cannot_be_asked_is_told(options: dict[str, Any], words: str) -> None:
    traffic = rl.Traffic(rate=1, prompt=700, output=60, requests=3)
    with pytest.raises(rl.RooflineError, match=words):
        rl.simulate(LLAMA, "h100-sxm", traffic, stack="vllm", **options)


def test_what_is_no_traffic_is_told() -> None:
    with pytest.raises(rl.BadWorkload, match="expected traffic"):
        rl.simulate(LLAMA, "h100-sxm", 8)  # type: ignore[arg-type]
    with pytest.raises(rl.DoesNotFit, match="does not fit"):
        rl.simulate("llama-3.1-70b", "h100-sxm", rl.Traffic(rate=1), stack="vllm")


def test_engines_decide_as_documented() -> None:
    policies = {name: _run(requests=3, stack=name, max_seqs=None).policy for name in ("vllm", "sglang", "trtllm")}
    assert [policies[name].mixed for name in policies] == [True, False, True]
    assert [policies[name].reserve for name in policies] == [False, False, True]
    assert [policies[name].block for name in policies] == [16, 1, 32]
    assert [policies[name].chunked_prefill for name in policies] == [True, True, False]
    assert simulation.OPTIONS
