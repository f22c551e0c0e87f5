"""Feed-forward blocks of a transformer layer: dense, and mixture of experts. Weights and operators side by side."""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.models.forward import Pass, Weights
from roofline.work import op
from roofline.work.op import Op


@dataclass(frozen=True, slots=True)
class FeedForward:
    """A dense feed-forward block.

    Attributes
    ----------
    inter : int
        Width of the hidden layer.
    gated : bool
        Three matrices (gate, up, down) rather than two (up, down).
    bias : bool
        Whether its linear layers add a bias.
    """

    inter: int
    gated: bool = True
    bias: bool = False

    def weights(self, hidden: int, count: int, prefix: str = "", down_shard: str = "row") -> list[Weights]:
        """The block's parameters, in `count` layers."""
        up = (2 if self.gated else 1) * self.inter
        return [
            Weights(
                prefix + self.up_name,
                up * (hidden + self.bias),
                count,
                "column",
                biases=up * self.bias,
                width=self.inter,
            ),
            Weights(
                prefix + "down_proj",
                (self.inter + self.bias) * hidden,
                count,
                down_shard,
                biases=self.bias * hidden,
                width=self.inter,
            ),
        ]

    def ops(self, run: Pass, hidden: int, count: int, prefix: str = "", down_shard: str = "row") -> list[Op]:
        """The block's operators in one pass, run in `count` layers."""
        m, inter = run.tokens, self.inter
        activate = op.silu_mul if self.gated else op.activation
        return [
            op.gemm(
                m=m,
                n=2 * inter if self.gated else inter,
                k=hidden,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name=prefix + self.up_name,
                count=count,
                shard="column",
            ),
            activate(
                rows=m,
                cols=inter,
                dtype=run.wide,
                name=prefix + ("silu_mul" if self.gated else "activation"),
                count=count,
                shard="column",
            ),
            op.gemm(
                m=m,
                n=hidden,
                k=inter,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name=prefix + "down_proj",
                count=count,
                shard=down_shard,
            ),
        ]

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the block's widest point, on one chip."""
        return (3 if self.gated else 2) * self.inter / tp

    @property
    def up_name(self) -> str:
        """The first GEMM's name: gate and up projections are one."""
        return "gate_up_proj" if self.gated else "up_proj"


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture-of-experts block: a router, routed experts, and possibly shared ones that every token visits.

    Attributes
    ----------
    experts, topk : int
        Routed experts, and how many of them a token goes to.
    inter : int
        Width of one routed expert.
    shared : FeedForward, optional
        The shared experts, as one block of their summed width.
    bias, router_bias : bool
        Whether expert matrices and the router (a bias, or DeepSeek-V3's score correction) add a bias.
    shared_gate : bool
        Whether a sigmoid gate scales the shared experts (Qwen2-MoE).
    """

    experts: int
    topk: int
    inter: int
    shared: FeedForward | None = None
    bias: bool = False
    router_bias: bool = False
    shared_gate: bool = False

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        biases = self.bias * (2 * self.inter + hidden)
        routed = Weights(
            "moe",
            self.experts * (3 * hidden * self.inter + biases),
            count,
            "experts",
            storage="expert",
            active=self.topk / self.experts,
            biases=self.experts * biases,
            width=self.inter,
        )
        out = [
            Weights("router", self.experts * (hidden + self.router_bias), count, storage="wide"),
            routed,
        ]
        if self.shared_gate:
            out.append(Weights("shared_gate", hidden, count, storage="wide"))
        if self.shared:
            out += self.shared.weights(hidden, count, "shared_", "row_joined")
        return out

    def ops(self, run: Pass, hidden: int, count: int) -> list[Op]:
        """The block's operators in one pass, run in `count` layers."""
        m, wide = run.tokens, run.wide
        out = [
            op.gemm(
                m=m,
                n=self.experts + self.shared_gate,
                k=hidden,
                dtype=wide,
                weight_dtype=run.unquantised_dtype,
                name="router",
                count=count,
            )
        ]
        if self.shared:
            # Their partial sums join those of the routed experts: one all-reduce for both.
            out += self.shared.ops(run, hidden, count, "shared_", "row_joined")
        out.append(
            op.moe(
                tokens=m,
                hidden=hidden,
                inter=self.inter,
                topk=self.topk,
                experts=self.experts,
                dtype=run.dtype,
                weight_dtype=run.weight_dtype,
                quantize=run.quantize,
                count=count,
            )
        )
        if self.shared:
            out.append(op.residual_add(rows=m, cols=hidden, dtype=wide, name="shared_add", count=count))
        return out

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the block's widest point, on one chip: its top-k copies and their insides."""
        return self.topk * (hidden / numeric.minimum(tp, ep) + 3 * self.inter / tp)
