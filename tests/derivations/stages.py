"""Microbatches through the stages of a pipeline, one after the other."""

from __future__ import annotations

from collections.abc import Sequence


def last_leaves(stage_s: Sequence[float], microbatches: int) -> float:
    """When the last microbatch leaves the last stage, if all are there at the beginning."""
    free = [0.0] * len(stage_s)  # when each stage is done with what it last began
    for _ in range(microbatches):
        arrives = 0.0
        for stage, seconds in enumerate(stage_s):
            free[stage] = arrives = max(arrives, free[stage]) + seconds
    return free[-1]


def seconds_a_token(stage_s: Sequence[float], microbatches: int, tokens: int = 200) -> float:
    """Time between tokens of a microbatch, where each goes round and round: its next token begins with its last."""
    free, ready = [0.0] * len(stage_s), [0.0] * microbatches
    halfway = 0.0
    for token in range(2 * tokens):
        for microbatch in range(microbatches):
            for stage, seconds in enumerate(stage_s):
                free[stage] = ready[microbatch] = max(ready[microbatch], free[stage]) + seconds
        if token == tokens - 1:
            halfway = ready[0]
    return (ready[0] - halfway) / tokens
