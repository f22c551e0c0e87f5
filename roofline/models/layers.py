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
    """

    count: int
    mixer: Mixer | None
    feed_forward: FeedForward | Experts | None
    span: Span

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The halves that a layer has."""
        return tuple(block for block in (self.mixer, self.feed_forward) if block is not None)
