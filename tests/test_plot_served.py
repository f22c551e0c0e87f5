"""Pictures of servers under load: what is drawn is what the runs say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import roofline as rl
from roofline.show import canvas, served


@pytest.fixture(scope="module")
def curve() -> Any:
    """A recommendation server at three rates, the last beyond what it serves."""
    traffic = rl.Traffic(rate=[500, 4000, 60_000], pairs=rl.uniform(100, 440), requests=400)
    return rl.simulate("rm1", "h100-sxm", traffic, max_batch=1024)


@pytest.fixture
def language() -> xr.Dataset:
    """A curve as those of language models are, by hand."""
    part, rates = np.linspace(1, 2, 4), np.array([1.0, 2.0, 4.0])
    times = {name: (("rate", "statistic"), np.outer(rates, part) * 0.01) for name in ("ttft_s", "tpot_s")}
    saturated = ("rate", [False, False, True])
    chips = ("rate", rates * 100)
    return xr.Dataset(
        {**times, "saturated": saturated, "tokens_per_s_per_chip": chips},
        {"rate": rates, "statistic": ["mean", "p50", "p90", "p99"]},
    )


def texts(page: Any) -> list[str]:
    return [one.get_text() for one in page.get_legend().get_texts()]


def test_percentiles_are_drawn_where_they_are_and_the_limit_across(curve: Any, tmp_path: Path) -> None:
    page = served.plot_percentiles(curve, slo=0.002, title="a server")
    assert page.get_xlabel() == "requests/s"
    assert page.get_ylabel() == "latency of a query"
    for line, part in zip(page.lines, ("p50", "p90", "p99"), strict=False):
        np.testing.assert_array_equal(line.get_ydata(), curve["latency_s"].sel(statistic=part))
    assert texts(page) == ["p99", "p90", "p50", "saturated", "limit 2 ms"]
    canvas.save(page, tmp_path / "a.png")
    assert served.plot_percentiles(curve, "queue_s", size=(3.3, 2.9)).get_ylabel() == "wait for a batch"


def test_a_distribution_is_that_of_the_run(curve: Any) -> None:
    runs = curve.attrs["runs"]
    page = served.plot_cdf({"slow": runs[0], "fast": runs[2]}, slo=0.01)
    assert texts(page) == ["slow", "fast", "limit 10 ms"]
    x, y = (np.asarray(one, float) for one in page.lines[1].get_data())
    assert x[np.searchsorted(y, 50)] == pytest.approx(runs[2].latency_s.p50, rel=0.05)
    assert (y[0], y[-1]) == (0, 100)
    assert served.plot_cdf(runs[0]).get_legend() is None


def test_a_time_line_has_a_row_for_each_thing(curve: Any) -> None:
    run = curve.attrs["runs"][1]
    rows = served.plot_timeline(run, title="over time").child_axes
    assert [one.get_ylabel() for one in rows] == ["waiting", "running", "samples\nof a batch"]
    np.testing.assert_array_equal(rows[2].lines[0].get_ydata(), run.timeline["batch"])
    assert rows[2].get_xlabel() == "time (s)"


def test_throughput_against_speed_marks_what_is_saturated(language: xr.Dataset) -> None:
    page = served.plot_tradeoff({"one": language, "another": language.isel(rate=[0, 1])})
    np.testing.assert_allclose(page.lines[0].get_xdata(), 1 / language["tpot_s"].sel(statistic="p50"))
    np.testing.assert_array_equal(page.lines[0].get_ydata(), [100, 200, 400])
    assert texts(page) == ["one", "another", "saturated"]


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda curve, data: served.plot_percentiles(3), "Dataset of simulate"),
        (lambda curve, data: served.plot_percentiles(curve, "ttft_s"), "latency_s"),
        (lambda curve, data: served.plot_percentiles(data, slo=-1), "seconds"),
        (lambda curve, data: served.plot_cdf(curve), "a run of simulate"),
        (lambda curve, data: served.plot_cdf(curve.attrs["runs"][0], "ttft_s"), "latency_s"),
        (lambda curve, data: served.plot_timeline(data), "a run"),
        (lambda curve, data: served.plot_tradeoff({}), "found none"),
        (lambda curve, data: served.plot_tradeoff(curve), "latency_s"),
        (lambda curve, data: served.plot_percentiles(data * np.nan), "no request"),
    ],
)
def test_what_is_no_run_is_refused(curve: Any, language: xr.Dataset, draw: Any, says: str) -> None:
    with pytest.raises(rl.RooflineError, match=says):
        draw(curve, language)
