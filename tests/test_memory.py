"""What engines set aside: worked numbers, releases, and logs that had no part in the figures."""

from __future__ import annotations

import numpy as np
import pytest

import roofline as rl
from roofline.fidelity import memory as logs

GIB = 2**30


def _est(stack: str, model: str = "llama-3.1-8b", chip: str = "h100-sxm", **options: object) -> rl.LanguageEstimate:
    return rl.estimate(model, chip, stack=stack, check=False, batch=1, prompt=64, output=8, **options)  # type: ignore[arg-type, return-value]


def test_the_sampler_is_the_peak_of_a_pass_over_a_large_vocabulary() -> None:
    held = _est("vllm").memory
    sampling = 8192 * 4096 * 2 + 1024 * 128256 * 38 + 50 * 2**20
    assert held.activations_bytes == pytest.approx(sampling)
    assert held.engine_bytes == {"context": 655 * 2**20, "rotary table": 131072 * 128 * 2}
    assert held.usable_bytes == pytest.approx(0.9 * (81559 - 468) * 2**20)


def test_a_cache_is_whole_blocks_of_what_is_left() -> None:
    est = _est("vllm")
    assert est.kv_tokens % 16 == 0
    assert 0 <= est.memory.room_bytes - est.kv_tokens * 131072 < 16 * 131072


def test_tensorrt_takes_a_share_of_what_is_free() -> None:
    held = _est("trtllm").memory
    free = held.capacity_bytes - held.held_bytes
    assert held.room_bytes == pytest.approx(0.9 * free)


def test_communication_is_for_several_chips_alone() -> None:
    buffers = _est("vllm", tp=np.array([1, 2])).memory.engine_bytes["communication"]
    assert list(np.asarray(buffers)) == [0, 1475 * 2**20]


@pytest.mark.parametrize(
    ("asked", "as_if"), [("vllm_0_14", "vllm_0_11"), ("vllm 0.9.2", "vllm"), ("vllm==0.19.0", "vllm_0_17")]
)
def test_a_release_takes_the_latest_figures_before_it(asked: str, as_if: str) -> None:
    assert _est(asked).kv_tokens == _est(as_if).kv_tokens


@pytest.mark.parametrize("stack", ["plain", "vllm_0_27", "sglang", "trtllm"])
def test_a_grid_equals_its_points(stack: str) -> None:
    tp, usable = np.array([1, 2, 4])[:, None], np.array([0.5, 0.9])
    grid = _est(stack, "gpt-oss-120b", tp=tp, usable_memory=usable)
    for i, j in np.ndindex(3, 2):
        point = _est(stack, "gpt-oss-120b", tp=int(tp[i, 0]), usable_memory=float(usable[j]))
        assert point.kv_tokens == np.broadcast_to(grid.kv_tokens, (3, 2))[i, j]
        assert point.fits == np.broadcast_to(grid.fits, (3, 2))[i, j]


def test_what_is_set_aside_counts_in_every_question() -> None:
    """gpt-oss-120b does not start on one H100 under vLLM 0.14: neither in a grid nor where chips are counted."""
    grid = rl.sweep("gpt-oss-120b", "h100-sxm", stack=["plain", "vllm_0_14"], tp=[1, 2], figures=["kv_tokens"], batch=1)
    assert grid.fits.values.tolist() == [[True, True], [False, True]]
    assert float(grid.kv_tokens[1, 0]) == 0
    two = _est("vllm_0_14", "gpt-oss-120b", tp=2)
    assert float(grid.kv_tokens[1, 1]) == two.kv_tokens
    said = two.explain().sentences
    assert any(two.chip.stack in one and f"KV cache of {two.kv_tokens:,.0f} tokens" in one for one in said)
    for stack, fewest in (("plain", 1), ("vllm_0_14", 2)):
        chips = rl.fewest_chips("gpt-oss-120b", rl.load_chip("h100-sxm").on_stack(stack), tpot_s=0.05, most=2)
        assert chips.chips.min() == fewest


def test_logs_that_had_no_part_in_the_figures() -> None:
    table = logs.rows().set_index("id")
    held_out = table[table["set"] == "held out"]
    assert len(held_out) == 6
    assert (held_out["ratio"] - 1).abs().max() < 0.05
    others = table[(table["set"] == "chosen") & (table["note"] == "")]
    assert (others["ratio"] - 1).abs().max() < 0.05
    assert not table.loc["vllm-33155", "starts"]  # gpt-oss-120b on one H100
