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
    gated : bool
        Three matrices an expert (gate, up, down) rather than two (up, down).
    latent : int
        Width that routed experts work in, between a projection to it and one back that all share (Nemotron 3); 0 for
        the model's own.
    latent_norm : bool
        Whether what comes back from the experts is normalised in the latent (Kimi K3).
    router_width : int
        Width that the router chooses by, behind layers of its own which stand elsewhere (Zaya); 0 for the model's.
    zero : int
        Further experts that the router may choose and that give a token back as it is (LongCat).
    """

    experts: int
    topk: int
    inter: int
    shared: FeedForward | None = None
    bias: bool = False
    router_bias: bool = False
    shared_gate: bool = False
    gated: bool = True
    latent: int = 0
    latent_norm: bool = False
    zero: int = 0
    router_width: int = 0

    @property
    def visited(self) -> float:
        """Experts that compute for a token, on average: choices that fall on the others cost nothing."""
        return self.topk * self.experts / (self.experts + self.zero)

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        width, first = self.latent or hidden, 1 + self.gated
        biases = self.bias * (first * self.inter + width)
        expert = (first + 1) * width * self.inter + biases
        routed = Weights(
            "moe",
            self.experts * expert,
            count,
            "experts",
            storage="expert",
            active=self.visited / self.experts,
            biases=self.experts * biases,
            width=self.inter,
        )
        out = [
            Weights(
                "router",
                (self.experts + self.zero) * ((self.router_width or hidden) + self.router_bias),
                count,
                storage="wide",
            ),
            routed,
        ]
        if self.latent:
            out += [Weights(name, hidden * self.latent, count) for name in ("latent_down_proj", "latent_up_proj")]
        if self.latent_norm:
            out.append(Weights("latent_norm", self.latent, count, storage="wide"))
        if self.shared_gate:
            out.append(Weights("shared_gate", hidden, count, storage="wide"))
        if self.shared:
            out += self.shared.weights(hidden, count, "shared_", self._joins)
        return out

    @property
    def _joins(self) -> str:
        """How shared experts are split: their partial sums join those of the routed ones, unless these are narrower."""
        return "row" if self.latent else "row_joined"

    def ops(self, run: Pass, hidden: int, count: int) -> list[Op]:
        """The block's operators in one pass, run in `count` layers."""
        m, wide = run.tokens, run.wide
        out = [
            op.gemm(
                m=m,
                n=self.experts + self.zero + self.shared_gate,
                k=self.router_width or hidden,
                dtype=wide,
                weight_dtype=run.unquantised_dtype,
                name="router",
                count=count,
            )
        ]
        if self.shared:
            out += self.shared.ops(run, hidden, count, "shared_", self._joins)
        if self.latent:
            out.append(self._through(run, "latent_down_proj", self.latent, hidden, count))
        routed = op.moe(
            tokens=m,
            hidden=self.latent or hidden,
            inter=self.inter,
            topk=self.topk,
            experts=self.experts,
            dtype=run.dtype,
            weight_dtype=run.weight_dtype,
            gated=self.gated,
            quantize=run.quantize,
            count=count,
        )
        out.append(routed.with_args(topk=self.visited) if self.zero else routed)
        if self.latent_norm:
            out.append(op.rms_norm(rows=m, cols=self.latent, dtype=wide, name="latent_norm", count=count))
        if self.latent:
            out.append(self._through(run, "latent_up_proj", hidden, self.latent, count))
        if self.shared:
            out.append(op.residual_add(rows=m, cols=hidden, dtype=wide, name="shared_add", count=count))
        return out

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the block's widest point, on one chip: its top-k copies and their insides."""
        width, inside = self.latent or hidden, (2 + self.gated) * self.inter
        return self.visited * (width / numeric.minimum(tp, ep) + inside / tp)

    @staticmethod
    def _through(run: Pass, name: str, n: int, k: int, count: int) -> Op:
        """A projection to the latent or back, which every chip does for all its tokens."""
        return op.gemm(
            m=run.tokens,
            n=n,
            k=k,
            dtype=run.dtype,
            quantize=run.quantize,
            weight_dtype=run.weight_dtype,
            name=name,
            count=count,
        )
