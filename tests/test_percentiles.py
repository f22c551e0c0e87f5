"""Percentiles of what requests saw: as numpy has them, and intervals that hold as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.serving.percentiles import Percentiles

values = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@given(values, st.floats(0, 1))
@settings(max_examples=60)
def test_percentiles_are_those_of_numpy(found: list[float], share: float) -> None:
    seen = Percentiles([np.array(found)])
    assert seen.at(share) == pytest.approx(np.quantile(found, share), rel=1e-9, abs=1e-9)
    assert seen.mean == pytest.approx(np.mean(found))
    assert min(found) <= seen.p50 <= seen.p90 <= seen.p99 <= max(found)
    assert seen.share_within(seen.at(1.0)) == 1


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), min_size=1, max_size=20), st.floats(0.01, 0.99))
@settings(max_examples=60)
def test_counted_values_stand_for_as_many(counted: list[tuple[int, int]], share: float) -> None:
    value, often = (np.array(one) for one in zip(*counted, strict=True))
    seen, each = Percentiles([value], [often]), np.repeat(value, often)
    assert seen.count == len(each)
    assert seen.mean == pytest.approx(each.mean())
    assert seen.at(share) == np.quantile(each, share, method="inverted_cdf")


def test_intervals_hold_about_as_often_as_they_say() -> None:
    """Of values that follow each other closely (an autoregression), by seeds and by parts of one run."""
    rng = np.random.default_rng(5)

    def run(n: int) -> np.ndarray:
        steps = rng.standard_normal(n + 50)
        out = np.convolve(steps, 0.9 ** np.arange(50))[50 : n + 50]
        return 10 + out

    sd = np.sqrt((0.81 ** np.arange(50)).sum())
    for runs, truth, of in ((1, 10.0, "mean"), (6, 10.0, "mean"), (1, 10 + 1.2815515655 * sd, "p90")):
        held = 0
        for _ in range(150):
            low, high = Percentiles([run(4000 // runs) for _ in range(runs)]).interval(0.9, of)
            held += low <= truth <= high
        assert 0.8 <= held / 150 <= 0.97


def test_too_few_requests_are_told() -> None:
    few = Percentiles([np.arange(200.0)])
    assert "p99 rests on 2" in few.note
    assert "p90" not in few.note
    assert "p99" in repr(few)
    with pytest.raises(rl.NotKnown, match="200 requests"):
        few.interval(0.9, "p99")
    assert few.interval(0.9, "mean")[0] < few.mean
    assert not Percentiles([np.arange(1000.0)]).note


def test_nothing_answered_and_nothing_sensible_asked_are_errors() -> None:
    with pytest.raises(rl.NotKnown, match="no request"):
        _ = Percentiles([np.empty(0)]).p99
    assert "no request" in repr(Percentiles([np.empty(0)]))
    seen = Percentiles([np.arange(100.0)])
    for ask in (lambda: seen.at(99), lambda: seen.interval(90), lambda: seen.interval(0.9, "p95")):
        with pytest.raises(rl.BadWorkload, match="share"):
            ask()
