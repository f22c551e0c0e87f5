"""Wrong things at every argument of what asks for traffic: refused in words, like those of the rest of the face."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import roofline as rl
from tests.test_face import CHIP, FLAG, MAYBE, MAYBE_NUMBER, MODEL, NUMBER, SIZE, TITLES, WITH_TRAFFIC, ok, outcomes

TRACE = Path(__file__).parent.parent / "roofline" / "serving" / "traces" / "azure-2023-conv.csv.gz"

ENDLESS = ok(8, float("inf"))


@functools.cache
def _traffic() -> rl.Traffic:
    return rl.Traffic(rate=10, prompt=20, output=2, requests=20)


@functools.cache
def _run() -> Any:
    return rl.simulate(MODEL, CHIP, _traffic())


@functools.cache
def _curve() -> Any:
    return rl.simulate(MODEL, CHIP, rl.Traffic(rate=[5, 10], prompt=20, output=2, requests=20))


CALLS: list[tuple[str, Callable[..., Any], dict[str, tuple[Any, set[str]]]]] = [
    ("lognormal", rl.lognormal, {"mean": (100, NUMBER), "sd": (10, NUMBER), "most": (None, MAYBE)}),
    ("uniform", rl.uniform, {"low": (1, NUMBER), "high": (8, NUMBER)}),
    ("empirical", rl.empirical, {"lengths": ([1, 2], ok()), "weights": (None, MAYBE)}),
    ("load_traffic", rl.load_traffic, {"path": (TRACE, ok())}),
    ("Traffic", rl.Traffic, {
        "rate": (10, NUMBER), "burstiness": (1.0, ENDLESS), "prompt": (20, MAYBE_NUMBER), "output": (2, MAYBE_NUMBER),
        "requests": (20, MAYBE_NUMBER), "timeout_s": (None, MAYBE | ENDLESS)}),
    ("simulate", rl.simulate, {
        "model": (MODEL, ok()), "chip": (CHIP, ok()), "traffic": (_traffic(), ok()), "tp": (1, SIZE),
        "replicas": (1, SIZE), "router": ("round_robin", ok()), "slo": (None, ok(None, {})), "seed": (0, NUMBER),
        "chunk": (512, MAYBE_NUMBER), "reserve": (False, FLAG | MAYBE)}),
    ("capacity", rl.capacity, {
        "model": (MODEL, ok()), "chips": (CHIP, ok()), "traffic": (_traffic(), ok()), "slo": ({"ttft_s": 1.0}, ok()),
        "share": (0.9, ok()), "objective": ("chips", ok())}),
    ("plot_cdf", lambda **given: rl.plot_cdf(**given), {
        "runs": (_run(), ok()), "figure": (None, MAYBE), "slo": (None, MAYBE_NUMBER), "title": ("x", TITLES),
        "size": (None, MAYBE), "ax": (None, MAYBE)}),
    ("plot_percentiles", lambda **given: rl.plot_percentiles(**given), {
        "data": (_curve(), ok()), "figure": (None, MAYBE), "slo": (None, MAYBE_NUMBER), "title": ("x", TITLES),
        "size": (None, MAYBE), "ax": (None, MAYBE)}),
    ("plot_tradeoff", lambda **given: rl.plot_tradeoff(**given), {
        "data": (_curve(), ok()), "title": ("x", TITLES), "size": (None, MAYBE), "ax": (None, MAYBE)}),
    ("plot_timeline", lambda **given: rl.plot_timeline(**given), {
        "run": (_run(), ok()), "title": ("x", TITLES), "size": (None, MAYBE), "ax": (None, MAYBE)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "arguments"), CALLS, ids=[name for name, *_ in CALLS])
def test_what_is_nothing_of_the_kind_is_refused(
    name: str, function: Callable[..., Any], arguments: dict[str, tuple[Any, set[str]]]
) -> None:
    assert outcomes(function, arguments) == ([], [])


def test_each_is_here() -> None:
    assert {name for name, *_ in CALLS} - {"Traffic"} == WITH_TRAFFIC
