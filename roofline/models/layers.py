"""Some equal layers of a language model: what they mix tokens with, what they feed forward with, how far they see."""

from __future__ import annotations

from dataclasses import dataclass

from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.mixers import Mixer, Span
from roofline.work.splittable import Block


@dataclass(frozen=True, slots=True)
class Layers:
    """Some equal layers; their place in the stack does not matter to a step's cost.

    Attributes
    ----------
    count : int
        How many.
    mixer : Mixer, optional
        What mixes tokens; None where a layer only feeds forward.
    feed_forward : FeedForward or Experts, optional
        None where a layer only mixes.
    span : Span
        How far the mixer's queries see.
    passes : int
        How often a token goes through them, with a cache of its own each time (Ouro); their weights are there once.
    """

    count: int
    mixer: Mixer | None
    feed_forward: FeedForward | Experts | None
    span: Span
    passes: int = 1

    @property
    def runs(self) -> int:
        """How many layers a token goes through, those that it meets again counted again."""
        return self.count * self.passes

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The halves that a layer has."""
        return tuple(block for block in (self.mixer, self.feed_forward) if block is not None)
