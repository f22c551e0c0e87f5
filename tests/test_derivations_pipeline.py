"""A pipeline's prefill and decode against a schedule of its stages and microbatches."""

from __future__ import annotations

import pytest

import roofline as rl
from roofline.estimates.inference import Phase
from roofline.estimates.language import LanguageEstimate
from tests.derivations.stages import last_leaves, seconds_a_token

LAYERS = 32  # of Llama 3.1 8B


def estimate(pp: int, batch: int) -> LanguageEstimate:
    return rl.estimate("llama-3.1-8b", "h100-sxm", pp=pp, batch=batch, prompt=512, output=16)


def layers_passed(phase: Phase) -> float:
    """Times of a layer that the phase takes: attention runs once in each."""
    (attention,) = (record for record in phase.records if record["kind"] == "attention")
    return float(attention["count"] * phase.scale)


def stages(pp: int) -> list[float]:
    """Layers of each stage, the fuller ones first."""
    return [float(LAYERS // pp + (stage < LAYERS % pp)) for stage in range(pp)]


def microbatches(pp: int, batch: int) -> list[int]:
    """Sequences dealt out to at most `pp` microbatches, all as large as the largest may be."""
    size = len(range(0, batch, pp))
    return [min(size, batch - first) for first in range(0, batch, size)]


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 9, 64])
@pytest.mark.parametrize("pp", [1, 2, 4, 8, 16])
def test_prefill_fills_and_drains_the_pipeline(pp: int, batch: int) -> None:
    found = layers_passed(estimate(pp, batch).prefill)
    assert found == pytest.approx(last_leaves(stages(pp), len(microbatches(pp, batch))))


@pytest.mark.parametrize("batch", [1, 4, 40])
@pytest.mark.parametrize("pp", [3, 5, 7, 20])
def test_the_fullest_stage_sets_the_pace(pp: int, batch: int) -> None:
    """Every stage counts as the fullest: exact but for what the emptier ones save once, in passing through."""
    found = layers_passed(estimate(pp, batch).prefill)
    stepped = last_leaves(stages(pp), len(microbatches(pp, batch)))
    assert stepped <= found <= stepped + sum(max(stages(pp)) - layers for layers in stages(pp))


@pytest.mark.parametrize("batch", [1, 3, 8, 64])
@pytest.mark.parametrize("pp", [1, 2, 4, 8])
def test_a_token_goes_through_every_stage_before_the_next(pp: int, batch: int) -> None:
    """With no more microbatches than stages each finds every stage free: a token takes the time of all layers."""
    found = layers_passed(estimate(pp, batch).decode)
    assert found == pytest.approx(seconds_a_token(stages(pp), len(microbatches(pp, batch))))


@pytest.mark.parametrize(("pp", "batch"), [(1, 10), (4, 10), (4, 3), (8, 64)])
def test_a_microbatch_is_as_large_as_the_largest(pp: int, batch: int) -> None:
    """The FLOP of a step are those of one microbatch."""
    whole, part = estimate(1, max(microbatches(pp, batch))), estimate(pp, batch)
    assert part.prefill.flops == pytest.approx(whole.prefill.flops)
    assert part.decode.flops == pytest.approx(whole.decode.flops)
