"""What runs draw and cost, and capacity with pools that read and pools that decode."""

from __future__ import annotations

import numpy as np
import pytest

import roofline as rl
from roofline.estimates import power
from tests.conftest import Run

LLAMA = "llama-3.1-8b"
SMALL = {"stack": "vllm", "max_seqs": 32, "chunk": 1024}


def test_a_run_draws_between_idle_and_its_power_limit_and_pays_for_every_hour() -> None:
    traffic = rl.Traffic(rate=4, prompt=400, output=60, requests=150)
    alone, many = (rl.simulate(LLAMA, "h100-sxm", traffic, **SMALL, replicas=n) for n in (1, 4))
    chip = alone.chip
    idle, most = (float(power.wall_w(chip, watts)) for watts in (power.idle_w(chip), chip["power.tdp"]))
    assert idle < alone.power_w < most
    assert alone.power_w < many.power_w < 4 * alone.power_w  # three more chips, mostly idle
    assert many.power_w > 4 * idle
    assert alone.tokens_per_joule == pytest.approx(alone.tokens_per_s / alone.power_w)
    price = float(chip["price.hour"])
    assert [one.usd_per_hour for one in (alone, many)] == pytest.approx([price, 4 * price])
    assert alone.usd_per_million_tokens == pytest.approx(price / 3600 / alone.tokens_per_s * 1e6)


def test_replicas_that_are_off_cost_nothing() -> None:
    traffic = rl.Traffic(rate=4, prompt=400, output=60, requests=150)
    scale = rl.Autoscale(1, 4, target=1000)  # which one replica always holds
    scaled, alone = (rl.simulate(LLAMA, "h100-sxm", traffic, **SMALL, replicas=n) for n in (scale, 1))
    assert (scaled.devices, scaled.mean_devices) == (4, pytest.approx(1))
    assert scaled.power_w == pytest.approx(alone.power_w)
    assert scaled.tokens_per_s_per_chip == pytest.approx(alone.tokens_per_s)


def test_what_has_no_price_says_so() -> None:
    traffic = rl.Traffic(rate=1, prompt=100, output=5, requests=20)
    run = rl.simulate(LLAMA, "mtia-300", traffic, max_seqs=8, chunk=256)
    with pytest.raises(rl.NotKnown, match="price of"):
        _ = run.usd_per_hour
    assert run.as_dict()["usd_per_million_tokens"] is None
    assert rl.simulate(LLAMA, "mtia-300", traffic, max_seqs=8, chunk=256, price_per_hour=2).usd_per_hour == 2


def test_pools_apart_hold_the_load_that_capacity_says() -> None:
    traffic = rl.Traffic(rate=40, prompt=800, output=60, requests=600)
    slo = {"ttft_s": 0.5, "tpot_s": 0.02}
    table = rl.capacity(LLAMA, "h100-sxm", traffic, slo=slo, tp=[1], apart=True, **SMALL)
    apart = table[table["decode_chip"] != ""]
    assert len(apart) == 1
    row = apart.iloc[0]
    assert row["chips"] == row["replicas"] + row["decode_replicas"]
    pools = {"prefill": rl.Pool(replicas=int(row["replicas"])), "decode": rl.Pool(replicas=int(row["decode_replicas"]))}
    again = rl.simulate(LLAMA, "h100-sxm", traffic, slo=slo, router="least_loaded", **SMALL, **pools)
    assert again.slo_attainment >= 0.98
    assert not again.saturated
    held = table.attrs["runs"][int(apart.index[0])]
    assert held.slo_attainment >= 0.99
    np.testing.assert_allclose(row["power_w"], held.power_w)


def test_the_command_tries_pools_apart(run: Run) -> None:
    options = ["--chip", "h100-sxm", "--stack", "vllm", "--max-seqs", "16", "--chunk", "512", "--tp", "1"]
    options += ["--prompt", "200", "--output", "20", "--requests", "60", "--rate", "20", "--slo", "ttft=0.5"]
    code, out, _ = run("capacity", LLAMA, *options, "--apart")
    assert code == 0
    assert "reading; decoding h100-sxm tp=1 x" in " ".join(out.split())
