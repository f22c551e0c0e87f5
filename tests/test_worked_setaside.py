"""What an engine sets aside, worked out by hand from an engine of round figures.

Llama 3.1 8B: 32 layers, 4,096 wide, 32 query and 8 key/value heads of 128, 14,336 in the feed-forward, 128,256 words.
Mixtral 8x7B: the same but for 8 experts of which two are chosen; gpt-oss-120b: experts 2,880 wide, in fp4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.estimates import setaside
from roofline.hardware.number import Number
from roofline.models.attention import Attention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.llm import LanguageModel, Layers
from roofline.models.mixers import Span
from roofline.work.parallel import Plan
from tests.plain import plain

LLAMA, MIXTRAL, OSS = (rl.load_model(name) for name in ("llama-3.1-8b", "mixtral-8x7b", "gpt-oss-120b"))
ATTENTION = Attention(heads=4, kv_heads=2, head_dim=16, rope_dim=16)  # 2 x 2 x 16 numbers of 2 bytes a token: 128 B


def engine(capacity: float = 100e9, **figures: float) -> rl.Chip:
    """The plain chip under an engine of these figures."""
    numbers = {f"serving.{name}": Number(value, "count", "derived", "round") for name, value in figures.items()}
    chip = plain().what_if({"memory.dram.capacity": capacity})
    return replace(chip, numbers={**chip.numbers, **numbers})


def aside(chip: rl.Chip, model: LanguageModel = LLAMA, dtype: str = "bf16", **plan: Any) -> setaside.SetAside:
    return setaside.of(model, chip, Plan(**plan), dtype)


def test_no_engine_sets_nothing_aside() -> None:
    assert aside(plain()) == setaside.SetAside({}, None, 0.0)
    assert setaside.usable_share(plain(), Plan()) == 0.9


def test_terms_are_what_the_engine_says_of_itself() -> None:
    """Graphs of 32 layers on one stage, 16 on two, 11 on three; buffers of collectives where chips talk."""
    one = engine(context=1e9, communication=2e9, graph_layer=1e6, spared=1.0)
    found = aside(one, tp=np.array([1, 2]), pp=1)
    assert list(found.terms) == ["context", "communication", "CUDA graphs"]
    assert found.terms["context"] == 1e9
    np.testing.assert_array_equal(found.terms["communication"], [0, 2e9])
    np.testing.assert_array_equal(aside(one, pp=np.array([1, 2, 3])).terms["CUDA graphs"], [32e6, 16e6, 11e6])
    assert "communication" not in aside(one, tp=1).terms
    assert found.spared == 1.0
    assert found.working_bytes == 0.0  # the pass lives in what is left
    assert aside(engine(context=1e9), pp=1).spared == 0.0


def test_the_share_that_an_engine_takes() -> None:
    assert setaside.usable_share(engine(fraction=0.8), Plan()) == 0.8
    kept = engine(kept=1e9, kept_token=1e6, kept_chip=0.5e9, tokens=2000)
    assert setaside.usable_share(kept, Plan()) == pytest.approx(1 - 3.5e9 / 100e9)
    assert setaside.usable_share(kept, Plan(tp=2, pp=2)) == pytest.approx(1 - 5e9 / 100e9)
    assert setaside.usable_share(engine(kept=1e9, tokens=2000), Plan()) == 0.99
    with pytest.raises(rl.BadWorkload, match=r"usable_memory: .* keeps 2 GB of the 2 GB of plain.* free unless told"):
        setaside.usable_share(engine(2e9, kept=2e9, tokens=1), Plan())


PASS = {"tokens": 1000, "profiled": 1}
STATES = 1000 * 4096 * 2  # bytes of 1,000 tokens


def test_a_full_pass_of_a_dense_model() -> None:
    """The residual stream and a copy of it, what the engine keeps beside, gate, up and their product."""
    assert aside(engine(**PASS)).working_bytes == 2 * STATES + 1000 * 3 * 14336 * 2
    more = aside(engine(**PASS, residuals=1.5), tp=np.array([1, 2, 16])).working_bytes
    # Over 16 chips gate and up are 2,688 wide and attention 128 x 2 x (32 / 16 + 1): less.
    np.testing.assert_allclose(more, [3.5 * STATES + 1000 * wide * 2 for wide in (43_008, 21_504, 2688)])
    assert aside(engine(**PASS), dtype="fp32").working_bytes == 2 * (2 * STATES + 1000 * 3 * 14336 * 2)


def test_sampling_is_the_peak_over_many_words() -> None:
    """100 sequences of 128,256 logits, 38 bytes each, while the states are there; or the pass, whichever is more."""
    many = engine(**PASS, sequences=100, logit_width=38, workspace=1e6)
    assert aside(many).working_bytes == STATES + 100 * 128_256 * 38 + 1e6
    assert aside(engine(**PASS, sequences=100, logit_width=38)).working_bytes == STATES + 100 * 128_256 * 38
    few = engine(**PASS, sequences=1, logit_width=38, workspace=1e6)
    assert aside(few).working_bytes == aside(engine(**PASS)).working_bytes


def test_small_memories_schedule_less() -> None:
    limits = {**PASS, "large": 50e9, "small_tokens": 100}
    whole = aside(engine(**PASS)).working_bytes
    assert aside(engine(**limits)).working_bytes == whole
    assert aside(engine(50e9, **limits)).working_bytes == whole
    assert aside(engine(49e9, **limits)).working_bytes == pytest.approx(whole / 10)
    assert aside(engine(49e9, **PASS, large=50e9)).working_bytes == whole


@pytest.mark.parametrize(("tp", "wide"), [(1, 14336 + 2 * 14336), (4, 4096 + 2 * 3584), (8, 4096 + 4096)])
def test_buffers_of_experts_that_stay(tp: int, wide: int) -> None:
    """Two buffers of each token's two choices, as wide as the hidden state at least. Attention is the widest left."""
    peak = aside(engine(**PASS, expert_buffers=1), MIXTRAL, tp=tp).working_bytes
    attention = 2 * 128 * (32 / tp + 8 / tp)
    assert peak == 2 * STATES + 1000 * attention * 2 + 1000 * 2 * wide * 2
    assert aside(engine(**PASS), MIXTRAL, tp=1).working_bytes == 2 * STATES + 1000 * 2 * (4096 + 3 * 14336) * 2


def test_shared_experts_are_a_block_of_their_own() -> None:
    block = Experts(8, 2, 48, shared=FeedForward(500))
    model = LanguageModel("m", hidden=64, vocab=100, layers=(Layers(1, ATTENTION, block, Span()),))
    buffers = 1000 * 2 * (64 + 96) * 2
    assert aside(engine(**PASS, expert_buffers=1), model).working_bytes == 1000 * (2 * 64 + 1500) * 2 + buffers
    assert aside(engine(**PASS, expert_buffers=1), OSS).working_bytes == 1000 * (2 * 2880 + 2 * 64 * (64 + 8)) * 2


@pytest.mark.parametrize(
    ("tp", "ep", "filled"), [(1, 1, 3072 / 2880), (4, 1, 768 / 720), (8, 1, 512 / 360), (8, 8, 3072 / 2880)]
)
def test_fp4_experts_fill_up_to_a_multiple(tp: int, ep: int, filled: float) -> None:
    """36 layers of 128 experts, three matrices of 2,880 x 2,880 and their biases; a scale for 32 numbers of 4 bits."""
    chip = engine(fp4_multiple=256)
    matrices, biases = 36 * 128 * 3 * 2880**2, 36 * 128 * 3 * 2880
    held = matrices * (4 + 8 / 32) / 8 + biases * 2
    assert aside(chip, OSS, tp=tp, ep=ep).terms["padding of experts"] == pytest.approx(held / tp * (filled - 1))
    assert "padding of experts" not in aside(engine(fp4_multiple=320), OSS).terms  # 9 x 320
    assert "padding of experts" not in aside(chip, MIXTRAL).terms


# How an engine counts -----------------------------------------------------------------------------------------------


def tokens(model: LanguageModel, room: float, chip: rl.Chip | None = None, **plan: int) -> float:
    return float(setaside.kv_tokens(model, chip or plain(), Plan(**plan), room, "bf16"))


def test_tokens_of_a_cache() -> None:
    """131,072 bytes a token; whole blocks; half of the heads on each of two chips, half of the layers on each stage."""
    assert tokens(LLAMA, 1e9) == 7629
    assert tokens(LLAMA, 1e9, engine(block=16)) == 7616
    assert tokens(LLAMA, 1e9, tp=2) == 15_258
    assert tokens(LLAMA, 1e9, tp=16) == 61_035  # a key/value head at least
    assert tokens(LLAMA, 1e9, pp=2) == 15_258
    assert tokens(LLAMA, 1e9, pp=3) == 22_194  # 11 of 32 layers


def windowed(*counts: int, positions: int = 1000) -> LanguageModel:
    """So many layers that see 128 tokens, and so many that see all."""
    near, far = counts
    layers = (Layers(near, ATTENTION, None, Span(window=128)), Layers(far, ATTENTION, None, Span()))
    return LanguageModel("windowed", hidden=64, vocab=100, layers=layers, max_positions=positions)


def test_tokens_where_some_layers_see_a_window() -> None:
    """Each token takes 128 B in the layer that sees all, and a share of it in the three others."""
    assert tokens(windowed(3, 1), 10_000, engine(window_share=0.25)) == 10_000 // (128 * 1.75)
    assert tokens(windowed(3, 1), 10_000) == 10_000 // 512
    # At the longest context they hold 1,000 + 3 x 128 tokens: 1 MB is 5.64 times that.
    assert tokens(windowed(3, 1), 1e6, engine(window_share=0, block=16)) == 5632
    assert tokens(windowed(3, 1), 1e6, engine(window_share=0, block=16), pp=2) == 11_280


def test_tokens_in_groups_of_equal_layers() -> None:
    """Pages of 16 tokens, 2,048 B a layer: 488 in 1 MB, shared by four groups of a layer each.

    Nearly as many of one kind as of the other: groups of the larger number, one of them filled up. Else of the smaller.
    """
    grouped = engine(grouped=1, block=16)
    assert tokens(windowed(3, 1), 1e6, grouped) == 488 * 16 / 4
    assert tokens(windowed(8, 9), 1e6, grouped) == 432  # 54 pages of nine layers: 27 for each of two groups
    assert tokens(windowed(4, 5), 1e6, grouped) == 640  # a quarter more is no longer nearly as many
    assert tokens(windowed(4, 8), 1e6, grouped) == 640  # 122 pages of four layers, three groups: 40
    assert tokens(LLAMA, 1e9, grouped) == 7616  # of one kind: as it is


def test_a_table_of_positions_has_a_row_for_each_and_a_number_for_each_that_is_rotated() -> None:
    """Llama 4 Scout: ten million rows of 128 numbers; DeepSeek-V3 rotates 64 of a head, OPT none."""
    one = engine(context=1e9, rotary_width=2)
    for name, size in (("llama-4-scout", 10_485_760 * 128 * 2), ("deepseek-v3", 163_840 * 64 * 2), ("opt-1.3b", None)):
        assert aside(one, rl.load_model(name)).terms.get("rotary table") == size
