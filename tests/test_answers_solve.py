"""Inverse questions: what is solved for is reached again, and where a bound takes over it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl

MODEL, CHIP = "llama-3.1-8b", "mtia-v1"
FP16: dict[str, Any] = {"dtype": "fp16"}


SHARES = st.floats(0.05, 0.95)


@settings(max_examples=5)
@given(SHARES, st.sampled_from(["memory.main.bandwidth", "engines.matrix.fp16", "memory.sram.bandwidth", "clock"]))
def test_what_is_solved_for_a_figure_is_reached_there_and_not_before(share: float, path: str) -> None:
    chip = rl.load_chip(CHIP)
    slow, fast = (
        rl.estimate(MODEL, chip.what_if({path: by}), check=False, **FP16).tokens_per_s for by in ("x0.1", "x10")
    )
    target = slow + share * (fast - slow)
    found = rl.solve(MODEL, CHIP, "tokens_per_s", target, vary=path, **FP16)
    assert found.reached
    assert found.value is not None
    assert found.result == pytest.approx(target, rel=1e-6)
    assert found.result >= target
    again = rl.estimate(MODEL, chip.what_if({path: found.value}), check=False, **FP16).tokens_per_s
    assert again == found.result
    less = rl.estimate(MODEL, chip.what_if({path: found.value * (1 - 1e-6)}), check=False, **FP16).tokens_per_s
    assert less < target


@settings(max_examples=10)
@given(st.floats(0.11, 1.0), st.sampled_from([("tpot_s", "batch"), ("ttft_s", "prompt")]))
def test_a_limit_gives_the_largest_whole_number_within_it(target: float, asked: tuple[str, str]) -> None:
    figure, option = asked
    found = rl.solve(MODEL, CHIP, figure, target, vary=option, **FP16)
    if not found.reached:
        assert found.best is not None
        assert found.best > target
        return
    assert found.value is not None
    limit = getattr(rl.estimate(MODEL, CHIP, **{option: int(found.value)}, **FP16), figure)
    assert limit == found.result <= target
    if found.value < found.high:
        after = rl.estimate(MODEL, CHIP, check=False, **{option: int(found.value) + 1}, **FP16)
        assert getattr(after, figure) > target


@pytest.mark.parametrize("rate", [300.0, 1200.0])
def test_a_rate_gives_the_smallest_batch_that_reaches_it(rate: float) -> None:
    found = rl.solve(MODEL, "h100-sxm", "tokens_per_s", rate, vary="batch")
    rates = rl.estimate(MODEL, "h100-sxm", batch=np.arange(1.0, 65.0)).tokens_per_s
    assert found.value == 1 + int(np.argmax(rates >= rate))


def test_what_no_value_reaches_has_its_reason_and_its_best() -> None:
    found = rl.solve(MODEL, CHIP, "tpot_s", 0.001, vary="memory.main.bandwidth", **FP16)
    assert not found.reached
    assert found.value is found.result is None
    assert found.best_value is not None
    at_best = rl.load_chip(CHIP).what_if({"memory.main.bandwidth": found.best_value})
    assert rl.estimate(MODEL, at_best, **FP16).tpot_s == pytest.approx(found.best, rel=1e-9)
    assert f"tpot_s stays above 1 ms from {176:g} B/s" in found.why
    assert "decode is bound by memory:sram there" in found.why
    assert "no memory.dram.bandwidth" in repr(found)


def test_what_every_value_reaches_is_answered_by_the_end_that_asks_for_least() -> None:
    found = rl.solve(MODEL, "h100-sxm", "tpot_s", 10.0, vary="memory.main.bandwidth", low="1 TB/s", high="4 TB/s")
    assert found.value == 1e12
    assert "every value from 1 TB/s to 4 TB/s reaches it" in found.why
    found = rl.solve(MODEL, "h100-sxm", "tpot_s", 10.0, vary="batch")
    assert found.value == rl.estimate(MODEL, "h100-sxm").memory.largest_batch
    unmoved = rl.solve(MODEL, "h100-sxm", "tpot_s", 10.0, vary="links.scale_up.bandwidth")
    assert unmoved.value == rl.load_chip("h100-sxm")["links.scale_up.bandwidth"]


def test_only_what_fits_is_an_answer() -> None:
    found = rl.solve("llama-3.1-70b", "h100-sxm", "tpot_s", 0.06, vary="tp", batch=8, stack="plain")
    assert found.value == 2.0  # 70 G weights of 2 bytes are more than 80 GB
    loose = rl.solve("llama-3.1-70b", "h100-sxm", "tpot_s", 0.06, vary="tp", check=False, batch=8, stack="plain")
    assert loose.value == 1.0
    with pytest.raises(rl.DoesNotFit, match="What fits"):
        rl.solve("llama-3.1-70b", "h100-sxm", "tpot_s", 0.06, vary="memory.main.bandwidth")
    more = rl.solve("llama-3.1-70b", "h100-sxm", "tpot_s", 0.1, vary="memory.main.capacity", stack="plain")
    assert more.value is not None
    held = rl.estimate("llama-3.1-70b", "h100-sxm", check=False, stack="plain").memory
    usable = 0.9 * (more.value - 468 * 2**20)  # the driver keeps as much of more
    assert usable == pytest.approx(held.total_bytes, rel=1e-6)
    assert usable >= held.total_bytes


@pytest.mark.parametrize(("figure", "target"), [("ttft_s", 0.05), ("tpot_s", 0.02), ("tokens_per_s", 3000.0)])
def test_a_server_holds_a_target_up_to_a_concurrency_or_from_one_on(figure: str, target: float) -> None:
    found = rl.solve(MODEL, "h100-sxm", figure, target, vary="concurrency", prompt=500, prompt_sd=100)
    each = rl.serve(MODEL, "h100-sxm", concurrency=np.arange(1.0, found.high + 1), prompt=500, prompt_sd=100)
    assert found.high == rl.serve(MODEL, "h100-sxm", prompt=500, prompt_sd=100).memory.largest_batch
    results = getattr(each, figure)
    assert found.value == (
        1 + np.argmax(results >= target) if figure == "tokens_per_s" else 1 + np.flatnonzero(results <= target)[-1]
    )
    assert found.result == results[int(found.value or 0) - 1]


@pytest.mark.parametrize("concurrency", [64, None])
def test_a_figure_of_the_chip_is_solved_for_a_server(concurrency: int | None) -> None:
    path, asked = "memory.main.bandwidth", {"concurrency": concurrency}
    now = rl.serve(MODEL, "h100-sxm", concurrency=concurrency).tokens_per_s
    found = rl.solve(MODEL, "h100-sxm", "tokens_per_s", 1.05 * now, vary=path, **asked)
    chip = rl.load_chip("h100-sxm")
    assert found.value is not None
    assert found.value > chip[path]
    at = [rl.serve(MODEL, chip.what_if({path: found.value * by}), concurrency=concurrency) for by in (1, 1 - 1e-6)]
    assert at[0].tokens_per_s == found.result
    assert at[1].tokens_per_s < 1.05 * now <= at[0].tokens_per_s


def test_what_no_concurrency_reaches_has_its_reason() -> None:
    found = rl.solve(MODEL, "h100-sxm", "tokens_per_s", 1e9, vary="concurrency")
    assert not found.reached
    assert "a decoding pass is bound by memory:hbm there; a mixed pass is bound by compute there" in found.why
    with pytest.raises(rl.DoesNotFit, match="with one request does not fit"):
        rl.solve("llama-3.1-70b", "h100-sxm", "ttft_s", 1, vary="concurrency", stack="plain")
    more = rl.solve(
        "llama-3.1-70b", "h100-sxm", "tokens_per_s", 10, vary="memory.main.capacity", concurrency=1, stack="plain"
    )
    assert more.value is not None
    assert more.value > rl.load_chip("h100-sxm")["memory.main.capacity"]


BAD_OF_SERVERS: list[tuple[dict[str, Any], str]] = [
    ({"model": "dlrm-v2", "vary": "concurrency"}, "dlrm-v2 is a recommendation model, which has no tokens"),
    ({"vary": "batch", "concurrency": 8}, "expected concurrency, found batch: a server has no fixed batch"),
    ({"vary": "clock", "concurrency": 8, "batch": 8}, "expected concurrency, found batch"),
    ({"vary": "clock", "chunk": 512}, "chunk is an option of a server: give concurrency"),
    ({"vary": "chunk"}, "chunk is an option of a server: give concurrency"),
    ({"vary": "concurrency", "figure": "latency_s"}, "no figure 'latency_s'; there are tokens_per_s"),
    ({"vary": "clock", "concurrency": [1, 2]}, "expected one point, found arrays"),
    ({"vary": "clock", "concurrency": 0}, "concurrency: expected a whole number of at least 1, found 0"),
    ({"vary": "concurency", "concurrency": 8}, "did you mean 'concurrency'"),
    ({"vary": "concurrency", "low": 0}, "low: expected concurrency from 1 to"),
    ({"vary": "concurrency", "low": 2.5}, "low: expected a whole number for concurrency"),
]


@pytest.mark.parametrize(("asked", "message"), BAD_OF_SERVERS)
def test_what_cannot_be_solved_for_of_a_server_is_refused(asked: dict[str, Any], message: str) -> None:
    given = {"model": MODEL, "figure": "ttft_s", **asked}
    with pytest.raises((rl.BadWorkload, rl.UnknownName), match=message):
        rl.solve(given.pop("model"), "h100-sxm", given.pop("figure"), 0.1, **given)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"figure": "speed"}, "no figure 'speed'; there are ttft_s"),
    ({"target": 0}, "expected a positive, finite target"),
    ({"target": "fast"}, "expected a positive, finite target for 'tpot_s', found 'fast'"),
    ({"vary": "memory.main.bandwith"}, r"no figure of mtia-v1 is called 'memory.dram.bandwith'; did you mean"),
    ({"vary": "bacth"}, "did you mean 'batch'"),
    ({"vary": 3}, "vary: expected a figure of the chip or an option of the workload, found 3"),
    ({"vary": "efficiency.gemm.spread"}, "is the doubt of a class"),
    ({"low": "2 TB/s", "high": "1 TB/s"}, "expected low <= high"),
    ({"low": "2 GB"}, "expected a bandwidth"),
    ({"vary": "batch", "low": 1.5}, "low: expected a whole number for batch"),
    ({"vary": "batch", "high": -1}, "high: expected batch from 1 to"),
    ({"batch": [1, 2]}, "expected one point, found arrays"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[m for _, m in BAD])
def test_what_cannot_be_solved_for_is_refused(change: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"figure": "tpot_s", "target": 0.1, "vary": "memory.main.bandwidth", **change}
    figure, target = asked.pop("figure"), asked.pop("target")
    with pytest.raises((rl.BadWorkload, rl.UnknownName), match=message):
        rl.solve(MODEL, CHIP, figure, target, **asked, **FP16)


@pytest.mark.parametrize(
    ("model", "chip", "asked"),
    [
        ("llama-3.1-8b", "h100-sxm", {"vary": "memory.main.bandwidth", "stack": "plain"}),
        ("llama-3.1-8b", "mtia-v1", {"vary": "batch", "high": 200, "dtype": "fp16"}),
        ("rm2", "mtia-v1", {"vary": "batch", "high": 4096, "dtype": "int8"}),
    ],
)
def test_bounds_take_over_where_they_are_said_to(model: str, chip: str, asked: dict[str, Any]) -> None:
    table = rl.takeovers(model, chip, **asked)
    options = {name: value for name, value in asked.items() if name not in ("vary", "low", "high")}
    for phase, rows in table.groupby("phase", sort=False):
        assert rows["present"].sum() == 1
        assert np.all(rows["bound"].to_numpy()[1:] != rows["bound"].to_numpy()[:-1])
        starts, ends = rows["start"].to_numpy(), rows["end"].to_numpy()
        whole = asked["vary"] == "batch"
        apart = starts[1:] - ends[:-1]
        assert np.all(apart == 1) if whole else np.all((apart > 0) & (apart <= 1e-9 * starts[1:]))
        for row in rows.itertuples():
            for value in (row.start, row.end):
                if whole:
                    est = rl.estimate(model, chip, check=False, batch=int(value), **options)
                else:
                    varied = rl.load_chip(chip).what_if({asked["vary"]: value})
                    est = rl.estimate(model, varied, check=False, **options)
                assert getattr(est, {"batch": "step"}.get(str(phase), str(phase))).bound == row.bound


def test_the_command_solves_and_says_why_not(run: Any) -> None:
    asked = ("solve", MODEL, "--chip", CHIP, "--dtype", "fp16", "--figure", "tpot_s", "--vary", "memory.main.bandwidth")
    code, out, _ = run(*asked, "--target", "0.06")
    assert code == 0
    assert out.startswith("memory.dram.bandwidth = ")
    assert "tpot_s is 60 ms there" in out
    code, out, _ = run(*asked, "--target", "0.001", "--json")
    assert code == 1
    assert '"reached": false' in out
    code, _, err = run(*asked[:-2], "--vary", "nothing", "--target", "1")
    assert code == 2
    assert "called 'nothing'" in err
    code, out, _ = run(
        "takeovers", MODEL, "--chip", CHIP, "--dtype", "fp16", "--vary", "batch", "--high", "64", "--csv"
    )
    assert (code, out.splitlines()[0]) == (0, "phase,start,end,bound,present")


def test_the_command_solves_for_a_server(run: Any) -> None:
    asked = ("solve", MODEL, "--chip", "h100-sxm", "--figure", "tpot_s", "--target", "0.02")
    found = rl.solve(MODEL, "h100-sxm", "tpot_s", 0.02, vary="concurrency")
    code, out, _ = run(*asked, "--vary", "concurrency")
    assert code == 0
    assert out.startswith(f"concurrency = {found.text}: ")
    code, out, _ = run(*asked, "--vary", "prompt", "--concurrency", "64", "--chunk", "2048", "--reserve")
    assert code == 0
    asked_of = {"concurrency": 64, "chunk": 2048, "reserve": True}
    assert out.startswith(f"prompt = {rl.solve(MODEL, 'h100-sxm', 'tpot_s', 0.02, vary='prompt', **asked_of).text}: ")
