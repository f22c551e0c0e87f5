"""What explains, ranks, and searches: each answer is what single estimates say."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.study.indices import analysed

MODEL, CHIP = "llama-3.2-1b", "mtia-v1"
ASKED: dict[str, Any] = {"dtype": "fp16", "batch": 2}


# Explaining ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explained() -> Any:
    return rl.estimate(MODEL, CHIP, **ASKED).explain("tpot_s")


def test_every_change_is_an_estimate_of_its_own(explained: Any) -> None:
    before = rl.estimate(MODEL, CHIP, **ASKED).tpot_s
    kinds = set()
    for one in explained.changes:
        if one.kind == "chip":
            path, _, value = one.change.replace(" doubled to ", "|").replace(" halved to ", "|").partition("|")
            after = rl.estimate(MODEL, rl.load_chip(CHIP).what_if({path: value}), **ASKED)
        else:
            changes = dict(pair.split("=") for pair in one.change.partition(" or ")[0].split(", "))
            options = {name: int(value) if value.isdigit() else value for name, value in changes.items()}
            after = rl.estimate(MODEL, CHIP, **{**ASKED, **options})
        assert one.result == pytest.approx(after.tpot_s, rel=1e-3), one.change
        assert one.gain == pytest.approx(before / one.result - 1)
        assert one.bounds == {"prefill": after.prefill.bound, "decode": after.decode.bound}, one.change
        assert one.chips == after.devices
        kinds.add(one.kind)
    assert kinds >= {"chip", "dtype"}
    assert [one.gain for one in explained.changes] == sorted((one.gain for one in explained.changes), reverse=True)


def test_the_sentences_say_what_bounds_and_what_would_help(explained: Any) -> None:
    est = rl.estimate(MODEL, CHIP, **ASKED)
    text = str(explained)
    assert text.startswith(f"Prefill is bound by {est.prefill.bound} for ")
    assert f"Decode is bound by {est.decode.bound} for " in text
    assert "The three changes that would help tpot_s most:" in text
    assert [one.change in text for one in explained.changes[:4]] == [True, True, True, False]
    assert list(explained.table["change"]) == [one.change for one in explained.changes]


def test_a_recommendation_model_is_explained_too() -> None:
    found = rl.explain(rl.estimate("rm2", "mtia-v1", dtype="int8", batch=1024))
    assert str(found).startswith("Batch is bound by ")
    assert found.changes[0].change in str(found)


def test_what_no_change_helps_is_said() -> None:
    est = rl.estimate("rm1", "mtia-v1", dtype="int8", batch=1)
    chip = est.chip.what_if({"overheads.step": "1 s"})
    assert "halved" in str(rl.explain(rl.estimate("rm1", chip, dtype="int8", batch=1)))
    with pytest.raises(rl.BadWorkload, match="the estimate of one point"):
        rl.explain(rl.estimate("rm1", "mtia-v1", dtype="int8", batch=np.array([1.0, 2.0])))
    with pytest.raises(rl.BadWorkload, match=r"expected what roofline\.estimate returns"):
        rl.explain("rm1")
    with pytest.raises(rl.BadWorkload, match="no figure 'speed'"):
        est.explain("speed")


# Frontiers ----------------------------------------------------------------------------------------------------------


def gridded(rows: list[list[float]], fits: list[bool] | None = None) -> xr.Dataset:
    """Points as a sweep has them, along one axis."""
    columns = {f"f{i}": ("batch", list(column)) for i, column in enumerate(zip(*rows, strict=True))}
    data = xr.Dataset(columns, coords={"batch": np.arange(len(rows))})
    return data if fits is None else data.assign(fits=("batch", fits))


def beaten(row: np.ndarray, others: np.ndarray) -> bool:
    return bool((np.all(others <= row, axis=1) & np.any(others < row, axis=1)).any())


@given(
    st.integers(2, 5).flatmap(
        lambda k: st.lists(st.lists(st.integers(0, 6).map(float), min_size=k, max_size=k), min_size=1, max_size=60)
    )
)
@settings(max_examples=25)
def test_the_frontier_of_a_grid_is_that_of_brute_force(rows: list[list[float]]) -> None:
    points = np.array(rows)
    names = [f"f{i}" for i in range(points.shape[1])]
    front = rl.pareto(gridded(rows), minimise=names[1:], maximise=names[:1])
    signed = points * np.array([-1.0] + [1.0] * (len(names) - 1))
    expected = {i for i, row in enumerate(signed) if not beaten(row, signed)}
    assert set(front["batch"]) == expected
    assert len(front) == len(expected)


def test_points_that_do_not_fit_or_cannot_be_are_no_part_of_a_frontier() -> None:
    data = gridded([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]], fits=[True, True, False])
    assert rl.pareto(data, minimise=["f0", "f1"])["batch"].tolist() == [0, 1]
    holed = gridded([[1.0, 2.0], [math.nan, math.nan]]).assign(possible=("batch", [True, False]))
    assert rl.pareto(holed, minimise=["f0", "f1"])["batch"].tolist() == [0]


# Indices ------------------------------------------------------------------------------------------------------------


def test_the_indices_of_a_sum_are_the_shares_of_its_variance_and_sum_to_one() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 0.0}
    found, deviation = analysed(
        list(weights), lambda u: np.asarray(sum(w * u[name] for name, w in weights.items())), 1024, seed=0
    )
    expected = np.array([w**2 for w in weights.values()]) / 21
    assert found["first"] == pytest.approx(expected, abs=0.04)
    assert found["total"] == pytest.approx(expected, abs=0.04)
    assert np.sum(found["first"]) == pytest.approx(1.0, abs=0.03)
    assert deviation == pytest.approx((21 / 12) ** 0.5, rel=0.01)


def test_the_indices_of_a_product_say_that_its_factors_act_together() -> None:
    # (u - 1/2)(v - 1/2): neither alone moves anything, both together all.
    found, _ = analysed(["u", "v"], lambda u: (u["u"] - 0.5) * (u["v"] - 0.5), 1024, seed=1)
    assert found["first"] == pytest.approx([0, 0], abs=0.05)
    assert found["total"] == pytest.approx([1, 1], abs=0.05)


def test_the_indices_of_a_chip_name_what_is_in_doubt() -> None:
    table = rl.indices(MODEL, "artemis", draws=64, dtype="fp16")
    assert table.index[0] == "scenario"
    assert {"memory.dram.bandwidth", "model error"} <= set(table.index)
    assert table["first"].sum() == pytest.approx(1.0, abs=0.25)
    plain = rl.indices(MODEL, "artemis", draws=64, dtype="fp16", model_error=False, scenarios=False)
    assert plain.index[0] == "memory.dram.bandwidth"
    assert plain["total"].iloc[0] > 0.6
    assert plain.attrs["deviation"] < table.attrs["deviation"]
    twice = rl.indices(MODEL, "artemis", draws=64, dtype="fp16", model_error=False, scenarios=False)
    pd.testing.assert_frame_equal(plain, twice)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 100}, "a power of two"),
        ({"figure": "speed"}, "no figure 'speed'"),
        ({"batch": [1, 2]}, "expected one point"),
        ({"chip": "certain", "model_error": False}, "nothing is in doubt"),
    ],
)
def test_indices_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    chip: Any = rl.load_chip("mtia-v1")
    if options.pop("chip", None):
        from roofline.hardware.uncertainty import ranged

        chip = chip.what_if({path: chip[path] for path in ranged(chip)})
    with pytest.raises(rl.BadWorkload, match=message):
        rl.indices("rm1", chip, dtype="int8", **options)


# Searching ----------------------------------------------------------------------------------------------------------

SEARCH: dict[str, Any] = {"population": 24, "generations": 12, "dtype": "int8"}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_search_never_breaks_its_limits(seed: int) -> None:
    found = rl.search(
        "rm1",
        "mtia-v1",
        vary={"memory.main.bandwidth": ("x0.5", "x8"), "clock": ("x0.5", "x2"), "batch": (1, 4096)},
        subject_to={
            "latency_s": (None, 1e-3),
            "bytes_per_flop": (1e-4, 0.01),
            "area": (lambda est: est.chip["memory.dram.bandwidth"] / 1e9 + est.chip["clock"] / 1e7, None, 400),
        },
        seed=seed,
        **SEARCH,
    )
    assert found.found
    chip = rl.load_chip("mtia-v1").what_if({n: v for n, v in found.values.items() if n != "batch"})
    est = rl.estimate("rm1", chip, batch=int(found.values["batch"]), dtype="int8")
    assert est.samples_per_s == found.result
    assert est.fits
    assert est.latency_s <= 1e-3
    assert 1e-4 <= chip["memory.dram.bandwidth"] / chip.peak("int8") <= 0.01
    assert chip["memory.dram.bandwidth"] / 1e9 + chip["clock"] / 1e7 <= 400
    assert np.all(found.limits["slack"] >= 0)
    assert est.samples_per_s > rl.estimate("rm1", "mtia-v1", batch=64, dtype="int8").samples_per_s


def test_a_search_over_one_variable_finds_what_solve_does() -> None:
    limit = 0.6e-3
    solved = rl.solve("rm1", "mtia-v1", "latency_s", limit, vary="batch", high=2048, dtype="int8")
    found = rl.search("rm1", "mtia-v1", vary={"batch": (1, 2048)}, subject_to={"latency_s": (None, limit)}, **SEARCH)
    assert found.values["batch"] == pytest.approx(solved.value, rel=0.02)
    assert found.why.startswith(("what binds: latency_s", "no limit binds"))


def test_what_cannot_be_kept_is_named() -> None:
    found = rl.search("rm1", "mtia-v1", vary={"batch": (1, 64)}, subject_to={"latency_s": (None, 1e-7)}, **SEARCH)
    assert not found.found
    assert found.values == {}
    assert "nothing within the limits was found: latency_s is " in found.why
    fixed = rl.search("rm1", "mtia-v1", vary={"batch": (64, 64)}, minimise="latency_s", **SEARCH)
    assert fixed.values == {"batch": 64.0}
    assert fixed.result == rl.estimate("rm1", "mtia-v1", batch=64, dtype="int8").latency_s


BAD: list[tuple[dict[str, Any], str]] = [
    ({"vary": {}}, "vary: expected"),
    ({"vary": {"batch": 4}}, r"expected \(low, high\) for 'batch', found 4"),
    ({"vary": {"tp": (1, 4)}}, "no figure of|is one of few numbers"),
    ({"vary": {"batch": (1, 4)}, "maximise": "latency_s", "minimise": "latency_s"}, "found both"),
    ({"vary": {"memory.main.bandwidth": ("x1", "x2"), "memory.dram.bandwidth": ("x1", "x2")}}, "varied twice"),
    ({"vary": {"batch": (1, 4)}, "subject_to": {"latency_s": 4}}, r"expected \(least, most\) for 'latency_s'"),
    ({"vary": {"batch": (1, 4)}, "subject_to": {"latency": (None, 4)}}, "did you mean 'latency_s'"),
    ({"vary": {"batch": (1, 4)}, "subject_to": {"latency_s": (None, 0)}}, "a limit of 0"),
    ({"vary": {"batch": (1, 4)}, "subject_to": {"latency_s": (2, 1)}}, "expected least <= most"),
    ({"vary": {"batch": (1, 4)}, "subject_to": {"x": (lambda est: "y", None, 1)}}, "expected a number of the estimate"),
    ({"vary": {"batch": (1, 4)}, "subject_to": {"x": (lambda est: 1 / 0, None, 1)}}, "the function failed"),
    ({"vary": {"batch": (1, 4)}, "subject_to": {"latency_s": (None, 10**400)}}, r"expected \(least, most\)"),
    ({"vary": {"batch": (1, 4)}, "seed": -1}, "seed: expected a whole number"),
]


@pytest.mark.parametrize(("asked", "message"), BAD, ids=[m for _, m in BAD])
def test_a_search_that_cannot_be_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises((rl.BadWorkload, rl.UnknownName), match=message):
        rl.search("rm1", "mtia-v1", dtype="int8", **asked)


# The command --------------------------------------------------------------------------------------------------------


def test_the_command_explains_searches_and_ranks_doubts(run: Any) -> None:
    code, out, _ = run("explain", "rm1", "--chip", "mtia-v1", "--dtype", "int8", "--all")
    assert code == 0
    assert "Batch is bound by" in out
    assert "Changes that help samples_per_s" in out
    code, out, _ = run("explain", "rm1", "--chip", "mtia-v1", "--dtype", "int8", "--json")
    assert json.loads(out)["figure"] == "samples_per_s"
    code, out, _ = run(
        "search", "rm1", "--chip", "mtia-v1", "--dtype", "int8", "--vary", "batch=1:64", "--limit", "latency_s=:1e-7"
    )
    assert code == 1
    assert "Nothing within the limits" in out
    code, _, err = run("search", "rm1", "--chip", "mtia-v1", "--vary", "batch=1")
    assert code == 2
    assert "expected NAME=LOW:HIGH" in err
    code, out, _ = run("indices", "rm1", "--chip", "artemis", "--dtype", "int8", "--draws", "16", "--csv")
    assert (code, out.splitlines()[0]) == (0, "doubt,first,first_error,total,total_error")
