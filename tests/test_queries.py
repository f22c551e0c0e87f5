"""A recommendation server under load, from the model and the chip to percentiles and the largest rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.serving.batching import Service, estimated, sizes_up_to
from roofline.serving.queries import largest_rate, simulate_queries
from roofline.serving.query_capacity import query_capacity
from roofline.serving.query_runs import FIGURES, QueryRun

H100, RM1 = rl.load_chip("h100-sxm"), rl.load_model("rm1")


def run(traffic: Any, **options: Any) -> Any:
    return simulate_queries(RM1, H100, traffic, **{"max_batch": 1024, **options})


@pytest.mark.parametrize("name", ["dlrm-v2", "rm2", "meta-hc3"])
@pytest.mark.parametrize("chip", ["h100-sxm", "mtia-v1"])
def test_times_between_the_sizes_asked_for_are_within_a_hundredth(name: str, chip: str) -> None:
    model, on = rl.load_model(name), rl.load_chip(chip)
    service = Service.of(estimated(model, on, 4096, {"check": False}))
    some = np.unique(np.random.default_rng(1).integers(1, 4097, 60))
    exact = rl.estimate(model, on, batch=some, check=False)
    latency = np.interp(some, service.sizes, service.latency_s)
    pace = np.interp(some, service.sizes, service.pace_s)
    np.testing.assert_allclose(latency, exact.latency_s, rtol=0.01)
    np.testing.assert_allclose(pace, np.minimum(some / exact.pipelined_samples_per_s, exact.latency_s), rtol=0.01)


@given(st.integers(1, 10**6))
@settings(max_examples=30)
def test_sizes_reach_from_one_to_the_largest(most: int) -> None:
    sizes = sizes_up_to(most)
    assert (sizes[0], sizes[-1]) == (1, most)
    assert (np.diff(sizes) > 0).all()
    assert len(sizes) < 700


def test_an_idle_server_answers_in_the_time_of_a_batch() -> None:
    """Queries far apart: nobody waits, and each takes what a batch of its size takes."""
    found = run(rl.Traffic(1, burstiness=float("inf"), pairs=300, requests=50), jitter=0)
    assert found.latency_s.p99 == pytest.approx(rl.estimate(RM1, H100, batch=300).latency_s, rel=0.01)
    assert found.queue_s.mean == 0
    assert found.batch == 300
    assert not found.saturated
    assert found.bound == "arrivals"
    assert "p99 rests on 0" in found.latency_s.note


def test_a_server_without_end_of_queries_keeps_the_pipelines_pace() -> None:
    est = rl.estimate(RM1, H100, batch=1024)
    found = run(rl.Traffic(1e6, pairs=256, requests=2000), workers=64, jitter=0, slo={"latency_s": 1e-3})
    assert found.saturated
    assert found.bound == est.pipelined_bound
    assert found.saturation_rate * 256 == pytest.approx(est.pipelined_samples_per_s, rel=0.02)
    assert found.slo_attainment < 0.5
    alone = run(rl.Traffic(1e6, pairs=256, requests=2000), workers=1, jitter=0)
    assert alone.saturation_rate * 256 == pytest.approx(est.samples_per_s, rel=0.02)
    assert alone.bound == "workers"
    assert alone.busy == pytest.approx(1, abs=0.01)


def test_what_a_run_tells_agrees_with_itself() -> None:
    found = run(rl.Traffic(4000, pairs=rl.uniform(100, 440), requests=1500), slo={"latency_s": 8e-4}, window_s=2e-4)
    table, batches = found.requests, found.timeline
    assert len(table) == 1500
    assert table["latency_s"].quantile(0.99) == pytest.approx(found.latency_s.p99)
    assert (table["latency_s"] <= 8e-4).mean() == pytest.approx(found.slo_attainment)
    assert found.goodput <= found.qps
    assert found.goodput == pytest.approx(found.slo_attainment * 1500 / found.duration_s)
    assert batches["batch"].sum() == table["pairs"].sum()
    assert batches["running"].between(1, 4).all()
    assert set(found.as_dict()) >= {*FIGURES, "p99_latency_s", "saturated"}
    low, high = found.interval(0.9, "latency_s.p99")
    assert low < found.latency_s.p99 < high
    wider = found.interval(0.9, "latency_s.p99", seeds=2)
    assert wider[0] <= low
    assert wider[1] >= high


def test_a_list_of_rates_makes_a_dataset_of_the_runs() -> None:
    data = run(rl.Traffic([500, 4000], pairs=270, requests=400), slo={"latency_s": 1e-3})
    assert data["latency_s"].dims == ("rate", "statistic")
    one = run(rl.Traffic(4000, pairs=270, requests=400), slo={"latency_s": 1e-3})
    assert float(data["latency_s"].sel(rate=4000, statistic="p99")) == one.latency_s.p99
    assert float(data["goodput"].sel(rate=4000)) == one.goodput
    assert all(isinstance(each, QueryRun) for each in data.attrs["runs"])


@given(st.floats(6e-4, 4e-3), st.floats(1.05, 3), st.integers(0, 5))
@settings(max_examples=5)
def test_the_largest_rate_holds_and_never_rises_as_limits_tighten(limit: float, looser: float, seed: int) -> None:
    traffic = rl.Traffic(100, pairs=rl.uniform(100, 440), requests=800)
    tight, loose = (largest_rate(run(traffic, slo={"latency_s": one}, seed=seed)) for one in (limit, limit * looser))
    assert tight.latency_s.p99 <= limit * (1 + 1e-9)
    assert tight.traffic.rate <= tight.saturation_rate
    assert loose.traffic.rate >= tight.traffic.rate


@pytest.mark.parametrize(
    ("traffic", "options", "error", "says"),
    [
        (rl.Traffic(10), {}, rl.BadWorkload, "pairs"),
        (rl.Traffic(10, pairs=1), {"batch": 5}, rl.RooflineError, "batch"),
        (rl.Traffic(10, pairs=1), {"max_batch": 0}, rl.BadWorkload, "max_batch"),
        (rl.Traffic(10, pairs=1), {"max_batch": 10.5}, rl.BadWorkload, "whole"),
        (rl.Traffic(10, pairs=1), {"split": 2000}, rl.BadWorkload, "split"),
        (rl.Traffic(10, pairs=1), {"window_s": -1}, rl.BadWorkload, "window_s"),
        (rl.Traffic(10, pairs=1), {"workers": "many"}, rl.BadWorkload, "workers"),
        (rl.Traffic(10, pairs=1), {"jitter": float("nan")}, rl.BadWorkload, "jitter"),
        (rl.Traffic(10, pairs=1), {"devices": [1, 2]}, rl.BadWorkload, "devices"),
        (rl.Traffic(10, pairs=1), {"slo": 0.06}, rl.BadWorkload, "by name"),
        (rl.Traffic(10, pairs=1), {"slo": {"ttft_s": 0.06}}, rl.UnknownName, "latency_s"),
        (rl.Traffic(10, pairs=1), {"slo": {"latency_s": 0}}, rl.BadWorkload, "above 0"),
        (rl.Traffic(10, pairs=1), {"windows_s": 1}, rl.UnknownName, "window_s"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(traffic: Any, options: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        run(traffic, **options)


def test_a_largest_rate_wants_limits_that_can_be_held() -> None:
    traffic = rl.Traffic(10, pairs=270, requests=200)
    with pytest.raises(rl.BadWorkload, match="found none"):
        largest_rate(run(traffic))
    with pytest.raises(rl.BadWorkload, match="even at"):
        largest_rate(run(traffic, slo={"latency_s": 1e-6}))
    with pytest.raises(rl.BadWorkload, match="closed loop"):
        largest_rate(run(rl.Traffic(concurrency=2, pairs=270, requests=200), slo={"latency_s": 1}))
    with pytest.raises(rl.UnknownName, match=r"latency_s\.p99"):
        run(traffic).figure("latency_s.p98")


def test_capacity_finds_the_batch_limit_that_holds_most_and_the_fewest_chips() -> None:
    traffic = rl.Traffic(100_000, pairs=rl.uniform(100, 440), requests=800)
    table = query_capacity(RM1, ["h100-sxm", "a100-sxm-80gb"], traffic, slo={"latency_s": 2e-3}, max_batch=[512, 1024])
    assert set(table["chip"]) == {"h100-sxm", "a100-sxm-80gb"}
    assert (table["chips"] == np.ceil(100_000 / table["rate"])).all()
    assert table["chips"].is_monotonic_increasing
    assert (table["rate"] <= table["saturation_rate"]).all()
    assert (table["p99_s"] <= 2e-3).all()
    assert (table["usd_per_hour"] > 0).all()
    best = table.attrs["runs"][0]
    assert (best.server.chip.name, best.traffic.rate) == (table["chip"][0], table["rate"][0])
    with pytest.raises(rl.BadWorkload, match="nothing holds"):
        query_capacity(RM1, H100, traffic, slo={"latency_s": 1e-6}, max_batch=512)
    with pytest.raises(rl.UnknownName, match="watts"):
        query_capacity(RM1, H100, traffic, slo={"latency_s": 1}, objective="watt")
