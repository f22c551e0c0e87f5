"""What mixes the tokens of a layer, as far as a model needs to know: attention, a recurrence, or both side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.models.forward import Pass, Weights
from roofline.work.op import Op
from roofline.work.splittable import Heads


@dataclass(frozen=True, slots=True)
class Span:
    """How far a layer's queries see, and whether they carry rotary positions.

    Attributes
    ----------
    window : int, optional
        Most tokens that a query sees; None for all.
    chunked : bool
        Whether the window is a chunk with fixed borders (Llama 4) rather than a sliding one.
    rope : bool
        Whether queries and keys are rotated (not in Llama 4's every fourth layer).
    """

    window: int | None = None
    chunked: bool = False
    rope: bool = True

    @property
    def name(self) -> str:
        """The attention operator's label."""
        if self.window is None:
            return "attention"
        return "chunked_attention" if self.chunked else "sliding_attention"

    def resident(self, context: Numeric) -> Numeric:
        """Tokens of `context` whose keys and values the layer keeps."""
        return context if self.window is None else numeric.minimum(context, self.window)


class Mixer(ABC):
    """The half of a layer in which tokens see each other.

    What it keeps of a sequence is a cache that grows with the tokens, a state that does not, or both.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def head_counts(self) -> tuple[Heads, ...]:
        """What tensor parallelism deals out."""

    @property
    @abstractmethod
    def about(self) -> str:
        """What it is, in a few words, for people."""

    @abstractmethod
    def weights(self, hidden: int, count: int) -> list[Weights]:
        """Its parameters, in `count` layers of a model of width `hidden`."""

    @abstractmethod
    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """Its operators in one pass; `spans` says how many layers see how far."""

    @abstractmethod
    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at its widest point, on one chip."""

    def token_bytes(self, width: float) -> float:
        """Bytes that a layer caches for one more token, of `width` bytes a number of the KV cache; 0: no cache."""
        return 0.0

    def cache_bytes(self, context: Numeric, width: float, span: Span, tp: Numeric = 1) -> Numeric:
        """Bytes that a layer caches of one sequence of `context` tokens, on one of `tp` chips."""
        return span.resident(context) * self.token_bytes(width)

    def state_bytes(self, tp: Numeric = 1) -> Numeric:
        """Bytes of a layer's state of one sequence, however long, on one of `tp` chips; 0: no state."""
        return 0.0
