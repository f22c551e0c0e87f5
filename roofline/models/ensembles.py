"""Blocks of layer upon layer of interactions: Wukong, DHEN, transformers over the features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from roofline.models.block import BlockBase, Count, Depth, Feature, Plan, Width, join
from roofline.models.steps import Gram, Linear, Pointwise, Product, Step


def _all_over_all(name: str, count: int, dim: int, heads: int, copies: int = 1) -> list[Step]:
    """Attention of a few vectors over each other: two batched products and a softmax, as libraries run short ones."""
    return [
        Product(f"{name}.scores", count, count, dim, copies),
        Pointwise(f"{name}.softmax", "softmax", count, rows=count * heads, flops=5, copies=copies),
        Product(f"{name}.values", count, dim, count, copies),
    ]


class Wukong(BlockBase):
    """Wukong layers (Zhang et al. 2024): a factorisation machine with an MLP beside a linear compression, and a skip.

    Of n vectors of width d: ``X (X^T Y)`` with Y of n x `rank`, its n x rank numbers through a norm and the MLP
    `hidden` to `fm_vectors` vectors; beside it `linear_vectors` weighted sums of the n. Hands on both.
    """

    type: Literal["wukong"]
    layers: Depth
    rank: Width
    fm_vectors: Width
    linear_vectors: Width
    hidden: Annotated[list[Width], Field(max_length=20, default_factory=list)]

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = join(inputs)
        count, dim = feature.vectors, feature.dim
        steps = self._concat(inputs)
        for i in range(self.layers):
            name = f"{self.label}.{i}"
            widths = [count * self.rank, *self.hidden, self.fm_vectors * dim]
            out = self.fm_vectors + self.linear_vectors
            steps += [
                Linear(f"{name}.project", count, self.rank, rows=dim, activation=False, bias=False),
                Product(f"{name}.fm", count, self.rank, dim),
                Pointwise(f"{name}.fm_norm", "layer_norm", count * self.rank, flops=8, weights=2 * count * self.rank),
                *(Linear(f"{name}.mlp.{j}", k, n) for j, (k, n) in enumerate(pairwise(widths))),
                Linear(f"{name}.linear", count, self.linear_vectors, rows=dim, activation=False, bias=False),
            ]
            if count != out:  # the skip goes through a weighted sum as well
                steps.append(Linear(f"{name}.skip", count, out, rows=dim, activation=False, bias=False))
            steps.append(Pointwise(f"{name}.norm", "layer_norm", dim, rows=out, reads=2, flops=9, weights=2 * dim))
            count = out
        return Feature(self.label, ((count, dim),)), steps


class Dhen(BlockBase):
    """Layers of a hierarchical ensemble (DHEN, Zhang et al. 2022): several interactions of the same vectors, summed.

    Each of the `modules` makes `vectors` vectors of the layer's input: ``"linear"`` weighted sums; ``"dot"`` the
    products of all pairs through an MLP of `hidden`; ``"attention"`` self-attention of `heads`, then weighted sums;
    ``"cross"`` a layer of DCN-v2 of rank `hidden[0]` over all of them laid end to end. Their sum and the skip go
    through a norm.
    """

    type: Literal["dhen"]
    layers: Depth
    vectors: Width
    modules: Annotated[list[Literal["linear", "dot", "attention", "cross"]], Field(min_length=1, max_length=20)]
    heads: Count = 1
    hidden: Annotated[list[Width], Field(max_length=20, default_factory=list)]

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = join(inputs)
        count, dim = feature.vectors, feature.dim
        if "attention" in self.modules and dim % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {dim}, found {self.heads}")
        if "cross" in self.modules and not self.hidden:
            raise ValueError("hidden: expected the rank of the cross module first, found nothing")
        steps = self._concat(inputs)
        for i in range(self.layers):
            name = f"{self.label}.{i}"
            for j, module in enumerate(self.modules):
                steps += self._module(
                    f"{name}.{module}{j if self.modules.count(module) > 1 else ''}", module, count, dim
                )
            if count != self.vectors:
                steps.append(self._sums(f"{name}.skip", count, dim))
            steps.append(
                Pointwise(
                    f"{name}.norm",
                    "layer_norm",
                    dim,
                    rows=self.vectors,
                    reads=len(self.modules) + 1,
                    flops=8 + len(self.modules),
                    weights=2 * dim,
                )
            )
            count = self.vectors
        return Feature(self.label, ((count, dim),)), steps

    def _sums(self, name: str, count: int, dim: int) -> Step:
        """`vectors` weighted sums of `count` vectors."""
        return Linear(name, count, self.vectors, rows=dim, activation=False, bias=False)

    def _module(self, name: str, module: str, count: int, dim: int) -> list[Step]:
        if module == "linear":
            return [self._sums(name, count, dim)]
        if module == "attention":
            return [
                Linear(f"{name}.qkv", dim, 3 * dim, rows=count, activation=False),
                *_all_over_all(name, count, dim, self.heads),
                Linear(f"{name}.out", dim, dim, rows=count, activation=False),
                self._sums(f"{name}.sums", count, dim),
            ]
        if module == "dot":
            gram = Gram(f"{name}.gram", count, dim)
            if not gram.pairs:
                raise ValueError("modules: expected at least two vectors to multiply, found one")
            widths = [gram.pairs, *self.hidden, self.vectors * dim]
            return [gram, *(Linear(f"{name}.mlp.{j}", k, n) for j, (k, n) in enumerate(pairwise(widths)))]
        width, rank = count * dim, self.hidden[0]
        return [
            Linear(f"{name}.down", width, rank, activation=False, bias=False),
            Linear(f"{name}.up", rank, width, activation=False),
            Pointwise(f"{name}.combine", "gate", width, reads=3, flops=2),
            self._sums(f"{name}.sums", count, dim),
        ]


class SelfAttention(BlockBase):
    """Transformer layers over the vectors of the input: attention of all over all, and a feed-forward of `hidden`.

    With ``pool = true`` it hands on their mean, else all of them.
    """

    type: Literal["self_attention"]
    layers: Depth
    heads: Count
    hidden: Width
    pool: Annotated[bool, Field(strict=True)] = False

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = join(inputs)
        count, dim = feature.vectors, feature.dim
        if dim % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {dim}, found {self.heads}")
        size: dict[str, Any] = {"rows": count, "copies": self.layers}
        steps: list[Step] = [
            Pointwise(f"{self.label}.norm", "layer_norm", dim, flops=8, weights=2 * dim, **size),
            Linear(f"{self.label}.qkv", dim, 3 * dim, activation=False, **size),
            *_all_over_all(self.label, count, dim, self.heads, self.layers),
            Linear(f"{self.label}.out", dim, dim, activation=False, **size),
            Pointwise(f"{self.label}.ffn_norm", "layer_norm", dim, reads=2, flops=9, weights=2 * dim, **size),
            Linear(f"{self.label}.up", dim, self.hidden, **size),
            Linear(f"{self.label}.down", self.hidden, dim, activation=False, **size),
        ]  # fmt: skip
        if self.pool:
            steps.append(Pointwise(f"{self.label}.mean", "elementwise", dim, rows=count, writes=1 / count, flops=1))
        kept = 1 if self.pool else count
        return Feature(self.label, ((kept, dim),)), self._concat(inputs) + steps
