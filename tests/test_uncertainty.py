"""Ranges on figures: samples stay inside them, come back by seed, and leave everything else alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.base.errors import BadWorkload, UnknownName
from roofline.base.numeric import quantiles
from roofline.estimates import inference
from roofline.hardware.chip import Chip
from roofline.hardware.number import Number
from roofline.hardware.uncertainty import central, error_factors, quantile, ranged, sample
from roofline.kernels import _jit
from tests.strategies import CHIPS, chip_names


@st.composite
def beliefs(draw: Any) -> Number:
    low = draw(st.floats(1e-9, 1e15))
    value = low * draw(st.floats(1.0, 10.0))
    high = value * draw(st.floats(1.0, 10.0))
    shape = draw(st.sampled_from(["uniform", "triangular", "loguniform"]))
    return Number(value, "bandwidth", "estimated", "s", low=low, high=high, shape=shape)


@given(beliefs(), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20))
def test_quantiles_rise_from_low_to_high(belief: Number, probabilities: list[float]) -> None:
    assert belief.low is not None
    assert belief.high is not None
    found = quantile(belief, np.sort([0.0, *probabilities, 1.0]))
    assert np.all(np.diff(found) >= -1e-12 * belief.high)
    assert belief.low <= found.min()
    assert found.max() <= belief.high
    assert found[0] == pytest.approx(belief.low, rel=1e-12)
    assert found[-1] == pytest.approx(belief.high, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "median"),
    # of 1 to 9 with the peak at 3: uniform 5; loguniform 3; triangular 9 - sqrt(8 * 6 / 2)
    [("uniform", 5.0), ("loguniform", 3.0), ("triangular", 9 - 24**0.5)],
)
def test_medians_by_hand(shape: str, median: float) -> None:
    belief = Number(3.0, "bandwidth", "estimated", "s", low=1.0, high=9.0, shape=shape)
    assert quantile(belief, np.array([0.5]))[0] == pytest.approx(median)


@settings(max_examples=50)
@given(chip_names, st.integers(1, 300), st.integers(0, 2**32))
def test_samples_stay_in_their_ranges_and_come_back_by_seed(name: str, count: int, seed: int) -> None:
    chip = rl.load_chip(name)
    sampled, again = sample(chip, count, seed), sample(chip, count, seed)
    for path, number in ranged(chip).items():
        values = sampled[path]
        assert values.shape == (count,)
        assert number.low <= values.min() <= values.max() <= number.high, path
        assert np.array_equal(values, again[path])
        assert sampled.number(path).source == number.source
    for path in {*chip.numbers, *chip.defaults} - set(ranged(chip)):
        assert sampled[path] == chip[path]


def test_another_seed_gives_other_samples_of_the_same_belief() -> None:
    chip = rl.load_chip("artemis")
    one, two = sample(chip, 4096, 0), sample(chip, 4096, 1)
    for path in ranged(chip):
        assert not np.array_equal(one[path], two[path])
        assert np.median(one[path]) == pytest.approx(np.median(two[path]), rel=0.01)


def test_figures_are_sampled_apart_from_each_other() -> None:
    chip = rl.load_chip("artemis")
    sampled = sample(chip, 4096)
    first, *others = (sampled[path] for path, number in ranged(chip).items() if not number.correlates_with)
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.08


def test_each_sample_lies_in_a_slice_of_its_own() -> None:
    chip = rl.load_chip("artemis")
    path, number = next((p, n) for p, n in ranged(chip).items() if n.shape == "loguniform")
    assert number.low is not None
    assert number.high is not None
    edges = quantile(number, np.linspace(0, 1, 65))
    counts, _ = np.histogram(sample(chip, 64)[path], edges)
    assert counts.tolist() == [1] * 64


def test_a_chip_without_ranges_is_unchanged() -> None:
    chip = rl.load_chip("h100")
    certain = chip.what_if({path: chip[path] for path in ranged(chip)})
    assert ranged(certain) == {}
    sampled = sample(certain, 16)
    assert sampled.numbers == certain.numbers
    assert sampled.defaults == certain.defaults


@pytest.mark.parametrize("name", CHIPS)
def test_family_figures_stay_family_figures(name: str) -> None:
    chip = rl.load_chip(name)
    sampled = sample(chip, 2)
    assert set(sampled.numbers) == set(chip.numbers)
    assert set(sampled.defaults) == set(chip.defaults)
    assert list(sampled.numbers) == list(chip.numbers)  # the order of look-up


def test_a_range_of_the_family_is_sampled_in_the_family() -> None:
    chip = rl.load_chip("h100")
    path = "latency.host"
    assert path not in chip.numbers
    wide = dataclasses.replace(chip.defaults[path], value=2e-6, low=1e-6, high=3e-6)
    sampled = sample(dataclasses.replace(chip, defaults={**chip.defaults, path: wide}), 8)
    assert path not in sampled.numbers
    assert sampled.defaults[path].value.shape == (8,)


def test_only_some_figures() -> None:
    chip = rl.load_chip("h100")
    sampled = sample(chip, 8, only=["memory.main.bandwidth"])
    assert sampled["memory.hbm.bandwidth"].shape == (8,)
    assert sampled["memory.l2.bandwidth"] == chip["memory.l2.bandwidth"]
    with pytest.raises(UnknownName, match="did you mean"):
        sample(chip, 8, only=["memory.hbm.bandwith"])


def test_trailing_axes_broadcast_against_others() -> None:
    sampled = sample(rl.load_chip("h100"), 8, trailing=2)
    assert sampled["memory.main.bandwidth"].shape == (8, 1, 1)
    assert sampled.ridge_point("bf16").shape == (8, 1, 1)


@pytest.mark.parametrize(("count", "trailing"), [(0, 0), (-1, 0), (1, -1)])
def test_no_samples_are_refused(count: int, trailing: int) -> None:
    with pytest.raises(BadWorkload, match="at least one sample"):
        sample(rl.load_chip("h100"), count, trailing=trailing)


@given(st.floats(0.0, 2.0), st.integers(2, 400))
def test_error_factors_are_log_normal_about_one(spread: float, count: int) -> None:
    factors = error_factors(np.array([spread]), count)
    assert factors.shape == (count, 1)
    logs = np.log(factors[:, 0])
    assert logs.mean() == pytest.approx(0, abs=1e-9)
    assert np.median(factors) == pytest.approx(1, rel=0.2 if count < 20 else 0.05) or spread > 0.5
    assert np.array_equal(factors, error_factors(np.array([spread]), count))


def test_nine_tenths_of_the_error_factors_lie_where_a_normal_puts_them() -> None:
    factors = error_factors(np.array(0.3), 10_000)
    inside = np.abs(np.log(factors)) <= 1.6449 * 0.3
    assert inside.mean() == pytest.approx(0.9, abs=0.001)


# Beliefs that lean to one side ----------------------------------------------------------------------------------


@given(st.floats(0.05, 0.99), st.floats(0.0, 1.0), st.integers(2, 300))
def test_the_interval_of_a_belief_holds_its_value(level: float, place: float, count: int) -> None:
    belief = Number(1.0 + 8.0 * place, "bandwidth", "estimated", "s", low=1.0, high=9.0)
    samples = quantile(belief, (np.arange(count) + 0.5) / count)
    low, high = central(samples, level, belief.value)
    assert low <= belief.value <= high
    assert low <= np.quantile(samples, (1 - level) / 2)
    assert high >= np.quantile(samples, (1 + level) / 2)


def test_an_interval_that_holds_the_value_is_not_widened() -> None:
    samples = (np.arange(100) + 0.5) / 100  # of the numbers from 0 to 1, each in the middle of its hundredth
    assert central(samples, 0.9, 0.5) == pytest.approx((0.05, 0.95))
    assert central(samples, 1.0, 0.5) == (samples[0], samples[-1])
    assert central(samples, 0.9, 1.2) == pytest.approx((0.05, 1.2))
    low, high = central(np.stack([samples, samples], axis=1), 0.9, np.array([-1.0, 0.5]))
    assert low == pytest.approx([-1.0, 0.05])
    assert high == pytest.approx([0.95, 0.95])


@pytest.mark.parametrize("count", [1, 2, 7, 256])
def test_quantiles_are_those_of_samples_in_the_middle_of_their_slices(count: int) -> None:
    samples = np.random.default_rng(count).lognormal(size=(count, 3))
    at = (0.0, 0.005, 0.05, 0.25, 0.5, 0.95, 0.995, 1.0)
    assert np.array_equal(quantiles(samples, *at), np.quantile(samples, at, axis=0, method="hazen"))


def leaning(chip: Chip, places: list[float]) -> Chip:
    """The chip with a wide belief about each hardware figure, whose peak lies so far up its range."""
    numbers = dict(chip.numbers)
    for i, (path, n) in enumerate(chip.numbers.items()):
        if path.startswith(("engines.", "memory.", "links.")) and n.dimension in ("rate", "bandwidth"):
            low = n.value / (1 + 3 * places[i % len(places)])
            numbers[path] = dataclasses.replace(n, low=low, high=low * 4, shape="triangular")
    return dataclasses.replace(chip, numbers=numbers)


@pytest.mark.parametrize("places", [[0.0], [1.0], [0.0, 1.0], [1.0, 1.0, 0.3]])
@pytest.mark.parametrize(("model", "options"), [("llama-3.1-8b", {}), ("dlrm-v2", {"batch": 512})])
def test_every_estimate_lies_in_its_own_interval(model: str, options: dict[str, Any], places: list[float]) -> None:
    est = rl.estimate(model, leaning(rl.load_chip("b200"), places), check=False, **options)
    for level in (0.05, 0.5, 0.9):
        for figure, (low, high) in est.interval(level).items():
            assert low <= getattr(est, figure) <= high, (figure, level)


def test_every_point_of_a_sweep_lies_in_its_own_interval() -> None:
    est = rl.estimate("llama-3.1-8b", leaning(rl.load_chip("b200"), [1.0]), batch=[1, 8, 64], check=False)
    low, high = est.interval(0.9, "tpot_s")
    assert low.shape == high.shape == (3,)
    assert np.all((low <= est.tpot_s) & (est.tpot_s <= high))


@pytest.mark.parametrize("name", CHIPS)
def test_every_built_in_chip_has_its_estimate_in_its_interval(name: str) -> None:
    est = rl.estimate("dlrm-v2", name, batch=256, check=False)
    low, high = est.interval(0.9, "latency_s")
    assert low <= est.latency_s <= high


# Over a grid --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chip", "compiled"), [("h100-sxm", False), ("artemis", False), ("h100-sxm", True)])
def test_errors_summed_by_themselves_are_those_of_the_whole(
    chip: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In loops of their own or beside all other sums, in numpy or compiled: regimes, classes, samples, a scale."""
    sampled = sample(rl.load_chip(chip), 16, trailing=2)
    rows, scale = np.geomspace(1, 1e6, 24)[:, None], np.linspace(1.0, 2.0, 3)
    ops = [
        rl.rms_norm(rows=rows, cols=8192, count=80),
        rl.silu_mul(rows=rows, cols=3584, count=rows),
        rl.softmax(rows=np.array([5.0, 6.0, 7.0]), cols=1000),
        rl.gemm(m=rows, n=4096, k=4096) if not compiled else rl.rope(rows=[[1.0]], cols=1024),
    ]
    beside = inference.Phase(inference.run(ops, sampled).workload, sampled, scale)
    expected = beside.spread, beside.time_s, beside.lower_s
    monkeypatch.setattr(inference, "_ERRORS", 1)
    if compiled:
        monkeypatch.setattr(_jit, "SMALL", 1)
    alone = inference.Phase(beside.workload, sampled, scale)
    for found, was in zip((alone.spread, alone.time_s, alone.lower_s), expected, strict=True):
        assert found.shape == (16, 24, 3)
        np.testing.assert_allclose(found, was, rtol=1e-12)
    assert "upper" not in alone._found
    assert np.ptp(alone.spread, axis=1).max() > 0
    np.testing.assert_allclose(alone.upper_s, beside.upper_s, rtol=1e-12)


@pytest.mark.parametrize("figure", ["ttft_s", "tpot_s", "tokens_per_s"])
def test_intervals_of_a_grid_are_those_of_its_points(figure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_ERRORS", 1)
    model, chip = rl.load_model("llama-3.1-8b"), rl.load_chip("h100-sxm")
    low, high = rl.estimate(model, chip, batch=[[1], [48]], prompt=[100, 3000], output=40).interval(0.9, figure)
    for i, batch in enumerate((1, 48)):
        for j, prompt in enumerate((100, 3000)):
            one = rl.estimate(model, chip, batch=batch, prompt=prompt, output=40).interval(0.9, figure)
            assert one == pytest.approx((low[i, j], high[i, j]), rel=1e-12)


def test_a_figure_is_drawn_when_asked_for() -> None:
    est = rl.estimate("llama-3.1-8b", "h100-sxm", batch=4)
    est.interval(0.9, "tpot_s")
    assert "prefill" not in vars(est._sampled)
    assert list(est._samples) == list(est.FIGURES)
    assert len(est._samples) == len(est.FIGURES)
    assert "prefill" not in vars(est._sampled)
