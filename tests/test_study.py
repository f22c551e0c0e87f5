"""Grids, sensitivities, frontiers, inverse questions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import roofline as rl
from roofline.study.frontiers import unbeaten

MODEL, CHIP = "llama-3.1-8b", "h100-sxm"


def test_a_sweep_equals_its_points() -> None:
    data = rl.sweep("llama-3.1-8b", ["h100-sxm", "mi300x"], batch=[1, 8, 64], dtype=["bf16", "fp8"], tp=[1, 2])
    assert dict(data.sizes) == {"chip": 2, "batch": 3, "dtype": 2, "tp": 2}
    assert list(data["tokens_per_s"].dims) == ["chip", "batch", "dtype", "tp"]
    for chip in ("h100-sxm", "mi300x"):
        for batch in (1, 64):
            for dtype in ("bf16", "fp8"):
                point = data.sel(chip=chip, batch=batch, dtype=dtype, tp=2)
                est = rl.estimate("llama-3.1-8b", chip, batch=batch, dtype=dtype, tp=2)
                assert float(point["tokens_per_s"]) == pytest.approx(est.tokens_per_s)
                assert str(point.roofline.bound_text().item()) == est.bound
    assert data["ttft_s"].attrs["units"] == "s"


def test_a_sweep_marks_what_does_not_fit() -> None:
    data = rl.sweep("llama-3.1-70b", "h100-sxm", tp=[1, 2, 4, 8])
    assert data["fits"].values.tolist() == [False, True, True, True]


BAD_SWEEPS: list[tuple[tuple[Any, Any], dict[str, Any], str]] = [
    ((MODEL, CHIP), {"batch": []}, "axis batch is empty"),
    (([], CHIP), {}, "at least one model"),
    ((MODEL, []), {}, "at least one chip"),
    (([MODEL, "dlrm-v2"], CHIP), {"concurrency": 8}, "dlrm-v2 is a recommendation model, which has no tokens"),
    ((MODEL, ["h100", CHIP]), {}, "axis chip has h100-sxm more than once"),
    (([MODEL, MODEL], CHIP), {}, "axis model has llama-3.1-8b more than once"),
    ((MODEL, CHIP), {"batch": [1, 4, 1.0]}, "axis batch has 1 more than once"),
    ((MODEL, CHIP), {"usable_memory": [0.5, 0.5]}, "axis usable_memory has 0.5 more than once"),
    ((MODEL, CHIP), {"dtype": ["bf16", "bfloat16"]}, "axis dtype has bf16 more than once"),
    ((MODEL, CHIP), {"batch": np.ones((2, 2))}, r"flat list, found batch of shape \(2, 2\)"),
    ((MODEL, CHIP), {"batch": [[1, 2], [3]]}, r"batch must have rows of one length, found \[\[1, 2\]"),
    ((MODEL, CHIP), {"batch": [1, None]}, "batch: expected a whole number of at least 1"),
    ((MODEL, CHIP), {"batch": np.ma.array([1, 2], mask=[0, 1])}, "batch: expected a plain array, found a masked one"),
    ((MODEL, CHIP), {"usable_memory": [0.5, 1.5]}, "usable_memory: expected a fraction above 0 and at most 1"),
    ((MODEL, CHIP), {"chip": CHIP}, "chip is no option, found chip='h100-sxm': chips come second"),
    ((MODEL, CHIP), {"model": MODEL}, "model is no option, .* models come first"),
    ((MODEL, CHIP), {"check": False}, "check is no option, .* marked in `fits`"),
    ((MODEL, 8), {}, "expected a chip, its name or its path, or several, found 8"),
    ((None, CHIP), {}, "expected a model, its name or its path, or several, found None"),
    (("rm1", CHIP), {"compiled": "no"}, "compiled is True or False, found 'no'"),
    ((MODEL, CHIP), {"weight_dtype": 0}, "unknown dtype 0"),
    ((MODEL, CHIP), {"kv_dtype": False}, "unknown dtype False"),
    ((MODEL, CHIP), {"kv_dtype": ""}, "unknown dtype ''"),
]


@pytest.mark.parametrize(("given", "options", "message"), BAD_SWEEPS, ids=[m for *_, m in BAD_SWEEPS])
def test_sweeps_refuse_nonsense(given: tuple[Any, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(rl.BadWorkload, match=message):
        rl.sweep(*given, **options)


def test_an_unknown_option_of_a_sweep_is_told() -> None:
    with pytest.raises(rl.UnknownName, match="did you mean 'batch'"):
        rl.sweep(MODEL, CHIP, bacth=[1, 2])


@pytest.mark.parametrize("batch", [4, np.int64(4), np.array(4), 4.0])
def test_a_sweep_of_one_point_has_no_dimensions(batch: Any) -> None:
    data = rl.sweep(MODEL, CHIP, batch=batch)
    assert dict(data.sizes) == {}
    assert data["tokens_per_s"].item() == rl.estimate(MODEL, CHIP, batch=4).tokens_per_s
    assert (data["model"].item(), data["chip"].item()) == (MODEL, CHIP)


def test_usable_memory_and_compiled_are_axes_too() -> None:
    for stack, expected in (
        ("plain", [[False, False], [False, True], [True, True]]),  # of all that there is
        ("trtllm", [[True, True], [True, True], [True, True]]),  # of what weights leave of it
    ):
        data = rl.sweep("llama-3.1-70b", CHIP, usable_memory=[0.3, 0.5, 0.9], tp=[2, 4], stack=stack)
        for usable in (0.3, 0.5, 0.9):
            for tp in (2, 4):
                alone = rl.estimate("llama-3.1-70b", CHIP, usable_memory=usable, tp=tp, stack=stack, check=False)
                assert bool(data["fits"].sel(usable_memory=usable, tp=tp)) == alone.fits
        assert data["fits"].values.tolist() == expected
    whole = rl.sweep("rm1", CHIP, compiled=[False, True], dtype="int8", batch=1024)
    alone = [rl.estimate("rm1", CHIP, compiled=c, dtype="int8", batch=1024).latency_s for c in (False, True)]
    assert whole["latency_s"].values.tolist() == alone


def test_the_memory_of_an_array_of_shares_is_that_of_each() -> None:
    est = rl.estimate(MODEL, CHIP, usable_memory=np.array([0.5, 0.9]))
    each = [rl.estimate(MODEL, CHIP, usable_memory=usable) for usable in (0.5, 0.9)]
    assert est.memory.largest_batch.tolist() == [one.memory.largest_batch for one in each]
    served = rl.serve(MODEL, CHIP, usable_memory=np.array([0.5, 0.9]), concurrency=5000)
    for i, usable in enumerate((0.5, 0.9)):
        alone = rl.serve(MODEL, CHIP, usable_memory=usable, concurrency=5000)
        assert served.tokens_per_s[i] == pytest.approx(alone.tokens_per_s, rel=1e-12)


def test_recommendation_sweeps_have_their_own_figures() -> None:
    data = rl.sweep("rm1", ["mtia-v1", "a100"], batch=[64, 4096], dtype="int8")
    assert np.all(data["samples_per_s"].values > 0)
    assert dict(data.sizes) == {"chip": 2, "batch": 2}


def test_decode_is_most_sensitive_to_memory_bandwidth() -> None:
    table = rl.sensitivity("llama-3.1-70b", "h100-sxm", figure="tpot_s", tp=8, batch=1, prompt=512)
    assert set(table.index[:2]) == {"memory.hbm.bandwidth", "memory.hbm.channels"}  # which take it with them
    assert -1.0 <= table["elasticity"]["memory.hbm.bandwidth"] < -0.2
    with pytest.raises(rl.BadWorkload, match="no figure"):
        rl.sensitivity("llama-3.1-70b", "h100-sxm", figure="speed", tp=8)


SENSITIVE: list[tuple[str, str, dict[str, Any], float]] = [
    ("llama-3.1-8b", "h100-sxm", {"tp": 2, "batch": 8}, 0.1),
    ("dlrm-v1", "mtia-v1", {"dtype": "int8", "batch": 1024}, -0.05),
    ("llama-2-7b", "epyc-9654", {"batch": 4}, 0.1),
]


@pytest.mark.parametrize(("model", "name", "options", "step"), SENSITIVE, ids=[one[1] for one in SENSITIVE])
def test_sensitivities_are_those_of_one_what_if_each(
    model: str, name: str, options: dict[str, Any], step: float
) -> None:
    chip = rl.estimate(model, name, check=False, **options).chip  # on the stack that is best known there
    table = rl.sensitivity(model, chip, step=step, **options)
    figure = "tokens_per_s" if "llama" in model else "samples_per_s"

    def result(on: rl.Chip) -> float:
        return float(getattr(rl.estimate(model, on, check=False, **options), figure))

    base, kinds = result(chip), set()
    for path, row in table.iterrows():
        assert row["value"] == chip[str(path)]
        assert row["changed"] != row["value"]
        changed = chip.what_if({str(path): row["changed"]})
        if result(chip.what_if({str(path): row["value"]})) == base:  # else the chip's own figure goes before it
            assert row["result"] == pytest.approx(result(changed), rel=1e-12), path
        expected = np.log(row["result"] / base) / np.log(row["changed"] / row["value"])
        assert row["elasticity"] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert abs(row["elasticity"]) > 1e-6
        kinds.add(str(path).partition(".")[0])
    assert {"clock", "cores", "efficiency", "engines", "memory", "overheads"} - kinds <= {"overheads"}
    assert np.all(np.diff(table["elasticity"].abs()) <= 0)
    # What is not in the table moves nothing.
    for path in {**chip.defaults, **chip.numbers}:
        if path in table.index or "spread" in path or path.startswith("stack.") or not chip[path]:
            continue
        for factor in (1 + step, 1 / (1 + step)):
            try:
                same, changed = (chip.what_if({path: chip[path] * by}) for by in (1, factor))
            except rl.BadWorkload:
                continue  # whole, or full
            if result(same) == base:
                assert result(changed) == pytest.approx(base, rel=1e-6), path
            break


def test_sensitivity_knows_what_a_chip_inherits() -> None:
    # Lookups that wait: no rate moves them more than the memory's latency and the requests in flight.
    table = rl.sensitivity("rm2", "mtia-v1", figure="latency_s", dtype="int8", batch=4096)
    rates = table[table.index.str.contains("bandwidth|engines|clock")]["elasticity"].abs()
    assert table["elasticity"]["memory.dram.latency"] > max(rates.max(), 0.3)
    assert table["elasticity"]["efficiency.embedding_bag.inflight_rows"] < -0.3
    inherited = set(table.index) - set(rl.load_chip("mtia-v1").numbers)
    assert {"efficiency.embedding_bag.overlap_share", "overheads.step"} <= inherited


def test_what_is_whole_or_full_moves_as_it_can() -> None:
    table = rl.sensitivity("llama-2-7b", "mtia-v1", dtype="fp16")
    chip = rl.load_chip("mtia-v1")
    assert table["changed"]["cores.count"] == np.ceil(chip["cores.count"] * 1.1)
    full = [path for path in table.index if table["value"][path] == 1 and path.endswith("_fraction")]
    assert full
    assert all(table["changed"][path] == pytest.approx(1 / 1.1) for path in full)
    assert chip.number("clock").value * 1.1 == pytest.approx(table["changed"]["clock"])


@pytest.mark.parametrize("step", [0, 1, 1e-9, True, "0.1", None, float("nan"), [0.1]])
def test_a_step_that_is_none_is_refused(step: Any) -> None:
    with pytest.raises(rl.BadWorkload, match="expected a relative step such as"):
        rl.sensitivity(MODEL, CHIP, step=step)


def test_the_frontier_has_no_dominated_point() -> None:
    data = rl.sweep("llama-3.1-8b", "h100-sxm", batch=[1, 2, 4, 8, 16, 32, 64, 128], tp=[1, 2, 4])
    front = rl.pareto(data, maximise=["tokens_per_s_per_chip"], minimise=["tpot_s"])
    assert 1 < len(front) <= 24
    order = front.sort_values("tpot_s")
    assert np.all(np.diff(order["tokens_per_s_per_chip"]) > 0)
    with pytest.raises(rl.BadWorkload, match="at least one variable"):
        rl.pareto(data)
    with pytest.raises(rl.BadWorkload, match="no 'cost'"):
        rl.pareto(data, minimise=["cost"])


def naive_frontier(points: np.ndarray) -> list[int]:
    """The definition: a point stays unless another is nowhere above it and somewhere below."""
    order = np.lexsort(points.T[::-1])
    return [int(i) for i in order if not any(np.all(p <= points[i]) and np.any(p < points[i]) for p in points)]


#: Few values, so that ties and duplicates abound; infinities and zeros of both signs among them.
COORDINATES = st.one_of(st.integers(0, 4).map(float), st.sampled_from([-0.0, np.inf, -np.inf, 0.5]))


@given(st.integers(1, 4).flatmap(lambda k: st.lists(st.lists(COORDINATES, min_size=k, max_size=k), max_size=40)))
def test_the_frontier_is_that_of_the_definition(rows: list[list[float]]) -> None:
    points = np.array(rows).reshape(len(rows), -1 if rows else 2)
    assert unbeaten(points).tolist() == naive_frontier(points)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_a_large_frontier_is_that_of_the_definition(objectives: int) -> None:
    points = np.random.default_rng(objectives).integers(0, 12, (1500, objectives)).astype(float)
    assert unbeaten(points).tolist() == naive_frontier(points)


def test_the_frontier_of_many_points() -> None:
    # All of them unbeaten, which is the most work that there can be.
    x = np.arange(24_576.0)
    assert unbeaten(np.stack([x, -x], axis=1)).tolist() == x.tolist()
    assert len(unbeaten(np.stack([x, -x, x % 7], axis=1))) == len(x)


def test_a_frontier_of_one_point_and_of_no_sweep() -> None:
    one = rl.sweep(MODEL, CHIP, batch=8)
    assert len(rl.pareto(one, maximise="tokens_per_s")) == 1
    with pytest.raises(rl.BadWorkload, match=r"expected an xarray\.Dataset, as sweep returns it, found DataFrame"):
        rl.pareto(one.expand_dims("batch").to_dataframe(), maximise="tokens_per_s")  # type: ignore[arg-type]
    with pytest.raises(rl.BadWorkload, match="maximise: expected the names of variables, found 1"):
        rl.pareto(one, maximise=1)  # type: ignore[arg-type]
    several = rl.sweep(MODEL, CHIP, batch=[1, 8])
    with pytest.raises(rl.BadWorkload, match="tpot_s is not a number at 1 points"):
        rl.pareto(several.where(several["batch"] > 1), minimise=["tpot_s"])
