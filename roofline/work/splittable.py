"""What splitting over chips asks of a model: a protocol, so that this room knows no model by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from roofline.base.numeric import Numeric


class Heads(NamedTuple):
    """What tensor parallelism deals out of one kind of mixer: heads, and what groups of them share.

    Attributes
    ----------
    heads : int
        Heads, each on one chip: a degree has to divide them.
    shared : int
        Key/value heads, or groups: dealt out too, or copied where there are more chips than of these.
    words : str
        For errors: ``"64 heads and 8 key/value heads"``.
    """

    heads: int
    shared: int
    words: str

    def split_by(self, tp: int) -> bool:
        """Whether `tp` chips can hold equal shares."""
        return self.heads % tp == 0 and (self.shared % tp == 0 or tp % self.shared == 0)


class Share(NamedTuple):
    """A width that is split into whole blocks, as the weights of a block share a scale.

    Attributes
    ----------
    part : str
        The weights: ``"moe"``.
    width : int
        What is split.
    block : int
        What each share is a multiple of.
    experts : bool
        Whether expert parallelism, which leaves experts whole, splits it less.
    """

    part: str
    width: int
    block: int
    experts: bool

    def split_by(self, tp: int, ep: int) -> bool:
        """Whether a plan leaves blocks whole; on one chip, the last may be smaller."""
        chips = max(1, tp // ep) if self.experts else tp
        return chips == 1 or (self.width % chips == 0 and self.width // chips % self.block == 0)


class WeightGroup(Protocol):
    """Parameters of one kind; :class:`roofline.models.forward.Weights` says what each attribute means."""

    @property
    def name(self) -> str: ...
    @property
    def elements(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def shard(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def biases(self) -> int: ...
    @property
    def width(self) -> int: ...


class Block(Protocol):
    """Half a layer: what mixes tokens, or what feeds forward."""

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the block's widest point, on one chip."""


class LayerGroup(Protocol):
    """Layers that are alike."""

    @property
    def blocks(self) -> Sequence[Block]:
        """The halves that a layer has: two, or one of them."""


class Splittable(Protocol):
    """A model that a :class:`~roofline.work.parallel.Plan` can split, such as a language model."""

    @property
    def name(self) -> str: ...
    @property
    def hidden(self) -> int: ...
    @property
    def vocab(self) -> int: ...
    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """The heads of each kind of mixer."""

    @property
    def num_layers(self) -> int: ...
    @property
    def experts(self) -> int: ...
    @property
    def layers(self) -> Sequence[LayerGroup]: ...
    @property
    def weights(self) -> Sequence[WeightGroup]: ...

    @property
    def shares(self) -> tuple[Share, ...]:
        """What has to be split into whole blocks."""

    def bytes_per_weight(
        self, weights: WeightGroup, dtype: str, weight_dtype: str | None = None, chips: Numeric | None = None
    ) -> Numeric:
        """Bytes that one of some weights takes in memory, scales included, where so many chips share their width."""

    def kv_bytes(self, batch: Numeric, context: Numeric, kv_dtype: str = "bf16", tp: Numeric = 1) -> Numeric:
        """Bytes of KV cache of `batch` sequences of `context` tokens on one of `tp` chips, all layers on it."""

    def state_bytes(self, batch: Numeric, tp: Numeric = 1) -> Numeric:
        """Bytes of state that does not grow with the tokens, of `batch` sequences on one of `tp` chips."""

    def source_bytes(self, batch: Numeric, source: Numeric, kv_dtype: str = "bf16", tp: Numeric = 1) -> Numeric:
        """Bytes of keys and values of states that layers attend across to, on one of `tp` chips, all layers on it."""
