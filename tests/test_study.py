"""Grids, sensitivities, frontiers, inverse questions."""

from __future__ import annotations

import numpy as np
import pytest

import roofline as rl


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
                assert str(point["bound"].item()) == est.bound
    assert data["ttft_s"].attrs["units"] == "s"


def test_a_sweep_marks_what_does_not_fit() -> None:
    data = rl.sweep("llama-3.1-70b", "h100-sxm", tp=[1, 2, 4, 8])
    assert data["fits"].values.tolist() == [False, True, True, True]


def test_sweeps_refuse_nonsense() -> None:
    with pytest.raises(rl.BadWorkload, match="axis batch is empty"):
        rl.sweep("llama-3.1-8b", "h100-sxm", batch=[])
    with pytest.raises(rl.BadWorkload, match="at least one model"):
        rl.sweep([], "h100-sxm")
    with pytest.raises(rl.BadWorkload, match="sweep them apart"):
        rl.sweep(["llama-3.1-8b", "dlrm-v2"], "h100-sxm")


def test_recommendation_sweeps_have_their_own_figures() -> None:
    data = rl.sweep("rm1", ["mtia-v1", "a100"], batch=[64, 4096], dtype="int8")
    assert np.all(data["samples_per_s"].values > 0)
    assert dict(data.sizes) == {"chip": 2, "batch": 2}


def test_decode_is_most_sensitive_to_memory_bandwidth() -> None:
    table = rl.sensitivity("llama-3.1-70b", "h100-sxm", figure="tpot_s", tp=8, batch=1, prompt=512)
    assert table.index[0] == "memory.hbm.bandwidth"
    assert -1.0 <= table["elasticity"].iloc[0] < -0.2
    with pytest.raises(rl.BadWorkload, match="no figure"):
        rl.sensitivity("llama-3.1-70b", "h100-sxm", figure="speed", tp=8)


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


def test_fewest_chips_meet_the_limits() -> None:
    table = rl.fewest_chips("llama-3.1-70b", "h100-sxm", tpot_s=0.03, tokens_per_s=5000, prompt=512, output=256)
    assert len(table)
    assert np.all(table["tpot_s"] <= 0.03)
    assert np.all(table["replicas"] * table["tokens_per_s"] >= 5000)
    assert np.all(np.diff(table["chips"]) >= 0)
    assert rl.fewest_chips("llama-3.1-70b", "h100-sxm", tpot_s=1e-6).empty
