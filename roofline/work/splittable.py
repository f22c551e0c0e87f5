"""What splitting over chips asks of a model: a protocol, so that this room knows no model by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from roofline.base.numeric import Numeric


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


class Block(Protocol):
    """Half a layer: attention or feed-forward."""

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the block's widest point, on one chip."""


class LayerGroup(Protocol):
    """Layers that are alike."""

    @property
    def attention(self) -> Block: ...
    @property
    def feed_forward(self) -> Block: ...


class Splittable(Protocol):
    """A model that a :class:`~roofline.work.parallel.Plan` can split, such as a language model."""

    @property
    def name(self) -> str: ...
    @property
    def hidden(self) -> int: ...
    @property
    def vocab(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def experts(self) -> int: ...
    @property
    def layers(self) -> Sequence[LayerGroup]: ...
    @property
    def weights(self) -> Sequence[WeightGroup]: ...

    def stored_dtype(self, storage: str, dtype: str, weight_dtype: str | None = None) -> str:
        """The dtype in which weights of one kind of storage lie in memory."""

    def kv_bytes(self, batch: Numeric, context: Numeric, kv_dtype: str = "bf16") -> Numeric:
        """Bytes of KV cache of `batch` sequences of `context` tokens on one chip that holds all of it."""
