"""More of serving by hand, at the edges: what just fits, lengths that vary a little, beams beside prompts, capacity."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import numpy as np
import pytest

import roofline as rl
from roofline.command.options import SERVER
from roofline.estimates.request import RequestOptions
from roofline.serving.steady import SERVING, LoadOptions, ServingRequest
from tests.plain import plain
from tests.small import DENSE

#: Of DENSE a token keeps 2 layers x 2 (keys, values) x 2 heads x 16 numbers in bf16.
TOKEN = 256
#: A host beside which the passes of the small model take no time; it takes so many seconds for one.
CLOSE = 1e-3


def hosted(seconds: float = 1.0, **changes: Any) -> Any:
    return plain().what_if({"overheads.step": f"{seconds} s", **changes})


def serve(chip: Any = None, **options: Any) -> Any:
    return rl.serve(DENSE, chip or hosted(), **{"prompt": 1024, "output": 9, **options})


def test_working_space_is_for_the_whole_prompts_of_a_pass() -> None:
    """A token holds the residual stream twice and gate, up and their product: 2 x 64 + 3 x 256 numbers in bf16; and
    there are the logits of each prompt in fp32. A pass takes as many prompts as its chunk holds, and at least one."""

    def space(prompts: int, rows: int) -> int:
        return prompts * (rows * (2 * 64 + 3 * 256) * 2 + 1000 * 4)

    for chunk, prompts, rows in ((4096, 4, 1024), (2500, 2, 1024), (1024, 1, 1024), (256, 1, 256)):
        assert serve(concurrency=8, chunk=chunk).memory.activations_bytes == space(prompts, rows)


def small(requests: float, seconds: float = 1.0) -> Any:
    """A chip with room for so many requests beside weights and working space."""
    memory = serve(concurrency=1).memory
    room = memory.weights_bytes + memory.activations_bytes + requests * (1024 + 4.5) * TOKEN
    return hosted(seconds, **{"memory.dram.capacity": f"{room / 0.9} B"})


def test_what_fits_is_counted_in_whole_requests() -> None:
    """With room for one and a half requests one is in flight; what is asked beyond waits, and holds nothing."""
    alone = serve(small(1.5))
    assert (alone.request.batch, alone.memory.largest_batch, alone.active) == (1, 1, pytest.approx(1))
    many = serve(small(3.5), concurrency=50)
    assert (many.request.batch, many.memory.largest_batch, many.active) == (50, 3, pytest.approx(3))
    assert many.memory.cache_bytes == pytest.approx(3 * (1024 + 4.5) * TOKEN)
    assert many.memory.usable_bytes - many.memory.total_bytes == pytest.approx(0.5 * (1024 + 4.5) * TOKEN)


def test_a_chip_too_small_for_the_weights_holds_no_request() -> None:
    """None, and not fewer than none; the figures are those of one that there is no room for."""
    tight = serve(small(-1.5), concurrency=4, check=False)
    assert (tight.memory.largest_batch, tight.memory.cache_bytes, tight.fits) == (0, 0, False)
    assert tight.active == pytest.approx(1)
    with pytest.raises(rl.DoesNotFit) as error:
        serve(small(-1.5), concurrency=4)
    assert (error.value.has_bytes, error.value.needs_bytes) == (
        pytest.approx(tight.memory.usable_bytes),
        pytest.approx(serve(concurrency=1).memory.total_bytes),
    )
    assert [serve(small(-1.5), check=False, pp=pp).request.batch for pp in (1, 2)] == [1, 2]
    # Each of two replicas needs room for one.
    assert serve(small(1.0), concurrency=4, dp=2, check=False).memory.largest_batch == 2
    assert serve(small(1.0), concurrency=4, dp=2).fits


def test_lengths_that_vary_a_little() -> None:
    """Prompts of 1024 +- 512: 1 + (1/2)^2 = 5/4 of the length, and 4/5 of the prompts, in attention alone.

    Outputs of 9 +- 6: a request in flight has 9 + 6^2 / 9 = 13 tokens in the mean, half of them behind it.
    """
    est = serve(concurrency=36, prompt_sd=512, output_sd=6)
    decoding, prompts = (one.args for one in est.mixed.workload if one.kind == "attention")
    assert (prompts["batch"], prompts["q_len"], prompts["kv_len"]) == (
        pytest.approx(4 * 4 / 5),
        pytest.approx(1280),
        pytest.approx(1280),
    )
    assert decoding["kv_len"] == pytest.approx(1025 + (13 - 2) / 2)
    assert est.memory.cache_bytes == pytest.approx(36 * (1024 + 13 / 2) * TOKEN)
    products = {one.name: one.args["m"] for one in est.mixed.workload if one.kind == "gemm"}
    assert products["qkv_proj"] == pytest.approx(4 * 1024 + 32)


def test_a_spread_of_ten_means_is_the_most() -> None:
    assert serve(concurrency=1, prompt_sd=10_240, output_sd=90).active == pytest.approx(1)
    for name, sd in (("prompt_sd", 10_241), ("output_sd", 91)):
        with pytest.raises(rl.BadWorkload, match=f"{name} is at most 10 times the mean"):
            serve(concurrency=1, **{name: sd})


def test_beams_decode_beside_prompts() -> None:
    """Of 36 requests 4 start in each pass of 9; the 32 others have 3 beams each: 96 rows beside the prompts' tokens."""
    est = serve(concurrency=36, beams=3)
    mixed = {one.name: one.args["m"] for one in est.mixed.workload if one.kind == "gemm"}
    assert mixed["qkv_proj"] == pytest.approx(4 * 1024 + 96)
    assert mixed["lm_head"] == pytest.approx(4 + 96)
    assert est.tokens_per_s == pytest.approx(36, rel=CLOSE)


def test_figures_along_an_axis_are_those_of_its_points() -> None:
    several = serve(concurrency=np.array([1, 8, 36]), output=np.array([[9], [64]]))
    assert several.tpot_s.shape == (2, 3)
    for i, output in enumerate((9, 64)):
        for j, concurrency in enumerate((1, 8, 36)):
            one = serve(concurrency=concurrency, output=output)
            for name, values in several.figures().items():
                assert values[i, j] == pytest.approx(getattr(one, name), rel=1e-12), name
            assert several.bound[i, j] == one.bound
            assert several.memory.cache_bytes[i, j] == pytest.approx(one.memory.cache_bytes)


def test_what_most_of_the_time_goes_into_bounds_a_server() -> None:
    """At 1 GFLOP/s a pass that decodes waits for its host, one with a prompt for the arithmetic. Of 9 passes of one
    request one is mixed: that is most of the time if it takes more than eight of the others."""
    slow = hosted(1.0, **{"engines.matrix.bf16": "1 GFLOP/s"})
    for prompt, bound in ((1024, "overhead"), (8192, "compute")):
        est = serve(slow, concurrency=1, prompt=prompt)
        assert (est.decoding.bound, est.mixed.bound) == ("overhead", "compute")
        assert est.mixed.time_s > est.decoding.time_s
        assert (est.mixed.time_s > 8 * est.decoding.time_s) == (bound == "compute")
        assert est.bound == bound


# How many chips -----------------------------------------------------------------------------------------------------


def fewest(chip: Any, **options: Any) -> Any:
    return rl.fewest_chips(DENSE, chip, **{"prompt": 1, "output": 64, "most": 1, **options}).to_dict("records")


def test_the_most_requests_that_are_tried() -> None:
    """A pass takes a second, whoever is in it: the more requests the better, up to the 2^14 that are tried."""
    (row,) = fewest(hosted())
    assert (row["tp"], row["concurrency"], row["replicas"], row["chips"]) == (1, 2**14, 1, 1)
    assert row["tokens_per_s"] == pytest.approx(2**14, rel=0.01)


def test_replicas_until_a_rate_is_reached() -> None:
    """At most 4 requests, of which each makes a token a second: 7 of them need 2 replicas, 8 no more."""
    chip = small(4.5)
    for rate, replicas in ((0.5, 1), (3.9, 1), (7, 2), (7.9, 2), (11, 3)):
        (row,) = fewest(chip, prompt=1024, output=9, tokens_per_s=rate)
        assert (row["concurrency"], row["replicas"], row["chips"]) == (4, replicas, replicas)
    # Where no rate is asked for one replica is enough, however slow it is.
    (row,) = fewest(small(4.5, seconds=100), prompt=1024, output=9)
    assert (row["replicas"], row["tokens_per_s"]) == (1, pytest.approx(4 / 100, rel=CLOSE))


def test_the_options_of_a_server_are_the_keywords_of_serve() -> None:
    """`fewest_chips` hands its options on, and editors know those of both: each is a keyword, of the same type."""
    keywords = [p for p in inspect.signature(rl.serve).parameters.values() if p.kind is p.KEYWORD_ONLY]
    own = {p.name: p.default for p in keywords if p.name not in ("concurrency", "check")}
    hints = get_type_hints(rl.serve)
    assert get_type_hints(LoadOptions) == get_type_hints(RequestOptions) | {name: hints[name] for name in own}
    assert own == {name: ServingRequest.__dataclass_fields__[name].default for name in own}
    assert set(SERVING) == {"concurrency", *get_type_hints(LoadOptions)}
    of_the_command = {*SERVER, "stack", "reserve", "whole_cache"}
    assert of_the_command == set(SERVING)


def test_every_option_of_a_server_reaches_what_is_asked() -> None:
    """None is dropped on the way: with another value each changes the request, or the chip that it is asked of."""
    lanes = {"concurrency": 4, "prompt": 512, "output": 16, "prefix": 8, "tp": 2, "pp": 2, "dp": 2, "chunk": 4096}
    lengths = {"prompt_sd": 9.0, "output_sd": 7.0, "beams": 2, "reserve": True, "whole_cache": True}
    types = {"dtype": "fp32", "weight_dtype": "fp8", "kv_dtype": "fp8", "stack": "plain", "usable_memory": 0.5}
    money = {"price_per_hour": 3.0, "price": 9e3, "electricity": 0.5, "pue": 1.5, "amortise_years": 2.0}
    others = {**lanes, **lengths, **types, **money, "utilisation": 0.5, "carbon": 100.0}
    assert {*others, "ep"} == set(SERVING)
    request = rl.serve(DENSE, hosted(), **others).request
    reached = {**vars(request), **vars(request.plan), **vars(request.terms), "concurrency": request.batch}
    for name, value in others.items():
        if name != "stack":
            assert reached[name] == value, name
